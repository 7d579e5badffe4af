"""Recordings: the reference's answers in a folder, for machines without TensorFlow.

A recording holds two files that NumPy and the standard library can read: `answers.safetensors`
holds the arrays, and `recording.json` says to which questions, and with which versions they
were made.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError
from tqdm import tqdm

from parity_tests.ladder.adapters import Reference
from parity_tests.ladder.compare import Judge
from parity_tests.ladder.remembered import Remembered
from parity_tests.ladder.rungs import rungs
from parity_tests.ladder.training import whole_training
from parity_tests.program import files
from parity_tests.program.files import check_input
from parity_tests.program.frameworks import Twin
from parity_tests.program.messages import UserError, shown

FORMAT = 3
LARGEST_LAYER = 100_000
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
        OSError: If what is there is no file, or cannot be read.
        ValueError: If it is of another format, truncated or altered.
    """

    def __init__(self, folder: Path) -> None:
        answers, index = (folder / name for name in FILES)
        for path in (answers, index):
            check_input(path, "a file of a recording, as `make record` makes it")
        what = f"the index {index} of the recording"
        recording = _read_json(index.read_bytes(), what)
        _check_index(recording, what)
        self.dtype: Literal["float32", "float64"] = recording["dtype"]
        self.epochs: int = recording["epochs"]
        self.sizes: tuple[int, ...] = tuple(recording["sizes"])
        content = answers.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != (expected := recording["sha256"]):
            raise UserError(
                f"{answers} is truncated or altered ({len(content):,} bytes, SHA-256 {found}, "
                f"expected {shown(expected)}): record it again"
            )
        try:
            arrays = safetensors.numpy.load(content)
        except (SafetensorError, KeyError) as error:
            raise UserError(f"{answers} is not a whole safetensors file: {error}") from error
        self._answers = {
            key: self._answer(key, names, arrays, answers)
            for key, names in recording["answers"].items()
        }

    def _answer(self, key: str, names: list[str], arrays: dict[str, np.ndarray], path: Path) -> Any:
        """Return the answer to a question, if it is one of this network.

        Raises:
            ValueError: If an array is missing, or not of the dtype and the shape that it must be.
        """
        method = key.split()[0] if key.split() else ""
        layers = range(len(self.sizes) - 1)
        shapes: dict[str, tuple[int, ...]] = {f"layers.{i}.b": (self.sizes[i + 1],) for i in layers}
        shapes |= {f"layers.{i}.W": self.sizes[i : i + 2] for i in layers}
        shapes["loss"] = ()
        of_step = set(shapes) if method in ("gradients", "step") else set(shapes) - {"loss"}
        if method in ("gradients", "step", "weights") and set(names) != of_step:
            raise UserError(f"{path} answers {shown(key)} by {names}: expected {sorted(of_step)}")
        for name in names:
            array = arrays.get(f"{key}/{name}")
            if array is None:
                raise UserError(f"{path} lacks {shown(f'{key}/{name}')}: record it again")
            dtype = {"predict": "int64", "accuracy": "float64"}.get(method, self.dtype)
            if array.dtype != dtype or array.shape != shapes.get(name, array.shape):
                found = f"{array.dtype} of shape {array.shape}"
                raise UserError(f"{path} holds {shown(f'{key}/{name}')} as {found}: altered")
        return unflattened(key, {name: arrays[f"{key}/{name}"] for name in names})

    def reference(self) -> Any:
        """Return the reference, without memory of earlier calls."""

        def make() -> Any:
            raise UserError("the recording was made by another ladder: record it again")

        return Remembered("reference", self.dtype, make, self._answers, self.sizes)


