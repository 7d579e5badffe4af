"""The fuzzer: its targets hold, what it found is mended, and it sees what it must."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parity_tests.tests.fuzz import harness, targets
from parity_tests.tests.fuzz.__main__ import table

HERE = Path(__file__).parent
ROWS = json.loads((HERE / "results.json").read_text())
README = (HERE / "README.md").read_text()
SLOW = re.compile("keras|h5|run$")


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Execute a target in a folder of its own; return what the reader says."""
    monkeypatch.chdir(tmp_path)

    def execute(name, content):
        target = targets.targets()[name]
        return harness.execute(target, target.make(), content)

    return execute


FOUND = [
    ("run logs", b"\x05\0\0\0\0\0\0\0{", "the run had written to its log"),
    ("command lines", b"train\0torch\0--" + b"x" * 3000, " characters)"),
]
"""What failed, and the words that now refuse it."""


@pytest.mark.parametrize(("name", "content", "words"), FOUND)
def test_what_was_found_is_refused(execute, name, content, words):
    assert words in execute(name, content)


@pytest.mark.soak
def test_the_readers_read_what_is_right(execute, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, target in targets.targets().items():
        if not SLOW.search(name):
            assert "read" in [execute(name, seed) for seed in target.seeds()], name


@pytest.mark.soak
def test_what_keras_says_of_a_long_configuration_is_cut(execute):
    content = json.dumps({"class_name": "x" * 3000, "config": {}, "module": "m"}).encode()
    assert " characters)" in execute(".keras files", content)


STRANGE = {
    "open('../elsewhere', 'w')": "open of ",
    "import os; os.mkdir('../elsewhere')": "os.mkdir of ",
    "import pickle; pickle.loads(pickle.dumps(print))": "pickle.find_class",
    "import subprocess; subprocess.run(['true'])": "subprocess.Popen",
    "open('left', 'w')": "the reader left ['left']",
    "raise KeyError('k')": "KeyError: 'k'",
    "raise ValueError('v')": "ValueError: v",
    "raise UserError": "the message has 0 characters",
}


PROGRAM = """
import os
from pathlib import Path
from parity_tests.program.messages import UserError
from parity_tests.tests.fuzz import harness, targets
def read(content):
    exec(content)
harness.watch_escapes(Path.cwd())
for code in {codes}:
    try:
        harness.execute(harness.Target(lambda: read, tuple, 1), read, code)
    except Exception as error:
        print(f"{{type(error).__name__}}: {{error}}")
    for name in os.listdir():
        os.remove(name)
"""


@pytest.mark.soak
def test_a_reader_that_does_what_no_reader_may_is_seen(tmp_path):
    (tmp_path / "work").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(codes=list(STRANGE))],
        cwd=tmp_path / "work",
        env={"PYTHONPATH": str(HERE.parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    for line, words in zip(ended.stdout.splitlines(), STRANGE.values(), strict=True):
        assert words in line


def test_the_document_shows_a_million_executions_of_all_targets_without_a_failure():
    assert {row["target"]: row["failed"] for row in ROWS} == dict.fromkeys(targets.targets(), False)
    assert sum(row["executions"] for row in ROWS) >= 1_000_000
    assert table(ROWS) in README
