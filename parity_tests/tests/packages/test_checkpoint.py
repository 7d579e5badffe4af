"""A run that is interrupted and resumed is the run that was not: the same log, the same weights."""

import hashlib
import importlib
import json
import shutil
import signal
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file, save_file

from parity_tests.__main__ import main
from parity_tests.program import files, run_log
from parity_tests.program.checkpoints import UNSIGNED
from parity_tests.program.frameworks import FRAMEWORKS

BATCHES = 6
RUN = ["--epochs=2", "--batch-size=100", "--shuffle", "--checkpoint-steps=2"]
"""Two epochs of six batches, with checkpoints after two and four of each, and after all."""


class Killed(BaseException):
    """What SIGKILL would do, as far as one process can show it: no code of the run goes on."""


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """Let both packages train on 600 images, and test on 100."""
    rng = np.random.default_rng(0)
    samples = 100 * BATCHES
    images = rng.uniform(0, 1, (samples, 784)) * (rng.random((samples, 784)) < 0.2)
    labels = rng.integers(0, 10, samples)
    for name, convert in (("tf_reference", np.asarray), ("torch_port", torch.as_tensor)):

        def load_few(folder, dtype, convert=convert):
            train = convert(images.astype(dtype)), convert(labels)
            return train, tuple(array[:100] for array in train)

        monkeypatch.setattr(importlib.import_module(f"{name}.mnist"), "load_mnist", load_few)


@pytest.fixture(params=["scratch", "first"])
def example(request):
    return request.param


@pytest.fixture
def train(command, example, tmp_path, monkeypatch):
    """Run `train` in a folder of its own; return its status, errors, log and weights."""

    def train(where, *options):
        folder = tmp_path / where
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        written = [Path("run.jsonl"), Path("w.safetensors")]
        arguments = [f"--example={example}", f"--log={written[0]}", f"--save-weights={written[1]}"]
        given = {str(option).replace("--no-", "--") for option in options}
        arguments = [of for of in [*RUN, *arguments] if of.split("=")[0] not in given]
        status, _, err = command("train", *arguments, *options)
        return status, err, *(path.read_bytes() if path.exists() else b"" for path in written)

    return train


@pytest.fixture
def ending():
    """Meanwhile, let a step be followed by a signal, or by what SIGKILL would do."""

    def ending(step, number=None):
        record = run_log.RunLog.record

        def record_and_end(self, **values):
            record(self, **values)
            if "loss" in values and values["epoch"] * BATCHES + values["batch"] == step:
                if number is None:
                    raise Killed
                signal.raise_signal(number)

        return mock.patch.object(run_log.RunLog, "record", record_and_end)

    return ending


def test_a_run_that_is_killed_again_and_again_is_the_same_to_the_bit(train, ending):
    _, _, *expected = train("whole")
    folder = "--checkpoint"
    for step in (0, 3, 5, 6, 8, 11):
        with ending(step), pytest.raises(Killed):
            train("killed", folder, "saved")
        folder = "--resume"
    status, err, *found = train("killed", "--resume", "saved")
    assert (status, err) == (0, "")
    assert found == expected
    assert [path.name for path in sorted(Path("saved").glob("*.safetensors"))] == [
        "0000001-0000004.safetensors",
        "0000002-0000000.safetensors",
    ]


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGTERM, 2), (signal.SIGINT, 5)],
    ids=["SIGTERM within an epoch", "SIGINT at its end"],
)
def test_a_signal_ends_the_run_with_a_checkpoint_of_its_last_step(train, ending, number, step):
    _, _, *expected = train("whole")
    with ending(step, number):
        status, err, log, weights = train("ended", "--checkpoint", "saved")
    assert status == 128 + number
    assert err == ("naive-parity: interrupted: to go on, repeat the command with --resume saved\n")
    assert (len(log.splitlines()), weights) == (step + 2, b"")
    status, err, *found = train("ended", "--resume", "saved")
    assert (status, err, found) == (0, "", expected)


@pytest.mark.parametrize("example", ["scratch"], indirect=True)
def test_a_finished_run_is_resumed_to_the_same_files(train):
    _, _, *expected = train("run", "--checkpoint", "saved")
    assert train("run", "--resume", "saved")[2:] == tuple(expected)


