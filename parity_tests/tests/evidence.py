"""What a run of the tests leaves behind: the summary on the terminal, and the page."""

import datetime
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence
from parity_tests.ladder.rungs import RUNGS
from parity_tests.measurements.benchmark import machine

ROOT = Path(__file__).parents[2]
Stats = Mapping[str, Iterable[Any]]


def properties(stats: Stats, name: str) -> Iterator[Any]:
    """Yield what tests have recorded under a name, whichever process ran them."""
    for reports in stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                yield from (value for key, value in report.user_properties if key == name)


def described(divergence: BaseException) -> dict[str, str]:
    """Return what a report keeps of a divergence."""
    if not isinstance(divergence, Divergence):
        return {"rung": "", "message": f"{type(divergence).__name__}: {divergence}"}
    return {"rung": divergence.rung, "message": str(divergence)}


def failures(stats: Stats) -> list[dict[str, str]]:
    """Return what each test that failed says, in the order of the ladder."""
    found = []
    for report in [*stats.get("failed", ()), *stats.get("error", ())]:
        said = [value for key, value in report.user_properties if key == "failure"]
        unknown = {"rung": "", "message": str(report.longrepr).strip().splitlines()[-1]}
        found.append({"test": report.nodeid, **(said[-1] if said else unknown)})
    places = [*RUNGS, ""]
    return sorted(found, key=lambda failure: (places.index(failure["rung"]), failure["test"]))


def diagnosed(failed: list[dict[str, str]], data: Path) -> dict[str, Any]:
    """Return what failed first, and which known mistakes give the numbers of the port.

    Tests run in any order, and some may not have run. So the ladder is climbed once more.
    """
    # Imported here, since they import torch, which a run that passes may not need.
    from parity_tests.traps.diagnosis import explain
    from parity_tests.traps.sensitivity import caught

    mnist = Reference(dtype="float64", folder=data).data()
    divergence = caught(None, mnist, "float64", data)
    first = {**described(divergence), "test": ""} if divergence else failed[0]
    found = explain(lambda: Port(dtype="float64", folder=data), mnist, "float64")
    return {"first": first, "causes": [str(finding) for finding in found]}


def collected(stats: Stats, config: pytest.Config) -> dict[str, Any]:
    """Return all that the page shows of a run, for JSON."""
    failed = failures(stats)
    return {
        "passed": len(list(stats.get("passed", ()))),
        "failures": failed,
        "diagnosis": diagnosed(failed, config.getoption("--data")) if failed else None,
        "records": list(properties(stats, "record")),
        "series": {series.pop("dtype"): series for series in properties(stats, "series")},
        "trained": next(properties(stats, "trained"), None),
        "machine": machine(),
        "command": shlex.join(["python", "-m", "pytest", *sys.argv[1:]]),
        "commit": commit(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    }


def commit() -> str:
    """Return the commit that was proved, and whether files were changed since; "" without git."""
    git = shutil.which("git")
    if git is None:
        return ""
    found = [
        subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
    ]
    changed = " with changes" if found[1].stdout.strip() else ""
    return found[0].stdout.strip() + changed if found[0].returncode == 0 else ""
