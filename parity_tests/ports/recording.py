"""The reference's side of the ladder, recorded: a stand-in where there is no TensorFlow.

The reference is asked the same questions for every port, so its answers can be written down
once. A recording is a folder of two files that NumPy and the standard library can read:
`answers.safetensors` holds the arrays, and `recording.json` says what was asked, in what order,
and with which versions.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from tyro.conf import Positional

from parity_tests.ladder.adapters import Reference
from parity_tests.ladder.compare import Judge
from parity_tests.ladder.rungs import rungs
from parity_tests.ladder.training import whole_training

FORMAT = 2
FILES = ("answers.safetensors", "recording.json")
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


class RecordedReference:
    """A recorded reference, as an `Implementation` that can be asked the same again.

    Args:
        folder: As `record` writes it.

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
        answers, index = (folder / name for name in FILES)
        for path in (answers, index):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: `make record` writes a recording")
        try:
            recording = json.loads(index.read_text())
            if (version := recording["format"]) != FORMAT:
                raise ValueError(
                    f"{index} is of format {version}: expected {FORMAT}; record it again"
                )
            expected, calls = recording["sha256"], enumerate(recording["calls"])
            self.dtype: Literal["float32", "float64"] = recording["dtype"]
            self.epochs: int = recording["epochs"]
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


def record(
    folder: Positional[Path] = Path("recording"),
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
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}: expected at least 1")
    from tf_reference import framework, weights

    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        weights.check_writable(folder / name)
    framework.use_device("cpu")
    recorder = Recorder(Reference(dtype=dtype, folder=data))
    _ask(recorder, epochs, data)
    answers = safetensors.numpy.save(recorder.arrays)
    index = {
        "format": FORMAT,
        "sha256": hashlib.sha256(answers).hexdigest(),
        "versions": framework.versions(),
        "dtype": dtype,
        "epochs": epochs,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "seed": 0,
        "calls": recorder.calls,
    }
    contents = answers, (json.dumps(index) + "\n").encode()
    for name, content in zip(FILES, contents, strict=True):
        weights.write_whole(folder / name, content)
    print(f"{folder}: {sum(map(len, contents)) / 1e6:.0f} MB")


def _ask(recorder: Any, epochs: int, data: Path) -> None:
    """Asks a recorder what a check asks of the reference, on every rung."""

    def make_port() -> Reference:
        """The reference takes the part of the port: what is asked does not depend on it."""
        return Reference(dtype=recorder.dtype, folder=data)

    mnist = make_port().data()
    images, labels = mnist["training images"], mnist["training labels"]
    climbed = rungs(Judge(), lambda: recorder, make_port, images, labels)
    climbed["ten epochs"] = lambda: whole_training(Judge(), recorder, make_port(), mnist, epochs)
    for recorder.rung in RECORDED:
        climbed[recorder.rung]()
