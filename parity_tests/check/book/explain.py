"""Which known mistakes give the numbers that were seen of a training of the book's network."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity_tests.check.book.rungs import RUNGS, Seen
from parity_tests.check.results import Mistake
from parity_tests.ladder.oracle import Oracle
from parity_tests.traps.catalogue import CATALOGUE
from parity_tests.traps.diagnosis import Search
from parity_tests.traps.estimate import estimated
from parity_tests.traps.residual import DiffersError, Residual
from parity_tests.traps.trap import Trap

BEFORE = ("data", "initial weights")
"""Rungs whose mistakes are no reason for what follows, which is judged as it was seen."""


@dataclass(frozen=True)
class SeenSearch(Search):
    """The search for the mistakes of a program in what was seen of it.

    Attributes:
        seen: Of the program.
        dtype: Of its numbers.
        sizes: Of the images and of the output of each layer.
        loaded: What its `load_mnist` should return, by name.
        logits: Whether the model returns logits, and is judged by their softmax.
    """

    seen: Seen
    dtype: str
    sizes: tuple[int, ...]
    loaded: dict[str, np.ndarray]
    logits: bool = False

    def measure(self, rung: str, mistakes: tuple[Trap, ...], whole: bool = False) -> Residual:
        """Return what is left over on a rung if the oracle makes some mistakes."""
        residual = Residual(dtype=self.dtype, whole=whole)
        make = _making(mistakes)

        def make_hypothesis(dtype: str, *arguments: Any) -> Oracle:
            hypothesis = make(dtype, *arguments)
            hypothesis.mnist, hypothesis.sizes = self.loaded, self.sizes
            return hypothesis

        with np.errstate(all="ignore"), suppress(DiffersError):
            try:
                RUNGS[rung](residual, self.seen, make_hypothesis)
            except (ArithmeticError, LookupError, ValueError) as error:  # it cannot be made here
                residual.residual = math.inf
                residual.place = residual.place or f"{type(error).__name__}: {error}"
        return residual

    def _candidates(self, rung: str, only: Sequence[str]) -> list[Trap]:
        """Return the mistakes that may show on a rung: those of the data show in the data alone."""
        found = super()._candidates(rung, only)
        return [trap for trap in found if rung == "data" or trap.rung not in BEFORE]

    def _estimated(self, rung: str) -> list[Trap]:
        """Return SGD with the constants that the updates show, where it has others."""
        longest = max(self.seen.runs.values(), key=len)
        if rung != "one update" or len(longest) < 2:
            return []
        return estimated([(step.before, step.gradients, step.after) for step in longest])


def _making(mistakes: tuple[Trap, ...]) -> type[Oracle]:
    """Return an oracle that makes mistakes."""
    classes = tuple(trap.oracle for trap in mistakes if trap.oracle)
    return type("Hypothesis", (*classes, Oracle), {})


def known(name: str) -> Mistake:
    """Return a mistake of the catalogue that was seen, not searched for."""
    trap = next(trap for trap in CATALOGUE if trap.name == name)
    return Mistake(trap.name, trap.mistake)


def of_images(images: np.ndarray, pixels: np.ndarray) -> Mistake | None:
    """Return the known mistake that turns pixels from 0 to 1 into the images that were given."""
    for trap in CATALOGUE:
        if trap.rung == "data" and trap.oracle is not None:
            oracle = trap.oracle()
            oracle.mnist = {"training images": pixels}
            changed = oracle.data()["training images"]
            if not np.array_equal(changed, pixels) and np.allclose(changed, images, atol=1e-6):
                return Mistake(trap.name, trap.mistake)
    return None
