"""Checking anybody's port: their file against the reference, or a recording of it."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import Positional

from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.rungs import rungs
from parity_tests.ladder.training import whole_training
from parity_tests.ports.diagnosis import explain
from parity_tests.ports.messages import NotObservable, PortError, ProcessEnded
from parity_tests.ports.recording import Recording
from parity_tests.ports.user_port import UserPort

NEEDS = {
    "data": "load_mnist",
    "initial weights": "NaiveDense",
    "layer outputs": "NaiveSequential of two layers",
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
    recording: Path | None = None,
    dtype: Literal["float32", "float64"] = "float64",
    device: Literal["cpu", "cuda"] = "cpu",
    epochs: int = 10,
    limit: float = 120.0,
    data: Path = Path("data"),
) -> None:
    """Check a port in a file of its own, rung by rung, and explain where it differs.

    The file is run as it is, in another process. It has the book's names (NaiveDense,
    NaiveSequential and one_training_step; BatchGenerator, update_weights, fit and load_mnist
    are judged if they are there), or a torch.nn.Module of the same shapes and a function
    training_step(model, images, labels) that returns the loss and updates the weights by SGD
    with a learning rate of 1e-3. Its load_mnist may take a folder and a dtype; without a
    dtype it is expected to give float32. The exit status is 0 if the file passes, 1 if it
    does not, and 2 if it cannot be checked.

    Args:
        port: The Python file.
        recording: Folder made by `record`, in place of TensorFlow; its dtype and epochs count.
        dtype: Of the weights and the images that the port is given.
        device: Where the port computes.
        epochs: Of the whole training, which comes last; 0 leaves it out.
        limit: Seconds within which a call of the port must come back, up to 1e6; that of a
            whole training, times its epochs.
        data: Folder that holds MNIST in MNIST/raw.
    """
    _validate(port, limit, epochs, device)
    recorded = Recording(recording) if recording else None
    if recorded:
        dtype, epochs = recorded.dtype, recorded.epochs if epochs else 0
    else:
        import_module("tf_reference").use_device("cpu")
    with ExitStack() as stack:
        options = dtype, device, data, limit
        ports = [stack.enter_context(closing(UserPort(port, *options))) for _ in range(2)]
        abilities = ports[0].abilities
        mnist = loaded = Port(dtype=dtype, folder=data).data()
        if "dtype of load_mnist" not in abilities:  # the book's gives float32
            loaded = Port(dtype="float32", folder=data).data()
        turn = cycle(ports)
        live: Any = None if recorded else Reference(dtype=dtype, folder=data)

        def make_reference() -> Any:
            reference = recorded.reference() if recorded else live
            reference.data = lambda: loaded
            return reference

        def make_port() -> Any:
            return next(turn).reset()

        verdicts = judge(make_reference, make_port, abilities, mnist, epochs)
        if any(verdict.startswith("FAIL") for verdict in verdicts.values()):
            _explain(verdicts, make_port, mnist, dtype, loaded)
            raise Failed(f"{port} is not the same training as the reference")
    print(f"{port} is the same training as the reference, as far as it was judged")


def _validate(port: Path, limit: float, epochs: int, device: str) -> None:
    if port.is_dir():
        raise IsADirectoryError(f"{port} is a folder: expected a Python file with a port in it")
    if not port.is_file():
        raise FileNotFoundError(f"there is no {port}: expected a Python file with a port in it")
    if not 0 < limit <= 1e6:
        raise ValueError(f"--limit is {limit}: expected seconds, above 0 and up to 1e6")
    if epochs < 0:
        raise ValueError(f"--epochs is {epochs}: expected at least 0")
    if device == "cuda" and not import_module("torch").cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but none was found: use 'cpu'")


def judge(
    make_reference: Callable[[], Any],
    make_port: Callable[[], Any],
    abilities: list[str],
    mnist: dict,
    epochs: int,
) -> dict[str, str]:
    """Print and return a verdict for each rung: "pass", "FAIL ..." or "not judged: ..."."""
    verdicts: dict[str, str] = {}
    images, labels = mnist["training images"], mnist["training labels"]
    # Theirs may be an optimizer, which fuses what ours rounds twice.
    climbed = rungs(Judge(), make_reference, make_port, images, labels, rule="update by SGD")
    climbed["initial weights"] = lambda: first_weights(make_port())
    climbed["ten epochs"] = lambda: whole_training(
        Judge(), make_reference(), make_port(), mnist, epochs
    )
    for rung, need in NEEDS.items():
        failed = any(verdict.startswith("FAIL") for verdict in verdicts.values())
        verdict = "pass"
        try:
            if need is not None and need not in abilities:
                verdict = f"not judged: the file has no {need}"
            elif rung == "ten epochs" and (failed or not epochs):
                verdict = f"not judged: {'a rung before it failed' if failed else 'no epochs'}"
            else:
                climbed[rung]()
        except NotObservable as error:
            verdict = f"not judged: {error}"
        except Divergence as divergence:
            verdict = f"FAIL {divergence}"
        except ProcessEnded as error:
            print(f"{rung:15} FAIL")
            raise Failed(str(error)) from error
        except PortError as error:
            verdict = f"FAIL {error}"
        print(f"{rung:15} {verdict}")
        verdicts[rung] = verdict
    return verdicts


def _explain(
    verdicts: dict[str, str],
    make_port: Callable[[], Any],
    mnist: dict,
    dtype: str,
    loaded: dict,
) -> None:
    """Print what explains the rungs that failed."""
    failed = [rung for rung, verdict in verdicts.items() if verdict.startswith("FAIL")]
    # No seed tells what a file draws, and a whole training takes too long to be tried again.
    able = [
        rung
        for rung, verdict in verdicts.items()
        if rung not in ("initial weights", "ten epochs") and not verdict.startswith("not")
    ]
    if not set(failed).isdisjoint(able):
        findings = explain(make_port, mnist, dtype, able, loaded)
        for finding in findings:
            print(f"-> {finding}")
        if not findings:
            print("-> unexplained: it differs by less than any known mistake would make it")
    elif "ten epochs" in failed:
        print("-> ten epochs: all rungs before it passed; no known mistake is like that")


def first_weights(port: Any) -> None:
    """Judge the range of the weights that a port starts from: nobody knows what it drew.

    Raises:
        Divergence: If a kernel is not spread over [0, 0.1), or a bias is not 0.
    """
    for name, w in sorted(port.first_weights().items()):
        if name.endswith("b"):
            expected, right = "0", not w.any()
        else:  # the mean of the 5,120 or more numbers strays by 0.0004
            expected = "uniform in [0, 0.1)"
            right = w.min() >= 0 and w.max() <= 0.1 and abs(np.mean(w) - 0.05) < 0.005
        if not right:
            found = f"from {w.min():.3g} to {w.max():.3g}, mean {w.mean():.3g}"
            message = f"{name} starts {found}: expected {expected}"
            raise Divergence("initial weights", "initial weights", message)
