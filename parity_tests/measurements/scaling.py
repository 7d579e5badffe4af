"""What several ranks gain: steps and all-reduces timed here, and projected to other machines.

A step on N ranks takes the time of a share of the batch, and that of a ring all-reduce:

    T(N) = s + c P B / N + 2 (N - 1) a + 2 (N - 1) / N * M / w

s: what a step costs whatever its size. c: seconds of one sample and one weight. P: weights.
B: samples in a batch. a: latency of a message. M: bytes of the gradients. w: bytes a second.
"""

import importlib
import io
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from parity_tests.measurements import launch
from parity_tests.measurements.benchmark import machine
from parity_tests.program import files
from parity_tests.program.ranks import averaged, shared

PACKAGES = {"torch_port": "torch", "tf_reference": "tensorflow"}
SIZES = (1, 2, 3)
BATCHES = (128, 1024)
SHARES = tuple(math.ceil(batch / size) for batch in BATCHES for size in SIZES)
LENGTHS = (1, 10_000, 100_000, 407_050, 2_000_000)
"""Numbers that are averaged: the fourth are the weights of the network."""

WEIGHTS, PROJECTED = (407_050, 4e7, 4e9), (128, 1024, 60_000)
"""Models and batches for which the formula is evaluated."""

LINKS: dict[str, tuple[float, float] | None] = {
    "this machine": None,
    "1 Gbit/s Ethernet": (50e-6, 0.125e9),
    "10 Gbit/s Ethernet": (25e-6, 1.25e9),
    "100 Gbit/s InfiniBand": (2e-6, 12.5e9),
    "400 Gbit/s InfiniBand": (2e-6, 50e9),
}
"""Latency in seconds and bytes per second, as such links are sold; the first is measured."""


def scaling(
    data: Path = Path("data"), output: Path = Path("scaling.json"), plot: Path = Path("scaling.svg")
) -> None:
    """Time one, two and three ranks, and project the time of a step to 1,000 of them.

    Args:
        data: Folder that holds MNIST in MNIST/raw.
        output: Write the times and the constants to this JSON file.
        plot: Write the plot of the projection to this SVG file.
    """
    from torch_port import mnist

    mnist.verify(data / "MNIST" / "raw")
    files.check_outputs([output, plot])
    results: dict[str, Any] = {"machine": machine(), "packages": {}}
    for package in tqdm(PACKAGES, unit="package", disable=None):
        by_size = {size: _measure(package, size, data) for size in SIZES}
        results["packages"][package] = summary(by_size)
    results = json.loads(json.dumps(results))  # as it will be read
    files.write_or_rescue(output, (json.dumps(results, indent=1) + "\n").encode(), "the times")
    files.write_whole(plot, drawn(results))
    print(measured_table(results))
    print(least_table(results))
    print(projected_table(results))


def _measure(package: str, size: int, data: Path) -> dict[str, Any]:
    """Return what rank 0 of so many has timed, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        arguments = "parity_tests.measurements.scaling", package, data.resolve(), here / "times"
        statuses = launch.end(launch.start(package, size, *arguments, folder=here), 600)
        if any(statuses):
            raise OSError(f"{package} on {size} ranks: {(here / 'said').read_text()[-2000:]}")
        return json.loads((here / "times").read_text())


def worker(package_name: str, data: Path, output: Path) -> None:
    """Time steps and all-reduces in one of the ranks; rank 0 writes them."""
    package = importlib.import_module(package_name)
    package.use_device("cpu")
    ranks = importlib.import_module(f"{package_name}.ranks").join()
    (images, labels), _ = package.load_mnist(data)
    model = package.mnist_model(seed=0)
    zeros = importlib.import_module(PACKAGES[package_name]).zeros
    rule = averaged(package.update_weights, ranks)
    shared_step = shared(package.one_training_step, ranks)

    def step(batch: int) -> Callable[[], Any]:
        def run() -> None:
            float(shared_step(model, images[:batch], labels[:batch], rule))

        return run

    def all_reduce(length: int) -> Callable[[], Any]:
        numbers = [zeros([length])]
        return lambda: float(ranks.average(numbers)[0][0])

    batches = BATCHES if ranks else SHARES
    times: dict[str, Any] = {"steps": {batch: _seconds(step(batch)) for batch in batches}}
    if ranks:
        times["all-reduce"] = {length: _seconds(all_reduce(length)) for length in LENGTHS}
    if ranks is None or ranks.rank == 0:
        output.write_text(json.dumps(times))


def _seconds(run: Callable[[], Any], repetitions: int = 100) -> float:
    """Return the time below which a tenth of the calls lie: others use this machine as well."""
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return float(np.quantile(times, 0.1))


def summary(by_size: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the times by the number of ranks, and the constants of the formula fitted to them."""
    alone = {int(batch): seconds for batch, seconds in by_size[1]["steps"].items()}
    fixed, per_sample = _line([*alone], [*alone.values()])
    two = by_size[2]["all-reduce"]  # in which each rank sends as much as there is, in two messages
    latency, per_byte = _line([4 * int(length) for length in two], [*two.values()])
    return {
        "alone": alone,
        "steps": {size: by_size[size]["steps"] for size in SIZES},
        "all-reduce": {size: by_size[size]["all-reduce"] for size in SIZES[1:]},
        "fixed": fixed,
        "per sample and weight": per_sample / LENGTHS[3],
        "latency": latency / 2,
        "bytes per second": 1 / per_byte,
    }


