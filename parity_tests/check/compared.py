"""Comparing one tensor of a port with that of its model, by the rule of the tolerance table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity_tests.ladder.tolerance import MULTIPLE

FLOOR = {"float64": 2.0**-23, "float32": 2.0**-19}
"""Of a difference, relative to the scale: a constant of float32, and 16 units of float32."""


@dataclass(frozen=True)
class Compared:
    """What was compared of one tensor.

    Attributes:
        label: What it is, and where.
        where: The layer whose tensor it is; "" for one of the whole model.
        difference: The largest, over the scale; infinite where shapes differ.
        bound: Of the difference.
        own: The yardstick's own difference from the truth.
        message: The worst element, both values and the bound.
        port: The port's numbers.
        truth: What they should be.
    """

    label: str
    where: str
    difference: float
    bound: float
    own: float
    message: str
    port: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)

    @property
    def fails(self) -> bool:
        """Whether the difference is above the bound."""
        return not self.difference <= self.bound

    def as_json(self) -> dict[str, Any]:
        """Return what a page shows of it, for JSON."""
        keys = ("label", "difference", "bound", "own")
        return {key: getattr(self, key) for key in keys}


def compare(
    dtype: str,
    label: str,
    where: str,
    port: np.ndarray,
    truth: np.ndarray,
    others: Sequence[np.ndarray | None],
    scale: float = 0.0,
    steps: int = 1,
) -> Compared:
    """Compare one tensor.

    Args:
        dtype: Of the port.
        label: What it is, and where.
        where: The layer whose tensor it is; "" for one of the whole model.
        port: The port's numbers.
        truth: What they should be, perhaps with mistakes made.
        others: What they should be without mistakes, and the yardsticks'.
        scale: Of the differences, if it is more than the largest of the truth.
        steps: Of training, each of which may add the floor.
    """
    if port.shape != truth.shape:
        message = f"shape {port.shape} in the port, {truth.shape} in the model"
        return Compared(label, where, math.inf, 0.0, 0.0, message, port, truth)
    scale = max(scale, largest(truth)) or 1.0
    own = 0.0
    right, *yards = others or (None,)
    for yard in yards:
        if yard is not None and right is not None:
            size = max(largest(right), scale if where else 0.0) or 1.0
            own = max(own, largest(folded_like(yard, right).astype(np.float64) - right) / size)
    bound = MULTIPLE * own + steps * FLOOR[dtype]
    difference = np.abs(port.astype(np.float64) - truth)
    worst = math.inf if np.isnan(difference).any() else largest(difference) / scale
    message = _worst(difference, port, truth) + f"relative {worst:.1e}, bound {bound:.1e}"
    return Compared(label, where, worst, bound, own, message, port, truth)


def _worst(difference: np.ndarray, port: np.ndarray, truth: np.ndarray) -> str:
    """Return the worst element, in words."""
    if not difference.size:
        return ""
    flat = int(np.nan_to_num(difference, nan=np.inf).argmax())
    place = [int(i) for i in np.unravel_index(flat, difference.shape)]
    found, right = float(port.flat[flat]), float(truth.flat[flat])
    return f"worst at {place}: port {found:.9g}, model {right:.9g}; "


def largest(array: np.ndarray) -> float:
    """Return the largest absolute value; 0 of none."""
    return float(np.abs(array).max(initial=0))


def folded_like(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return an array with the axes of several heads folded into one, as in another."""
    fits = array.size == like.size and array.ndim > like.ndim
    return array.reshape(like.shape) if fits else array
