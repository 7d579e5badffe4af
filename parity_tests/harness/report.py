"""What the judges saw, as a table for people."""

from collections.abc import Iterable

from parity_tests.harness.compare import Record
from parity_tests.harness.lockstep import RUNGS
from parity_tests.harness.tolerance import TABLE


def ladder(records: Iterable[Record]) -> str:
    """Returns one line for each quantity of each rung, in the ladder's order.

    The worst difference is over the largest value of its tensor; the headroom is the
    smallest ratio of bound to difference, tensor by tensor and step by step.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.rung, record.quantity, record.dtype), []).append(record)
    lines = [("rung", "quantity", "dtype", "numbers", "worst", "headroom", "bound")]
    for rung, quantity, dtype in sorted(groups, key=lambda group: RUNGS.index(group[0])):
        group = groups[rung, quantity, dtype]
        headroom = min(record.headroom for record in group)
        tolerance = TABLE[quantity][dtype]
        lines.append(
            (
                rung,
                quantity,
                dtype,
                f"{sum(record.numbers for record in group):,}",
                f"{max(record.error for record in group):.1e}",
                "equal" if headroom == float("inf") else f"{headroom:.3g}",
                f"{tolerance}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
