"""What the README shows is what the code is, and what was measured."""

import difflib
import json
from pathlib import Path

from parity_tests.measurements import benchmark
from parity_tests.traps import sensitivity
from parity_tests.traps.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TEXT = ROOT / "parity_tests" / "traps" / "sensitivity.txt"
MATRIX = json.loads(TEXT.with_suffix(".json").read_text())
RESULTS = ROOT / "parity_tests" / "measurements" / "results"
TIMES = json.loads((RESULTS / "benchmark.json").read_text())


def test_the_diff_in_the_readme_is_that_of_the_twins():
    paths = "tf_reference/losses.py", "torch_port/losses.py"
    reference, port = ((ROOT / path).read_text().splitlines() for path in paths)
    diff = "\n".join(difflib.unified_diff(reference, port, *paths, lineterm=""))
    assert diff in README


def test_the_matrix_is_of_this_catalogue_in_which_every_trap_was_caught():
    found = [(row["name"], row["declared"], row["caught"]) for row in MATRIX["traps"]]
    assert found == [(trap.name, trap.rung, True) for trap in CATALOGUE]
    assert MATRIX["clean"]["rung"] is None


def test_the_readme_and_the_text_show_the_matrix():
    assert sensitivity.short(MATRIX) in README
    assert TEXT.read_text() == sensitivity.table(MATRIX) + "\n"
    silent, count = sum(row["silent"] for row in MATRIX["traps"]), len(CATALOGUE)
    assert f"{count} of {count} are\ncaught, {silent} of which final accuracy alone" in README
    assert (
        f"Of {count}\nknown porting mistakes the proof sees all; the final accuracy misses {silent}"
        in README
    )


def test_the_readme_shows_the_benchmark_with_its_machine_and_versions():
    assert benchmark.ratios(TIMES) in README
    for what, value in TIMES["machine"].items():
        assert f"{what} {value}" in README
