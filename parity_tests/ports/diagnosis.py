"""Which known mistake explains the numbers of a port that disagrees.

The ladder is climbed once more, against the oracle alone. Where a rung fails, the mistakes of
the catalogue that must show there are made in the oracle, one and two at a time, until it
agrees with the port to rounding; then the climb goes on with those mistakes made.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from parity_tests.ladder.implementation import Implementation
from parity_tests.ladder.oracle import Oracle
from parity_tests.ladder.remembered import Remembered
from parity_tests.ladder.rungs import LADDER, PORT_ERRORS, rungs
from parity_tests.ports.relations import relate
from parity_tests.ports.residual import DiffersError, Residual
from parity_tests.traps.catalogue import CATALOGUE
from parity_tests.traps.trap import Trap

CLOSEST = 8
"""Hypotheses that are tried in pairs: those that alone leave the least."""


ANSWERING = (
    "weights",
    "layer_output",
    "losses",
    "losses_gradient",
    "gradients",
    "step",
    "fit",
    "fit_first_example",
)
"""The methods that a rung asks both the reference and the oracle."""


class Echo:
    """An oracle that repeats the latest answers of a hypothesis.

    A rung asks the reference and then the oracle the same. The hypothesis takes the place of
    both, and computes once.

    Args:
        hypothesis: Its methods are wrapped, so that they keep their latest answer.
    """

    def __init__(self, hypothesis: Oracle) -> None:
        self._hypothesis = hypothesis
        self._latest: dict[str, tuple[tuple, Any]] = {}
        for method in ANSWERING:
            setattr(hypothesis, method, self._keeping(method, getattr(hypothesis, method)))

    def _keeping(self, method: str, answer: Callable) -> Callable:
        def kept(*arguments: Any) -> Any:
            found = answer(*arguments)
            self._latest[method] = arguments, found
            return found

        return kept

    @property
    def scales(self) -> dict[str, float]:
        """Those of the hypothesis."""
        return self._hypothesis.scales

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Do nothing: the hypothesis has them."""

    def __getattr__(self, method: str) -> Any:
        """Return a method that repeats the latest answer to the same question."""

        def repeat(*arguments: Any) -> Any:
            asked, answer = self._latest[method]
            pairs = zip(asked, arguments, strict=True)
            assert all(a is b or np.array_equal(a, b) for a, b in pairs), method
            return answer

        return repeat


@dataclass(frozen=True)
class Finding:
    """What was found on a rung that failed.

    Attributes:
        rung: Of the ladder.
        traps: Whose mistakes, made together, explain it; none if it stays unexplained.
        residual: Left over with these mistakes made.
        next_best: What the best other hypothesis leaves over where it first differs.
        place: The first tensor that diverged, and when.
        relations: Simple ones between it and what it should be.
        raised: Whether the port raised an error, which `place` then names.
    """

    rung: str
    traps: tuple[Trap, ...]
    residual: float
    next_best: float
    place: str
    relations: tuple[str, ...] = ()
    raised: bool = False

    def __str__(self) -> str:
        """Return one sentence."""
        if self.traps:
            names = " and ".join(f"{trap.name} ({trap.mistake})" for trap in self.traps)
            return (
                f"{self.rung}: explained by: {names}; "
                f"residual {self.residual:.1g}, next best {self.next_best:.1g}"
            )
        if self.raised:
            return f"{self.rung}: {self.place}"
        found = "; ".join(self.relations) or "no simple relation to what it should be"
        return (
            f"{self.rung}: unexplained by any known mistake (the best leaves "
            f"{self.next_best:.1g}); first at {self.place}: {found}"
        )


