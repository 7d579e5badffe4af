"""Rearranging weights: from those of a Keras layer to those of a PyTorch module, and back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Move:
    """How one tensor is rearranged.

    Attributes:
        said: In words.
        there: From Keras to PyTorch.
        back: From PyTorch to Keras.
    """

    said: str
    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


def axes(said: str, *order: int) -> Move:
    inverse = np.argsort(order)
    return Move(said, lambda a: a.transpose(order), lambda a: a.transpose(inverse))


SAME = Move("as it is", lambda a: a, lambda a: a)
DENSE = axes("(in, out) to (out, in)", 1, 0)
CONVOLUTIONS = {
    3: axes("(k, in, out) to (out, in, k)", 2, 1, 0),
    4: axes("HWIO to OIHW", 3, 2, 0, 1),
    5: axes("DHWIO to OIDHW", 4, 3, 0, 1, 2),
}
TRANSPOSED = {
    3: axes("(k, out, in) to (in, out, k)", 2, 1, 0),
    4: axes("HWOI to IOHW", 3, 2, 0, 1),
    5: axes("DHWOI to IODHW", 4, 3, 0, 1, 2),
}


def channelwise(shape: tuple[int, ...]) -> Move:
    *size, channels, multiplier = shape
    return Move(
        "(h, w, channels, multiplier) to (channels * multiplier, 1, h, w)",
        lambda a: np.moveaxis(a, (-2, -1), (0, 1)).reshape(channels * multiplier, 1, *size),
        lambda a: np.moveaxis(a.reshape(channels, multiplier, *size), (0, 1), (-2, -1)),
    )


def folded(shape: tuple[int, ...], inputs: int) -> Move:
    """Return how a kernel of several heads becomes a matrix, given how many axes are inputs."""
    rows = int(np.prod(shape[:inputs]))
    return Move(
        f"heads folded, {shape} to (out, in)",
        lambda a: a.reshape(rows, -1).T,
        lambda a: a.T.reshape(shape),
    )


def flat(shape: tuple[int, ...]) -> Move:
    return Move("heads folded", lambda a: a.reshape(-1), lambda a: a.reshape(shape))


def gates_in_order(order: tuple[int, ...], said: str) -> Move:
    """Return how gates that lie side by side in the last axis are put in another order."""
    inverse = np.argsort(order)

    def there(a: np.ndarray) -> np.ndarray:
        parts = np.split(a, len(order), axis=-1)
        moved = np.concatenate([parts[i] for i in order], axis=-1)
        return moved.T  # of a bias, itself

    def back(a: np.ndarray) -> np.ndarray:
        parts = np.split(a.T, len(order), axis=-1)
        return np.concatenate([parts[i] for i in inverse], axis=-1)

    return Move(said, there, back)


@dataclass(frozen=True)
class Tie:
    """Weights of a layer and of a module that go together.

    Attributes:
        roles: Of the weights in the layer.
        names: Of those in the module.
        said: How they are rearranged, in words.
        there: Returns those of the module, given those of the layer.
        back: Returns those of the layer, given those of the module.
        gradient: The same for gradients, where that is another function.
    """

    roles: tuple[str, ...]
    names: tuple[str, ...]
    said: str
    there: Callable[..., list[np.ndarray]]
    back: Callable[..., list[np.ndarray]]
    gradient: Callable[..., list[np.ndarray]] | None = None


def tie(role: str, name: str, move: Move) -> Tie:
    """Return the tie of one weight with one."""
    return Tie((role,), (name,), move.said, lambda a: [move.there(a)], lambda a: [move.back(a)])


def packed(ties: Sequence[Tie], sizes: Sequence[int]) -> Tie:
    """Return the tie of several weights with one that holds them one after the other.

    Args:
        ties: Of each with a weight of its own.
        sizes: How many rows each takes.
    """
    ends = np.cumsum(sizes)[:-1]
    return Tie(
        tuple(of.roles[0] for of in ties),
        ties[0].names,
        f"{ties[0].said}, {len(ties)} packed in one",
        lambda *a: [np.concatenate([of.there(x)[0] for of, x in zip(ties, a, strict=True)])],
        lambda a: [of.back(x)[0] for of, x in zip(ties, np.split(a, ends), strict=True)],
    )


@dataclass(frozen=True)
class Pairing:
    """A Keras layer and a PyTorch module, and how their weights go together.

    Attributes:
        unit: The layer, as `units.describe` describes it.
        module: The module, as the port's process describes it.
        ties: Of their weights.
        extra: Names of weights in the module that the layer has none for; a scale starts at 1,
            a bias at 0.
    """

    unit: Mapping[str, Any]
    module: Mapping[str, Any]
    ties: tuple[Tie, ...]
    extra: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The roles that the module has no weight for."""
        tied = {role for of in self.ties for role in of.roles}
        return [role for role in self.unit["weights"] if role not in tied]

    def name(self, name: str) -> str:
        """Return the name in the model of a weight in the module."""
        return ".".join(filter(None, [self.module["path"], name]))

    def path(self, role: str) -> str:
        """Return the path in the Keras model of a weight in the layer."""
        return str(self.unit["weights"][role][0])

    def to_port(self, weights: Mapping[str, np.ndarray]) -> Arrays:
        """Return the weights of the module, by name, given those of the layer, by path."""
        found: Arrays = {}
        for of in self.ties:
            moved = of.there(*(weights[self.path(role)] for role in of.roles))
            found |= {self.name(name): a for name, a in zip(of.names, moved, strict=True)}
        for name in self.extra:
            shape = self.module["weights"][name][0]
            dtype = next(iter(weights.values())).dtype
            found[self.name(name)] = np.full(shape, _start(name), dtype)
        return found

    def to_keras(self, arrays: Mapping[str, np.ndarray], gradient: bool = False) -> Arrays:
        """Return what there is of the module, by the paths of the layer's weights."""
        found: Arrays = {}
        for of in self.ties:
            held = [arrays.get(self.name(name)) for name in of.names]
            back = (of.gradient if gradient else None) or of.back
            if held[0] is not None and (back is of.gradient or not any(a is None for a in held)):
                moved = back(*held)
                found |= {self.path(role): a for role, a in zip(of.roles, moved, strict=True)}
        return found

    def said(self) -> list[str]:
        """Return what is done to each tie, in words."""
        return [of.said for of in self.ties]

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield paths, names and what is done to each tie."""
        for of in self.ties:
            paths, names = map(self.path, of.roles), map(self.name, of.names)
            yield ", ".join(paths), ", ".join(names), of.said
        for role in self.missing:
            yield self.path(role), "-", "the port has none"
        for name in self.extra:
            yield "-", self.name(name), f"{_start(name)}, since the layer has none"


def _start(name: str) -> int:
    return 1 if name == "weight" else 0