def _line(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Fit seconds as a constant, 0 or above, and a multiple of the size, by relative errors."""
    x, y = np.array(sizes), np.array(seconds)
    slope, constant = np.polyfit(x, y, 1, w=1 / y)
    if constant < 0:
        slope, constant = 1 / np.mean(x / y), 0.0
    return float(constant), float(slope)


def step_time(
    of: dict[str, Any], ranks: int, batch: float, weights: float, link: tuple[float, float] | None
) -> float:
    """Return the seconds of a step on so many ranks, by the formula."""
    latency, speed = link or (of["latency"], of["bytes per second"])
    compute = of["fixed"] + of["per sample and weight"] * weights * batch / ranks
    return compute + all_reduce_time(ranks, 4 * weights, latency, speed)


def all_reduce_time(ranks: int, size: float, latency: float, speed: float) -> float:
    """Return the seconds of a ring all-reduce of so many bytes, by the formula."""
    return 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * size / speed


def least_batch(
    of: dict[str, Any], ranks: int, weights: float, link: tuple[float, float] | None
) -> float:
    """Return the batch above which a step on so many ranks is faster than in one process."""
    latency, speed = link or (of["latency"], of["bytes per second"])
    per_sample = of["per sample and weight"] * weights
    return (2 * ranks * latency + 2 * 4 * weights / speed) / per_sample


def fastest(
    of: dict[str, Any], batch: int, weights: float, link: tuple[float, float] | None
) -> tuple[int, float]:
    """Return the number of ranks, up to 1,000, of the fastest step, and how much faster it is."""
    times = [step_time(of, ranks, batch, weights, link) for ranks in range(1, 1001)]
    best = int(np.argmin(times))
    return best + 1, times[0] / times[best]


def measured_table(results: dict[str, Any]) -> str:
    """Return the times that were measured beside those of the formula, for Markdown."""
    lines = [
        "| | ranks | batch | step, ms | by the formula | all-reduce, ms | by the formula | bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for package, of in results["packages"].items():
        for ranks, by_batch in of["steps"].items():
            reduced = of["all-reduce"].get(ranks, {}).get(str(LENGTHS[3]), 0.0)
            sent = 2 * (int(ranks) - 1) / int(ranks) * 4 * LENGTHS[3]
            for batch in map(str, BATCHES):
                formula = step_time(of, int(ranks), int(batch), LENGTHS[3], None)
                speed = of["latency"], of["bytes per second"]
                expected = all_reduce_time(int(ranks), 4 * LENGTHS[3], *speed)
                times = [1000 * t for t in (by_batch[batch], formula, reduced, expected)]
                shown = " | ".join(f"{t:.2f}" for t in times)
                lines.append(f"| `{package}` | {ranks} | {batch} | {shown} | {sent:,.0f} |")
    return "\n".join(lines)


def projected_table(results: dict[str, Any]) -> str:
    """Return up to how many ranks a step gets faster, and how much faster, for Markdown."""
    head = [f"{weights:.0e} weights" for weights in WEIGHTS]
    lines = [f"| link | batch | {' | '.join(head)} |", "|---|---|" + "---|" * len(head)]
    of = results["packages"]["torch_port"]
    for name, link in LINKS.items():
        for batch in PROJECTED:
            found = [fastest(of, batch, weights, link) for weights in WEIGHTS]
            cells = [f"{ranks}: x {gain:.1f}" if ranks > 1 else "1" for ranks, gain in found]
            lines.append(f"| {name} | {batch:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def least_table(results: dict[str, Any]) -> str:
    """Return the batches above which ranks are faster than one process, for Markdown."""
    cases = [(ranks, weights) for ranks in (2, 100, 1000) for weights in WEIGHTS[::2]]
    head = [f"{ranks:,} ranks, {weights:.0e} weights" for ranks, weights in cases]
    lines = [f"| link | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    of = results["packages"]["torch_port"]
    for name, link in LINKS.items():
        least = [least_batch(of, *case, link) for case in cases]
        lines.append(f"| {name} | {' | '.join(f'{batch:,.0f}' for batch in least)} |")
    return "\n".join(lines)


def drawn(results: dict[str, Any]) -> bytes:
    """Return the plot of how much faster a step gets, as SVG."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "naive-parity"  # the same file for the same numbers
    figure, plots = plt.subplots(1, 3, figsize=(11, 4), layout="constrained", sharey=True)
    ranks = np.unique(np.geomspace(1, 1000, 200).astype(int))
    of = results["packages"]["torch_port"]
    for axes, batch in zip(plots, PROJECTED, strict=True):
        for color, (name, link) in enumerate(LINKS.items()):
            for weights, style in ((LENGTHS[3], "-"), (4e7, ":")):
                alone = step_time(of, 1, batch, weights, link)
                gains = [alone / step_time(of, int(n), batch, weights, link) for n in ranks]
                label = name if style == "-" else None
                axes.plot(ranks, gains, style, color=f"C{color}", label=label)
        axes.set(xscale="log", yscale="log", xlabel="ranks", title=f"batches of {batch:,}")
        axes.set_ylim(0.01, 1000)
        axes.axhline(1, color="grey", linewidth=0.5)
        if str(batch) in of["steps"]["1"]:
            gains = [of["steps"]["1"][str(batch)] / by[str(batch)] for by in of["steps"].values()]
            axes.plot([*map(int, of["steps"])], gains, "ko", label="measured here")
    plots[0].set_ylabel("times as fast as one process")
    plots[0].legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


if __name__ == "__main__":
    worker(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
