"""The file of a Keras model: its model, its loss, its optimizer and its batches."""

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import dtypes

from parity_tests.check.keras import units
from parity_tests.check.keras.caught import Training, found_by_shape, rows, run
from parity_tests.check.keras.inputs import drawn, listed, looked_up
from parity_tests.check.keras.noise import Noise
from parity_tests.check.keras.saved import load
from parity_tests.check.messages import SAVED, UnusablePort, numbered

MAKERS = ("build_model", "make_model", "create_model", "get_model", "build", "model_fn")
"""Names of a function that returns the model, where it is not clear which does."""


class File:
    """What a file holds, or a model that Keras saved.

    Args:
        path: Of the file.
        floatx: The dtype that everything computes in.
        data: Holds MNIST in MNIST/raw, for a file that would download it.

    Raises:
        UnusablePort: If there is no model, or it is not clear which.
    """

    def __init__(self, path: Path, floatx: str, data: Path) -> None:
        # On every backend but TensorFlow, Keras computes in float32 what it was given in float64.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
        keras.config.set_floatx(floatx)
        if keras.backend.backend() == "torch":
            lay_out_kernels()
        keras.utils.set_random_seed(0)
        self.noise = Noise()
        self.path, self.floatx = path, floatx
        self.names: dict[str, Any] = {}
        self.right: list[list[np.ndarray]] = []
        self.training: Training | None = None
        if path.suffix in SAVED:
            self.model = load(path, floatx)
        else:
            self.names, self.training = run(path, data)
            self.model = self._found()
        self._require_plain_policy()
        self._require_optimizer()
        self._bring()

    def _found(self) -> Any:
        """Return the model that the file trains, or holds, or makes."""
        if self.training is not None and self.training.model is not None:
            return self.training.model
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
            own = getattr(maker, "__module__", "") == "__main__"
            if own and callable(maker) and (name in MAKERS or name.endswith(("model", "net"))):
                made = maker()
                if isinstance(made, keras.Model):
                    return made
        raise UnusablePort(
            "it has no Keras model: expected model = keras.Sequential(...), another instance of "
            "keras.Model, or a function build_model() that returns one"
        )

    def _require_plain_policy(self) -> None:
        policies = {layer.dtype_policy.name for layer in (self.model, *units.walk(self.model))}
        if mixed := sorted(name for name in policies if name.startswith("mixed")):
            raise UnusablePort(
                f"it computes in {mixed[0]}, in which roundings hide mistakes: leave the policy out"
            )

    def _loss(self) -> Any:
        if self.training is not None and self.training.optimizer is not None:  # a loop of its own
            return self.training.loss
        loss = self.model.loss if self.model.compiled else None
        return loss if loss is not None else self.names.get("loss")

    def _require_optimizer(self) -> None:
        """Compile what the file did not."""
        caught = self.training.optimizer if self.training is not None else None
        if not self.model.compiled or caught is not None:
            loss, optimizer = self._loss(), caught or self.names.get("optimizer")
            if caught is not None and loss is None:
                raise UnusablePort(
                    "its own loop computes a loss that is no keras.losses object: compile the "
                    "model with a loss, and train it by fit"
                )
            if loss is None or optimizer is None:
                raise UnusablePort(
                    "its model is not compiled: call model.compile(optimizer=..., loss=...), or "
                    "name a loss and an optimizer"
                )
            self.model.compile(optimizer=optimizer, loss=loss)

    def _bring(self) -> None:
        """Take the batch that the file brings, or draw one."""
        found = self._brought_batch()
        training = self.training
        if training is None and found is None:
            training = self.training = found_by_shape(self.names, self.model)
        self.brings = "nothing"
        if found is not None:
            self.brings, self.batches = "batch", [found]
            if training is not None:
                training.data, training.class_weight = None, None
        elif training is not None and training.batches:
            self.brings, self.batches = "data", training.batches
        else:
            self.batches = [(*drawn(self.model, self._loss(), self.floatx), None)]
        self.batches = [self._cast(batch) for batch in self.batches]
        for inputs, targets, weights in self.batches:
            for name, of in (("inputs", inputs), ("targets", targets), ("weights", weights)):
                for array in keras.tree.flatten(of):
                    if array is not None and array.dtype.kind not in "fiub":
                        raise UnusablePort(
                            f"its {name} are of dtype {array.dtype}: expected numbers"
                        )
                    if array is not None and not array.size:
                        raise UnusablePort(f"its batch has no samples: its {name} are empty")
        self.weigh()

    def weigh(self) -> None:
        """Give each sample the weight of its class, where `fit` was given some."""
        of_class = self.training.class_weight if self.training is not None else None
        for number, (inputs, targets, _) in enumerate(self.batches):
            if not of_class:
                return
            (labels,) = keras.tree.flatten(targets)
            one_hot = labels.ndim > 1 and labels.shape[-1] > 1
            labels = labels.argmax(-1) if one_hot else labels.reshape(len(labels)).round()
            weights = np.array([of_class.get(int(label), 1.0) for label in labels], self.floatx)
            self.batches[number] = inputs, targets, weights

    def _brought_batch(self) -> tuple[Any, Any, Any] | None:
        batch = self.names.get("batch")
        if inspect.isfunction(batch) and not inspect.signature(batch).parameters:
            found = batch()
        else:
            found = self.names.get("inputs"), self.names.get("targets")
        if not isinstance(found, tuple | list) or len(found) not in (2, 3):
            return None
        if any(not _is_data(item) for item in found):
            return None
        return (*found, *[None] * (3 - len(found)))

    def _cast(self, structure: Any) -> Any:
        def cast(array: Any) -> Any:
            if array is None:
                return None
            array = np.asarray(array)
            return array.astype(self.floatx) if array.dtype.kind == "f" else array

        return keras.tree.map_structure(cast, structure)

    def _tensors(self, structure: Any) -> Any:
        return keras.tree.map_structure(keras.ops.convert_to_tensor, structure)

    def batch(self, arrays: dict) -> tuple[dict, dict]:
        """Return the first batch: "inputs 0", "targets 0" and so on; and whence it is."""
        inputs, targets, weights = self.batches[0]
        found = listed("inputs", inputs) | listed("targets", targets) | _weights(weights)
        training = self.training
        return {
            "brings": self.brings,
            "size": training.size if training is not None else 0,
            "weighted": bool(training and training.class_weight),
        }, found

    def use_batches(self, arrays: dict, steps: int) -> tuple[dict, dict]:
        """Take other batches: for each step "0 inputs 0", "0 targets 0" and so on.

        Targets are put into the form that the loss takes.
        """
        first = self.batches[0]
        packed = []
        for step in range(steps):
            parts = []
            for like, name in zip(first, ("inputs", "targets", "weights"), strict=True):
                found = [self._cast(array) for array in numbered(arrays, f"{step} {name}")]
                of = self._as_taken(found) if name == "targets" else found
                parts.append(keras.tree.pack_sequence_as(like, of) if of else None)
            packed.append((parts[0], parts[1], parts[2]))
        self.batches = packed
        self.weigh()
        self.right.clear()
        return {}, {}

    def _require_labels(self, outputs: Any) -> None:
        """Require that labels are those of classes that the model has."""
        (output, *others), targets = map(keras.tree.flatten, (outputs, self.batches[0][1]))
        if others or "sparse" not in self._name_of_loss() or not targets:
            return
        lowest, highest = targets[0].min(initial=0), targets[0].max(initial=0)
        if lowest < 0 or highest >= output.shape[-1]:
            raise UnusablePort(
                f"its labels are from {lowest} to {highest}: expected 0 to {output.shape[-1] - 1}, "
                f"since its model has {output.shape[-1]} classes"
            )

    def _name_of_loss(self) -> str:
        return str(getattr(self._loss(), "name", self._loss())).lower()

    def _as_taken(self, targets: list[np.ndarray]) -> list[np.ndarray]:
        outputs = self._outputs_like()
        shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(outputs)]
        losses = self._losses_of(outputs, len(shapes))
        found = []
        for array, shape, loss in zip(targets, shapes, losses, strict=False):
            sparse = "sparse" in str(getattr(loss, "name", loss)).lower()
            whole = array.ndim == len(shape) and array.shape[-1] == shape[-1] > 1
            classes = array.dtype.kind in "iu" and array.max(initial=0) < shape[-1]
            if sparse and whole:
                array = array.argmax(-1)
            elif not sparse and array.ndim < len(shape) and shape[-1] > 1 and classes:
                array = np.eye(shape[-1])[array]
            if not sparse and array.dtype.kind in "iub":
                array = array.astype(self.floatx)
            found.append(array)
        return found or targets

    def _losses_of(self, outputs: Any, count: int) -> list[Any]:
        """Return the loss of each output, in the order in which Keras flattens them."""
        loss = self._loss()
        if isinstance(loss, dict):
            names = sorted(outputs) if isinstance(outputs, dict) else self.model.output_names
            return [loss.get(name) for name in names]
        return list(loss) if isinstance(loss, list | tuple) else [loss] * count

    def recognize(self, arrays: dict, steps: int) -> tuple[dict, dict]:
        """Look some batches up in the data of the file.

        Returns:
            "found": whether all samples are in it; "factor" and "offset" of what the other side
            was given, if another scale is all that differs. And the targets of the samples.
        """
        training = self.training
        if training is None or training.data is None:
            return {"found": False}, {}
        held = [np.asarray(a, np.float64) for a in keras.tree.flatten(training.data[0])]
        factor, offset = 1.0, 0.0
        answer: dict[str, np.ndarray] = {}
        for step in range(steps):
            given = numbered(arrays, f"{step} inputs")
            places, factor, offset = looked_up(given, held)
            if places is None:
                return {"found": False}, {}
            inputs, targets, weights = self._cast(rows(training.data, places))
            answer |= {
                f"{step} {name}": array
                for name, array in (
                    listed("inputs", inputs) | listed("targets", targets) | _weights(weights)
                ).items()
            }
        return {"found": True, "factor": factor, "offset": offset}, answer

    def _outputs_like(self) -> Any:
        return self.model(self._tensors(self.batches[0][0]), training=False)


def _weights(weights: Any) -> dict[str, np.ndarray]:
    return {} if weights is None else listed("weights", weights)


def _is_data(item: Any) -> bool:
    """Return whether something is an array, or a structure of some."""
    flat = keras.tree.flatten(item)
    return bool(flat) and all(isinstance(a, np.ndarray) or keras.ops.is_tensor(a) for a in flat)


def lay_out_kernels() -> None:
    """Give PyTorch kernels in the order of memory that its gradient in float64 needs.

    A kernel of one filter that Keras has permuted passes for contiguous, and has other strides.
    """
    import torch

    functional = vars(torch.nn.functional)
    for name in ("conv1d", "conv2d", "conv3d"):

        def convolve(
            inputs: Any, weight: Any, *arguments: Any, right: Any = functional[name], **options: Any
        ) -> Any:
            weight = weight.clone(memory_format=torch.contiguous_format)
            return right(inputs, weight, *arguments, **options)

        functional[name] = convolve
