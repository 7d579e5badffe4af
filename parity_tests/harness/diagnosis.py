"""Which known mistake explains the numbers of a port that disagrees.

The ladder is climbed once more, against the oracle alone. Where a rung fails, the mistakes of
the catalogue that must show there are made in the oracle, one and two at a time, until it
agrees with the port to rounding; then the climb goes on with those mistakes made.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from parity_tests.harness.adapters import Implementation
from parity_tests.harness.compare import Judge
from parity_tests.harness.lockstep import LADDER, PORT_ERRORS, rungs
from parity_tests.harness.oracle import Oracle
from parity_tests.harness.tolerance import TABLE
from parity_tests.harness.trace import digest
from parity_tests.harness.traps import CATALOGUE, Trap


class DiffersError(Exception):
    """A hypothesis has left something over: it is not the explanation."""


ROUNDING = {"float32": 5e-4, "float64": 1e-9}
"""What rounding may leave over where numbers are summed, as RMSprop amplifies it."""


CLOSEST = 8
"""Hypotheses that are tried in pairs: those that alone leave the least."""


@dataclass
class Residual(Judge):
    """A judge that measures what is left over.

    Attributes:
        dtype: Of the port's numbers, but for those of the rung "data".
        whole: Whether to go on where a tensor differs by more than rounding.
        residual: The largest difference over the largest number of a tensor, up to the first
            tensor that differs by more than rounding; infinite where shapes or dtypes differ.
        place: The first tensor that differed by more than rounding, and when.
        judged: This tensor.
        truths: What the tensors of that moment should be, by name; this one first.
        raised: Whether the port raised an error before any tensor differed.
    """

    dtype: str = "float64"
    whole: bool = False
    residual: float = 0.0
    place: str = ""
    judged: np.ndarray | None = None
    truths: dict[str, np.ndarray] = field(default_factory=dict)
    raised: bool = False

    def __call__(self, rung: str, quantity: str, tensor: str, **options: Any) -> None:
        """Measures the difference of the first two arrays, if the first is the port's."""
        step, scale = options.pop("step", ""), options.pop("scale", 0.0)
        for option in ("window", "samples"):
            options.pop(option, None)
        (name, judged), (_, truth), *_ = options.items()
        if name != "port":  # the oracle, which is on both sides
            return
        if rung != "data" and np.issubdtype(truth.dtype, np.floating):
            truth = truth.astype(self.dtype)  # the oracle's are wider
        moment = f"{quantity}{step and f' at {step}'}"
        rounding = 0.0
        if (judged.shape, judged.dtype) != (truth.shape, truth.dtype):
            residual = math.inf
        elif np.issubdtype(judged.dtype, np.floating):
            exact = TABLE[quantity]["float32"].multiple == 0
            unit = float(np.finfo(judged.dtype).eps)
            rounding = 16 * unit if exact else ROUNDING[judged.dtype.name]
            residual = _relative(judged, truth, scale)
        else:
            residual = float(np.mean(judged != truth))
        if not self.place:
            self.residual = max(self.residual, residual)
        if residual > rounding and not self.place:
            self.place, self.judged = f"{moment}, {tensor}", judged
            self.truths = {tensor: truth}
        elif self.place.startswith(moment):
            self.truths.setdefault(tensor, truth)
        if residual > rounding and not self.whole:
            raise DiffersError


def _relative(judged: np.ndarray, truth: np.ndarray, scale: Any) -> float:
    """Returns the largest difference over the largest number; what is not finite must be equal."""
    finite = np.isfinite(judged) & np.isfinite(truth)
    if not np.array_equal(judged[~finite], truth[~finite], equal_nan=True):
        return math.inf
    difference = np.abs(np.subtract(judged[finite], truth[finite], dtype=np.float64))
    size = max(float(np.abs(truth[finite]).max(initial=0)), float(np.max(scale)))
    largest = float(difference.max(initial=0))
    return largest / size if size else (math.inf if largest else 0.0)


class Remembered:
    """A port that is asked only what it was not asked before, in the same order.

    Every hypothesis asks the port again, mostly the same; its answers depend on no more than
    what it was asked since it was made.

    Args:
        make_port: Returns the port, without memory of earlier calls.
        answers: What was answered, by all that had been asked; shared by all of a port.
    """

    def __init__(self, make_port: Callable[[], Implementation], answers: dict[str, Any]) -> None:
        self._make_port = make_port
        self._answers = answers
        self._port: Implementation | None = None
        self._asked: list[tuple[str, tuple]] = []
        self._key = ""

    def __getattr__(self, method: str) -> Any:
        """Returns an attribute of the port, or a method that remembers."""
        if method in ("name", "dtype"):
            return getattr(self._made(), method)
        return partial(self._ask, method)

    def _made(self) -> Implementation:
        if self._port is None:
            self._port = self._make_port()
            for method, arguments in self._asked:
                getattr(self._port, method)(*arguments)
        return self._port

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._key = f"{method} {digest((self._key, *arguments))}"
        if self._key not in self._answers:
            self._answers[self._key] = getattr(self._made(), method)(*arguments)
        elif self._port is not None:
            getattr(self._port, method)(*arguments)
        self._asked.append((method, arguments))
        return self._answers[self._key]


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
        """Returns one sentence."""
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


