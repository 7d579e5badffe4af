"""Weights as safetensors files, which every framework reads and writes alike."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .framework import Tensor, tf  # isort: skip (Triton, then TensorFlow: see there)
import safetensors.tensorflow
from safetensors import SafetensorError

from .layers import NaiveSequential

DTYPES = {"F32": "float32", "F64": "float64"}
"""The names of the dtypes of weights, by their names in a safetensors file."""


def named_weights(model: NaiveSequential) -> dict[str, tf.Variable]:
    """Return the weights under the names that a file gives them, such as `layers.0.W`."""
    return {
        f"layers.{index}.{name}": weight
        for index, layer in enumerate(model.layers)
        for name, weight in zip("Wb", layer.weights, strict=True)
    }


def weights_sha256(model: NaiveSequential) -> str:
    """Return the SHA-256 of the file that `save_weights` would write, in hexadecimal."""
    return hashlib.sha256(_serialize(model)).hexdigest()


def save_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Write the weights to a file, which appears whole or not at all.

    Args:
        model: Its weights are written as `layers.0.W`, `layers.0.b`, `layers.1.W` and so
            on, in their shapes and dtypes.
        path: An existing file is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    write_whole(path, _serialize(model))


def load_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Replace the weights of a model by those of a file; all of them, or none.

    Args:
        model: Its weights are changed in place.
        path: A file as `save_weights` of either package writes it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a safetensors file, its tensors are not those of the model by
            name, shape and dtype, or a number in them is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: `train --save-weights` writes such a file")
    try:
        # The header first, since a file may hold dtypes that the framework lacks.
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            described = {
                name: f"{DTYPES.get(part.get_dtype(), part.get_dtype())} of shape "
                f"{tuple(part.get_shape())}"
                for name, part in slices.items()
            }
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error

    expected = named_weights(model)
    if missing := sorted(expected.keys() - described.keys()):
        held = ", ".join(described) or "nothing"
        raise ValueError(f"{path} lacks {', '.join(missing)}: it holds {held}")
    if extra := sorted(described.keys() - expected.keys()):
        raise ValueError(f"{path} also holds {', '.join(extra)}: expected {', '.join(expected)}")
    for name, weight in expected.items():
        if described[name] != (wanted := _describe(weight)):
            raise ValueError(f"{path} holds {name} as {described[name]}: expected {wanted}")

    loaded = safetensors.tensorflow.load_file(path)
    for name, weight in loaded.items():
        if not tf.reduce_all(tf.math.is_finite(weight)):
            raise ValueError(f"{path} holds a number in {name} that is not finite")
    for name, weight in expected.items():
        weight.assign(loaded[name])


def check_writable(path: str | os.PathLike) -> None:
    """Refuse a path that no file can be written to, before work is spent on its content.

    Raises:
        OSError: If it is a folder or a device, or no file can be made beside it.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a folder, expected a file")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} cannot be written: it is a device, expected a file")
    try:
        _partial(path).touch()
        _partial(path).unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {path.parent}: {error.strerror}") from error


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Refuse paths to write to, before work is spent on their content.

    Args:
        outputs: Written later; None where nothing is to be written.
        inputs: Read before; None where nothing is.

    Raises:
        OSError: If a file cannot be written.
        ValueError: If a file would be written over another one of these.
    """
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path is not None:
            check_writable(path)
            if path.resolve() in taken:
                raise ValueError(f"{path} is named twice: expected a file of its own")
            taken.add(path.resolve())


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, which appears whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    check_writable(path)
    path = Path(path)
    partial = _partial(path)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _serialize(model: NaiveSequential) -> bytes:
    return safetensors.tensorflow.save(
        {name: tf.convert_to_tensor(weight) for name, weight in named_weights(model).items()}
    )


def _describe(tensor: Tensor) -> str:
    return f"{tf.as_dtype(tensor.dtype).name} of shape {tuple(tensor.shape)}"
