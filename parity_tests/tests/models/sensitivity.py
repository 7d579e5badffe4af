"""What the check of models can see: pairs of a model and its port, right and with mistakes."""

import io
import json
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from parity_tests.check.models.examination import examine
from parity_tests.check.results import Verdicts

ZOO = Path(__file__).parent / "zoo"
"""The pairs: folders with an original.py, a right port.py, and a mistakes.toml of what is replaced
in the port by what."""

COUNTED = ("caught", "named", "line", "fixed", "false")
"""What is counted of the mistakes of a pair, after their number."""


def zoo() -> None:
    """Judge each pair of the zoo, as it is and with each of its mistakes, and write zoo.json."""
    found = {}
    for pair in sorted(path.parent for path in ZOO.glob("*/port.py")):
        print(pair.name, flush=True)
        found[pair.name] = measured(pair)
    ZOO.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def measured(pair: Path) -> dict[str, Any]:
    """Return what the check says of a pair."""
    return {
        "right": {
            dtype: not _judged(pair / "port.py", pair, dtype).failed
            for dtype in ("float64", "float32")
        },
        "mistakes": [_with_mistake(pair, mistake) for mistake in mistakes(pair)],
    }


def mistakes(pair: Path) -> list[dict[str, str]]:
    """Return what is replaced in a port by what, and how that, and what it entails, is named."""
    return list(tomllib.loads((pair / "mistakes.toml").read_text())["mistake"])


def _judged(port: Path, pair: Path, dtype: str) -> Verdicts:
    with redirect_stdout(io.StringIO()):
        return examine(port, pair / "original.py", dtype)


def _with_mistake(pair: Path, mistake: Mapping[str, str]) -> dict[str, Any]:
    """Judge a port with a mistake, and the port that is written in its place."""
    source = (pair / "port.py").read_text()
    lines = source[: source.index(mistake["replace"])].count("\n")
    with tempfile.TemporaryDirectory() as folder:
        port = Path(folder, "port.py")
        port.write_text(source.replace(mistake["replace"], mistake["by"], 1))
        start = time.monotonic()
        verdicts = _judged(port, pair, "float64")
        seconds = time.monotonic() - start
        port.write_text(verdicts.mended)
        fixed = bool(verdicts.mended) and not _judged(port, pair, "float64").failed
    findings = [str(finding) for finding in verdicts.findings]
    named = [finding for finding in findings if mistake["expected"] in finding]
    places = [repair.repair.text for repair in verdicts.repairs]
    own = range(lines + 1, lines + 2 + mistake["by"].count("\n"))
    true = mistake["expected"], mistake.get("also", mistake["expected"])
    return {
        "mistake": mistake["expected"],
        "caught": bool(verdicts.failed),
        "named": bool(named),
        "line": any(place and place[1] in own for place in places),
        "fixed": fixed,
        "seconds": round(seconds, 1),
        "repairs": [str(repair.repair) for repair in verdicts.repairs],
        "false": [
            finding
            for finding in findings
            if ": explained by: " in finding and not any(name in finding for name in true)
        ],
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return right pairs as a Markdown table, a line each and one for all."""
    lines = [
        "| pair | right port passes in | caught | named | line | mended | false names |",
        "|---|---|---|---|---|---|---|",
    ]
    total = [0] * (1 + len(COUNTED))
    for name, row in found.items():
        passes = [dtype for dtype, right in row["right"].items() if right]
        made = row["mistakes"]
        counts = [len(made), *(sum(bool(of[what]) for of in made) for what in COUNTED)]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        lines.append(f"| {name} | {' and '.join(passes) or 'neither'} | {_cells(counts)} |")
    lines.append(f"| all | | {_cells(total)} |")
    return "\n".join(lines)


def _cells(counts: Sequence[int]) -> str:
    number, *seen, false = counts
    return " | ".join([*(f"{count} of {number}" for count in seen), str(false)])


if __name__ == "__main__":
    zoo()