def explain(
    make_port: Callable[[], Implementation],
    mnist: Mapping[str, np.ndarray],
    dtype: str,
    only: Sequence[str] = LADDER,
    loaded: Mapping[str, np.ndarray] | None = None,
) -> list[Finding]:
    """Returns a finding for each rung that failed, up to the first that stays unexplained.

    Args:
        make_port: Returns a port without memory of earlier calls.
        mnist: The right images and labels, by name, in the dtype of the port.
        dtype: Of the port.
        only: The rungs that the port has; by default all.
        loaded: What the port should load, if that is not `mnist`.
    """
    images, labels = mnist["training images"], mnist["training labels"]
    answers: dict[str, Any] = {}

    def measure(rung: str, mistakes: tuple[Trap, ...], whole: bool = False) -> Residual:
        residual = Residual(dtype=dtype, whole=whole)
        classes = tuple(trap.oracle for trap in mistakes if trap.oracle)
        kind: type[Oracle] = type("Hypothesis", (*classes, Oracle), {})

        def make_hypothesis() -> Oracle:
            hypothesis = kind(dtype)
            hypothesis.mnist = loaded or mnist
            return hypothesis

        def make_remembered() -> Any:
            return Remembered(make_port, answers)

        judged = rungs(residual, make_hypothesis, make_remembered, images, labels, kind)[rung]
        with np.errstate(all="ignore"), suppress(DiffersError):
            try:
                judged()
            except PORT_ERRORS as error:
                residual.residual, residual.raised = math.inf, not residual.place
                residual.place = residual.place or f"it raised {type(error).__name__}: {error}"
        return residual

    made: tuple[Trap, ...] = ()
    findings = []
    for rung in only:
        right = measure(rung, made, whole=True)
        if not right.place:
            continue
        if right.raised:
            findings.append(Finding(rung, (), math.inf, math.inf, right.place, raised=True))
            break
        # By the mistakes: whether more than rounding is left over, and how much.
        found: dict[tuple[Trap, ...], tuple[bool, float]] = {}
        # On this rung, or on one before it that the port cannot be judged on.
        passed = [other for other in LADDER[: LADDER.index(rung)] if other not in only]
        candidates = [
            trap
            for trap in CATALOGUE
            if trap.oracle and trap not in made and trap.rung in (rung, *passed)
        ]
        # Of two mistakes in one step either may come first.
        for size in (1, 2):
            if size == 2:  # of those that alone came closest
                candidates = sorted(candidates, key=lambda trap: found[(trap,)])[:CLOSEST]
            for traps in permutations(candidates, size):
                measured = measure(rung, (*made, *traps))
                found[traps] = bool(measured.place), measured.residual
            if not all(differs for differs, _ in found.values()):
                break
        ranked = sorted(found, key=lambda traps: found[traps])
        traps = ranked[0] if ranked and not found[ranked[0]][0] else ()
        others = [found[other][1] for other in ranked if set(other) != set(traps)]
        next_best = min([right.residual, *others])
        if not traps:
            assert right.judged is not None, "it has a place, and raised nothing"
            relations = tuple(relate(right.judged, right.truths))
            findings.append(Finding(rung, (), math.nan, next_best, right.place, relations))
            break
        findings.append(Finding(rung, traps, found[traps][1], next_best, right.place))
        made += traps
    return findings


def relate(judged: np.ndarray, truths: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yields simple relations of a tensor to what it should be, to rounding.

    Args:
        judged: The tensor.
        truths: What it should be, first, and what others of the same moment should be, by name.
    """
    truth, *_ = truths.values()
    rounding = ROUNDING.get(judged.dtype.name, 0.0)
    if judged.shape == truth.shape:
        rounding = min(rounding, _relative(judged, truth, 0.0) / 10)

    def equal(array: np.ndarray) -> bool:
        return array.shape == judged.shape and _relative(judged, array, 0.0) <= rounding

    if not np.isfinite(judged).all():
        yield f"{np.count_nonzero(~np.isfinite(judged)):,} of its numbers are not finite"
    elif not judged.any():
        yield "it is 0 throughout"
    elif truth.shape == judged.shape and truth.any():
        factor = np.vdot(truth, judged) / np.vdot(truth, truth)
        if equal(factor * truth):
            yield f"it is {factor:.6g} times what it should be"
        if equal(truth + np.mean(judged - truth)):
            yield f"it is {np.mean(judged - truth):.6g} more than it should be"
        for name, ours, theirs in (
            ("ahead", judged[:-1], truth[1:]),
            ("late", judged[1:], truth[:-1]),
        ):
            if judged.ndim == 1 and judged.size > 2 and _relative(ours, theirs, 0.0) <= rounding:
                yield f"it is one step {name}"
    if truth.dtype != judged.dtype:
        yield f"its dtype is {judged.dtype}, and should be {truth.dtype}"
    if truth.ndim == 2 and equal(truth.T):
        yield "it is transposed"
    if truth.ndim == 2 and equal(truth.reshape(truth.shape[::-1]).T):
        yield "it is reshaped where it should be transposed"
    for name, other in list(truths.items())[1:]:
        if equal(other):
            yield f"it is what {name} should be"
    if judged.shape == truth.shape:
        in_order = np.sort(judged, axis=None), np.sort(truth, axis=None)
        if _relative(*in_order, 0.0) <= rounding:
            yield "its numbers are the right ones in another order"
    else:
        yield f"its shape is {judged.shape}, and should be {truth.shape}"
