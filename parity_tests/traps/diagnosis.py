"""Which known mistake explains the numbers of a port that disagrees.

The ladder is climbed once more, against the oracle alone. Where a rung fails, the mistakes of
the catalogue that must show there are made in the oracle, one and two at a time, until it
agrees with the port to rounding; then the climb goes on with those mistakes made.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np

from parity_tests.ladder.implementation import Implementation
from parity_tests.ladder.oracle import Oracle, initial_weights
from parity_tests.ladder.remembered import Remembered
from parity_tests.ladder.rungs import LADDER, PORT_ERRORS, rungs
from parity_tests.traps.catalogue import CATALOGUE
from parity_tests.traps.estimate import estimated
from parity_tests.traps.finding import Finding
from parity_tests.traps.relations import relate
from parity_tests.traps.residual import DiffersError, Residual
from parity_tests.traps.trap import Trap

CLOSEST = 8
"""Hypotheses of each kind that are tried in pairs."""


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


class Search:
    """The search for the mistakes of a port, rung by rung.

    Attributes:
        logits: Whether the model returns logits, and is judged by their softmax.
    """

    logits = False

    def measure(self, rung: str, mistakes: tuple[Trap, ...], whole: bool = False) -> Residual:
        """Return what is left over on a rung if the oracle makes some mistakes."""
        raise NotImplementedError

    def _estimated(self, rung: str) -> list[Trap]:
        """Return mistakes whose constants the port shows."""
        return []

    def explain(self, only: Sequence[str]) -> list[Finding]:
        """Return a finding for each rung that failed, up to the first that stays unexplained.

        Args:
            only: The rungs that the port can be judged on, in their order.
        """
        made: tuple[Trap, ...] = ()
        findings = []
        for rung in only:
            candidates = [trap for trap in self._candidates(rung, only) if trap not in made]
            finding = self.find(rung, made, candidates)
            if finding is not None:
                findings.append(finding)
                if not finding.mistakes:
                    break
                made += finding.mistakes
        return findings

    def _candidates(self, rung: str, only: Sequence[str]) -> list[Trap]:
        """Return the mistakes that may show first on a rung, given the rungs before it."""
        of_rung = {"loop": "trajectory"}.get(rung, rung)
        before = LADDER[: LADDER.index(of_rung)]
        # Mistakes of this rung, or of one before it that the port cannot be judged on.
        rungs_of = {of_rung, *(other for other in before if other not in only)}
        return [
            trap
            for trap in CATALOGUE
            if trap.oracle
            and (trap.rung in rungs_of or (self.logits and trap.name == "no softmax"))
        ]

    def find(self, rung: str, made: tuple[Trap, ...], candidates: list[Trap]) -> Finding | None:
        """Return what explains a rung, one or two mistakes of some; None if nothing differs."""
        right = self.measure(rung, made, whole=True)
        if not right.place:
            return None
        if right.raised:
            return Finding(rung, (), math.inf, math.inf, right.place, raised=True)
        found: dict[tuple[Trap, ...], Residual] = {}
        for alone in candidates:
            found[(alone,)] = self.measure(rung, (*made, alone))
        explaining = [traps for traps, residual in found.items() if not residual.place]
        if not explaining:
            candidates = [*candidates, *self._estimated(rung)]
            found |= {
                (trap,): self.measure(rung, (*made, trap)) for trap in candidates[len(found) :]
            }
            explaining = [traps for traps, residual in found.items() if not residual.place]
        if not explaining:
            for pair in _pairs(candidates, found, right.passed):
                found[pair] = self.measure(rung, (*made, *pair))
                if not found[pair].place:
                    explaining = [pair]
                    break
        traps = min(explaining, key=lambda traps: found[traps].residual, default=())
        alternatives = tuple(trap for other in explaining if other != traps for trap in other)
        others = [of.residual for other, of in found.items() if set(other) != set(traps)]
        next_best = min([right.residual, *others])
        if traps:
            residual = found[traps].residual
            return Finding(rung, traps, residual, next_best, right.place, alternatives=alternatives)
        assert right.judged is not None, "it has a place, and raised nothing"
        relations = tuple(relate(right.judged, right.truths))
        return Finding(rung, (), math.nan, next_best, right.place, relations)


@dataclass(frozen=True)
class LadderSearch(Search):
    """The search for the mistakes of an implementation.

    Attributes:
        make_port: Returns the port, without memory of earlier calls.
        mnist: The right images and labels, by name, in the dtype of the port.
        dtype: Of the port.
        loaded: What the port should load.
        sizes: Of the images and of the output of each layer.
        ladder: Returns the rungs, such as `ladder.rungs.rungs`.
        unseen: Quantities that the port does not show.
        logits: Whether the model returns logits, and is judged by their softmax.
        answers: What the port has answered so far, for `Remembered`.
    """

    make_port: Callable[[], Any]
    mnist: Mapping[str, np.ndarray]
    dtype: str
    loaded: Mapping[str, np.ndarray]
    sizes: tuple[int, ...] = (784, 512, 10)
    ladder: Callable[..., dict[str, Callable[[], None]]] = rungs
    unseen: frozenset[str] = frozenset()
    logits: bool = False
    answers: dict[str, Any] = field(default_factory=dict)

    def measure(self, rung: str, mistakes: tuple[Trap, ...], whole: bool = False) -> Residual:
        """Return what is left over on a rung if the oracle makes some mistakes."""
        residual = Residual(dtype=self.dtype, whole=whole, unseen=self.unseen)
        classes = tuple(trap.oracle for trap in mistakes if trap.oracle)
        kind: type[Oracle] = type("Hypothesis", (*classes, Oracle), {})

        echoes = []

        def make_hypothesis() -> Oracle:
            hypothesis = kind(self.dtype)
            hypothesis.mnist, hypothesis.sizes = self.loaded, self.sizes
            echoes.append(Echo(hypothesis))
            return hypothesis

        def make_oracle(*arguments: Any) -> Any:
            return echoes[-1]

        data = self.mnist["training images"], self.mnist["training labels"]
        judged = self.ladder(residual, make_hypothesis, self._remembered, *data, make_oracle)[rung]
        with np.errstate(all="ignore"), suppress(DiffersError):
            try:
                judged()
            except PORT_ERRORS as error:
                residual.residual, residual.raised = math.inf, not residual.place
                residual.place = residual.place or f"it raised {type(error).__name__}: {error}"
        return residual

    def _remembered(self) -> Any:
        return Remembered("port", self.dtype, self.make_port, self.answers, self.sizes)

    def _estimated(self, rung: str) -> list[Trap]:
        """Return SGD with the constants that a port's updates show, where it has others."""
        if rung != "one update":
            return []
        images, labels = self.mnist["training images"][:128], self.mnist["training labels"][:128]
        port, steps = self._remembered(), []
        port.load_weights(initial_weights(0, self.sizes, self.dtype))
        for _ in range(3):
            before = port.weights()
            steps.append((before, port.step(images, labels)[1], port.weights()))
        return estimated(steps)


def _pairs(
    candidates: Sequence[Trap], found: Mapping[tuple[Trap, ...], Residual], passed: int
) -> Iterator[tuple[Trap, Trap]]:
    """Yield the pairs of mistakes that are worth a try, in both orders, as either may come first.

    First those of a mistake that alone explains more comparisons than none does, with any other;
    then those of the mistakes that alone leave the least.
    """
    further = sorted(candidates, key=lambda trap: -found[(trap,)].passed)
    further = [trap for trap in further if found[(trap,)].passed > passed][:CLOSEST]
    closest = sorted(candidates, key=lambda trap: found[(trap,)].residual)[:CLOSEST]
    tried = set()
    for one, other in (*product(further, candidates), *combinations(closest, 2)):
        if one is not other and (pair := frozenset((one, other))) not in tried:
            tried.add(pair)
            yield one, other
            yield other, one


def explain(
    make_port: Callable[[], Implementation],
    mnist: Mapping[str, np.ndarray],
    dtype: str,
    **options: Any,
) -> list[Finding]:
    """Return what explains a port that can be judged on every rung.

    `options` are those of a `LadderSearch`.
    """
    return LadderSearch(make_port, mnist, dtype, options.pop("loaded", mnist), **options).explain(
        LADDER
    )
