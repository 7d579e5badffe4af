"""Bad inputs and faults on the command line: one sentence, status 2, and nothing is lost."""

import io
import json
import os
import signal
import sys

import numpy as np
import pytest
from safetensors.numpy import save

from parity_tests.__main__ import main
from parity_tests.program import files, process, run_log
from parity_tests.program.frameworks import FRAMEWORKS

ONE_STEP = ["--epochs", "1", "--batch-size", "60000"]


@pytest.fixture
def weights(package, tmp_path):
    path = tmp_path / "w.safetensors"
    package.save_weights(package.mnist_model(seed=0), path)
    return path


@pytest.fixture
def full_disk(monkeypatch):
    """Let every write to a file whose name holds a word fail, as on a full disk."""

    def fill(word):
        replace = files.Path.replace

        def no_space(self, target):
            if word in str(target):
                raise OSError(28, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(files.Path, "replace", no_space)

    return fill


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "nan"], "--epochs: it is nan, expected a whole number"),
        (["train", "--epochs", "1e3"], "--epochs: it is 1e3, expected a whole number"),
        (["train", "--epochs", "1_0"], "--epochs: it is 1_0, expected a whole number"),
        (["train", "--epochs", ""], "--epochs: it is empty, expected a whole number"),
        (["train", "--epochs", "9" * 5000], f"--epochs: it is {'9' * 50}... (5000 characters), ex"),
        (["train", "--epochs", "9" * 400], "(400 characters), expected a whole number"),
        (["train", "--batch-size", "60001"], '"60001" for --batch-size. Must be <= 60000.'),
        (["train", "--epochs", " 3"], "--epochs: it is ' 3', expected a whole number"),
        (["train", "--learning-rate", "1_0"], "--learning-rate: it is 1_0, expected a finite numb"),
        (["train", "--learning-rate", "\u0661"], "--learning-rate: it is \u0661, expected a fini"),
        (["train", "--data", "\udcff"], "\\udcff has a name that is no UTF-8: rename it; expected"),
        (["evaluate", "\udcff"], "\\udcff has a name that is no UTF-8: rename it"),
        (["train", "--learning-rate", "fast"], "--learning-rate: it is fast, expected a finite nu"),
        (["train", "--dtype", "float16"], '--dtype. Choose from: "float32", "float64".'),
        (["train", "--update-rule", ""], '"" for --update-rule. Choose from: "hand", "sgd".'),
        (["train", "--save-weights", ""], "--save-weights: it is empty, expected a path"),
        (["train", "--data", ""], "--data: it is empty, expected a path"),
        (["train", "--bogus", "1"], "Unknown option: --bogus."),
        (["train", "--epoch", "1"], "Unknown option: --epoch. Did you mean --epochs?"),
        (["train", "--epochs"], "--epochs requires an argument"),
        (["train", "word"], "Unused Tokens: ['word']"),
        (["evaluate"], "--weights requires an argument"),
        (["evaluate", ""], "it is empty, expected a path"),
        (["notebook", "--output", "x"], "Unknown option: --output."),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_an_option_that_cannot_be_read_is_one_sentence(
    package, status_of, capsys, arguments, message
):
    name, *options = arguments
    status = status_of(main, name, FRAMEWORKS[package.__name__], *options)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("naive-parity: ")
    assert message in err


def kinds(folder):
    """Return what stands where a file is expected, by what a message says of it."""
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    os.mkfifo(folder / "pipe")
    return {
        folder: "folder",
        folder / "a": "Too many levels of symbolic links",
        folder / "pipe": "pipe or a device",
        "/dev/zero": "pipe or a device",
    }


def test_what_is_no_file_is_named_where_one_is_read_or_written(command, tmp_path):
    before = set(tmp_path.iterdir())
    for path, kind in kinds(tmp_path).items():
        for option in ("--initial-weights", "--save-weights", "--log"):
            status, out, err = command("train", *ONE_STEP, option, path)
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert f"{path} " in err
            assert kind in err
            assert "expected" in err or "cannot be written" in err
    assert len(set(tmp_path.iterdir()) - before) == 3


