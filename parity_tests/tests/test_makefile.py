"""The Makefile hands every path on as it is, whatever characters it has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STRANGE = 'it\'s "a" `b`; c\\d &.py'


@pytest.fixture
def make(tmp_path):
    """Run make in a copy of the project whose interpreter prints its arguments, one a line."""
    for name in ("Makefile", "pyproject.toml", ".constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (0, 0))
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    for folder in ("a b", "a:b", "a#b$c%d"):
        mnist = tmp_path / folder / "MNIST" / "raw"
        mnist.mkdir(parents=True)
        (mnist / "t10k-labels-idx1-ubyte").touch()

    def make(*arguments):
        ours = ("MAKE", "ARGS", "DATA", "PORT")  # of a make that runs the tests
        outer = {n: v for n, v in os.environ.items() if not any(part in n for part in ours)}
        found = subprocess.run(
            ["make", "--silent", *arguments],  # noqa: S607 (whichever make the user has)
            cwd=tmp_path,
            env=outer,
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout.splitlines()

    return make


def test_a_strange_path_of_a_port_arrives(make):
    found = make("check", f"PORT={STRANGE}", "DATA=a b")
    assert found == ["-m", "parity_tests", "check", STRANGE, "--data", "a b"]


@pytest.mark.parametrize("target", ["train-torch", "train-tf", "test", "mutants"])
def test_a_folder_with_a_space_arrives_and_is_not_fetched_again(make, target):
    found = make(target, "DATA=a b", "ARGS=--epochs 2")
    assert "fetch-mnist" not in found
    assert found[-2:] == ["--epochs", "2"]
    assert "a b" in found or "--data=a b" in found


@pytest.mark.parametrize("folder", ["a:b", "a#b$c%d"])
def test_a_folder_with_a_character_of_make_arrives_and_is_not_fetched_again(make, folder):
    found = make("train-torch", f"DATA={folder.replace('$', '$$')}")
    assert found == ["-m", "parity_tests", "train", "torch", "--data", folder]


def test_an_environment_in_a_path_with_spaces_is_refused(make, tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        make("train-torch", "VENV=my venv")
    assert "VENV is 'my venv': expected a path without spaces" in failed.value.stderr
    assert not (tmp_path / "my").exists()


def test_clean_removes_what_is_named_and_only_data_that_was_fetched(make, tmp_path):
    for package in ("tf_reference", "torch_port", "parity_tests"):
        (tmp_path / package).mkdir()
    for environment in ("named", ".venv"):
        (tmp_path / environment).mkdir(exist_ok=True)
        (tmp_path / environment / "pyvenv.cfg").touch()
    labels = tmp_path / "a b" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    make("clean", "VENV=named", "DATA=a b")
    assert not (tmp_path / "named").exists()
    assert (tmp_path / ".venv").exists()
    assert labels.exists()
    labels.with_name(".fetched").touch()
    own = tmp_path / "a b" / "notes.txt"
    own.touch()
    make("clean", "VENV=tf_reference", "DATA=a b")
    assert (tmp_path / "tf_reference").exists()
    assert not labels.parents[1].exists()
    assert own.exists()


def test_diff_shows_the_file_that_is_named(make, tmp_path):
    for package in ("tf_reference", "torch_port"):
        (tmp_path / package).mkdir()
        for name in ("losses.py", "layers.py"):
            (tmp_path / package / name).write_text(f"# {package}\n")
    shown = ["--- tf_reference/losses.py", "+++ torch_port/losses.py"]
    assert [line for line in make("diff", "ARGS=losses.py") if line[:3] in ("---", "+++")] == shown
    assert sum(line.startswith("---") for line in make("diff")) == 2
