"""What the judges saw, as rows, and as a table for people."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from parity_tests.ladder.compare import Record
from parity_tests.ladder.rungs import RUNGS
from parity_tests.ladder.tolerance import TABLE, Tolerance


@dataclass(frozen=True)
class Row:
    """What was seen of one quantity of one rung, over all tensors and steps.

    Attributes:
        numbers: How many were compared.
        worst: The largest difference from the truth, over the scale of its tensor.
        own: How far the reference is from the truth, in units in the last place.
        headroom: The smallest ratio of bound to difference; infinite if nothing differed.
        bound: The rule of the tolerance table.
        reason: Why this much.
    """

    rung: str
    quantity: str
    dtype: str
    numbers: int
    worst: float
    own: float
    headroom: float
    bound: str
    reason: str


def rows(records: Iterable[Record]) -> list[Row]:
    """Return a row for each quantity of each rung, in the ladder's order."""
    groups: dict[tuple[int, str, str], list[Record]] = {}
    for record in records:
        key = RUNGS.index(record.rung), record.quantity, record.dtype
        groups.setdefault(key, []).append(record)
    found = []
    for (rung, quantity, dtype), group in sorted(groups.items()):
        tolerance = TABLE[quantity][dtype]
        found.append(
            Row(
                RUNGS[rung],
                quantity,
                dtype,
                sum(record.numbers for record in group),
                max(record.error for record in group),
                max(record.own_ulps for record in group),
                min(record.headroom for record in group),
                _bound(tolerance),
                tolerance.reason,
            )
        )
    return found


def ladder(records: Iterable[Record]) -> str:
    """Return the rows as a table of 80 columns, below the name of each rung."""
    layout = "  {:19} {:7} {:>13} {:>7} {:>5} {:>8}  {}"
    lines = [layout.format("", "dtype", "numbers", "worst", "own", "headroom", "bound")]
    rung = ""
    for row in rows(records):
        if row.rung != rung:
            rung = row.rung
            lines.append(rung)
        headroom = "equal" if math.isinf(row.headroom) else f"{row.headroom:.1f}"
        counts = f"{row.numbers:,}", f"{row.worst:.1e}", f"{row.own:.0f}", headroom
        lines.append(layout.format(row.quantity, row.dtype, *counts, row.bound))
    return "\n".join(lines)


def _bound(tolerance: Tolerance) -> str:
    terms = []
    if tolerance.multiple:
        terms.append(f"{tolerance.multiple:g} x")
    if tolerance.ulps:
        terms.append(f"{tolerance.ulps:g} ulp{' each' if tolerance.elementwise else ''}")
    return " + ".join(terms) or "equal"
