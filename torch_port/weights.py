"""Weights as safetensors files, which every framework reads and writes alike."""

import hashlib
import os
import tempfile
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from .layers import NaiveSequential


def named_weights(model: NaiveSequential) -> dict[str, Tensor]:
    """Returns the weights under the names that a file gives them, such as `layers.0.W`."""
    return {
        f"layers.{index}.{name}": weight
        for index, layer in enumerate(model.layers)
        for name, weight in zip("Wb", layer.weights, strict=True)
    }


def weights_sha256(model: NaiveSequential) -> str:
    """Returns the SHA-256 of the file that `save_weights` would write, in hexadecimal."""
    return hashlib.sha256(_serialize(model)).hexdigest()


def save_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Writes the weights to a file, which appears whole or not at all.

    Args:
        model: Its weights are written as `layers.0.W`, `layers.0.b`, `layers.1.W` and so
            on, in their shapes and dtypes.
        path: An existing file is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    write_whole(path, _serialize(model))


def load_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Replaces the weights of a model by those of a file; all of them, or none.

    Args:
        model: Its weights are changed in place.
        path: A file as `save_weights` of either package writes it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a safetensors file, or its tensors are not those of the
            model by name, shape and dtype.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: `train --save-weights` writes such a file")
    try:
        loaded = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error

    expected = named_weights(model)
    if missing := sorted(expected.keys() - loaded.keys()):
        raise ValueError(f"{path} lacks {', '.join(missing)}: expected {', '.join(expected)}")
    if extra := sorted(loaded.keys() - expected.keys()):
        raise ValueError(f"{path} also holds {', '.join(extra)}: expected {', '.join(expected)}")
    for name, weight in expected.items():
        found, wanted = _describe(loaded[name]), _describe(weight)
        if found != wanted:
            raise ValueError(f"{path} holds {name} as {found}: expected {wanted}")

    for name, weight in expected.items():
        weight.data.copy_(loaded[name])


def check_writable(path: str | os.PathLike) -> None:
    """Refuses a path that no file can be written to, before work is spent on its content.

    Raises:
        OSError: If it is a folder, or no file can be made beside it.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a folder, expected a file")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {path.parent}: {error.strerror}") from error


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file, which appears whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    check_writable(path)
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _serialize(model: NaiveSequential) -> bytes:
    return safetensors.torch.save(
        {name: weight.detach().contiguous() for name, weight in named_weights(model).items()}
    )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
