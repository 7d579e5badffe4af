"""Comparing arrays by the rule of the tolerance table, and saying what differs."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.harness.tolerance import TABLE, Tolerance

Key = tuple[str, str, str, str]


class Divergence(AssertionError):  # noqa: N818 (it is a verdict, not a fault of the program)
    """What is judged differs from the truth by more than the table allows.

    Attributes:
        rung: Where on the ladder they were compared.
        quantity: The row of the tolerance table.
        excess: The largest ratio of difference to bound; infinite where there is none.
    """

    def __init__(self, rung: str, quantity: str, message: str, excess: float = math.inf) -> None:
        super().__init__(message)
        self.rung = rung
        self.quantity = quantity
        self.excess = excess


@dataclass
class Record:
    """What was seen of one quantity of one tensor, over all comparisons.

    Attributes:
        numbers: How many were compared.
        error: The largest difference from the truth, over the scale of its tensor.
        headroom: The smallest ratio of bound to difference; infinite if nothing differed.
        own_ulps: The yardstick's largest difference from the truth, in units in the last place.
    """

    rung: str
    quantity: str
    dtype: str
    tensor: str
    numbers: int = 0
    error: float = 0.0
    headroom: float = math.inf
    own_ulps: float = 0.0


@dataclass
class Judge:
    """Compares arrays by the rule of the tolerance table, and keeps what it saw.

    Attributes:
        records: By rung, quantity, dtype and tensor, in the order of the first comparison.
    """

    records: dict[Key, Record] = field(default_factory=dict)
    _own_errors: dict[tuple[Key, str], float] = field(default_factory=dict)

    def __call__(
        self,
        rung: str,
        quantity: str,
        tensor: str,
        *,
        step: str = "",
        window: str = "",
        samples: int = 128,
        scale: np.ndarray | float = 0.0,
        **arrays: Any,
    ) -> None:
        """Compares what is judged with the truth.

        Args:
            rung: Where on the ladder this is.
            quantity: The row of the tolerance table.
            tensor: What is compared, by name.
            step: When it is compared, for the message.
            window: Comparisons in one window share the yardstick's largest error so far.
            samples: How many samples the truth is a sum or a mean over.
            scale: The size of the terms that are added to give the truth, where they may
                cancel; one number, or one for each element.
            **arrays: Under the names of the implementations: what is judged, the truth and,
                for a row with a multiple, the yardstick, in this order.

        Raises:
            Divergence: If shapes or dtypes differ, a number is not finite, or the difference
                is above the bound.
        """
        (name, judged), (_, truth), *_ = arrays.items()
        *_, (last_name, last) = arrays.items()
        place = f"{quantity} {tensor}{step and f' at {step}'} ({last.dtype})"
        for other, array in arrays.items():
            if array.shape != judged.shape:
                what = f"shape {judged.shape} in {name}, {array.shape} in {other}"
                raise Divergence(rung, quantity, f"{place}: {what}")
        # The truth may be wider; the yardstick, or else the truth, has the dtype to have.
        if judged.dtype != last.dtype:
            what = f"dtype {judged.dtype} in {name}, {last.dtype} in {last_name}"
            raise Divergence(rung, quantity, f"{place}: {what}")

        tolerance = TABLE[quantity][judged.dtype.name]
        key = (rung, quantity, judged.dtype.name, tensor)
        difference = _difference(judged, truth)
        size = np.abs(truth) if tolerance.elementwise else np.max(np.abs(truth), initial=0)
        scale = np.maximum(size, scale)
        largest = float(np.max(scale, initial=0))
        own_error = 0.0
        unit = _unit(scale, judged.dtype)
        ulps = tolerance.ulps * math.sqrt(max(1, samples / 128))
        record = self.records.setdefault(key, Record(*key))
        if tolerance.multiple and largest:
            own_error = float(_difference(last, truth).max(initial=0)) / largest
            record.own_ulps = max(record.own_ulps, own_error * largest / float(np.max(unit)))
            own_error = max(own_error, self._own_errors.get((key, window), 0.0))
            self._own_errors[key, window] = own_error
        bound = tolerance.multiple * own_error * largest + ulps * unit

        # Infinity in the truth or the yardstick must not widen the bound to infinity.
        if not (math.isfinite(largest + own_error) and (difference <= bound).all()):
            own_error *= largest
            message = _explain(place, arrays, difference, bound, unit, own_error, ulps, tolerance)
            with np.errstate(divide="ignore", invalid="ignore"):
                excess = float(
                    np.nan_to_num(difference / bound, nan=math.inf, posinf=math.inf).max()
                )
            raise Divergence(rung, quantity, message, excess)
        if record.own_ulps > tolerance.own_ulps:
            what = f"{last_name} is {record.own_ulps:.3g} units in the last place from the truth"
            limit = f"at most {tolerance.own_ulps:g} in {last.dtype}"
            raise Divergence(rung, quantity, f"{place}: {what}, expected {limit}")
        record.numbers += judged.size
        if largest and difference.any():
            record.error = max(record.error, float(difference.max()) / largest)
            with np.errstate(divide="ignore", over="ignore"):
                record.headroom = min(record.headroom, float((bound / difference).min()))


def _difference(array: np.ndarray, truth: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, which passes no bound
        difference = np.subtract(array, truth, dtype=np.float64)
    return np.abs(difference)


def _unit(scale: np.ndarray | float, dtype: np.dtype) -> np.ndarray | float:
    """Returns the unit in the last place of numbers of a size, in a dtype."""
    if not np.issubdtype(dtype, np.floating):
        return 0.0
    return np.spacing(np.asarray(scale, dtype)).astype(np.float64)


def _explain(
    place: str,
    arrays: dict[str, np.ndarray],
    difference: np.ndarray,
    bound: np.ndarray | float,
    unit: np.ndarray | float,
    own_error: float,
    ulps: float,
    tolerance: Tolerance,
) -> str:
    judged = next(iter(arrays.values()))
    finite = np.logical_and.reduce([np.isfinite(array) for array in arrays.values()])
    beyond = ~(finite & (difference <= bound))
    worst = np.unravel_index(np.where(beyond, difference - bound, -1).argmax(), judged.shape)
    if not finite.all():
        beyond = ~finite
        worst = np.unravel_index(finite.argmin(), judged.shape)
    values = ", ".join(f"{name} {array[worst].item()!r}" for name, array in arrays.items())
    lines = [
        f"{place}: {beyond.sum()} of {judged.size} elements differ",
        f"  worst at [{', '.join(map(str, worst))}]: {values}",
    ]
    if not finite.all():
        return "\n".join([*lines, "  a number that is not finite is equal to none"])
    unit_there = float(np.broadcast_to(unit, judged.shape)[worst])
    bound_there = float(np.broadcast_to(bound, judged.shape)[worst])
    allowed = f"{ulps:.3g} units in the last place ({unit_there:.3g} each)"
    if tolerance.multiple:
        yardstick = list(arrays)[-1]
        allowed = f"{tolerance.multiple:g} x {own_error:.3g}, {yardstick}'s own error, + {allowed}"
    lines.append(f"  difference {difference[worst]:.3g}, bound {bound_there:.3g} = {allowed}")
    if own_error:
        multiple = (difference[worst] - ulps * unit_there) / own_error
        lines.append(f"  a multiple of {multiple:.3g} would have passed")
    return "\n".join(lines)