def _check_index(recording: Any, what: str) -> None:
    """Refuse an index whose fields are not as `record` writes them, by the name of the field."""
    _check_fields(recording, {"format": int}, what)
    if (version := recording["format"]) != FORMAT:
        raise UserError(f"{what} is of format {shown(version)}: expected {FORMAT}; record anew")
    _check_fields(recording, {"epochs": int, "sizes": list, "sha256": str, "answers": dict}, what)
    if recording.get("dtype") not in ("float32", "float64"):
        found = shown(recording.get("dtype"))
        raise UserError(f"'dtype' in {what} is {found}: expected float32 or float64")
    _check_number(f"'epochs' in {what}", recording["epochs"], 0, 1_000_000)
    for size in recording["sizes"]:
        _check_number(f"'sizes' in {what}", size, 1, LARGEST_LAYER)
    if recording["sizes"][:1] != [784] or recording["sizes"][-1:] != [10]:
        raise UserError(f"'sizes' in {what} is {recording['sizes']}: expected 784, ..., 10")
    for key, names in recording["answers"].items():
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise UserError(f"'answers' in {what} holds {shown(key)} as {shown(names)}")


def _read_json(content: bytes, what: str) -> Any:
    """Return what a JSON document holds that may have been made by anybody."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"it holds {shown(name)} twice")
            found[name] = value
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"it holds {constant}, which is no number")

    try:
        return json.loads(content, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise UserError(f"{what} cannot be read: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{what} cannot be read: {shown(str(error))}") from error


def _check_fields(document: Any, fields: Mapping[str, type], what: str) -> None:
    """Refuse a document unless it holds values of the right types under the right names."""
    if not isinstance(document, dict):
        raise UserError(f"{what} cannot be read: it holds no fields")
    for name, kind in fields.items():
        if name not in document:
            raise UserError(f"{what} lacks the field {name!r}")
        value = document[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"{what} holds {name!r} as {shown(value)}: expected {kind.__name__}")


def _check_number(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        found = shown(repr(value))
        raise UserError(f"{name} is {found}: expected a whole number from {low} to {high}")


def flattened(answer: Any) -> dict[str, np.ndarray]:
    """Return the arrays of an answer by name; the loss of a step comes under "loss"."""
    if isinstance(answer, tuple):
        return {"loss": np.asarray(answer[0]), **answer[1]}
    if isinstance(answer, dict):
        return answer
    return {} if answer is None else {"": np.asarray(answer)}


def unflattened(key: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return the answer whose arrays these are, given its key, which begins with the method."""
    if key.split()[0] in ("gradients", "step"):
        return arrays.pop("loss"), arrays
    return arrays.get("", arrays or None)


def record(
    folder: Path = Path("recording"),
    /,
    *,
    epochs: int = 10,
    dtype: Literal["float32", "float64"] = "float64",
    hidden: tuple[int, ...] = (512,),
    data: Path = Path("data"),
) -> None:
    """Record the reference, so that ports can be checked where there is no TensorFlow.

    Args:
        folder: The recording is written into it: about 170 MB in float64, half in float32.
        epochs: Of the whole training; 0 leaves it out, which is the smallest part.
        dtype: Of the weights and the images.
        hidden: Sizes of the hidden layers.
        data: Folder that holds MNIST in MNIST/raw.
    """
    _check_number("--epochs", epochs, 0, 1_000_000)
    for size in hidden:
        _check_number("--hidden", size, 2, LARGEST_LAYER)
    sizes = 784, *hidden, 10
    files.check_data(data)
    Twin("tf").mnist.verify(data / "MNIST" / "raw")
    files.check_folder(folder, "the folder that the recording is written into")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        files.check_outputs([folder / name for name in FILES])
        _write(folder, epochs, dtype, sizes, data)
    except BaseException:
        if made:
            with suppress(OSError):  # what is in it stays
                folder.rmdir()
        raise


def _write(folder: Path, epochs: int, dtype: str, sizes: tuple[int, ...], data: Path) -> None:
    """Ask the reference all that a check asks of it, and write what it answers."""
    framework = Twin("tf").framework
    framework.use_device("cpu")
    answers = _asked(dtype, sizes, epochs, data)
    found = {key: flattened(answer) for key, answer in answers.items()}
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
        files.write_whole(folder / name, content)
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
