"""What the book's training gives over many seeds: the table that its printed run is held to."""

import contextlib
import io
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tyro

TABLE = Path(__file__).parents[1] / "book_numbers.json"


def run(seed: int, data: Path) -> tuple[list[float], float]:
    """Trains the port for ten epochs from a seed.

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
    """Returns mean, standard deviation and range over the first axis, to six digits."""
    statistics = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0, ddof=1),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
    }
    return {name: np.round(value, 6).tolist() for name, value in statistics.items()}


def main(seeds: int = 84, data: Path = Path("data")) -> None:
    """Writes the table of the losses and the accuracy over many seeds.

    Args:
        seeds: Number of runs, from seed 0 on.
        data: Folder that holds MNIST in MNIST/raw.
    """
    from torch_port import framework, mnist, weights

    if seeds < 2:
        raise ValueError(f"--seeds is {seeds}: expected at least 2, for a standard deviation")
    mnist.verify(data / "MNIST" / "raw")

    with ProcessPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(partial(run, data=data), range(seeds)))
    losses = np.array([losses for losses, _ in runs]).reshape(seeds, 10, -1)
    table = {
        "command": f"python -m parity_tests.harness.book_numbers --seeds {seeds}",
        "versions": framework.versions(),
        "seeds": seeds,
        "losses": summarize(losses),
        "accuracy": summarize(np.array([accuracy for _, accuracy in runs])),
    }
    weights.write_whole(TABLE, (json.dumps(table, indent=1) + "\n").encode())


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except (OSError, ValueError) as error:
        sys.exit(f"book_numbers: {error}")
