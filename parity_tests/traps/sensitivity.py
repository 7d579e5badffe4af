"""The sensitivity matrix: what the ladder sees, and what accuracy alone would have let through."""

import contextlib
import io
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.remembered import Remembered
from parity_tests.ladder.rungs import LADDER, RUNGS, climb
from parity_tests.program import files, process
from parity_tests.program.messages import UserError
from parity_tests.traps.catalogue import CATALOGUE
from parity_tests.traps.trap import Trap

CLEAN_SEEDS = 5

ANSWERS: dict[str, dict[str, Any]] = {"float32": {}, "float64": {}}
"""What the reference answers, by dtype: the same for every trap."""


def caught(
    trap: Trap | None, mnist: Mapping[str, np.ndarray], dtype: str, data: Path
) -> Divergence | None:
    """Return how the port diverges first with a mistake planted, or as it is.

    Args:
        trap: To be planted.
        mnist: The right images and labels, by name, in the dtype.
        dtype: "float32" or "float64".
        data: Folder that holds MNIST in MNIST/raw.
    """
    with trap.plant() if trap else contextlib.nullcontext():
        of_data = trap is not None and trap.rung == "data"
        loaded = Port(dtype=dtype, folder=data).data() if of_data else mnist

        def make_reference() -> Any:
            make = partial(Reference, dtype=dtype)
            reference: Any = Remembered("reference", dtype, make, ANSWERS[dtype])
            reference.data = lambda: mnist
            return reference

        def make_port() -> Any:
            port: Any = Port(dtype=dtype)
            port.data = lambda: loaded
            return port

        images, labels = mnist["training images"], mnist["training labels"]
        return climb(Judge(), make_reference, make_port, images, labels)


def accuracies(trap: Trap | None, first: bool, seeds: Iterable[int], data: Path) -> list[float]:
    """Return the accuracy of the whole training from each seed; NaN where it ends in an error.

    Args:
        trap: To be planted; None for the port as it is.
        first: Whether to train the first example.
        seeds: Of the initial weights.
        data: Folder that holds MNIST in MNIST/raw.
    """
    modules = "mnist", "layers", "training", "first_example", "optimizers", "evaluation"
    with trap.plant() if trap else contextlib.nullcontext():
        mnist, layers, training, first_example, optimizers, evaluation = (
            import_module(f"torch_port.{module}") for module in modules
        )
        train, test = mnist.load_mnist(data, "float32")

        def run(seed: int) -> float:
            try:
                if first:
                    model = first_example.mnist_model(seed)
                    first_example.fit(model, *train)
                else:
                    rule = optimizers.update_weights
                    model = layers.mnist_model(seed)
                    training.fit(model, *train, 10, 128, update_weights=rule)
            except training.DivergenceError:
                return math.nan
            return float(evaluation.evaluate(model, *test))

        with contextlib.redirect_stdout(io.StringIO()):
            return [run(seed) for seed in seeds]


def measure(name: str, data: Path, seeds: int) -> dict[str, Any]:
    """Return a row of the matrix, or the two rows of the port as it is under the name ""."""
    trap = next((trap for trap in CATALOGUE if trap.name == name), None)
    found = []
    for dtype in ("float32", "float64"):
        mnist = Reference(dtype=dtype, folder=data).data()
        if (divergence := caught(trap, mnist, dtype, data)) is not None:
            found.append((RUNGS.index(divergence.rung), dtype, divergence))
    row: dict[str, Any] = {"name": name, "rung": None, "excess": None}
    if found:
        _, dtype, divergence = min(found, key=lambda item: item[:2])
        row |= {"rung": divergence.rung, "dtype": dtype, "message": str(divergence).split("\n")[0]}
        row["excess"] = divergence.excess if math.isfinite(divergence.excess) else None
    if trap is None:
        for kind, first in (("scratch", False), ("first example", True)):
            row[kind] = accuracies(None, first, range(CLEAN_SEEDS), data)
    else:
        row["accuracies"] = accuracies(trap, trap.rung == "first example", range(seeds), data)
    return row