def test_what_is_no_folder_is_named_where_mnist_is_read(command, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "MNIST").symlink_to(tmp_path / "MNIST")
    for path, found in (
        (tmp_path / "file", "file is a file"),
        (tmp_path, "MNIST cannot be read: Too many levels of symbolic links"),
    ):
        status, out, err = command("train", data=path)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert found in err
        assert "expected the folder that holds MNIST in MNIST/raw" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_hard_link_to_an_input_is_not_written_over(command, weights, tmp_path):
    content = weights.read_bytes()
    os.link(weights, tmp_path / "link")
    for option in ("--log", "--save-weights"):
        status, _, err = command("train", "--initial-weights", weights, option, tmp_path / "link")
        assert status == 2
        assert "link is named twice: expected a file of its own" in err
    assert weights.read_bytes() == content


def test_a_link_is_followed_and_stays_a_link(command, tmp_path):
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    assert command("train", *ONE_STEP, "--save-weights", link)[0] == 0
    assert link.is_symlink()
    assert target.stat().st_size > 1e6
    assert {path.name for path in tmp_path.iterdir()} == {"link", "target"}


def test_an_output_of_another_run_is_refused(command, tmp_path):
    saved, log = tmp_path / "w.safetensors", tmp_path / "run.jsonl"
    log.write_text("theirs\n")
    theirs = files.open_locked(log, log)
    with files.Output(saved) as output:
        for option, path in (("--save-weights", saved), ("--log", log)):
            status, out, err = command("train", *ONE_STEP, option, path)
            assert (status, out) == (2, "")
            assert f"{path} is being written by another run: wait for its end" in err
        output.write(b"theirs")
    theirs.close()
    assert saved.read_bytes() == b"theirs"
    assert log.read_text() == "theirs\n"


def test_space_that_is_not_there_is_missed_before_training(command, monkeypatch, tmp_path):
    def no_space(descriptor, start, length):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    status, out, err = command("train", "--save-weights", tmp_path / "w.safetensors")
    assert (status, out) == (2, "")
    assert f"w.safetensors cannot be written: {tmp_path}: No space left on device" in err
    assert list(tmp_path.iterdir()) == []


