"""Which weight of a port is which of the reference, for networks of dense layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product

import numpy as np

from parity_tests.check.messages import NotObservable, UnusablePort

PIXELS, CLASSES = 28 * 28, 10
TRIED = 24
"""How many ways to match equal shapes are tried."""


@dataclass(frozen=True)
class Weight:
    """A weight of a port.

    Attributes:
        name: Its own.
        shape: Its own.
        transposed: Whether it is a kernel of shape (outputs, inputs).
    """

    name: str
    shape: tuple[int, ...]
    transposed: bool = False

    def theirs(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the reference as the port stores it."""
        return (array.T if self.transposed else array).reshape(self.shape)

    def ours(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of the port as the reference stores it; of another shape, as it is."""
        array = array.T if self.transposed else array
        return array.reshape(shape) if array.size == np.prod(shape) else array


@dataclass(frozen=True)
class Matching:
    """The weights of a port by the names of the reference.

    Attributes:
        sizes: Of the images, and of the output of each layer.
        weights: By name, such as `layers.0.W`.
    """

    sizes: tuple[int, ...]
    weights: Mapping[str, Weight]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the reference's weights, by name."""
        found: dict[str, tuple[int, ...]] = {}
        for index, shape in enumerate(pairwise(self.sizes)):
            found |= {f"layers.{index}.W": shape, f"layers.{index}.b": shape[1:]}
        return found

    def to_port(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays of the reference under the names of the port, as it stores them."""
        return {w.name: w.theirs(arrays[name]) for name, w in self.weights.items()}

    def from_port(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays of the port under the names of the reference, as that stores them."""
        if missing := [w.name for w in self.weights.values() if w.name not in arrays]:
            raise NotObservable(f"what becomes of {', '.join(missing)} is not seen")
        return {name: w.ours(arrays[w.name], self.shapes[name]) for name, w in self.weights.items()}


def matchings(
    shapes: Mapping[str, Sequence[int]],
    transposed: Mapping[str, bool],
    biases_of: Mapping[str, str],
) -> list[Matching]:
    """Return the ways to take weights for those of dense layers, the likeliest first.

    Args:
        shapes: Of the weights of a port, by name, in their order.
        transposed: Whether a kernel is stored as (outputs, inputs), by its name, where it is seen.
        biases_of: The name of the bias of a kernel, by its name, where it is seen.

    Raises:
        UnusablePort: If they are not the weights of dense layers from 784 pixels to 10 classes.
    """
    weights = {name: tuple(shape) for name, shape in shapes.items()}
    kernels = [name for name, shape in weights.items() if len(shape) == 2 and 1 not in shape]
    biases = [name for name in weights if name not in kernels]
    listed = ", ".join(f"{name} {shape}" for name, shape in weights.items()) or "none"
    ways = (
        (chain, pairing)
        for chain in _chains({name: weights[name] for name in kernels}, transposed)
        for pairing in _pairings(chain, {name: weights[name] for name in biases}, biases_of)
    )
    chains = list(islice(ways, TRIED)) if len(biases) == len(kernels) else []
    if not chains:
        raise UnusablePort(
            f"the weights are {listed}: expected a kernel and a bias for each of one or more "
            f"dense layers, from {PIXELS} pixels to {CLASSES} classes"
        )
    return [_matching(chain, pairing, weights) for chain, pairing in chains]


Chain = list[tuple[str, tuple[int, int], bool]]
"""Kernels in the order of the layers: name, (inputs, outputs), whether it is transposed."""


def _chains(kernels: Mapping[str, tuple], seen: Mapping[str, bool]) -> Iterator[Chain]:
    """Yield orders and orientations in which kernels lead from pixels to classes."""

    def extend(chain: Chain, inputs: int) -> Iterator[Chain]:
        used = {name for name, *_ in chain}
        if len(used) == len(kernels):
            if inputs == CLASSES:
                yield chain
            return
        for name, shape in kernels.items():
            if name in used:
                continue
            for transposed in [seen[name]] if name in seen else [False, True]:
                there = shape[::-1] if transposed else shape
                if there[0] == inputs:
                    yield from extend([*chain, (name, (there[0], there[1]), transposed)], there[1])

    yield from extend([], PIXELS)


def _pairings(
    chain: Chain, biases: Mapping[str, tuple], seen: Mapping[str, str]
) -> Iterator[list[str]]:
    """Yield the biases of a chain's kernels, those of like names first."""
    order = list(biases)
    by_size = [
        [
            name
            for name in order
            if np.prod(biases[name]) == max(biases[name]) == outputs
            and seen.get(kernel, name) == name
        ]
        for kernel, (_, outputs), _ in chain
    ]

    def unlike(pairing: tuple[str, ...]) -> int:
        kernels = [name for name, *_ in chain]
        return -sum(
            kernel.rpartition(".")[0] == bias.rpartition(".")[0] and "." in kernel
            for kernel, bias in zip(kernels, pairing, strict=True)
        )

    if len(chain) > 4:  # many layers: too many pairings to try them all
        pairings = [tuple(choice) for choice in _greedy(by_size)]
    else:
        pairings = [p for p in product(*by_size) if len(set(p)) == len(p)]
    yield from (list(pairing) for pairing in sorted(pairings, key=unlike))


def _greedy(by_size: list[list[str]]) -> Iterator[list[str]]:
    chosen: list[str] = []
    for names in by_size:
        chosen += [name for name in names if name not in chosen][:1]
    if len(chosen) == len(by_size):
        yield chosen


def _matching(chain: Chain, pairing: list[str], weights: Mapping[str, tuple]) -> Matching:
    found: dict[str, Weight] = {}
    for index, ((kernel, _, transposed), bias) in enumerate(zip(chain, pairing, strict=True)):
        found[f"layers.{index}.W"] = Weight(kernel, weights[kernel], transposed)
        found[f"layers.{index}.b"] = Weight(bias, weights[bias])
    sizes = (chain[0][1][0], *(shape[1] for _, shape, _ in chain))
    return Matching(sizes, found)
