"""What the documents show is what the code is, and what was measured."""

import difflib
import json
import re
from pathlib import Path

import pytest

from parity_tests.measurements import benchmark, scaling
from parity_tests.traps import sensitivity
from parity_tests.traps.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in ROOT.glob("**/*.md")
             if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)}  # fmt: skip
README = DOCUMENTS["README.md"]
TRAPS = DOCUMENTS["parity_tests/traps/README.md"]
MEASUREMENTS = DOCUMENTS["parity_tests/measurements/README.md"]
TEXT = ROOT / "parity_tests" / "traps" / "sensitivity.txt"
MATRIX = json.loads(TEXT.with_suffix(".json").read_text())
RESULTS = ROOT / "parity_tests" / "measurements" / "results"
FRAMEWORK = re.compile(r"tf|tensorflow|torch|^[\d.]+,?$", re.IGNORECASE)
TIMES = json.loads((RESULTS / "benchmark.json").read_text())


def test_the_readme_has_at_most_1000_words():
    assert len(README.split()) <= 1000


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_link_leads_to_a_file_and_to_a_heading_in_it(name):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", DOCUMENTS[name]):
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings]
            assert anchor in anchors, target


def test_the_documents_of_the_twins_differ_only_in_a_framework_and_in_its_numbers():
    words = [
        DOCUMENTS[f"{package}/README.md"].split() for package in ("tf_reference", "torch_port")
    ]
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        found = words[0][a:b] + words[1][c:d]
        assert kind == "equal" or all(FRAMEWORK.search(word) for word in found), found


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
    assert sensitivity.short(MATRIX) in TRAPS
    assert TEXT.read_text() == sensitivity.table(MATRIX) + "\n"
    silent, count = sum(row["silent"] for row in MATRIX["traps"]), len(CATALOGUE)
    assert f"{count} of {count} are\ncaught, {silent} of which final accuracy alone" in TRAPS
    assert (
        f"Of {count}\nknown porting mistakes the proof sees all; the final accuracy misses {silent}"
        in README
    )


def test_the_readme_shows_the_benchmark_with_its_machine_and_versions():
    assert benchmark.ratios(TIMES) in MEASUREMENTS
    for what, value in TIMES["machine"].items():
        assert f"{what} {value}" in MEASUREMENTS


def test_the_readme_shows_what_ranks_gain_with_its_machine():
    results = json.loads((RESULTS / "scaling.json").read_text())
    for table in (scaling.measured_table, scaling.least_table, scaling.projected_table):
        assert table(results) in MEASUREMENTS
    assert str(results["machine"]["cpu"]) in MEASUREMENTS
