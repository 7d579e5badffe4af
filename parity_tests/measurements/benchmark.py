"""The benchmark: what a step of this training costs, here and elsewhere, side by side.

All contenders are alive at once and take turns, round by round, so that a machine that gets
slower gets slower for all. Times are therefore compared within a round: a ratio is the median,
over the rounds, of a contender's time over that of `torch_port`.
"""

import io
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, TextIO, cast

import numpy as np
from tqdm import tqdm

from parity_tests.measurements.contenders import CONTENDERS
from parity_tests.program import files
from parity_tests.program.frameworks import PACKAGES
from parity_tests.program.messages import UserError

ROOT = Path(__file__).parents[2]
SHIPPED = "torch_port"
BATCHES = {1: (1e-4, 200), 128: (1e-3, 100), 60000: (1e-3, 1)}
"""By the batch size: the learning rate, and the steps of a round.

At 1e-3 true SGD soon meets probabilities that the book clips; those who train on logits do not.
"""


class Worker:
    """A contender's process.

    Args:
        python: Interpreter of its environment.
        name: Of the contender.
        data: Folder that holds MNIST in MNIST/raw.
        batch_size: Samples in a batch.
        rate: Learning rate.
        copies: How many times MNIST is trained on in an epoch.
    """

    def __init__(
        self,
        python: Path,
        name: str,
        data: Path,
        batch_size: int = 128,
        rate: float = 1e-3,
        copies: int = 1,
    ) -> None:
        arguments = [name, str(batch_size), str(rate), str(copies), str(data.resolve())]
        self.name = name
        self._line = [str(python), "-m", "parity_tests.measurements.contenders", *arguments]
        self._process = subprocess.Popen(
            self._line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            text=True,
        )
        self._stdin = cast(TextIO, self._process.stdin)
        self._stdout = cast(TextIO, self._process.stdout)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def train(self, batches: int) -> dict[str, float]:
        """Train on the first batches; return the seconds, the loss and the peak memory."""
        try:
            print(batches, file=self._stdin, flush=True)
            answer = self._stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            line = f"echo {batches} | {shlex.join(self._line)}"
            raise ChildProcessError(f"{self.name} ended: see what `{line}` says")
        # The threads of some libraries spin for a while, and would disturb the next one.
        time.sleep(0.1)
        return json.loads(answer)


