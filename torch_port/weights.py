"""Weights as safetensors files, which every framework reads and writes alike."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .arguments import shown
from .files import check_input, read_json, write_whole
from .layers import NaiveSequential

DTYPES = {"F32": "float32", "F64": "float64"}
"""The names of the dtypes of weights, by their names in a safetensors file."""


def named_weights(model: Any) -> dict[str, Tensor]:
    """Return the weights under the names that a file gives them, such as `layers.0.W`.

    Raises:
        ValueError: If the model has no layers.
    """
    if not (isinstance(layers := getattr(model, "layers", None), list | tuple) and layers):
        raise ValueError(f"the model is {shown(repr(model))}: expected one that has layers")
    return {
        f"layers.{index}.{name}": weight
        for index, layer in enumerate(layers)
        for name, weight in zip("Wb", layer.weights, strict=True)
    }


def serialized(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file."""
    whole = {  # copies: safetensors.torch takes no tensor under two names
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return safetensors.torch.save(whole, metadata)


def weights_sha256(model: Any) -> str:
    """Return the SHA-256 of the file that `save_weights` would write, in hexadecimal."""
    return hashlib.sha256(serialized(named_weights(model))).hexdigest()


def save_weights(model: NaiveSequential, path: str | os.PathLike) -> None:
    """Write the weights to a file, which appears whole or not at all.

    Args:
        model: Its weights are written as `layers.0.W`, `layers.0.b`, `layers.1.W` and so
            on, in their shapes and dtypes.
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
        FileNotFoundError: If there is no such file.
        OSError: If it is no file, or cannot be read.
        ValueError: If it is not a safetensors file, its tensors are not those of the model by
            name, shape and dtype, or a number in them is not finite.
    """
    weights = named_weights(model)
    path = check_input(path, "a safetensors file, as `train --save-weights` writes it")
    assign(weights, read_tensors(path, weights))


def assign(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Replace the numbers of some tensors by those of others of the same names."""
    for name, tensor in tensors.items():
        tensor.data.copy_(values[name])


def read_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, if they are like others.

    Args:
        path: Of the file.
        tensors: Those that the file's must be like, in name, dtype and shape.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a safetensors file, holds other tensors, or a number that is not
            finite.
    """
    expected = {name: (dtype_name(w), tuple(w.shape)) for name, w in tensors.items()}
    described = {
        name: (DTYPES.get(entry["dtype"], entry["dtype"]), tuple(entry["shape"]))
        for name, entry in read_header(path).items()
        if name != "__metadata__"
    }
    if missing := sorted(expected.keys() - described.keys()):
        held = ", ".join(described) or "nothing"
        raise ValueError(f"{path} lacks {', '.join(missing)}: it holds {shown(held)}")
    if extra := sorted(described.keys() - expected.keys()):
        raise ValueError(
            f"{path} also holds {shown(', '.join(extra))}: expected {', '.join(expected)}"
        )
    for name, (wanted, wanted_shape) in expected.items():
        dtype, shape = described[name]
        if (dtype, shape) != (wanted, wanted_shape):
            known = dtype in DTYPES.values() and shape == wanted_shape
            mend = f", or a model in {dtype} (--dtype {dtype})" if known else ""
            raise ValueError(
                f"{path} holds {name} as {dtype} of shape {shape}: expected {wanted} of shape "
                f"{wanted_shape}{mend}"
            )
    loaded = safetensors.torch.load_file(path)
    for name, tensor in loaded.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path} holds a number in {name} that is not finite")
    return loaded


def read_header(path: Path) -> dict[str, Any]:
    """Return what a safetensors file says of its tensors, and its metadata.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a whole safetensors file, or has a name twice.
    """
    try:
        # It compares the header with the length of the file, but takes a name twice.
        with safetensors.safe_open(path, framework="numpy"), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return read_json(file.read(length), f"the header of {path}")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    except OSError as error:  # which does not say of what
        raise OSError(f"{path} cannot be read: {error.strerror or error}") from error


def dtype_name(tensor: Tensor) -> str:
    """Return the name of the dtype of a tensor, the same in every framework."""
    return str(tensor.dtype).removeprefix("torch.")


def describe(tensor: Tensor) -> str:
    """Return the dtype and the shape of a tensor in words."""
    return f"{dtype_name(tensor)} of shape {tuple(tensor.shape)}"
