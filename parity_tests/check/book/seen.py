"""What was seen of a training of the book's network: its steps, by the names of the reference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity_tests.check.book.mapping import Matching, matchings
from parity_tests.check.messages import PortError, numbered
from parity_tests.check.samples import rows

Arrays = dict[str, np.ndarray]

RATE = 1e-3
"""The learning rate of the book."""


@dataclass(frozen=True)
class Dense:
    """What a dense layer was given in a step, and what it made of it before its activation."""

    inputs: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class SeenStep:
    """One step of a training.

    Attributes:
        images: That the model was given, shape (n, 784).
        labels: That its outputs were compared with, shape (n,).
        loss: From which gradients were taken; NaN if none was seen.
        before: The weights when gradients were taken.
        gradients: As the update found them.
        after: The weights after the update.
        layers: What each layer was given and returned; empty if that is not seen.
        probabilities: What the model made of the last layer's outputs; None if not seen.
        logits: What was made of them and given to a softmax, or to a loss that has one; likewise.
        line: Of the program, where gradients were taken.
        draws: Functions that drew random numbers, and their lines.
        by_hand: Whether no gradients were seen: they are what the update makes of the weights,
            given the right learning rate.
        divided: By what the update divides gradients that are so many times too large.
    """

    images: np.ndarray
    labels: np.ndarray
    loss: np.ndarray
    before: Arrays
    gradients: Arrays
    after: Arrays
    layers: tuple[Dense, ...] = ()
    probabilities: np.ndarray | None = None
    logits: np.ndarray | None = None
    line: int = 0
    draws: tuple[tuple[str, int], ...] = ()
    by_hand: bool = False
    divided: int = 1

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return next(iter(self.before.values())).dtype.name


@dataclass
class Weights:
    """The weights of a program, as the survey saw them.

    Attributes:
        names: In the order in which the model uses them.
        identities: Of the tensors, by name.
        shapes: By name.
        layers: Of each product: the places of its kernel and of its bias, and whether the kernel
            is (outputs, inputs).
    """

    names: list[str]
    identities: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    layers: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, step: Mapping[str, Any]) -> "Weights":
        """Return the weights of a step, as JSON shows it."""
        names: list[str] = []
        for place, weight in enumerate(step["weights"]):
            twice = weight["name"] in names
            names.append(f"{weight['name']} ({place})" if twice else weight["name"])
        of = dict(zip(names, step["weights"], strict=True))
        return cls(
            names,
            {name: weight["id"] for name, weight in of.items()},
            {name: tuple(weight["shape"]) for name, weight in of.items()},
            step["layers"],
        )

    def named(self, step: Mapping[str, Any]) -> list[str]:
        """Return the names of the weights of a step, in its own order.

        Weights that have taken the place of others are in the order of those.
        """
        by_identity = {identity: name for name, identity in self.identities.items()}
        found = [by_identity.get(weight["id"]) for weight in step["weights"]]
        known = [name for name in found if name is not None]
        return known if len(known) == len(found) == len(self.names) else self.names

    def matchings(self) -> list[Matching]:
        """Return the ways to take them for those of dense layers, the likeliest first."""
        used = list({layer["kernel"]: layer for layer in self.layers}.values())
        known = {self.names[layer["kernel"]]: layer["transposed"] for layer in used}
        biases = {
            self.names[layer["kernel"]]: self.names[layer["bias"]]
            for layer in used
            if layer["bias"] >= 0
        }
        kernels = sorted(
            self.names, key=lambda name: list(known).index(name) if name in known else 99
        )
        return matchings({name: self.shapes[name] for name in kernels}, known, biases)


def steps_of(
    said: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    weights: Weights,
    matching: Matching,
    given: tuple[np.ndarray, np.ndarray] | None = None,
    size: int = 128,
) -> list[SeenStep]:
    """Return the steps of an answer.

    Args:
        said: What the process said.
        arrays: That came with it.
        weights: As the survey saw them.
        matching: Of the weights.
        given: Images and labels that the program was called with, for what is not seen.
        size: Of the batches in which it was called, likewise.
    """
    found, begun = [], 0
    for number, step in enumerate(said["steps"]):
        own = {
            name.removeprefix(f"{number} "): array
            for name, array in arrays.items()
            if name.startswith(f"{number} ")
        }
        one = _step(step, own, weights, matching, given, begun, size)
        begun += len(one.labels)
        found.append(one)
    return found


def _step(
    step: Mapping[str, Any],
    arrays: Arrays,
    weights: Weights,
    matching: Matching,
    given: tuple[np.ndarray, np.ndarray] | None,
    begun: int,
    size: int,
) -> SeenStep:
    names = weights.named(step)
    before = {name: arrays[f"before {i}"] for i, name in enumerate(names)}
    after = {name: arrays[f"after {i}"] for i, name in enumerate(names)}
    gradients = {k: arrays.get(f"gradient {i}", 0 * before[k]) for i, k in enumerate(names)}
    if step["by hand"]:
        gradients = {name: (w - after[name]) / RATE for name, w in before.items()}
    layers = tuple(_layers(step["layers"], arrays, names, matching))
    dtype = before[names[0]].dtype
    images = rows(layers[0].inputs) if layers else None
    if images is None and given is not None:
        images = given[0][begun : begun + size]
    assert images is not None, "it was seen, or given"
    labels = _labels(step, arrays, len(images), given and given[1][begun : begun + len(images)])
    if len(labels) != len(images):
        counts = f"{len(images)} images and {len(labels)} labels"
        raise PortError(f"in {dtype}, a step has {counts}")
    classes = matching.sizes[-1]
    return SeenStep(
        np.ascontiguousarray(images, dtype),
        labels,
        np.asarray(step["loss"], dtype),
        matching.from_port(before),
        matching.from_port(gradients),
        matching.from_port(after),
        layers,
        _parts(arrays, "probabilities", classes),
        _parts(arrays, "logits", classes),
        step["line"],
        tuple((name, line) for name, line in step["draws"]),
        step["by hand"],
    )


def _layers(
    layers: Sequence[Mapping[str, Any]], arrays: Arrays, names: list[str], matching: Matching
) -> Iterator[Dense]:
    """Yield what each layer was given and returned, parts of a batch together."""
    for index, size in enumerate(matching.sizes[1:]):
        kernel = matching.weights[f"layers.{index}.W"].name
        places = [i for i, of in enumerate(layers) if of["kernel"] == names.index(kernel)]
        if not places:
            return
        inputs = [_in_rows(arrays[f"inputs {i}"], matching.sizes[index]) for i in places]
        outputs = [_in_rows(arrays[f"outputs {i}"], size) for i in places]
        yield Dense(np.concatenate(inputs), np.concatenate(outputs))


def _parts(arrays: Arrays, name: str, size: int) -> np.ndarray | None:
    """Return the parts of a batch together; None if there are none."""
    parts = [_in_rows(array, size) for array in numbered(arrays, name)]
    return np.concatenate(parts) if parts else None


def _in_rows(array: np.ndarray, size: int) -> np.ndarray:
    """Return an array with a sample in each row of some size."""
    if array.ndim == 2 and array.shape[1] != size and array.shape[0] == size:
        return array.T
    return array.reshape(-1, size) if array.size % size == 0 else array


def _labels(
    step: Mapping[str, Any], arrays: Arrays, samples: int, given: np.ndarray | None
) -> np.ndarray:
    """Return the labels that met what the model returned, of each part of the batch."""
    found: list[np.ndarray] = []
    for part in range(step["parts"] * samples):
        if not (met := numbered(arrays, f"met {part}")):
            break
        if (labels := _of_met(met)) is not None:
            found.append(labels)
    whole = np.concatenate(found) if found else np.zeros(0, np.int64)
    if len(whole) == samples:
        return whole
    if given is None:
        return np.full(samples, -1)
    return given.astype(np.int64)


def _of_met(met: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return the labels among tensors that met the outputs; None if there are none."""
    numbers: list[np.ndarray] = []
    one_hot: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for array in met:
        if np.issubdtype(array.dtype, np.integer) and (array.ndim < 2 or 1 in array.shape):
            if array.min() >= 0 and array.max() <= 9:
                numbers.append(array.astype(np.int64).reshape(-1))
        elif array.ndim == 2 and array.shape[1] == 10 and _is_one_hot(array):
            (masks if array.dtype == bool else one_hot).append(array.argmax(axis=1))
    labels = [found for found in numbers if not np.array_equal(found, np.arange(len(found)))]
    return next(iter([*labels, *one_hot, *numbers, *masks]), None)