@pytest.fixture(scope="module")
def interrupted_runs(tmp_path_factory):
    """Runs that were interrupted, by package and example: each is made once."""
    return tmp_path_factory.mktemp("interrupted"), set()


@pytest.fixture
def interrupted(package, example, train, ending, tmp_path, interrupted_runs):
    """A run that was interrupted in its second epoch, whose checkpoints lie in `run/saved`."""
    folder, made = interrupted_runs
    name = f"{package.__name__}-{example}"
    if name not in made:
        with ending(8), pytest.raises(Killed):
            train("run", "--checkpoint", "saved")
        shutil.copytree(tmp_path / "run", folder / name)
        made.add(name)
    else:
        shutil.copytree(folder / name, tmp_path / "run")
    return tmp_path / "run" / "saved"


def newest(folder):
    return max(folder.glob("*.safetensors"))


def metadata_of(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]


def restated(path, **changes):
    """Write a checkpoint anew whose JSON says something else."""
    metadata = metadata_of(path)
    state = json.loads(metadata["checkpoint"])
    for name, value in changes.items():
        of_progress = name in state["progress"]
        (state["progress"] if of_progress else state)[name] = value
    save_file(load_file(path), path, {**metadata, "checkpoint": json.dumps(state)})


def of_another_run(path, **changes):
    """Write a whole checkpoint whose JSON says something else: its SHA-256 is right."""
    restated(path, **changes)
    sha256 = metadata_of(path)["sha256"].encode()
    content = path.read_bytes().replace(sha256, UNSIGNED)
    path.write_bytes(content.replace(UNSIGNED, hashlib.sha256(content).hexdigest().encode()))


def altered(path):
    tensors = load_file(path)
    tensors["layers.0.b"][0] += 1
    save_file(tensors, path, metadata_of(path))


def unsigned(path):
    save_file(load_file(path), path, {"checkpoint": metadata_of(path)["checkpoint"]})


ALTERED = (
    "saved/0000001-0000002.safetensors is altered, or of another version of this program; remove "
    "it, to go on from the one before\n"
)


@pytest.mark.parametrize("example", ["first"], indirect=True)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "remove it, to go on from the one before"),
        (altered, ALTERED),
        (unsigned, ALTERED),
        (lambda p: restated(p, format=1), ALTERED),
        (lambda p: restated(p, epoch=3), ALTERED),
        (lambda p: restated(p, batch=-1), ALTERED),
        (lambda p: restated(p, matches=10**30), ALTERED),
        (lambda p: restated(p, total_loss=1e999), ALTERED),
        (lambda p: restated(p, options={}), ALTERED),
        (lambda p: restated(p, log={"bytes": -1, "sha256": ""}), ALTERED),
        (lambda p: save_file(load_file(p), p, {"checkpoint": "[" * 200_000}), ALTERED),
        (lambda p: save_file({"x": np.zeros(1)}, p), "is not a checkpoint: expected one that"),
        (
            lambda p: save_file({"x": np.zeros(1)}, p, {"checkpoint": "{}"}),
            ALTERED,
        ),
        (lambda p: of_another_run(p, format=1), "is of format 1: expected 2; remove it, to go on"),
        (lambda p: of_another_run(p, options={}), "was made with None: give the same options"),
        (
            lambda p: of_another_run(p, log={"bytes": 9, "sha256": ""}),
            "does not begin with the 9 bytes",
        ),
        (lambda p: of_another_run(p, package="jax"), "was made by jax, and this is t"),
        (lambda p: (p.unlink(), p.mkdir()), "is a folder: expected a checkpoint"),
    ],
)
def test_a_checkpoint_that_is_not_of_this_run_is_refused_and_kept(
    train, interrupted, change, message
):
    change(newest(interrupted))
    kept = {path: path.read_bytes() for path in interrupted.iterdir() if path.is_file()}
    log = interrupted.with_name("run.jsonl").read_bytes()
    status, err, *_ = train("run", "--resume", "saved")
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert {path: path.read_bytes() for path in interrupted.iterdir() if path.is_file()} == kept
    assert Path("run.jsonl").read_bytes() == log


