"""How much a hypothesis leaves over: a judge that measures instead of refusing."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.ladder.compare import Judge
from parity_tests.ladder.tolerance import TABLE

ROUNDING = {"float32": 5e-4, "float64": 1e-9}
"""What rounding may leave over where numbers are summed, as RMSprop amplifies it."""


class DiffersError(Exception):
    """A hypothesis has left something over: it is not the explanation."""


@dataclass
class Residual(Judge):
    """A judge that measures what is left over.

    Attributes:
        dtype: Of the port's numbers, but for those of the rung "data".
        unseen: Quantities that the port does not show, and that are not compared.
        passed: How many comparisons left no more than rounding, before the first that did.
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
    unseen: frozenset[str] = frozenset()
    residual: float = 0.0
    passed: int = 0
    place: str = ""
    judged: np.ndarray | None = None
    truths: dict[str, np.ndarray] = field(default_factory=dict)
    raised: bool = False

    def __call__(self, rung: str, quantity: str, tensor: str, **options: Any) -> None:
        """Measure the difference of the first two arrays, if the first is the port's."""
        step, scale = options.pop("step", ""), options.pop("scale", 0.0)
        for option in ("window", "samples"):
            options.pop(option, None)
        (name, judged), (_, truth), *_ = options.items()
        if name != "port" or quantity in self.unseen:  # the oracle is on both sides
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
            residual = relative_difference(judged, truth, scale)
        else:
            residual = float(np.mean(judged != truth))
        if not self.place:
            self.residual = max(self.residual, residual)
        self.passed += not self.place and residual <= rounding
        if residual > rounding and not self.place:
            self.place, self.judged = f"{moment}, {tensor}", judged
            self.truths = {tensor: truth}
        elif self.place.startswith(moment):
            self.truths.setdefault(tensor, truth)
        if residual > rounding and not self.whole:
            raise DiffersError


def relative_difference(judged: np.ndarray, truth: np.ndarray, scale: Any) -> float:
    """Return the largest difference over the largest number; what is not finite must be equal."""
    if np.array_equal(judged, truth):  # the usual case, and for MNIST many times faster
        return 0.0
    finite = np.isfinite(judged) & np.isfinite(truth)
    if not finite.all():
        if not np.array_equal(judged[~finite], truth[~finite], equal_nan=True):
            return math.inf
        judged, truth = judged[finite], truth[finite]
    difference = np.asarray(np.subtract(judged, truth, dtype=np.float64))
    largest = float(np.abs(difference, out=difference).max(initial=0))
    size = max(float(np.abs(truth).max(initial=0)), float(np.max(scale)))
    return largest / size if size else (math.inf if largest else 0.0)
