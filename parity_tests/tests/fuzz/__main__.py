"""Fuzz all readers, one after the other: `python -m parity_tests.tests.fuzz OUTPUT`.

Each is fuzzed in a process of its own. An input that makes one fail is kept in `build/fuzz`.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity_tests.tests.fuzz.targets import targets


def main(output: Path) -> int:
    """Fuzz, and write what was executed; return 1 if a reader failed."""
    rows = []
    for name in targets():
        start = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-m", "parity_tests.tests.fuzz.one", name],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        executed = re.findall(r"number_of_executed_units: (\d+)", ended.stderr)
        branches = re.findall(r"cov: (\d+)", ended.stderr)
        rows.append(
            {
                "target": name,
                "executions": int(executed[-1]) if executed else 0,
                "branches": int(branches[-1]) if branches else 0,
                "seconds": round(time.perf_counter() - start),
                "failed": ended.returncode != 0,
            }
        )
        print(rows[-1], flush=True)
        if ended.returncode:
            print(ended.stderr[-5000:], flush=True)
    output.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    return int(any(row["failed"] for row in rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what was executed as a Markdown table."""
    lines = ["| reader | executions | branches | seconds |", "|---|---|---|---|"]
    total = {"target": "all", "branches": ""}
    total |= {key: sum(row[key] for row in rows) for key in ("executions", "seconds")}
    lines += [
        f"| {row['target']} | {row['executions']:,} | {row['branches']} | {row['seconds']:,} |"
        for row in (*rows, total)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
