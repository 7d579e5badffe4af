"""Comparing arrays by the rule of the tolerance table, and saying what differs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from parity_tests.ladder.tolerance import TABLE, Tolerance

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

    def add(self, difference: np.ndarray, largest: float, bound: np.ndarray, scale: float) -> None:
        """Count a comparison, and what it found."""
        self.numbers += difference.size
        if not math.isfinite(largest):
            self.error, self.headroom = math.inf, 0.0
            return
        if scale and largest:
            self.error = max(self.error, largest / scale)
            # Where nothing differs and nothing may, the ratio is NaN, and says nothing.
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                headroom = np.nanmin(bound / (difference if np.ndim(bound) else largest))
            self.headroom = min(self.headroom, float(headroom))


@dataclass
class Judge:
    """Compares arrays by the rule of the tolerance table, and keeps what it saw.

    Attributes:
        records: By rung, quantity, dtype and tensor, in the order of the first comparison.
        watch: Called with each comparison: its record, the differences, the largest of them,
            its bound, the scale, and the arrays by name.
    """

    records: dict[Key, Record] = field(default_factory=dict)
    watch: Callable[..., None] | None = None
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
        """Compare what is judged with the truth.

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
        (_, judged), (_, truth), *_ = arrays.items()
        *_, last = arrays.values()
        place = f"{quantity} {tensor}{step and f' at {step}'} ({last.dtype})"
        _require_one_kind(rung, quantity, place, arrays)

        tolerance = TABLE[quantity][judged.dtype.name]
        key = (rung, quantity, judged.dtype.name, tensor)
        record = self.records.setdefault(key, Record(*key))
        size = np.abs(truth) if tolerance.elementwise else _largest(truth)
        scale = np.maximum(size, scale)
        ulps = tolerance.ulps * math.sqrt(max(1, samples / 128))
        own_error = 0.0
        if tolerance.multiple:
            own_error = self._own_error(record, key, window, last, truth, float(scale))
        bound = tolerance.multiple * own_error + ulps * _unit(scale, judged.dtype)
        difference = _difference(judged, truth)
        largest = float(difference.max(initial=0))
        within = (difference <= bound).all() if np.ndim(bound) else largest <= bound

        self._keep(record, difference, largest, bound, float(np.max(scale, initial=0)), arrays)
        # Infinity in the truth or the yardstick must not widen the bound to infinity.
        if not (within and np.isfinite(scale + own_error).all()):
            message = _explain(place, arrays, difference, scale, own_error, ulps, tolerance)
            raise Divergence(rung, quantity, message, _excess(difference, bound))
        if record.own_ulps > tolerance.own_ulps:
            what = f"{list(arrays)[-1]} is {record.own_ulps:.3g} units in the last place off"
            limit = f"expected at most {tolerance.own_ulps:g} in {last.dtype}"
            raise Divergence(rung, quantity, f"{place}: {what}, {limit}")

    def _keep(self, record: Record, *found: Any) -> None:
        *of_record, arrays = found
        record.add(*of_record)
        if self.watch is not None:
            self.watch(record, *of_record, arrays)

    def _own_error(
        self,
        record: Record,
        key: Key,
        window: str,
        yardstick: np.ndarray,
        truth: np.ndarray,
        scale: float,
    ) -> float:
        """Return the yardstick's difference from the truth: the largest in the window so far."""
        own_error = float(_difference(yardstick, truth).max(initial=0))
        if not scale:  # there is nothing to relate an error to: none is allowed
            return math.inf if own_error else 0.0
        record.own_ulps = max(record.own_ulps, own_error / _unit(scale, yardstick.dtype).item())
        relative = max(own_error / scale, self._own_errors.get((key, window), 0.0))
        self._own_errors[key, window] = relative
        return relative * scale


def judge_tensors(
    judge: Judge,
    rung: str,
    quantity: str,
    port: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    oracle: Mapping[str, np.ndarray],
    *,
    step: str,
    window: str = "",
    samples: int = 128,
    scales: Mapping[str, float] | None = None,
) -> None:
    """Judge what the port made of some input, given what the other two made of it.

    Args:
        judge: Compares tensor by tensor.
        rung: Where on the ladder this is.
        quantity: The row of the tolerance table.
        port: What is judged, by the names of the tensors.
        reference: The yardstick in float32, the truth in float64.
        oracle: The truth in float32, judged as well in float64.
        step: When this is, for the message.
        window: Comparisons in one window share the yardstick's largest error so far; by
            default those of one step.
        samples: How many samples these are sums or means over.
        scales: The size of the terms of each tensor's sums, where they may cancel.

    Raises:
        Divergence: If the tensors have other names, or one of them differs.
    """
    if not port.keys() == reference.keys() == oracle.keys():
        names = f"{list(port)} in port, {list(reference)} in reference, {list(oracle)} in oracle"
        raise Divergence(rung, quantity, f"{quantity} at {step}: tensors {names}")
    for name in reference:
        scale = scales[name] if scales else 0.0
        of = partial(
            judge, rung, quantity, step=step, window=window or step, samples=samples, scale=scale
        )
        if reference[name].dtype == np.float32:
            of(name, port=port[name], oracle=oracle[name], reference=reference[name])
        else:
            of(name, port=port[name], reference=reference[name])
            of(f"{name} of the oracle", oracle=oracle[name], reference=reference[name])


def _require_one_kind(
    rung: str, quantity: str, place: str, arrays: Mapping[str, np.ndarray]
) -> None:
    """Refuse arrays of different shapes, and another dtype than the yardstick's.

    The truth may be wider: the yardstick, or without one the truth, has the expected dtype.
    """
    (name, judged), *others = arrays.items()
    for other, array in others:
        if array.shape != judged.shape:
            what = f"shape {judged.shape} in {name}, {array.shape} in {other}"
            raise Divergence(rung, quantity, f"{place}: {what}")
    other, last = others[-1]
    if judged.dtype != last.dtype:
        what = f"dtype {judged.dtype} in {name}, {last.dtype} in {other}"
        raise Divergence(rung, quantity, f"{place}: {what}")


def _largest(array: np.ndarray) -> float:
    """Return the largest absolute value; NaN if there is one, 0 if the array is empty."""
    if not array.size:
        return 0.0
    return float(np.maximum(array.max(), -array.min()))


def _difference(array: np.ndarray, truth: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, which passes no bound
        difference = np.asarray(np.subtract(array, truth, dtype=np.float64))
    return np.abs(difference, out=difference)


def _unit(scale: np.ndarray | float, dtype: np.dtype) -> np.ndarray:
    """Return the unit in the last place of numbers of a size, in a dtype."""
    if not np.issubdtype(dtype, np.floating):
        return np.zeros(())
    return np.spacing(np.asarray(scale, dtype)).astype(np.float64)


def _excess(difference: np.ndarray, bound: np.ndarray) -> float:
    """Return the largest ratio of difference to bound; infinite where a number is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = difference / bound
    return float(np.nan_to_num(ratio, nan=math.inf, posinf=math.inf).max())


def _explain(
    place: str,
    arrays: dict[str, np.ndarray],
    difference: np.ndarray,
    scale: np.ndarray | float,
    own_error: float,
    ulps: float,
    tolerance: Tolerance,
) -> str:
    judged = next(iter(arrays.values()))
    unit = _unit(scale, judged.dtype)
    bound = tolerance.multiple * own_error + ulps * unit
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
