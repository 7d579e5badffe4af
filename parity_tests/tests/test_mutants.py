"""The mutants: which are made, what `make mutants` fails on, and what the document shows."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from parity_tests.tests.mutation import __main__ as mutation
from parity_tests.tests.mutation.judging import ROOT
from parity_tests.tests.mutation.mutants import mutants

SOURCE = '''"""A module."""

LIMIT = 3


class Thing:
    @property
    def small(self):
        return self.size < LIMIT

    def check(self):
        if self.small:
            raise ValueError("too small")
        print("a fair size", self.size)
        return "large"
'''


def test_each_place_is_changed_also_outside_of_functions_and_below_a_decorator():
    found = {mutant.key: mutant.source for mutant in mutants(SOURCE)}
    assert list(found) == [
        ": LIMIT = 3 -> LIMIT = None",
        ": LIMIT = 3 -> LIMIT = 4",
        "Thing.small: return self.size < LIMIT -> return self.size <= LIMIT",
        'Thing.check: return "large" -> return "XXlargeXX"',
        'Thing.check: return "large" -> return "LARGE"',
    ]
    changed = SOURCE.replace("size < LIMIT", "size <= LIMIT")
    assert found["Thing.small: return self.size < LIMIT -> return self.size <= LIMIT"] == changed


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command on one module, given which of its mutants survive; return its status."""
    module, *_ = mutation.JUDGES
    table = tmp_path / "equivalents.toml"
    table.write_text(
        f'[["{module}"]]\nfunction = "f"\nbefore = "a"\nafter = ["b", "c"]\nwhy = "the same"\n'
    )
    monkeypatch.setattr(mutation, "EQUIVALENTS", table)
    monkeypatch.setattr(mutation, "RESULTS", tmp_path / "results.json")
    mutation.RESULTS.write_text("{}")
    monkeypatch.setattr(mutation.subprocess, "run", lambda *command, check: None)
    monkeypatch.setattr(sys, "argv", ["mutants", module])

    def run(survivors):
        monkeypatch.setattr(mutation, "survivors_of", lambda module, data: (survivors, 9))
        status = mutation.main()
        return status, json.loads(mutation.RESULTS.read_text())[module]

    return run


def test_survivors_that_are_all_in_the_table_are_no_failure(run):
    counts = {"mutants": 9, "killed": 7, "equivalent": 2, "survived": 0}
    assert run(["f: a -> b", "f: a -> c"]) == (0, counts)


def test_a_survivor_that_is_not_in_the_table_is_a_failure(run, capsys):
    counts = {"mutants": 9, "killed": 6, "equivalent": 2, "survived": 1}
    assert run(["f: a -> b", "f: a -> c", "g: a -> b"]) == (1, counts)
    assert "survived: g: a -> b" in capsys.readouterr().err


def test_a_line_of_the_table_that_is_killed_or_gone_is_a_failure(run, capsys):
    assert run(["f: a -> b"])[0] == 1
    assert "in the table, but killed or gone: f: a -> c" in capsys.readouterr().err


def test_a_module_that_is_not_mutated_is_refused(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mutants", "nothing.py"])
    with pytest.raises(SystemExit) as end:
        run([])
    assert end.value.code == 2
    assert "nothing.py is not mutated: expected some of" in capsys.readouterr().err


def test_the_table_of_equivalents_is_of_this_code_and_gives_reasons():
    for module, rows in tomllib.loads(mutation.EQUIVALENTS.read_text()).items():
        assert module in mutation.JUDGES
        text = " ".join((ROOT / module).read_text().split())
        for row in rows:
            assert row.keys() == {"function", "before", "after", "why"}
            assert " ".join(row["before"].split()) in text, row["before"]
            assert row["why"]


def test_every_module_is_judged_by_files_that_are_there():
    for module, tests in mutation.JUDGES.items():
        assert (ROOT / module).is_file()
        assert all((ROOT / test).is_file() for test in tests if test.endswith(".py"))


def test_the_readme_shows_the_results_in_which_none_survived():
    results = json.loads(mutation.RESULTS.read_text())
    assert mutation.table(results) in (Path(__file__).parent / "README.md").read_text()
    assert {of["survived"] for of in results.values()} == {0}
    assert all(sum(of.values()) == 2 * of["mutants"] for of in results.values())
