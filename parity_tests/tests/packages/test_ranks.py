"""The command line on several ranks: whole runs, and runs that lose a rank."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from importlib import import_module

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from parity_tests.measurements import launch
from parity_tests.program.frameworks import FRAMEWORKS

pytestmark = pytest.mark.soak

SHORT_EPOCHS = ["--batch-size", "512", "--checkpoint-steps", "10"]
"""Of 118 steps."""

FEW_STEPS = [*SHORT_EPOCHS, "--epochs", "2"]


class Run:
    """One run of `train` in a folder of its own, on as many ranks as each start asks for."""

    def __init__(self, folder, package, data, *options):
        folder.mkdir()
        self.folder, self.package = folder, package
        self.log, self.weights = folder / "run.jsonl", folder / "w.safetensors"
        self.options = ["--log", "run.jsonl", "--save-weights", "w.safetensors", "--data", data]
        self.options += ["--dtype", "float64", *options]

    def start(self, size, *options):
        arguments = "train", FRAMEWORKS[self.package], *self.options, *options
        return launch.start(self.package, size, "parity_tests", *arguments, folder=self.folder)

    def go_on(self, size):
        """Start ranks that go on from the last checkpoint, or begin if there is none."""
        begun = any(self.folder.glob("saved/*.safetensors"))
        return self.start(size, "--resume" if begun else "--checkpoint", "saved")

    def finish(self, size, timeout=1800):
        assert set(launch.end(self.go_on(size), timeout)) == {0}, self.said()
        return self

    def said(self):
        return (self.folder / "said").read_text(errors="replace")

    def wait_for_steps(self, more, processes):
        """Wait until the log has grown by some steps since these processes have cut it off."""
        begin, before = self.lines(), None
        while all(process.poll() is None for process in processes):
            found = self.lines()
            if before is None and found != begin:
                before = found
            if before is not None and found >= before + more:
                return
            time.sleep(0.005)
        raise AssertionError(self.said())

    def lines(self):
        with suppress(FileNotFoundError):
            return self.log.read_bytes().count(b"\n")
        return 0

    def losses(self):
        lines = map(json.loads, self.log.read_text().splitlines())
        return np.array([line["loss"] for line in lines if "loss" in line])


def lose(run, processes, victim, number, timeout):
    """Send a rank a signal; return it, and the seconds until each other rank has ended."""
    ranks = launch.rank_processes(run.package, processes)
    lost = ranks.pop(victim)
    begin = time.monotonic()
    lost.send_signal(number)
    _, alive = psutil.wait_procs(ranks, timeout)
    assert not alive, run.said()
    return lost, time.monotonic() - begin


def worst(found, expected):
    """Return the largest difference of two runs: of the losses, and of the weights."""
    losses = np.abs(found.losses() - expected.losses()) / np.abs(expected.losses())
    weights = [load_file(run.weights) for run in (found, expected)]
    drifts = [np.abs(weights[0][k] - w).max() / np.abs(w).max() for k, w in weights[1].items()]
    return losses.max(), max(drifts)


def labels(run, data, example):
    package = import_module(run.package)
    package.use_dtype("float64")
    module = package if example == "scratch" else package.first_example
    model = package.mnist_model(dtype="float64") if example == "scratch" else module.mnist_model()
    package.load_weights(model, run.weights)
    return package.predict(model, package.load_mnist(data, "float64")[1][0])


@pytest.mark.parametrize("example", ["scratch", "first"])
@pytest.mark.parametrize("package", ["torch_port", "tf_reference"])
def test_ten_epochs_on_two_and_three_ranks_are_those_of_one_process(
    package, example, data, tmp_path
):
    options = "--epochs", "10", "--example", example
    alone = Run(tmp_path / "1", package, data, *options).finish(1)
    for size in (2, 3):
        run = Run(tmp_path / str(size), package, data, *options).finish(size)
        loss, weight = worst(run, alone)
        equal = np.count_nonzero(labels(run, data, example) == labels(alone, data, example))
        print(f"{package} {example} {size} ranks: loss {loss:.1e}, weights {weight:.1e}, {equal}")
        assert max(loss, weight) < 1e-11
        assert equal == 10_000


@pytest.mark.parametrize("package", ["torch_port", "tf_reference"])
def test_a_run_that_loses_a_rank_ten_times_ends_as_one_that_does_not(package, data, tmp_path):
    alone = Run(tmp_path / "alone", package, data, *FEW_STEPS).finish(1)
    run = Run(tmp_path / "killed", package, data, *FEW_STEPS)
    rng = random.Random(0)  # noqa: S311 (it hides nothing)
    for count in range(10):
        size = 2 + count % 2
        victim = rng.randrange(size)
        processes = run.go_on(size)
        run.wait_for_steps(rng.randrange(1, 30), processes)
        _, seconds = lose(run, processes, victim, signal.SIGKILL, 15)
        print(f"{package}: rank {victim} of {size} killed, {seconds:.2f} s")
        launch.end(processes, 60)
        assert named(run, size, victim), run.said()
    loss, weight = worst(run.finish(1), alone)
    print(f"{package}: loss {loss:.1e}, weights {weight:.1e}")
    assert max(loss, weight) < 1e-12


def named(run, size, victim):
    """Return whether each other rank has said whom it lost, and how to go on."""
    found = re.findall(
        rf"naive-parity: rank (\d) has lost rank {victim}, which has ended, hangs for 30 s or "
        "cannot be reached: --resume saved goes on from the last checkpoint",
        run.said(),
    )
    return sorted(map(int, found)) == [rank for rank in range(size) if rank != victim]


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("package", ["torch_port", "tf_reference"])
def test_a_rank_that_is_stopped_is_named_within_a_minute(package, data, tmp_path, victim):
    run = Run(tmp_path / "run", package, data, *FEW_STEPS)
    processes = run.go_on(2)
    run.wait_for_steps(15, processes)
    stopped, seconds = lose(run, processes, victim, signal.SIGSTOP, 70)
    stopped.kill()
    launch.end(processes, 60)
    print(f"{package}: rank {victim} of 2 stopped, {seconds:.2f} s")
    assert named(run, 2, victim), run.said()
    run.finish(2)


@pytest.mark.parametrize("package", ["torch_port", "tf_reference"])
def test_a_rank_that_is_interrupted_alone_ends_the_run_in_seconds(package, data, tmp_path):
    """`torchrun` asks rank 0 to end as well, once rank 1 has."""
    run = Run(tmp_path / "run", package, data, *SHORT_EPOCHS, "--epochs", "50")
    processes = run.go_on(2)
    run.wait_for_steps(15, processes)
    _, seconds = lose(run, processes, 1, signal.SIGTERM, 30)
    launch.end(processes, 60)
    print(f"{package}: rank 1 of 2 interrupted, {seconds:.2f} s")
    assert "naive-parity: rank 1 was interrupted alone" in run.said()
    assert "rank 0 has lost rank 1" in run.said() or "interrupted: to go on, repeat" in run.said()


@contextmanager
def two_hosts():
    """Two network namespaces that a virtual cable connects; a function that pulls it out."""

    def ip(*words):
        return subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: S607

    names = "ranks0", "ranks1"
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable0", "netns", names[0], "type", "veth",
           "peer", "name", "cable1", "netns", names[1])  # fmt: skip
        for number, name in enumerate(names):
            ip("-n", name, "address", "add", f"10.9.8.{number + 1}/24", "dev", f"cable{number}")
            ip("-n", name, "link", "set", f"cable{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield lambda: ip("-n", names[1], "link", "set", "cable1", "down")
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


def start_on_hosts(package, addresses, *arguments, folder):
    """Start one rank in each of the network namespaces, as the document shows it."""
    found = []
    with open(folder / "said", "wb") as said:
        for rank, address in enumerate(addresses):
            command = ["ip", "netns", "exec", f"ranks{rank}", sys.executable, "-m"]
            environment = os.environ | launch.ONE_THREAD | {"GLOO_SOCKET_IFNAME": f"cable{rank}"}
            if package == "torch_port":
                command += ["torch.distributed.run", "--nnodes", str(len(addresses))]
                command += ["--node-rank", str(rank), "--master-addr", addresses[0], "-m", "--"]
            else:
                of_ports = [f"{address}:12345" for address in addresses]
                environment["TF_CONFIG"] = launch.tf_config(of_ports, rank)
            command += ["parity_tests", *map(str, arguments)]
            found.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
            )
    return found


@pytest.mark.skipif(not shutil.which("ip"), reason="needs the command ip of Linux")
@pytest.mark.parametrize("package", ["torch_port", "tf_reference"])
def test_a_link_that_is_lost_ends_the_run_on_both_hosts(package, data, tmp_path):
    run = Run(tmp_path / "run", package, data, *FEW_STEPS)
    try:
        with two_hosts() as pull_the_cable:
            processes = start_on_hosts(
                package, ["10.9.8.1", "10.9.8.2"], "train", FRAMEWORKS[package], *run.options,
                "--checkpoint", "saved",
                folder=run.folder,
            )  # fmt: skip
            run.wait_for_steps(15, processes)
            begin = time.monotonic()
            pull_the_cable()
            launch.end(processes, 120)
            print(f"{package}: link lost, {time.monotonic() - begin:.2f} s\n{run.said()[-1500:]}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode()}")
    assert "rank 0 has lost rank 1," in run.said()
    run.finish(2)
