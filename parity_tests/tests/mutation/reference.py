"""What the reference answers on the ladder, kept in a folder for the climbs of many mutants."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Judge
from parity_tests.ladder.remembered import Remembered
from parity_tests.ladder.rungs import LADDER, rungs

FOLDER = Path(__file__).parents[3] / "build" / "mutants"
CLIMBED = tuple(rung for rung in LADDER if rung != "data")
"""All rungs but that of the readers, which are not mutated."""


def climb(judge: Judge, answers: dict[str, Any], dtype: str, rung: str, *data: Any) -> None:
    """Climb a rung with the port; the reference is asked for what is not among the answers.

    The hidden layer is small, for the sake of time, but for the first example, whose is fixed.
    """
    sizes = (784, 512 if rung == "first example" else 32, 10)

    def make_reference() -> Any:
        make = partial(Reference, sizes, dtype)
        return Remembered("reference", dtype, make, answers, sizes)

    def make_port() -> Any:
        return Port(sizes, dtype)

    rungs(judge, make_reference, make_port, *data)[rung]()


def record_once(folder: str) -> None:
    """Climb with the port as it is, and write what the reference answers, unless it is there.

    Args:
        folder: Holds MNIST in MNIST/raw.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dtype in ("float32", "float64"):
        if not _path(dtype).exists():
            _record(dtype, Path(folder))


def _record(dtype: str, data: Path) -> None:
    mnist = Port(dtype=dtype, folder=data).data()
    images, labels = (mnist[f"training {what}"][:300] for what in ("images", "labels"))
    answers: dict[str, Any] = {}
    for rung in CLIMBED:
        climb(Judge(), answers, dtype, rung, images, labels)
    flat = {key: flattened(answer) for key, answer in answers.items()}
    arrays = {f"{key}/{name}": np.array(a) for key, of in flat.items() for name, a in of.items()}
    arrays |= {"images": images, "labels": labels}
    content = safetensors.numpy.save(arrays, {"keys": json.dumps(list(answers))})
    _path(dtype).write_bytes(content)


def _path(dtype: str) -> Path:
    """Return where the answers of this reference to this ladder are."""
    root = Path(__file__).parents[3]
    sha256 = hashlib.sha256()
    for folder in ("tf_reference", "parity_tests/ladder"):
        for path in sorted((root / folder).glob("*.py")):
            sha256.update(path.read_bytes())
    return FOLDER / f"reference-{dtype}-{sha256.hexdigest()[:16]}.safetensors"


def recorded(dtype: str) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Return the answers, and the images and labels of the climb."""
    with safetensors.safe_open(_path(dtype), framework="numpy") as file:
        keys = json.loads(file.metadata()["keys"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    found: dict[str, dict[str, np.ndarray]] = {key: {} for key in keys}
    for name, array in arrays.items():
        key, slash, rest = name.partition("/")
        if slash:
            found[key][rest] = array
    answers = {key: unflattened(key, of) for key, of in found.items()}
    return answers, arrays["images"], arrays["labels"]


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
