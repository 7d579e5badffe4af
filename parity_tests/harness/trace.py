"""The reference's side of the ladder, recorded: a stand-in where there is no TensorFlow.

The reference is asked the same questions for every port, so its answers can be written down
once. A recording is a folder of two files that NumPy and the standard library can read:
`answers.safetensors` holds the arrays, and `trace.json` says what was asked, in what order,
and with which versions.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy

from parity_tests.harness.adapters import Reference
from parity_tests.harness.compare import Judge
from parity_tests.harness.lockstep import rungs, whole_training

FORMAT = 1
RECORDED = ("layer outputs", "gradients", "one update", "trajectory", "ten epochs")
"""The rungs of a recording. The data verify themselves, and no file brings initial weights."""

ASKED = (
    "load_weights",
    "weights",
    "layer_output",
    "gradients",
    "step",
    "update",
    "fit",
    "predict",
    "accuracy",
)


def digest(arguments: tuple) -> str:
    """Returns a short hash of what an implementation was asked, arrays included."""
    sha256 = hashlib.sha256()
    for argument in arguments:
        items = argument.items() if isinstance(argument, Mapping) else [("", argument)]
        for name, value in items:
            array = np.asarray(value, order="C")
            sha256.update(f"{name} {array.dtype} {array.shape} ".encode())
            sha256.update(array.tobytes())
    return sha256.hexdigest()[:16]


def flatten(answer: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of an answer by name; the loss of a step comes under "loss"."""
    if isinstance(answer, tuple):
        return {"loss": np.asarray(answer[0]), **answer[1]}
    if isinstance(answer, dict):
        return answer
    return {} if answer is None else {"": np.asarray(answer)}


class Recorder:
    """A reference that writes down what it is asked, and what it answers."""

    def __init__(self, reference: Reference) -> None:
        self.name = reference.name
        self.dtype = reference.dtype
        self.rung = ""
        self.calls: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}
        for method in ASKED:
            setattr(self, method, self._recording(method, getattr(reference, method)))

    def _recording(self, method: str, right: Callable) -> Callable:
        def asked(*arguments: Any) -> Any:
            answer = right(*arguments)
            number = len(self.calls)
            found = flatten(answer)
            self.arrays |= {f"{number}/{name}": np.array(a) for name, a in found.items()}
            call = {"rung": self.rung, "method": method, "asked": digest(arguments)}
            self.calls.append(call | {"answered": list(found)})
            return answer

        return asked


class Replay:
    """A recorded reference, as an `Implementation` that can be asked the same again.

    Args:
        folder: As `write_trace` writes it.

    Attributes:
        dtype: Of the reference.
        epochs: Of the whole training.
        rung: The one that is being climbed.

    Raises:
        FileNotFoundError: If there is no recording in the folder.
        ValueError: If it is of another format, truncated or altered.
    """

    name = "reference"

    def __init__(self, folder: Path) -> None:
        index, answers = folder / "trace.json", folder / "answers.safetensors"
        for path in (index, answers):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: `make record` writes a recording")
        try:
            trace = json.loads(index.read_text())
            if (version := trace["format"]) != FORMAT:
                raise ValueError(
                    f"{index} is of format {version}: expected {FORMAT}; record it again"
                )
            expected, calls = trace["sha256"], enumerate(trace["calls"])
            self.dtype: Literal["float32", "float64"] = trace["dtype"]
            self.epochs: int = trace["epochs"]
            self._calls: dict[str, list] = {rung: [] for rung in RECORDED}
            for number, call in calls:
                self._calls[call["rung"]].append(
                    (number, call["method"], call["asked"], call["answered"])
                )
        except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError) as error:
            raise ValueError(f"{index} is not the index of a recording") from error
        content = answers.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise ValueError(
                f"{answers} is truncated or altered ({len(content):,} bytes, SHA-256 {found}, "
                f"expected {expected}): record it again"
            )
        self.rung = ""
        self._arrays = safetensors.numpy.load(content)
        for method in ASKED:
            setattr(self, method, self._replaying(method))

    def start(self, rung: str) -> None:
        """Begins a rung: its first question comes next."""
        self.rung = rung
        self._left = iter(self._calls.get(rung, []))

    def _replaying(self, method: str) -> Callable:
        def asked(*arguments: Any) -> Any:
            number, *asked, names = next(self._left, (0, "nothing", "", []))
            if asked != [method, digest(arguments)]:
                raise ValueError(
                    f"the recording was made by another ladder: on rung {self.rung!r} it has no "
                    f"answer to {method}; record it again"
                )
            found = {name: self._arrays[f"{number}/{name}"] for name in names}
            if method in ("gradients", "step"):
                return found.pop("loss"), found
            return found.get("", found or None)

        return asked


def write_trace(folder: Path, data: Path, dtype: str, epochs: int) -> None:
    """Records the reference.

    Args:
        folder: The two files are written into it; it is made if need be.
        data: Holds MNIST in MNIST/raw.
        dtype: "float32" or "float64".
        epochs: Of the whole training, at least 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}: expected at least 1")
    from tf_reference import framework, weights

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("answers.safetensors", "trace.json"):
        weights.check_writable(folder / name)
    framework.use_device("cpu")
    reference = Reference(dtype=dtype, folder=data)
    mnist = reference.data()
    recorder: Any = Recorder(reference)

    def make_port() -> Reference:
        """The reference takes the part of the port: what is asked does not depend on it."""
        return Reference(dtype=dtype, folder=data)

    images, labels = mnist["training images"], mnist["training labels"]
    climbed = rungs(Judge(), lambda: recorder, make_port, images, labels)
    climbed["ten epochs"] = lambda: whole_training(Judge(), recorder, make_port(), mnist, epochs)
    for recorder.rung in RECORDED:
        climbed[recorder.rung]()
    content = safetensors.numpy.save(recorder.arrays)
    trace = {
        "format": FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "versions": framework.versions(),
        "dtype": dtype,
        "epochs": epochs,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "seed": 0,
        "calls": recorder.calls,
    }
    weights.write_whole(folder / "answers.safetensors", content)
    weights.write_whole(folder / "trace.json", (json.dumps(trace) + "\n").encode())
