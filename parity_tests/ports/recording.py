"""Recordings: the reference's answers in a folder, for machines without TensorFlow.

A recording holds two files that NumPy and the standard library can read: `answers.safetensors`
holds the arrays, and `recording.json` says to which questions, and with which versions they
were made.
"""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from tqdm import tqdm
from tyro.conf import Positional

from parity_tests.ladder.adapters import Reference
from parity_tests.ladder.compare import Judge
from parity_tests.ladder.remembered import Remembered
from parity_tests.ladder.rungs import rungs
from parity_tests.ladder.training import whole_training

FORMAT = 3
FILES = ("answers.safetensors", "recording.json")
RECORDED = ("layer outputs", "gradients", "trajectory")
"""The rungs of a recording. The others ask the reference nothing that NumPy does not know."""


class Recording:
    """A recorded reference.

    Args:
        folder: As `record` writes it.

    Attributes:
        dtype: "float32" or "float64".
        epochs: Of the whole training.
        sizes: Of the images and of the output of each layer.

    Raises:
        FileNotFoundError: If there is no recording in the folder.
        ValueError: If it is of another format, truncated or altered.
    """

    def __init__(self, folder: Path) -> None:
        answers, index = (folder / name for name in FILES)
        for path in (answers, index):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: `make record` writes a recording")
        content = answers.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        try:
            recording = json.loads(index.read_text())
            if (version := recording["format"]) != FORMAT:
                raise ValueError(
                    f"{index} is of format {version}: expected {FORMAT}; record it again"
                )
            self.dtype: Literal["float32", "float64"] = recording["dtype"]
            self.epochs: int = recording["epochs"]
            self.sizes: tuple[int, ...] = tuple(recording["sizes"])
            if found != (expected := recording["sha256"]):
                raise ValueError(
                    f"{answers} is truncated or altered ({len(content):,} bytes, SHA-256 {found}, "
                    f"expected {expected}): record it again"
                )
            arrays = safetensors.numpy.load(content)
            self._answers = {
                key: _unflattened(key, {name: arrays[f"{key}/{name}"] for name in names})
                for key, names in recording["answers"].items()
            }
        except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError) as error:
            raise ValueError(f"{index} is not the index of a recording") from error

    def reference(self) -> Any:
        """Return the reference, without memory of earlier calls."""

        def make() -> Any:
            raise ValueError("the recording was made by another ladder: record it again")

        return Remembered("reference", self.dtype, make, self._answers, self.sizes)


def _flattened(answer: Any) -> dict[str, np.ndarray]:
    """Return the arrays of an answer by name; the loss of a step comes under "loss"."""
    if isinstance(answer, tuple):
        return {"loss": np.asarray(answer[0]), **answer[1]}
    if isinstance(answer, dict):
        return answer
    return {} if answer is None else {"": np.asarray(answer)}


def _unflattened(key: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return the answer whose arrays these are, given its key, which begins with the method."""
    if key.split()[0] in ("gradients", "step"):
        return arrays.pop("loss"), arrays
    return arrays.get("", arrays or None)


def record(
    folder: Positional[Path] = Path("recording"),
    *,
    epochs: int = 10,
    dtype: Literal["float32", "float64"] = "float64",
    hidden: tuple[int, ...] = (512,),
    data: Path = Path("data"),
) -> None:
    """Record the reference, so that ports can be checked where there is no TensorFlow.

    Args:
        folder: The recording is written into it: about 170 MB in float64, half in float32.
        epochs: Of the whole training; 0 leaves it out.
        dtype: Of the weights and the images.
        hidden: Sizes of the hidden layers.
        data: Folder that holds MNIST in MNIST/raw.
    """
    if epochs < 0:
        raise ValueError(f"--epochs is {epochs}: expected at least 0")
    if not all(size > 1 for size in hidden):
        raise ValueError(f"--hidden is {hidden}: expected sizes of layers, above 1")
    sizes = 784, *hidden, 10
    from tf_reference import framework, weights

    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        weights.check_writable(folder / name)
    framework.use_device("cpu")
    answers = _asked(dtype, sizes, epochs, data)
    found = {key: _flattened(answer) for key, answer in answers.items()}
    content = safetensors.numpy.save(
        {f"{key}/{name}": np.array(a) for key, of in found.items() for name, a in of.items()}
    )
    index = {
        "format": FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "versions": framework.versions(),
        "dtype": dtype,
        "sizes": sizes,
        "epochs": epochs,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "seed": 0,
        "answers": {key: list(of) for key, of in found.items()},
    }
    contents = content, (json.dumps(index) + "\n").encode()
    for name, content in zip(FILES, contents, strict=True):
        weights.write_whole(folder / name, content)
    print(f"{folder}: {sum(map(len, contents)) / 1e6:.0f} MB")


def _asked(dtype: str, sizes: tuple[int, ...], epochs: int, data: Path) -> dict[str, Any]:
    """Return what the reference answers to all that a check asks of it, on every rung."""
    answers: dict[str, Any] = {}

    def make_reference() -> Any:
        return Remembered("reference", dtype, make_port, answers, sizes)

    def make_port() -> Reference:
        """Return the reference in place of a port, on which no question depends."""
        return Reference(sizes, dtype, folder=data)

    mnist = make_port().data()
    images, labels = mnist["training images"], mnist["training labels"]
    climbed = rungs(Judge(), make_reference, make_port, images, labels)
    if epochs:
        climbed["ten epochs"] = partial(
            whole_training, Judge(), make_reference(), make_port(), mnist, epochs
        )
    asked = [rung for rung in (*RECORDED, "ten epochs") if rung in climbed]
    for rung in (bar := tqdm(asked, unit="rung", disable=None)):
        bar.set_description(rung)
        climbed[rung]()
    return answers
