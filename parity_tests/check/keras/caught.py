"""Running the file of a Keras model as its owner has it, up to its training, which is caught."""

import builtins
import inspect
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import keras
import numpy as np

from parity_tests.check import source

MOST = 5
"""Batches that are taken of what yields them."""
TRAINS = {"fit", "train_on_batch", "apply_gradients", "apply"}
"""Names that a function uses which trains."""


class Caught(BaseException):
    """The file has come to its training."""


@dataclass
class Training:
    """A training as a file began it.

    Attributes:
        model: That is trained; None if it is not known.
        batches: Inputs, targets and weights of samples, or None for these.
        data: All of them at once, where the file has them as arrays.
        size: Of a batch; 0 if it is not known.
        class_weight: The weight of each class.
        callbacks: That were given to `fit`.
        loss: Of a loop of the file's own.
        optimizer: Likewise.
        value: Of the loss that gradients were taken of, likewise.
    """

    model: Any = None
    batches: list[tuple[Any, Any, Any]] = field(default_factory=list)
    data: tuple[Any, Any, Any] | None = None
    size: int = 0
    class_weight: dict[int, float] | None = None
    callbacks: list[Any] = field(default_factory=list)
    loss: Any = None
    optimizer: Any = None
    value: float | None = None


def run(path: Path, data: Path) -> tuple[dict[str, Any], Training | None]:
    """Run a file as its owner does; return what it holds, and the training that it came to.

    A file that only defines a function that trains, without arguments, has it called.

    Args:
        path: Of the file.
        data: Holds MNIST in MNIST/raw, for a file that would download it.
    """
    main = ModuleType("__main__")
    main.__file__ = str(path)
    sys.modules["__main__"] = main
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path)]
    builtins.input = lambda prompt="": ""
    training = Training()
    code = compile(source.parse(path), str(path), "exec")
    names = vars(main)
    with _lent(data), _watched(training):
        if _ends(lambda: exec(code, names)):  # noqa: S102 (as an import does)
            return names, training
        for function in list(names.values()):
            if _trains(function) and _ends(function):
                return names, training
    return names, None


def _ends(run: Callable[[], Any]) -> bool:
    """Return whether a function comes to a training."""
    try:
        run()
    except Caught:
        return True
    except SystemExit as error:
        if error.code not in (None, 0):
            raise
    return False


def _trains(function: Any) -> bool:
    """Return whether a function of the file trains, and needs no arguments."""
    if not inspect.isfunction(function) or function.__module__ != "__main__":
        return False
    needed = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return not needed and not TRAINS.isdisjoint(function.__code__.co_names)


@contextmanager
def _watched(training: Training) -> Iterator[None]:
    """Catch what begins a training: `fit`, `train_on_batch`, or an update in a loop."""

    def fit(model: Any, x: Any = None, y: Any = None, *arguments: Any, **options: Any) -> None:
        given = inspect.signature(right_fit).bind(model, x, y, *arguments, **options).arguments
        training.model = model
        training.class_weight = given.get("class_weight")
        training.callbacks = list(keras.tree.flatten(given.get("callbacks")) or ())
        if _is_array(keras.tree.flatten(x)[0]) and not hasattr(x, "__next__"):
            training.data = x, y, given.get("sample_weight")
            if split := given.get("validation_split"):
                count = int(len(keras.tree.flatten(x)[0]) * (1 - split))
                training.data = rows(training.data, slice(count))
            samples = len(keras.tree.flatten(training.data[0])[0])
            training.size = min(given.get("batch_size") or 32, samples)
            training.batches = [rows(training.data, slice(training.size))]
        else:
            training.batches = [_three(batch) for batch in islice(_iterated(x), MOST)]
            training.size = len(keras.tree.flatten(training.batches[0][0])[0])
        raise Caught

    def train_on_batch(
        model: Any,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        **_: Any,
    ) -> None:
        training.model, training.class_weight = model, class_weight
        training.batches = [(x, y, sample_weight)]
        training.size = len(keras.tree.flatten(x)[0])
        raise Caught

    right_fit = keras.Model.fit
    with ExitStack() as stack:
        for name, function in (("fit", fit), ("train_on_batch", train_on_batch)):
            stack.enter_context(mock.patch.object(keras.Model, name, function))
        stack.enter_context(_loop_watched(training))
        yield


