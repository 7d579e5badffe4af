"""What the book's training gives over many seeds: the table that its printed run is held to."""

import contextlib
import io
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from parity_tests.program import files, process
from parity_tests.program.messages import UserError

PRINTED = [
    [5.38, 2.29, 2.24, 2.10, 2.27],
    [1.93, 1.93, 1.86, 1.72, 1.87],
    [1.60, 1.63, 1.54, 1.44, 1.54],
    [1.34, 1.38, 1.28, 1.22, 1.30],
    [1.14, 1.19, 1.07, 1.05, 1.13],
    [0.99, 1.05, 0.92, 0.93, 1.01],
    [0.87, 0.94, 0.81, 0.84, 0.92],
    [0.79, 0.85, 0.73, 0.77],
]
"""Losses that the book prints for batch 0, 100, 200, 300 and 400 of epochs 0 to 7, in nats per
sample; the listing ends before the last one."""
PRINTED_ACCURACY = 0.81


def run(seed: int, data: Path) -> tuple[list[float], float]:
    """Train the port for ten epochs from a seed.

    Returns:
        The losses that `fit` prints, in nats per sample, and the accuracy on the test set.
    """
    import torch

    import torch_port

    torch.set_num_threads(1)
    model = torch_port.mnist_model(seed)
    train, test = torch_port.load_mnist(data)
    losses = []

    def on_step(epoch: int, batch: int, loss: float) -> None:
        if batch % 100 == 0:
            losses.append(loss)

    with contextlib.redirect_stdout(io.StringIO()):
        torch_port.fit(model, *train, epochs=10, on_step=on_step)
    return losses, torch_port.evaluate(model, *test)


def summarize(values: np.ndarray) -> dict[str, list]:
    """Return mean, standard deviation and range over the first axis, to six digits."""
    statistics = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0, ddof=1),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
    }
    return {name: np.round(value, 6).tolist() for name, value in statistics.items()}


def book_numbers(
    seeds: int = 84, data: Path = Path("data"), output: Path = Path("book_numbers.json")
) -> None:
    """Train from many seeds, and write the range of the losses that the book prints.

    Args:
        seeds: Number of runs, from seed 0 on.
        data: Folder that holds MNIST in MNIST/raw.
        output: Write the table to this JSON file.
    """
    from torch_port import framework, mnist

    if seeds < 2:
        raise UserError(f"--seeds is {seeds}: expected at least 2, for a standard deviation")
    mnist.verify(data / "MNIST" / "raw")
    files.check_outputs([output])

    pool = ProcessPoolExecutor(os.cpu_count(), initializer=process.end_with_parent)
    with pool:
        found = pool.map(partial(run, data=data), range(seeds))
        runs = list(tqdm(found, total=seeds, unit="seed", disable=None))
    losses = np.array([losses for losses, _ in runs]).reshape(seeds, 10, -1)
    table = {
        "command": f"naive-parity book-numbers --seeds {seeds}",
        "versions": framework.versions(),
        "seeds": seeds,
        "losses": summarize(losses),
        "accuracy": summarize(np.array([accuracy for _, accuracy in runs])),
        "printed": {"losses": PRINTED, "accuracy": PRINTED_ACCURACY},
    }
    files.write_or_rescue(output, (json.dumps(table, indent=1) + "\n").encode(), "the numbers")
