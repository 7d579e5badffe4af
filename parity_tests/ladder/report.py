"""What the judges saw, as a table for people."""

import math
from collections.abc import Iterable

from parity_tests.ladder.compare import Record
from parity_tests.ladder.rungs import RUNGS
from parity_tests.ladder.tolerance import TABLE, Tolerance


def ladder(records: Iterable[Record]) -> str:
    """Return one line for each quantity of each rung, in the ladder's order.

    The worst difference from the truth is over the scale of its tensor. The headroom is the
    smallest ratio of bound to difference over all tensors and steps.
    """
    groups: dict[tuple[int, str, str], list[Record]] = {}
    for record in records:
        key = RUNGS.index(record.rung), record.quantity, record.dtype
        groups.setdefault(key, []).append(record)
    lines = [
        ("rung", "quantity", "dtype", "numbers", "worst", "own", "headroom", "bound", "reason")
    ]
    for (rung, quantity, dtype), group in sorted(groups.items()):
        headroom = min(record.headroom for record in group)
        tolerance = TABLE[quantity][dtype]
        lines.append(
            (
                RUNGS[rung],
                quantity,
                dtype,
                f"{sum(record.numbers for record in group):,}",
                f"{max(record.error for record in group):.1e}",
                f"{max(record.own_ulps for record in group):.0f}",
                "equal" if math.isinf(headroom) else f"{headroom:.1f}",
                _bound(tolerance),
                tolerance.reason,
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _bound(tolerance: Tolerance) -> str:
    terms = []
    if tolerance.multiple:
        terms.append(f"{tolerance.multiple:g} x reference's")
    if tolerance.ulps:
        terms.append(f"{tolerance.ulps:g} ulp{' each' if tolerance.elementwise else ''}")
    return " + ".join(terms) or "equal"