@contextmanager
def _loop_watched(training: Training) -> Iterator[None]:
    """Catch the first update of a loop of the file's own."""
    depth = [0]
    right_call, right_loss = keras.Layer.__call__, keras.losses.Loss.__call__
    inputs: list[Any] = []

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        depth[0] += 1
        try:
            returned = right_call(layer, *arguments, **options)
        finally:
            depth[0] -= 1
        if not depth[0] and isinstance(layer, keras.Model):
            training.model, inputs[:] = layer, arguments[:1]
        return returned

    def loss(of: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        value = right_loss(of, y_true, y_pred, sample_weight)
        if inputs and not depth[0]:
            training.loss, training.batches = of, [(inputs[0], y_true, sample_weight)]
        return value

    def apply(optimizer: Any, *arguments: Any, **options: Any) -> None:
        training.optimizer = optimizer
        if training.batches:
            training.size = len(keras.tree.flatten(training.batches[0][0])[0])
        raise Caught

    patched = [(keras.Layer, "__call__", call), (keras.losses.Loss, "__call__", loss)]
    patched += [(keras.optimizers.Optimizer, name, apply) for name in ("apply", "apply_gradients")]
    with ExitStack() as stack, _tape_watched(training):
        for owner, name, function in patched:
            stack.enter_context(mock.patch.object(owner, name, function))
        yield


@contextmanager
def _tape_watched(training: Training) -> Iterator[None]:
    """Note the loss that a loop takes gradients of."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    if keras.config.floatx() == "float64":  # which stands for float32 in what a loop computes
        vars(tensorflow)["float32"] = tensorflow.float64
        slices = tensorflow.data.Dataset.from_tensor_slices
        tensorflow.data.Dataset.from_tensor_slices = lambda of: slices(
            tensorflow.nest.map_structure(_doubled, of)
        )
    right = tensorflow.GradientTape.gradient

    def gradient(tape: Any, target: Any, *arguments: Any, **options: Any) -> Any:
        if training.batches and keras.ops.is_tensor(target):
            training.value = float(keras.ops.convert_to_numpy(keras.ops.sum(target)))
        return right(tape, target, *arguments, **options)

    with mock.patch.object(tensorflow.GradientTape, "gradient", gradient):
        yield


def _doubled(array: Any) -> Any:
    small = getattr(array, "dtype", None) == np.float32
    return np.asarray(array, np.float64) if small else array


def rows(data: tuple[Any, Any, Any], places: Any) -> tuple[Any, Any, Any]:
    """Return some samples of inputs, targets and weights."""
    taken = keras.tree.map_structure(lambda a: None if a is None else np.asarray(a)[places], data)
    return taken[0], taken[1], taken[2]


def _three(batch: Any) -> tuple[Any, Any, Any]:
    parts = [*batch, None, None]
    return parts[0], parts[1], parts[2]


def _iterated(x: Any) -> Iterator[Any]:
    """Yield the batches of a data set, of a generator, or of a `keras.utils.PyDataset`."""
    if isinstance(x, keras.utils.PyDataset):
        yield from (x[index] for index in range(len(x)))
    else:
        yield from x


def _is_array(item: Any) -> bool:
    return isinstance(item, np.ndarray | list | int | float) or keras.ops.is_tensor(item)


@contextmanager
def _lent(data: Path) -> Iterator[None]:
    """Let Keras find MNIST where it is, in place of a download."""
    folder = data / "MNIST" / "raw"
    right = keras.utils.get_file

    def get_file(fname: Any = None, origin: Any = None, *arguments: Any, **options: Any) -> Any:
        if not folder.is_dir() or Path(str(fname or origin)).name != "mnist.npz":
            return right(fname, origin, *arguments, **options)
        arrays: dict[str, Any] = {}
        for ours, theirs in (("train", "train"), ("t10k", "test")):
            for kind, name, offset in (("images-idx3", "x", 16), ("labels-idx1", "y", 8)):
                array = np.fromfile(folder / f"{ours}-{kind}-ubyte", np.uint8, offset=offset)
                arrays[f"{name}_{theirs}"] = array.reshape(-1, 28, 28) if name == "x" else array
        path = Path(tempfile.gettempdir(), "mnist.npz")
        np.savez(path, **arrays)
        return str(path)

    # Of the last, tensorflow.keras takes it once a file imports that.
    modules = "keras.src.datasets.mnist", "keras.src.utils.file_utils"
    owners = [keras.utils, *map(import_module, modules)]
    with ExitStack() as stack:
        for owner in owners:
            stack.enter_context(mock.patch.object(owner, "get_file", get_file))
        yield


def found_by_shape(names: dict[str, Any], model: Any) -> Training | None:
    """Return the arrays of a file that are inputs and targets of its model; None if it has none.

    They are known by their shapes: two arrays of as many samples, of which the model takes the
    first, and returns what has the shape of the second, but for axes of one.
    """
    with suppress(AttributeError, ValueError):
        takes, gives = model.inputs, model.outputs
        if len(takes) != 1 or len(gives) != 1:
            return None
        arrays = [
            a for n, a in names.items() if isinstance(a, np.ndarray) and a.ndim and n[0] != "_"
        ]
        for x in arrays:
            if not _fits(x.shape, takes[0].shape):
                continue
            for y in arrays:
                fits = _fits(y.shape, gives[0].shape) or _fits(y.shape, gives[0].shape[:-1])
                if y is not x and len(y) == len(x) and fits:
                    data = x, y, None
                    return Training(model, [rows(data, slice(32))], data)
    return None


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size in (None, own) for own, size in zip(shape[1:], wanted[1:], strict=True)
    )
