"""Checking anybody's port: their file against the reference, or a recording of it."""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from parity_tests.harness.adapters import Port, Reference
from parity_tests.harness.compare import Divergence, Judge
from parity_tests.harness.diagnosis import explain
from parity_tests.harness.guest import Guest, GuestError, GuestGone
from parity_tests.harness.lockstep import LADDER, rungs, whole_training
from parity_tests.harness.trace import Replay, write_trace

NEEDS = {
    "data": "load_mnist",
    "layer outputs": "layers to call",
    "gradients": None,
    "one update": "update_weights",
    "trajectory": None,
    "ten epochs": None,
}
"""The rungs that a file can be judged on, and what it must have for that."""


class Failed(Exception):  # noqa: N818 (it is a verdict)
    """The port is not the same training as the reference."""


def check(
    port: Positional[Path],
    *,
    trace: Path | None = None,
    dtype: Literal["float32", "float64"] = "float64",
    device: Literal["cpu", "cuda"] = "cpu",
    epochs: int = 10,
    limit: float = 60.0,
    data: Path = Path("data"),
) -> None:
    """Check a port in a file of its own, rung by rung, and explain where it differs.

    The file is run as it is, in another process. It has the book's names (NaiveDense,
    NaiveSequential and one_training_step; BatchGenerator, update_weights, fit and load_mnist
    are judged if they are there), or a torch.nn.Module of the same shapes and a function
    training_step(model, images, labels) that returns the loss and updates the weights by SGD
    with a learning rate of 1e-3. The exit status is 0 if it passes, 1 if it does not, and 2
    if the file cannot be checked.

    Args:
        port: The Python file.
        trace: A recording by `record`, in place of TensorFlow; its dtype and epochs count.
        dtype: Of the weights and the images that the port is given.
        device: Where the port computes.
        epochs: Of the whole training, which comes last; 0 leaves it out.
        limit: Seconds within which each call of the port must come back, and each epoch.
        data: Folder that holds MNIST in MNIST/raw.
    """
    if not port.is_file():
        raise FileNotFoundError(f"there is no {port}: expected a Python file with a port in it")
    if not limit > 0:
        raise ValueError(f"--limit is {limit}: expected a number of seconds above 0")
    replay = Replay(trace) if trace else None
    if epochs < 0:
        raise ValueError(f"--epochs is {epochs}: expected at least 0")
    if replay:
        dtype, epochs = replay.dtype, replay.epochs
    with ExitStack() as stack:
        options = dtype, device, data, limit
        guests = [stack.enter_context(closing(Guest(port, *options))) for _ in range(2)]
        reference: Any = replay or Reference(dtype=dtype, folder=data)
        mnist = Port(dtype=dtype, folder=data).data()
        reference.data = lambda: mnist
        turn = cycle(guests)

        def make_port() -> Any:
            return next(turn).reset()

        abilities = guests[0].abilities
        failed = judge(reference, make_port, abilities, mnist, epochs)
        if failed == ["ten epochs"]:
            print("-> ten epochs: all rungs before it passed; no known mistake is like that")
        elif failed:
            able = [rung for rung in LADDER if NEEDS.get(rung, "") in (None, *abilities)]
            for finding in explain(make_port, mnist, dtype, able):
                print(f"-> {finding}")
        if failed:
            raise Failed(f"{port} is not the same training as the reference")
    print(f"{port} is the same training as the reference, as far as it was judged")


def judge(
    reference: Any, make_port: Callable[[], Any], abilities: list[str], mnist: dict, epochs: int
) -> list[str]:
    """Prints a line for each rung; returns those that failed."""
    failed: list[str] = []
    images, labels = mnist["training images"], mnist["training labels"]
    climbed = rungs(Judge(), lambda: reference, make_port, images, labels)
    climbed["ten epochs"] = lambda: whole_training(Judge(), reference, make_port(), mnist, epochs)
    for rung, need in NEEDS.items():
        verdict = "pass"
        try:
            if need is not None and need not in abilities:
                verdict = f"not judged: the file has no {need}"
            elif rung == "ten epochs" and (failed or not epochs):
                verdict = f"not judged: {'a rung before it failed' if failed else 'no epochs'}"
            else:
                if isinstance(reference, Replay):
                    reference.start(rung)
                climbed[rung]()
        except Divergence as divergence:
            verdict = f"FAIL {divergence}"
            failed.append(rung)
        except GuestGone as error:
            print(f"{rung:14} FAIL")
            raise Failed(str(error)) from error
        except GuestError as error:
            verdict = f"FAIL {error}"
            failed.append(rung)
        print(f"{rung:14} {verdict}")
    return failed


def record(
    folder: Positional[Path] = Path("trace"),
    *,
    epochs: int = 10,
    dtype: Literal["float32", "float64"] = "float64",
    data: Path = Path("data"),
) -> None:
    """Record the reference, so that ports can be checked where there is no TensorFlow.

    Args:
        folder: The recording is written into it: about 170 MB in float64, half in float32.
        epochs: Of the whole training, at least 1.
        dtype: Of the weights and the images.
        data: Folder that holds MNIST in MNIST/raw.
    """
    write_trace(folder, data, dtype, epochs)
    size = sum(os.path.getsize(folder / name) for name in ("answers.safetensors", "trace.json"))
    print(f"{folder}: {size / 1e6:.0f} MB")