def _is_one_hot(array: np.ndarray) -> bool:
    return bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def is_divided(step: SeenStep, loss: np.ndarray, gradients: Arrays) -> bool | None:
    """Return whether a step sums over its batch, and its update divides by the size of the batch.

    Args:
        step: As it was seen.
        loss: The mean that it should have.
        gradients: Likewise.

    Returns:
        None where all gradients are 0, which tells nothing.
    """
    factor = len(step.labels)
    name = max(gradients, key=lambda key: float(np.abs(gradients[key]).max()))
    right, weight = gradients[name], step.before[name]
    near = 1e-3 * float(np.abs(right).max())
    if not near or factor == 1:
        return None
    rounding = float(np.spacing(np.abs(weight).max()))
    return bool(
        abs(step.loss - factor * loss) <= 1e-3 * abs(factor * loss)
        and np.abs(step.gradients[name] - factor * right).max() <= factor * near
        and np.abs(weight - step.after[name] - RATE * right).max() <= RATE * near + rounding
    )


def as_mean(step: SeenStep) -> SeenStep:
    """Return a step with the loss and the gradients of the mean, whose update divides the sum's."""
    factor = len(step.labels)
    means = {key: g / factor for key, g in step.gradients.items()}
    mean = step.loss / step.loss.dtype.type(factor)
    return replace(step, loss=mean, gradients=means, divided=factor)
