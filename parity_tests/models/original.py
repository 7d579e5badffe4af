"""The process that a Keras model runs in: loads its file once, and does what it is asked.

`python -m parity_tests.models.original FD FLOATX FILE` answers on a connection until it is
closed. The backend is that of KERAS_BACKEND. Everything runs eagerly, so that a hypothesis can
change what a layer, a loss or an optimizer holds, and change it back.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import dtypes

from parity_tests.check.guest.answering import answer_calls
from parity_tests.check.messages import UnusablePort, numbered
from parity_tests.models import constants, units
from parity_tests.models.edits import Edit, applicable, holding, remade
from parity_tests.models.inputs import drawn, listed, names
from parity_tests.models.noise import Noise
from parity_tests.models.saved import load

MAKERS = ("build_model", "make_model", "create_model", "get_model", "build", "model_fn")
"""Names of a function that returns the model, where it is not clear which does."""


def main() -> None:
    """Answer calls until the other end is closed."""
    connection, floatx, path = Connection(int(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
    load = functools.cache(partial(Original, path, floatx))

    def answer(arrays: dict, method: str, **options: Any) -> tuple[dict, dict]:
        return getattr(load(), method)(arrays, **options)

    answer_calls(connection, str(path), answer)


class Original:
    """The model of a file, its loss, its optimizer and its batch.

    Args:
        path: Of a Python file, or of a model that Keras saved.
        floatx: The dtype that everything computes in.

    Raises:
        UnusablePort: If there is no model, or it is not clear which.
    """

    def __init__(self, path: Path, floatx: str) -> None:
        # On every backend but TensorFlow, Keras computes in float32 what it was given in float64.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
        keras.config.set_floatx(floatx)
        keras.utils.set_random_seed(0)
        self.noise = Noise()
        self.path, self.floatx = path, floatx
        self.names: dict[str, Any] = {}
        self.model = load(path, floatx) if path.suffix == ".keras" else self._run()
        brought = self._brought_batch()
        self.brings_batch = brought is not None
        if brought is None:
            self.inputs, self.targets = drawn(self.model, self._loss(), floatx)
        else:
            self.inputs, self.targets = brought
        self._compile()
        outputs = self.model(self._tensors(self.inputs), training=False)  # which builds it
        self.model.compute_loss(y=self._tensors(self.targets), y_pred=outputs)
        units.tell_apart(self.model)
        units.split_separable(self.model)
        constants.vary(self.model)
        self.first = self._values()
        self.optimizer = self.model.optimizer
        self._require_no_other_noise()
        self.right: list[list[np.ndarray]] = []
        self.known: list[Edit] = []

    def _run(self) -> Any:
        module = ModuleType("their_original")
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module
        sys.path.insert(0, str(self.path.parent))
        sys.argv = [str(self.path)]
        exec(compile(self.path.read_text(), str(self.path), "exec"), vars(module))  # noqa: S102 (as an import does)
        self.names = vars(module)
        models = {n: v for n, v in self.names.items() if isinstance(v, keras.Model)}
        parts = {id(part) for model in models.values() for part in units.walk(model)}
        whole = {n: v for n, v in models.items() if id(v) not in parts} or models
        distinct = {id(model): name for name, model in whole.items()}
        if "model" in models:
            return models["model"]
        if len(distinct) > 1:
            raise UnusablePort(f"it has several models: {', '.join(sorted(whole))}; call one model")
        if whole:
            return next(iter(whole.values()))
        return self._made()

    def _made(self) -> Any:
        """Return what a function of the file makes."""
        for name in (*MAKERS, *self.names):
            maker = self.names.get(name)
            own = getattr(maker, "__module__", "") == "their_original"
            if own and callable(maker) and (name in MAKERS or name.endswith(("model", "net"))):
                made = maker()
                if isinstance(made, keras.Model):
                    return made
        raise UnusablePort(
            "it has no Keras model: expected model = keras.Sequential(...), another instance of "
            "keras.Model, or a function build_model() that returns one"
        )

    def _loss(self) -> Any:
        loss = self.model.loss if self.model.compiled else None
        return loss if loss is not None else self.names.get("loss")

    def _compile(self) -> None:
        """Compile what the file did not, and let everything run eagerly."""
        if not self.model.compiled:
            loss, optimizer = self.names.get("loss"), self.names.get("optimizer")
            if loss is None or optimizer is None:
                raise UnusablePort(
                    "its model is not compiled: call model.compile(optimizer=..., loss=...), or "
                    "name a loss and an optimizer"
                )
            self.model.compile(optimizer=optimizer, loss=loss)
        self.model.run_eagerly, self.model.jit_compile = True, False

    def _brought_batch(self) -> tuple[Any, Any] | None:
        if "batch" in self.names:
            inputs, targets = self.names["batch"]()
        elif "inputs" in self.names and "targets" in self.names:
            inputs, targets = self.names["inputs"], self.names["targets"]
        else:
            return None
        return self._cast(inputs), self._cast(targets)

    def _cast(self, structure: Any) -> Any:
        def cast(array: Any) -> np.ndarray:
            array = np.asarray(array)
            return array.astype(self.floatx) if array.dtype.kind == "f" else array

        return keras.tree.map_structure(cast, structure)

    def _tensors(self, structure: Any) -> Any:
        return keras.tree.map_structure(keras.ops.convert_to_tensor, structure)

    def _require_no_other_noise(self) -> None:
        inputs = self._tensors(self.inputs)
        runs = [listed("", self.model(inputs, training=True)) for _ in range(2)]
        if not all(np.allclose(runs[0][name], runs[1][name], equal_nan=True) for name in runs[0]):
            raise UnusablePort(
                "in training its outputs are random, although dropout is switched off: leave "
                "layers that alter the data at random out of the model"
            )

    def _values(self) -> dict[str, np.ndarray]:
        return {
            variable.path: keras.ops.convert_to_numpy(variable)
            for variable in self.model.variables
            if units.is_float(variable)
        }

    def batch(self, arrays: dict) -> tuple[dict, dict]:
        """Return the batch: "inputs 0", "targets 0" and so on; and whether the file brings it."""
        found = listed("inputs", self.inputs) | listed("targets", self.targets)
        return {"brings": self.brings_batch}, found

    def use_batch(self, arrays: dict) -> tuple[dict, dict]:
        """Take another batch."""
        for name in ("inputs", "targets"):
            flat = [self._cast(array) for array in numbered(arrays, name)]
            packed = keras.tree.pack_sequence_as(getattr(self, name), flat)
            setattr(self, name, packed)
        return {}, {}

    def describe(
        self, arrays: dict, apart: bool = False, groups: Sequence[Sequence[str]] = ()
    ) -> tuple[dict, dict]:
        """Return what the model is made of, and its first weights by path.

        Args:
            arrays: None.
            apart: Whether each projection of an attention is a unit, and not the whole attention.
            groups: Paths of units that are one, since the port has one layer for them.
        """
        attention = keras.layers.MultiHeadAttention
        whole = tuple(kind for kind in units.WHOLE if not (apart and kind is attention))
        self.units, self.groups = units.of(self.model, whole), groups
        said = {
            "units": units.joined([units.describe(unit) for unit in self.units], groups),
            "groups": groups,
            "trainable": [v.path for v in self.model.trainable_variables],
            "inputs": names(self.model, self.inputs),
            "averages": bool(self.optimizer.use_ema),
            "layout": self.names.get("layout"),
            "mapping": self.names.get("mapping"),
            "parameters": int(self.model.count_params()),
        }
        return said, self.first

    def load_weights(self, arrays: dict) -> tuple[dict, dict]:
        """Replace the first weights, and round constants otherwise, as a port may have done."""
        constants.round_otherwise(self.model)
        self.first = {path: arrays[path].astype(self.floatx) for path in self.first}
        return {}, {}

    def _begin(self) -> None:
        """Put the weights and the optimizer back to where they began."""
        for variable in self.model.variables:
            if variable.path in self.first:
                variable.assign(self.first[variable.path])
        self.model.optimizer = remade(type(self.optimizer), self.optimizer)
        self.model.reset_metrics()

    @contextlib.contextmanager
    def _edited(self, edits: list[str]) -> Iterator[None]:
        """Make mistakes, by name, in the model that began anew."""
        self._begin()
        known = {edit.name: edit for edit in self._edits()} if edits else {}
        places = [place for name in edits for place in known[name].places]
        if len(set(places)) < len(places):
            raise UnusablePort("two mistakes cannot be made in one place")
        with contextlib.ExitStack() as stack:
            for name in edits:
                stack.enter_context(known[name].plant())
            yield

    def _edits(self) -> list[Edit]:
        self.known = self.known or applicable(self.model)
        return self.known

    def edits(self, arrays: dict) -> tuple[dict, dict]:
        """Return the mistakes that can be made in this model."""
        self._begin()
        return {"edits": [edit.said() for edit in self._edits()]}, {}

    def trace(
        self,
        arrays: dict,
        training: bool,
        edits: list[str],
        window: list[int],
        marked: bool = False,
    ) -> tuple[dict, dict]:
        """Return what goes into each unit and comes out of it, and what the model returns.

        Args:
            arrays: None.
            training: Whether in training, not in inference.
            edits: Mistakes that are made meanwhile.
            window: The first call of a unit whose arrays are wanted, and the one after the last.
            marked: Whether each dropout multiplies by 1 + its rate, which shows where it is.
        """
        order: list[list[Any]] = []
        self.noise.drawn = []
        with (
            self._edited(edits),
            holding(self.noise, marked=marked),
            units.traced(self.units, order) as calls,
        ):
            outputs = self.model(self._tensors(self.inputs), training=training)
        found = listed("outputs", outputs)
        joined = units.join_calls(calls, order, self.groups)
        for index, call in enumerate(joined):
            arrays = {
                f"call {index} input {i}": array for i, array in enumerate(call.pop("inputs"))
            }
            arrays |= {f"call {index} {name}": call.pop(name) for name in ("output", "returned")}
            if window[0] <= index < window[1]:
                found |= arrays
        return {"calls": joined, "order": order, "noise": self.noise.drawn}, found

    def shows(self, arrays: dict, edit: str, steps: int) -> tuple[dict, dict]:
        """Return whether a mistake leaves a trace in outputs, losses, weights or statistics."""
        self.right = self.right or list(self._traces([], steps))
        return {"shows": any(map(_differ, self._traces([edit], steps), self.right))}, {}

    def _traces(self, edits: list[str], steps: int) -> Iterator[list[np.ndarray]]:
        """Yield what a model leaves with some mistakes made, the cheapest first."""
        inputs, targets = self._tensors(self.inputs), self._tensors(self.targets)
        with self._edited(edits):
            for training in (False, True):
                yield list(listed("", self.model(inputs, training=training)).values())
        with self._edited(edits):
            for _ in range(steps):
                self.model.reset_metrics()
                logs = self.model.train_step((inputs, targets))
                values = self._values()
                moved = [values[path] - array for path, array in self.first.items()]
                yield [np.array(float(logs["loss"])), *moved]

    def train(self, arrays: dict, steps: int, edits: list[str]) -> tuple[dict, dict]:
        """Train on the batch; return losses, first gradients, weights and outputs.

        Args:
            arrays: None.
            steps: How many.
            edits: Mistakes that are made meanwhile.
        """
        found: dict[str, np.ndarray] = {}
        losses = []
        inputs, targets = self._tensors(self.inputs), self._tensors(self.targets)
        self.noise.drawn = []
        with self._edited(edits), units.gradients_seen(self.model) as gradients:
            for step in range(steps):
                self.model.reset_metrics()
                logs = self.model.train_step((inputs, targets))
                losses.append(float(logs["loss"]))
                if step == 0:
                    noise, self.noise.drawn = self.noise.drawn, []
                    found |= {f"gradient {path}": array for path, array in gradients.items()}
                    found |= {f"first {path}": array for path, array in self._values().items()}
            found |= {f"last {path}": array for path, array in self._values().items()}
            found |= listed("outputs", self.model(self._tensors(self.inputs), training=False))
        found["losses"] = np.array(losses, self.floatx)
        return {"noise": noise}, found


VISIBLE = 1e-6
"""Relative difference from which on a mistake shows, whatever the rounding."""


def _differ(arrays: list[np.ndarray], right: list[np.ndarray]) -> bool:
    """Return whether arrays differ by more than rounding."""
    for one, other in zip(arrays, right, strict=True):
        if one.shape != other.shape:
            return True
        size = float(np.abs(other).max(initial=0)) or 1.0
        if not float(np.abs(one - other).max(initial=0)) <= VISIBLE * size:
            return True
    return False


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
