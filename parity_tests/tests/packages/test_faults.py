"""What changes or is missing around a run: its files, its log, its folder, its terminal."""

import importlib
import os
import sys

import pytest

from parity_tests.__main__ import main as proof


def test_no_file_of_mnist_and_none_of_the_checkpoints_is_written_over(command, data, tmp_path):
    mnist = data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = mnist.read_bytes()
    kept = tmp_path / "c" / "0000009-0000000.safetensors"
    kept.parent.mkdir()
    for option in ("--log", "--save-weights"):
        status, out, err = command("train", option, mnist)
        assert (status, out) == (2, "")
        assert f"{mnist} is named twice: expected a file of its own" in err
        status, out, err = command("train", "--checkpoint", kept.parent, option, kept)
        assert (status, out) == (2, "")
        assert f"{kept} lies in {kept.parent}, which is no place for it: name another" in err
    assert mnist.read_bytes() == content
    assert not kept.exists()


@pytest.mark.parametrize("change", [os.remove, lambda path: os.truncate(path, 0)])
def test_a_log_that_is_removed_or_truncated_meanwhile_is_not_whole(package, tmp_path, change):
    run_log = importlib.import_module(f"{package.__name__}.run_log")
    path = tmp_path / "run.jsonl"
    log = run_log.RunLog(path)
    log.record(loss=1.0)
    log.check()
    change(path)
    log.record(loss=2.0)
    with pytest.raises(OSError, match="was moved or changed meanwhile: it is not whole"):
        log.check()
    log.close()


def test_help_that_cannot_be_printed_is_no_success(package, status_of, monkeypatch, capsys):
    main = importlib.import_module(f"{package.__name__}.__main__").main
    monkeypatch.setenv("COLUMNS", "1")  # at which tyro would draw for ever
    assert status_of(main, "train", "--help") == 0
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert status_of(main, "train", "--help") == 2
    assert "standard output cannot be written: No space left" in capsys.readouterr().err


def test_a_folder_that_was_removed_is_no_place_to_begin(package, monkeypatch, capsys, tmp_path):
    command_line = importlib.import_module(f"{package.__name__}.command_line")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command_line.guarded(lambda: None, "program") == 2
    assert "the current folder was removed: change to another one" in capsys.readouterr().err


def test_no_file_of_mnist_and_none_of_a_recording_is_written_over_by_a_check(
    status_of, data, capsys, tmp_path
):
    (tmp_path / "port.py").touch()
    (tmp_path / "recording").mkdir()
    mnist = data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    for output in (mnist, tmp_path / "recording" / "index.json"):
        options = ["--recording", tmp_path / "recording", "--data", data, "--json", output]
        assert status_of(proof, "check", tmp_path / "port.py", *options) == 2
        err = capsys.readouterr().err
        assert f"{output} is named twice" in err or f"{output} lies in {tmp_path}" in err
    assert list((tmp_path / "recording").iterdir()) == []
