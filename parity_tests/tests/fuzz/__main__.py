"""Fuzz all readers, one after the other: `python -m parity_tests.tests.fuzz OUTPUT`.

With names of readers behind it, only those are fuzzed, and the other results stay. Each is fuzzed
in a process of its own. An input that makes one fail is kept in `build/fuzz`.
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


def main(output: Path, names: Sequence[str]) -> int:
    """Fuzz, and write what was executed; return 1 if a reader failed."""
    rows = {row["target"]: row for row in json.loads(output.read_text())} if names else {}
    for name in names or targets():
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
        rows[name] = {
            "target": name,
            "executions": int(executed[-1]) if executed else 0,
            "branches": int(branches[-1]) if branches else 0,
            "seconds": round(time.perf_counter() - start),
            "failed": ended.returncode != 0,
        }
        print(rows[name], flush=True)
        if ended.returncode:
            print(ended.stderr[-5000:], flush=True)
    found = [*rows.values()]
    output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    return int(any(row["failed"] for row in found))


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
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
