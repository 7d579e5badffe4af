"""Weights as safetensors files, which every framework reads and writes alike."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .framework import Tensor, tf  # isort: skip (Triton, then TensorFlow: see there)
import safetensors.tensorflow
from safetensors import SafetensorError

from .framework import ArgumentError, check, check_file
from .layers import NaiveSequential

DTYPES = {"F32": "float32", "F64": "float64"}
"""The names of the dtypes of weights, by their names in a safetensors file."""


def named_weights(model: Any) -> dict[str, tf.Variable]:
    """Return the weights under the names that a file gives them, such as `layers.0.W`."""
    layers = getattr(model, "layers", None)
    check("the model", model, isinstance(layers, list | tuple) and layers, "one that has layers")
    return {
        f"layers.{index}.{name}": weight
        for index, layer in enumerate(layers or [])
        for name, weight in zip("Wb", layer.weights, strict=True)
    }


def serialized(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file."""
    whole = {name: tf.convert_to_tensor(tensor) for name, tensor in tensors.items()}
    return safetensors.tensorflow.save(whole, metadata)


def weights_sha256(model: Any) -> str:
    """Return the SHA-256 of the file that `save_weights` would write, in hexadecimal."""
    return hashlib.sha256(serialized(named_weights(model))).hexdigest()


def save_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Write the weights to a file, which appears whole or not at all.

    Args:
        model: Its weights are written as `layers.0.W`, `layers.0.b`, `layers.1.W` and so on.
        path: An existing file is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    write_whole(path, serialized(named_weights(model)))


def load_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Replace the weights of a model by those of a file; all of them, or none.

    Args:
        model: Its weights are changed in place.
        path: A file as `save_weights` of either package writes it.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ArgumentError: If it is not a safetensors file, its tensors are not those of the model by
            name, shape and dtype, or a number in them is not finite.
    """
    weights = named_weights(model)
    path = check_file(path, "a safetensors file, as `train --save-weights` writes it")
    assign(weights, read_tensors(path, weights))


def assign(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Replace the numbers of some tensors by those of others of the same names."""
    for name, tensor in tensors.items():
        tensor.assign(values[name])


def read_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, if they are like others.

    Args:
        path: Of the file.
        tensors: Those that the file's must be like, in name, dtype and shape.

    Raises:
        OSError: If the file cannot be read.
        ArgumentError: If it is no safetensors file, holds others, or a number that is not finite.
    """
    expected = {name: describe(tensor) for name, tensor in tensors.items()}
    held = described(path)
    for name in sorted(expected | held):
        found, wanted = held.get(name, "nothing"), expected.get(name, "nothing")
        (dtype, *shape), (_, *wanted_shape) = found.split(), wanted.split()
        known = shape and shape == wanted_shape and dtype in DTYPES.values()
        mend = f", or a model in {dtype} (--dtype {dtype})" if known else ""
        if found != wanted:
            raise ArgumentError(f"{path} holds {found} as {name}: expected {wanted}{mend}")
    loaded = safetensors.tensorflow.load_file(path)
    for name, tensor in loaded.items():
        if not tf.reduce_all(tf.math.is_finite(tensor)):
            raise ArgumentError(f"{path} holds a number in {name} that is not finite")
    return loaded


def described(path: Path) -> dict[str, str]:
    """Return the dtype and the shape of each tensor in a safetensors file, in words.

    Raises:
        OSError: If the file cannot be read.
        ArgumentError: If it is not a whole safetensors file, or has a name twice.
    """
    try:
        # It compares the header with the length of the file, but takes a name twice.
        with safetensors.safe_open(path, framework="numpy"), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length)
    except SafetensorError as error:
        raise ArgumentError(f"{path} is not a whole safetensors file: {error}") from error
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error}") from error

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        check(f"a name in {path}", names, len(set(names)) == len(names), "each of them once")
        return dict(pairs)

    header = json.loads(text, object_pairs_hook=once)
    header.pop("__metadata__", None)
    return {
        name: f"{DTYPES.get(entry['dtype'], entry['dtype'])} of shape {tuple(entry['shape'])}"
        for name, entry in header.items()
    }


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, which appears whole or not at all, and keeps the mode of the one before."""
    target = Path(path).resolve()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        partial.write_bytes(content)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def dtype_name(tensor: Tensor) -> str:
    """Return the name of the dtype of a tensor, the same in every framework."""
    return tf.as_dtype(tensor.dtype).name


def describe(tensor: Tensor) -> str:
    """Return the dtype and the shape of a tensor in words."""
    return f"{dtype_name(tensor)} of shape {tuple(tensor.shape)}"