def traps(
    data: Path = Path("data"), seeds: int = 3, output: Path = Path("sensitivity.json")
) -> None:
    """Plant each trap of the catalogue in turn, climb the ladder, and train to the end.

    Args:
        data: Folder that holds MNIST in MNIST/raw.
        seeds: Trainings of each trap, from 1 to 5.
        output: Write the matrix to this JSON file, and as text beside it.
    """
    if not 1 <= seeds <= CLEAN_SEEDS:
        raise UserError(f"--seeds is {seeds}: expected a number from 1 to {CLEAN_SEEDS}")
    from torch_port import mnist

    mnist.verify(data / "MNIST" / "raw")
    files.check_outputs([output, output.with_suffix(".txt")])
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    context = multiprocessing.get_context("spawn")
    names = ["", *(trap.name for trap in CATALOGUE)]
    start = process.end_with_parent
    with ProcessPoolExecutor(os.cpu_count(), context, start) as pool:
        rows = []
        found = pool.map(partial(measure, data=data, seeds=seeds), names)
        for row in tqdm(found, total=len(names), unit="trap", disable=None):
            name, rung = row["name"] or "the port as it is", row["rung"] or "passes"
            tqdm.write(f"{name}: {rung}", file=sys.stderr)
            rows.append(row)
    clean, *rows = rows
    matrix: dict[str, Any] = {
        "command": f"naive-parity traps --seeds {seeds}",
        "clean": clean,
        "traps": [judged(row, clean) for row in rows],
    }
    files.write_or_rescue(output, (json.dumps(matrix, indent=1) + "\n").encode(), "the rows")
    files.write_whole(output.with_suffix(".txt"), (table(matrix) + "\n").encode())
    print(table(matrix))
    missed = [row["name"] for row in matrix["traps"] if not row["caught"]]
    if clean["rung"] or missed:
        sys.exit(f"the port as it is: {clean['rung'] or 'passes'}; missed: {missed}")


def judged(row: dict[str, Any], clean: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a row whether the trap was caught where it must be, and what accuracy says.

    Accuracy alone would have let it through if, on the average of the seeds, it fell by less
    than half a standard deviation of the port's own accuracy over seeds, or rose.
    """
    trap = next(trap for trap in CATALOGUE if trap.name == row["name"])
    right = clean["first example" if trap.rung == "first example" else "scratch"]
    change = float(np.mean(np.subtract(row["accuracies"], right[: len(row["accuracies"])])))
    return row | {
        "mistake": trap.mistake,
        "source": trap.source,
        "declared": trap.rung,
        "caught": row["rung"] == trap.rung,
        "change": None if math.isnan(change) else change,
        "accuracies": [None if math.isnan(value) else value for value in row["accuracies"]],
        "silent": bool(change >= -np.std(right, ddof=1) / 2),
    }


def table(matrix: Mapping[str, Any]) -> str:
    """Return the matrix as lines of text, with the counts at the end."""
    lines = [f"{'trap':30} {'caught at':16} {'x bound':>8} {'accuracy':>9}  seen by accuracy"]
    for row in matrix["traps"]:
        excess = f"{row['excess']:8.1g}" if row["excess"] else "       -"
        change = "    error" if row["change"] is None else f"{row['change']:+9.4f}"
        seen = "no" if row["silent"] else "yes"
        rung = row["rung"] or "MISSED"
        lines.append(f"{row['name']:30} {rung:16} {excess} {change}  {seen}")
    caught = sum(row["caught"] for row in matrix["traps"])
    silent = sum(row["silent"] for row in matrix["traps"])
    clean = matrix["clean"]
    lines.append(f"{caught} of {len(matrix['traps'])} caught on the rung they must show at")
    lines.append(f"{silent} of {len(matrix['traps'])} would have passed by accuracy alone")
    for kind in ("scratch", "first example"):
        mean, deviation = np.mean(clean[kind]), np.std(clean[kind], ddof=1)
        lines.append(f"the port as it is, {kind}: accuracy {mean:.4f} +- {deviation:.4f}")
    return "\n".join(lines)


def short(matrix: Mapping[str, Any]) -> str:
    """Return the matrix as a Markdown table, one line for each rung of the ladder."""
    lines = ["| rung | caught there | accuracy alone would have passed |", "|---|---|---|"]
    for rung in LADDER:
        rows = [row for row in matrix["traps"] if row["declared"] == rung]
        silent = [row["name"] for row in rows if row["silent"]]
        caught = f"{sum(row['caught'] for row in rows)} of {len(rows)}"
        lines.append(f"| {rung} | {caught} | {len(silent)}: {', '.join(silent) or 'none'} |")
    return "\n".join(lines)