def test_trained_weights_that_cannot_be_written_are_somewhere_else(
    command, package, full_disk, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    full_disk("full")
    saved = tmp_path / "full" / "w.safetensors"
    status, out, err = command("train", *ONE_STEP, "--save-weights", saved)
    assert status == 2
    assert "accuracy" in out
    rescued = tmp_path / f"rescued-{os.getpid()}.safetensors"
    assert f"No space left on device; the trained weights are in {rescued}\n" in err
    package.load_weights(package.mnist_model(), rescued)
    assert list((tmp_path / "full").iterdir()) == []


def test_a_log_that_ends_early_does_not_lose_the_weights(command, package, monkeypatch, tmp_path):
    class Full(io.BytesIO):
        def write(self, line):
            if b"accuracy" in line:
                raise OSError(28, "No space left on device")
            return super().write(line)

    monkeypatch.setattr(run_log, "open_locked", lambda *of: Full())
    log, saved = tmp_path / "run.jsonl", tmp_path / "w.safetensors"
    status, _, err = command("train", *ONE_STEP, "--log", log, "--save-weights", saved)
    assert status == 2
    assert f"{log} cannot be written: No space left on device; it is not whole" in err
    package.load_weights(package.mnist_model(), saved)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("closed", [False, True], ids=["full", "closed"])
def test_standard_output_that_fails_does_not_lose_the_weights(
    package, status_of, data, monkeypatch, capsys, tmp_path, closed
):
    """As after `> /dev/full`, and after `| head -1`."""
    if closed:
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    saved = tmp_path / "w.safetensors"
    framework = FRAMEWORKS[package.__name__]
    arguments = [framework, *ONE_STEP, "--data", data, "--save-weights", saved]
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        status = status_of(main, "train", *arguments)
    assert status == 2
    reason = "Broken pipe" if closed else "No space left on device"
    assert f"standard output cannot be written: {reason}\n" in capsys.readouterr().err
    package.load_weights(package.mnist_model(), saved)


def test_missing_standard_streams_are_no_error(package, status_of, data, monkeypatch, tmp_path):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    saved = tmp_path / "w.safetensors"
    framework = FRAMEWORKS[package.__name__]
    arguments = [framework, *ONE_STEP, "--data", data, "--save-weights", saved]
    assert status_of(main, "train", *arguments) == 0
    sys.stdout.close()
    sys.stderr.close()
    assert saved.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_the_status_of_a_shell(number, capsys):
    before = signal.getsignal(number)
    status = process.guarded(lambda: signal.raise_signal(number))
    assert status == 128 + number
    assert capsys.readouterr().err == ""
    assert signal.getsignal(number) == before


def with_header(change):
    """Return a weights file with another header, its length made right."""
    content = save({"layers.0.b": np.zeros(3, "float32")})
    length = int.from_bytes(content[:8], "little")
    header = change(content[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            with_header(lambda h: h.rstrip()[:-1] + b"," + h.strip()[1:]),
            "is ['layers.0.b', 'layers.0.b']: expected each of them once",
        ),
        (with_header(lambda h: b"[" * 200_000), "is not a whole safetensors file"),
        ((2**62).to_bytes(8, "little") + b"{}", "is not a whole safetensors file"),
        (b"", "is not a whole safetensors file"),
    ],
    ids=["a name twice", "too deep", "too long", "empty"],
)
def test_a_forged_header_is_refused(command, tmp_path, content, message):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(content)
    status, out, err = command("train", *ONE_STEP, "--initial-weights", path)
    assert (status, out) == (2, "")
    assert str(path) in err
    assert message in err


@pytest.mark.parametrize("command_name", ["fetch-mnist", "convert"])
def test_the_other_commands_name_a_file_in_the_way(command_name, status_of, data, capfd, tmp_path):
    (tmp_path / "a.keras").write_text("mine")
    arguments = {
        "fetch-mnist": [tmp_path / "a.keras"],
        "convert": [tmp_path, tmp_path / "b.safetensors", "--data", data],
    }[command_name]
    status = status_of(main, command_name, *arguments)
    out, err = capfd.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"naive-parity: {tmp_path}")
    assert "expected" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]
    assert (tmp_path / "a.keras").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traps", "--seeds", "two"], "--seeds: it is two, expected a whole number"),
        (["check"], "PORT requires an argument"),
        (["convert", "a.keras"], "TARGET requires an argument"),
        (["check", "port.py", "--epochs", "x"], "--epochs: it is x, expected a whole number"),
        (["chek"], 'Unknown command "chek". Did you mean "check"? Available commands: train, eva'),
        (["check", ""], "PORT: it is empty, expected a path"),
        (["trian"], 'Unknown command "trian". Did you mean "train"?'),
        (["train"], "FRAMEWORK requires an argument"),
        (["train", "jax"], '"jax" for FRAMEWORK. Choose from: "torch", "tf".'),
        ([], "a command is missing: see naive-parity --help"),
        (["--epochs", "2"], 'Unknown command "--epochs". Available commands: train, evaluate'),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_sentence(status_of, capsys, arguments, message):
    status = status_of(main, *arguments)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("naive-parity: ")
    assert message in err


def test_the_log_of_a_run_is_json_even_where_a_path_is_no_text(command, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.jsonl")
    assert command("train", *ONE_STEP, "--log", path)[0] == 0
    assert json.loads(path.read_bytes().splitlines()[0])["options"]["epochs"] == 1