@pytest.mark.parametrize("example", ["scratch"], indirect=True)
def test_a_log_that_is_missing_is_named_as_a_file(command, interrupted):
    status, _, err = command("train", *RUN, "--resume", interrupted)
    assert status == 2
    assert "--log is no file, but " in err
    assert " was made with a file: give the same options" in err


@pytest.mark.parametrize("example", ["scratch"], indirect=True)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume", "saved", "--seed", "1"], "--seed is 1, but saved/0000001-0000002"),
        (["--resume", "saved", "--dtype", "float64"], "--dtype is float64, but saved"),
        (["--resume", "saved", "--no-shuffle"], "--shuffle is False, but saved"),
        (["--resume", "saved", "--log", "other"], "does not begin with the"),
        (["--resume", "other"], "other holds no checkpoint: begin with --checkpoint other"),
        (["--resume", "run.jsonl"], "run.jsonl is a file: expected a folder for checkpoints"),
        (["--resume", "a/b"], "a/b cannot hold checkpoints: No such file or directory"),
        (["--checkpoint", "saved"], "saved holds checkpoints: --resume saved goes on from"),
        (["--checkpoint", "a", "--resume", "saved"], "--resume writes to its own folder"),
        (
            ["--checkpoint", "a", "--checkpoint-steps", "0"],
            '"0" for --checkpoint-steps. Must be >= 1.',
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_are_not_those_of_the_checkpoint_are_refused(
    train, interrupted, options, message
):
    kept = {path: path.read_bytes() for path in interrupted.iterdir()}
    status, err, *_ = train("run", *options)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert {path: path.read_bytes() for path in interrupted.iterdir()} == kept


@pytest.mark.parametrize("example", ["scratch"], indirect=True)
def test_a_folder_of_another_run_is_refused(train, interrupted):
    theirs = files.open_locked(interrupted / ".lock", interrupted)
    status, err, *_ = train("run", "--resume", "saved")
    theirs.close()
    assert status == 2
    assert "saved is being written by another run: wait for its end" in err


@pytest.mark.parametrize("example", ["scratch"], indirect=True)
def test_a_full_disk_ends_the_run_and_leaves_the_checkpoints_before(train, interrupted):
    _, _, *expected = train("whole")
    kept = {path: path.read_bytes() for path in interrupted.iterdir()}
    with mock.patch.object(files.os, "fsync", side_effect=OSError(28, "No space left on device")):
        status, err, *_ = train("run", "--resume", "saved")
    assert status == 2
    assert "No space left on device" in err
    assert {path: path.read_bytes() for path in interrupted.iterdir()} == kept
    assert train("run", "--resume", "saved")[2:] == tuple(expected)


def test_a_checkpoint_goes_on_in_the_other_framework_if_told_to(
    package, example, status_of, capsys, data, train, ending, tmp_path
):
    _, _, _, expected = train("whole", "--dtype", "float64")
    with ending(8), pytest.raises(Killed):
        train("run", "--dtype", "float64", "--checkpoint", "saved")
    capsys.readouterr()
    other = {"tf_reference": "torch_port", "torch_port": "tf_reference"}[package.__name__]
    written = ["--log", "run.jsonl", "--save-weights", "w.safetensors", "--data", data]
    options = [*RUN, "--example", example, "--dtype", "float64", "--resume", "saved", *written]
    assert status_of(main, "train", FRAMEWORKS[other], *options) == 2
    told = f"was made by {package.__name__}, and this is {other}: say --other-framework to go on"
    assert told in capsys.readouterr().err
    assert status_of(main, "train", FRAMEWORKS[other], *options, "--other-framework") == 0
    said = capsys.readouterr().err
    assert f"naive-parity: saved/0000001-0000002.safetensors was made by {package.__name__}" in said
    lines = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    (resumed,) = (line for line in lines[1:] if "versions" in line)
    assert (resumed["epoch"], resumed["batch"]) == (1, 2)
    found = load_file("w.safetensors")
    for name, weight in load(expected).items():
        np.testing.assert_allclose(found[name], weight, rtol=0, atol=1e-12 * np.abs(weight).max())