@dataclass(frozen=True)
class Search:
    """The search for the mistakes of a port, rung by rung.

    Attributes:
        make_port: Returns the port, without memory of earlier calls.
        mnist: The right images and labels, by name, in the dtype of the port.
        dtype: Of the port.
        loaded: What the port should load.
        answers: What the port has answered so far, for `Remembered`.
    """

    make_port: Callable[[], Implementation]
    mnist: Mapping[str, np.ndarray]
    dtype: str
    loaded: Mapping[str, np.ndarray]
    answers: dict[str, Any]

    def measure(self, rung: str, mistakes: tuple[Trap, ...], whole: bool = False) -> Residual:
        """Return what is left over on a rung if the oracle makes some mistakes."""
        residual = Residual(dtype=self.dtype, whole=whole)
        classes = tuple(trap.oracle for trap in mistakes if trap.oracle)
        kind: type[Oracle] = type("Hypothesis", (*classes, Oracle), {})

        echoes = []

        def make_hypothesis() -> Oracle:
            hypothesis = kind(self.dtype)
            hypothesis.mnist = self.loaded
            echoes.append(Echo(hypothesis))
            return hypothesis

        def make_oracle(*arguments: Any) -> Any:
            return echoes[-1]

        def make_remembered() -> Any:
            return Remembered("port", self.dtype, self.make_port, self.answers)

        data = self.mnist["training images"], self.mnist["training labels"]
        judged = rungs(residual, make_hypothesis, make_remembered, *data, make_oracle)[rung]
        with np.errstate(all="ignore"), suppress(DiffersError):
            try:
                judged()
            except PORT_ERRORS as error:
                residual.residual, residual.raised = math.inf, not residual.place
                residual.place = residual.place or f"it raised {type(error).__name__}: {error}"
        return residual

    def find(self, rung: str, made: tuple[Trap, ...], candidates: Sequence[Trap]) -> Finding | None:
        """Return what explains a rung, one or two mistakes of some; None if nothing differs."""
        right = self.measure(rung, made, whole=True)
        if not right.place:
            return None
        if right.raised:
            return Finding(rung, (), math.inf, math.inf, right.place, raised=True)
        # By the mistakes: whether more than rounding is left over, and how much.
        found: dict[tuple[Trap, ...], tuple[bool, float]] = {}
        # Of two mistakes in one step either may come first.
        for size in (1, 2):
            if size == 2:  # of those that alone came closest
                candidates = sorted(candidates, key=lambda trap: found[(trap,)])[:CLOSEST]
            for traps in permutations(candidates, size):
                measured = self.measure(rung, (*made, *traps))
                found[traps] = bool(measured.place), measured.residual
            if not all(differs for differs, _ in found.values()):
                break
        ranked = sorted(found, key=lambda traps: found[traps])
        traps = ranked[0] if ranked and not found[ranked[0]][0] else ()
        others = [found[other][1] for other in ranked if set(other) != set(traps)]
        next_best = min([right.residual, *others])
        if traps:
            return Finding(rung, traps, found[traps][1], next_best, right.place)
        assert right.judged is not None, "it has a place, and raised nothing"
        relations = tuple(relate(right.judged, right.truths))
        return Finding(rung, (), math.nan, next_best, right.place, relations)


def explain(
    make_port: Callable[[], Implementation],
    mnist: Mapping[str, np.ndarray],
    dtype: str,
    only: Sequence[str] = LADDER,
    loaded: Mapping[str, np.ndarray] | None = None,
) -> list[Finding]:
    """Return a finding for each rung that failed, up to the first that stays unexplained.

    Args:
        make_port: Returns a port without memory of earlier calls.
        mnist: The right images and labels, by name, in the dtype of the port.
        dtype: Of the port.
        only: The rungs that the port has; by default all.
        loaded: What the port should load, if that is not `mnist`.
    """
    search = Search(make_port, mnist, dtype, loaded or mnist, {})
    made: tuple[Trap, ...] = ()
    findings = []
    for rung in only:
        # Mistakes of this rung, or of one before it that the port cannot be judged on.
        skipped = [other for other in LADDER[: LADDER.index(rung)] if other not in only]
        candidates = [
            trap
            for trap in CATALOGUE
            if trap.oracle and trap not in made and trap.rung in (rung, *skipped)
        ]
        finding = search.find(rung, made, candidates)
        if finding is not None:
            findings.append(finding)
            if not finding.traps:
                break
            made += finding.traps
    return findings
