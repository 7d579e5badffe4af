"""Simple relations of a wrong tensor to the right one, for mistakes that have no name."""

from collections.abc import Iterator, Mapping

import numpy as np

from parity_tests.traps.residual import ROUNDING, relative_difference


def relate(judged: np.ndarray, truths: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield simple relations of a tensor to what it should be, to rounding.

    Args:
        judged: The tensor.
        truths: What it should be, first, and what others of the same moment should be, by name.
    """
    truth, *_ = truths.values()
    rounding = ROUNDING.get(judged.dtype.name, 0.0)
    if judged.shape == truth.shape:
        rounding = min(rounding, relative_difference(judged, truth, 0.0) / 10)

    def equal(array: np.ndarray) -> bool:
        return array.shape == judged.shape and relative_difference(judged, array, 0.0) <= rounding

    if not np.isfinite(judged).all():
        yield f"{np.count_nonzero(~np.isfinite(judged)):,} of its numbers are not finite"
    elif not judged.any():
        yield "it is 0 throughout"
    elif truth.shape == judged.shape and truth.any():
        yield from _affine(judged, truth, rounding)
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
        if relative_difference(*in_order, 0.0) <= rounding:
            yield "its numbers are the right ones in another order"
    else:
        yield f"its shape is {judged.shape}, and should be {truth.shape}"


def _affine(judged: np.ndarray, truth: np.ndarray, rounding: float) -> Iterator[str]:
    """Yield a factor, a constant or a shift by one step that takes the truth to the tensor."""
    factor, offset = np.vdot(truth, judged) / np.vdot(truth, truth), np.mean(judged - truth)
    if relative_difference(judged, factor * truth, 0.0) <= rounding:
        yield f"it is {factor:.6g} times what it should be"
    if relative_difference(judged, truth + offset, 0.0) <= rounding:
        yield f"it is {offset:.6g} more than it should be"
    if judged.ndim == 1 and judged.size > 2:
        if relative_difference(judged[:-1], truth[1:], 0.0) <= rounding:
            yield "it is one step ahead"
        if relative_difference(judged[1:], truth[:-1], 0.0) <= rounding:
            yield "it is one step late"
