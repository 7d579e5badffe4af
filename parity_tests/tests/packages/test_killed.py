"""Processes that are killed by SIGKILL at random moments, and resumed: nothing is lost."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import load_file

import torch_port
from parity_tests.program.frameworks import FRAMEWORKS


class Run:
    """One run of `train` in a folder of its own, in as many processes as it takes."""

    def __init__(self, folder, package, data, options):
        folder.mkdir()
        self.folder = folder
        self.log = folder / "run.jsonl"
        files = ["--log", "run.jsonl", "--save-weights", "w.safetensors"]
        self.command = [sys.executable, "-m", "parity_tests", "train", FRAMEWORKS[package]]
        self.command += [*options, *files]
        self.command += ["--data", str(data.absolute())]

    def start(self, *options):
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*self.command, *options], cwd=self.folder, stdout=quiet, stderr=quiet
        )

    def go_on(self):
        """Start a process that goes on from the last checkpoint, or begins if there is none."""
        begun = any(self.folder.glob("saved/*.safetensors"))
        return self.start("--resume" if begun else "--checkpoint", "saved")

    def kill_at_a_random_moment(self, rng):
        """Kill a process while it starts, or after some more steps, in the middle of anything."""
        with self.go_on() as process:
            if rng.random() < 0.2:
                time.sleep(rng.uniform(0, 3))
            else:
                before, more = self.log_size(), rng.uniform(0, 350) * 60
                while self.log_size() in (before, 0) and process.poll() is None:
                    time.sleep(0.001)  # it has not yet cut off what it will write anew
                start = self.log_size()
                while self.log_size() < start + more and process.poll() is None:
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.02))
            process.kill()
        return process.returncode

    def log_size(self):
        with suppress(FileNotFoundError):
            return self.log.stat().st_size
        return 0

    def hashes(self):
        paths = self.log, self.folder / "w.safetensors"
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def killed_and_whole(package, data, tmp_path, options, kills):
    """Return the hashes of a run that was killed so often, and of one that was not."""
    whole = Run(tmp_path / "whole", package, data, options)
    with whole.start() as process:
        assert process.wait() == 0
    run = Run(tmp_path / "killed", package, data, options)
    rng = random.Random(kills)  # noqa: S311 (it hides nothing)
    for _ in range(kills):
        assert run.kill_at_a_random_moment(rng) == -signal.SIGKILL
    with run.go_on() as process:
        assert process.wait() == 0
    return run.hashes(), whole.hashes()


@pytest.mark.soak
def test_a_run_that_is_killed_and_resumed_ends_with_the_same_files(data, tmp_path):
    killed, whole = killed_and_whole("torch_port", data, tmp_path, ["--epochs", "3"], kills=1)
    assert killed == whole


@pytest.mark.soak
@pytest.mark.parametrize("example", ["scratch", "first"])
@pytest.mark.parametrize("package", ["tf_reference", "torch_port"])
def test_a_run_of_ten_epochs_that_is_killed_20_times_ends_with_the_same_files(
    package, example, data, tmp_path
):
    options = ["--example", example, "--epochs", "10", "--shuffle"]
    killed, whole = killed_and_whole(package, data, tmp_path, options, kills=20)
    assert killed == whole


@pytest.mark.soak
@pytest.mark.parametrize(
    "packages", [("tf_reference", "torch_port"), ("torch_port", "tf_reference")]
)
def test_five_epochs_in_each_framework_are_ten_in_either(packages, data, tmp_path):
    options = ["--epochs", "10", "--dtype", "float64", "--checkpoint-steps", "500"]
    runs = [Run(tmp_path / package, package, data, options) for package in packages]
    for run in runs:
        with run.start() as process:
            assert process.wait() == 0
    mixed = Run(tmp_path / "mixed", packages[0], data, options)
    with mixed.go_on() as process:
        while not (mixed.folder / "saved" / "0000005-0000000.safetensors").exists():
            time.sleep(0.01)
        process.kill()
    mixed.command[4] = FRAMEWORKS[packages[1]]
    with mixed.start("--resume", "saved", "--other-framework") as process:
        assert process.wait() == 0
    labels, weights = [], []
    for run in (*runs, mixed):
        path = run.folder / "w.safetensors"
        model = torch_port.mnist_model(dtype="float64")
        torch_port.load_weights(model, path)
        labels.append(torch_port.predict(model, torch_port.load_mnist(data, "float64")[1][0]))
        weights.append(load_file(path))
    for found in labels[:2]:
        assert np.count_nonzero(found == labels[2]) == 10_000
    for found in weights[:2]:
        for name, weight in found.items():
            worst = np.abs(weights[2][name] - weight).max() / np.abs(weight).max()
            print(f"{packages[0]} then {packages[1]}: {name} {worst:.1e}")
            assert worst < 1e-12