def bench(
    peers: Path = Path(".venv-peers"),
    rounds: int = 14,
    data: Path = Path("data"),
    output: Path = Path("benchmark.json"),
    plot: Path = Path("benchmark.svg"),
) -> None:
    """Time a step of this training in both packages and elsewhere, and the whole commands.

    Args:
        peers: Environment with JAX and Keras; without it they are named as absent.
        rounds: In each, every contender takes some steps; at least 2. There are half as many
            rounds of whole commands and epochs.
        data: Folder that holds MNIST in MNIST/raw.
        output: Write all results to this JSON file.
        plot: Write the cost of an epoch by the number of images to this SVG file.
    """
    if rounds < 2:
        raise UserError(f"--rounds is {rounds}: expected at least 2")
    from torch_port import mnist

    mnist.verify(data / "MNIST" / "raw")
    files.check_outputs([output, plot])
    python = peers.absolute() / "bin" / "python"
    of_jax = jax_versions(python)
    pythons = {
        name: python if "JAX" in name else Path(sys.executable)
        for name in CONTENDERS
        if "JAX" not in name or of_jax
    }
    results: dict[str, Any] = {
        "machine": machine() | of_jax,
        "absent": [name for name in CONTENDERS if name not in pythons],
        "steps": {},
    }
    for batch_size in BATCHES:
        rows = results["steps"][str(batch_size)] = steps(pythons, batch_size, rounds, data)
        print(table(rows, f"a step of {batch_size:,}", "ms"), flush=True)
    results["commands"] = commands(python if of_jax else None, rounds // 2, data)
    print(table(results["commands"], "ten epochs, from the command line", "s"), flush=True)
    results["growth"] = growth(rounds // 2, data)
    for row in results["growth"]:
        print("{images:,} images: {seconds:.2f} s an epoch, {megabytes:.0f} MB".format(**row))
    print(ratios(results))
    print(f"absent: {', '.join(results['absent']) or 'none'}; {results['machine']}")
    files.write_or_rescue(output, (json.dumps(results, indent=1) + "\n").encode(), "the times")
    files.write_whole(plot, drawn(results["growth"]))


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    with open("/proc/cpuinfo") as file:
        cpus = [line.split(": ")[1].strip() for line in file if "model name" in line]
    packages = ("torch", "tensorflow", "keras", "numpy")
    return {
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def jax_versions(python: Path) -> dict[str, str]:
    """Return the versions of JAX in an environment, by package; none if it is not there."""
    packages = ("jax", "jaxlib")
    code = f"from importlib import metadata; print(*map(metadata.version, {packages}))"
    try:
        found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(zip(packages, found.stdout.split(), strict=True))


def steps(
    pythons: Mapping[str, Path], batch_size: int, rounds: int, data: Path
) -> dict[str, dict[str, float]]:
    """Return milliseconds a step of each contender, after all have reached the same loss."""
    rate, batches = BATCHES[batch_size]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(closing(Worker(python, name, data, batch_size, rate)))
            for name, python in pythons.items()
        ]
        # Compiles what is compiled, and shows that all train the same.
        warm = {worker.name: worker.train(batches) for worker in workers}
        check_losses(warm)
        answers = [
            {worker.name: worker.train(batches) for worker in workers}
            for _ in in_rounds(rounds, f"a step of {batch_size:,}")
        ]
    milliseconds = [
        {name: 1e3 * answer["seconds"] / batches for name, answer in of_round.items()}
        for of_round in answers
    ]
    found = summary(milliseconds)
    for name, row in found.items():
        row["megabytes"] = answers[-1][name]["megabytes"]
    return found


def in_rounds(rounds: int, what: str) -> Iterable[int]:
    """Return the rounds, which show how many are left on standard error, if it is a terminal."""
    return tqdm(range(rounds), desc=what, unit="round", leave=False, disable=None)


def check_losses(answers: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse contenders that train anything else; products alone have no loss.

    Raises:
        ChildProcessError: If a loss differs from that of `torch_port` by more than 1e-3 of it.
    """
    expected = answers[SHIPPED]["loss"]
    for name, answer in answers.items():
        loss = answer.get("loss", expected)
        if not abs(loss - expected) <= 1e-3 * expected:  # a NaN is no less than anything
            raise ChildProcessError(f"{name} came to a loss of {loss}, {SHIPPED} to {expected}")


def commands(jax: Path | None, rounds: int, data: Path) -> dict[str, dict[str, float]]:
    """Return the seconds of whole runs, from the start of the process to its accuracy.

    Args:
        jax: Interpreter of the environment with JAX, if there is one.
        rounds: In each, every command is run once.
        data: Folder that holds MNIST in MNIST/raw.
    """
    keras = "parity_tests.measurements.contenders", "whole-keras-run"
    lines: dict[str, list[Any]] = {
        package: [sys.executable, "-m", "parity_tests", "train", framework, "--data"]
        for framework, (package, _) in PACKAGES.items()
    }
    for name, backend, python in (
        ("TensorFlow", "tensorflow", sys.executable),
        ("PyTorch", "torch", sys.executable),
        ("JAX", "jax", jax),
    ):
        if python is not None:
            lines[f"Keras fit on {name}"] = [python, "-m", *keras, backend]

    def run(line: list[Any]) -> float:
        start = time.perf_counter()
        found = subprocess.run(
            [*line, data.resolve()], cwd=ROOT, check=False, capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
        if "accuracy: 0.82" not in found.stdout:
            said = (found.stdout + found.stderr).strip().splitlines()[-1:]
            raise ChildProcessError(f"{line} did not come to an accuracy of 0.82: {said}")
        return seconds

    every = in_rounds(rounds, "ten epochs")
    return summary([{name: run(line) for name, line in lines.items()} for _ in every])


def summary(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return median, least and most of each contender, and its median ratio to `torch_port`."""
    found = {}
    for name in rounds[0]:
        times = [of_round[name] for of_round in rounds]
        ratio = median(of_round[name] / of_round[SHIPPED] for of_round in rounds)
        found[name] = {
            "median": median(times), "least": min(times), "most": max(times), "ratio": ratio
        }  # fmt: skip
    return found


def growth(rounds: int, data: Path) -> list[dict[str, float]]:
    """Return the seconds of an epoch of `fit` and the peak memory, by the number of images."""
    rows = []
    with ExitStack() as stack:
        workers = {
            copies: stack.enter_context(
                closing(
                    Worker(Path(sys.executable), f"{SHIPPED}, fit with a log", data, copies=copies)
                )
            )
            for copies in (1, 2, 4, 8)
        }
        for worker in workers.values():
            worker.train(10)
        answers = [
            {copies: worker.train(469 * copies) for copies, worker in workers.items()}
            for _ in in_rounds(rounds, "growth")
        ]
    for copies in workers:
        seconds = [of_round[copies]["seconds"] for of_round in answers]
        rows.append(
            {
                "images": 60_000 * copies,
                "seconds": median(seconds),
                "least": min(seconds),
                "most": max(seconds),
                "megabytes": answers[-1][copies]["megabytes"],
            }
        )
    return rows


def table(rows: Mapping[str, Mapping[str, float]], title: str, unit: str) -> str:
    """Return a Markdown table, the fastest first."""
    lines = [f"| {title} | {unit} | from, to | x {SHIPPED} | MB |", "|---|---|---|---|---|"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["ratio"]):
        times = "{median:.3g} | {least:.3g}, {most:.3g} | {ratio:.2f}".format(**row)
        memory = f"{row['megabytes']:.0f}" if "megabytes" in row else ""
        lines.append(f"| {name} | {times} | {memory} |")
    return "\n".join(lines) + "\n"


def ratios(results: Mapping[str, Any]) -> str:
    """Return a Markdown table of all ratios, in the order of a step of 128."""
    columns = [
        *((f"a step of {size:,}", "ms", results["steps"][str(size)]) for size in BATCHES),
        ("ten epochs as a command", "s", results["commands"]),
    ]
    titles = " | ".join(title for title, *_ in columns)
    lines = [f"| x {SHIPPED} | {titles} |", "|---" * (len(columns) + 1) + "|"]
    rows = results["steps"]["128"]
    for name in sorted(rows, key=lambda name: rows[name]["ratio"]):
        cells = [f"{row[name]['ratio']:.2f}" if name in row else "" for *_, row in columns]
        if name == SHIPPED:
            cells = [f"{row[name]['median']:.3g} {unit}" for _, unit, row in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def drawn(rows: list[dict[str, float]]) -> bytes:
    """Return a plot of seconds and memory over the number of images, as SVG."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "naive-parity"  # the same file for the same numbers
    figure, sides = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    images = np.array([row["images"] for row in rows])
    columns: list[tuple[Any, str, str]] = [
        (sides[0], "seconds", "seconds an epoch"),
        (sides[1], "megabytes", "peak memory in MB"),
    ]
    for axes, key, label in columns:
        values = np.array([row[key] for row in rows])
        slope, start = np.polyfit(images, values, 1)
        axes.plot(images, values, "o", images, slope * images + start, ":")
        axes.set(xlabel="images", ylabel=label, xlim=(0, None), ylim=(0, None))
    sides[1].plot(images, images * 784 * 4 / 2**20, "-", label="the images alone")
    sides[1].legend()
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
