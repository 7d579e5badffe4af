"""The framework itself: how it is imported, where it runs, which versions these are."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

DTYPES = ("float32", "float64")


class ArgumentError(ValueError):
    """An argument, or what a file holds, is not what it has to be."""


def check(name: str, value: object, fits: object, expected: str) -> None:
    """Raise an ArgumentError of what was given and what was expected, unless it fits."""
    if not fits:
        raise ArgumentError(f"{name} is {shown(value)}: expected {expected}")


def shown(value: object) -> str:
    """Return a value as a message shows it, at most 60 characters long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number of a range as one of Python's, which does not overflow."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    wanted = f"of at least {low}" if high is None else f"from {low} to {high}"
    fits = whole and low <= value and (high is None or value <= high)
    check(name, value, fits, f"a whole number {wanted}")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Return a finite number above 0 as one of Python's, which every framework takes."""
    fits = hasattr(value, "__float__") and np.ndim(value) == 0 and 0 < value <= 1.79e308
    check(name, value, fits and value is not True, "a finite number above 0")
    return float(value)


def check_file(path: str | os.PathLike, expected: str) -> Path:
    """Return the path of a file, unless it is not there."""
    path = Path(path)
    if not path.is_file():
        found = f"{path} is no file" if path.exists() else f"there is no {path}"
        raise FileNotFoundError(f"{found}: expected {expected}")
    return path


def as_array(name: str, values: Any) -> np.ndarray:
    """Return real numbers as an array that lies in memory as the machine reads it."""
    try:
        array = np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:  # ragged rows, or a sparse tensor
        raise ArgumentError(f"the {name} cannot be read as an array: {error}") from error
    masked = np.ma.is_masked(values)
    real = array.dtype.kind in "biuf" and array.itemsize <= 8 and array.ndim and not masked
    found = f"{'masked ' * masked}{array.dtype} of shape {array.shape}"
    check(f"the array of {name}", found, real, "an array of real numbers of at most 64 bits")
    return np.require(array, array.dtype.newbyteorder("="), ["C", "W"])


def use_device(device: Literal["cpu", "cuda"]) -> None:
    """Make one kind of device the place where everything that follows is computed.

    Products of float32 are computed in float32, also where a device has a shorter format, and by
    the fastest kernels that do so. The memory of tensors is kept for those that follow. Call it
    before the first tensor is made: it is a setting of the whole process.

    Args:
        device: "cpu", or "cuda" for the first CUDA device.

    Raises:
        ArgumentError: If it is neither, or a CUDA device is asked for and there is none.
    """
    check("device", device, device in ("cpu", "cuda"), "cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("device 'cuda' was asked for, but none was found: use 'cpu'")
    # The permission to round to bfloat16 makes torch take oneDNN's kernels, often the fastest in
    # float32. A CPU that multiplies bfloat16 would make use of it, which a product shows.
    torch.set_float32_matmul_precision("medium")
    x = torch.linspace(-1, 1, 128 * 784, device="cpu").reshape(128, 784)
    exact = x.double() @ x.double().T
    if (x @ x.T - exact).abs().max() > 1e-5 * exact.abs().max():
        torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "ieee"  # TensorFloat-32 has 10 bits, not 23
    # Torch takes every tensor from malloc. glibc would return large ones to the kernel after each
    # step, which would clear the same pages again for the next: a quarter of a full-batch step.
    if platform.libc_ver()[0] == "glibc":
        libc, trim_threshold, mmap_max = ctypes.CDLL(None), -1, -4  # as malloc.h numbers them
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)
    # Naming the CPU would send every call of torch through Python once more.
    torch.set_default_device(None if device == "cpu" else device)


def use_dtype(dtype: Literal["float32", "float64"]) -> None:
    """Make one dtype that of everything that follows and does not name its own.

    Call it before the first model or optimizer is made: it is a setting of the whole
    process.

    Raises:
        ArgumentError: If it is neither of the two.
    """
    check("dtype", dtype, dtype in DTYPES, "float32 or float64")
    torch.set_default_dtype(getattr(torch, dtype))


def check_settings(gradients: bool = False) -> None:
    """Refuse to compute, or to compute gradients, where the framework was told not to."""
    if gradients and (torch.is_inference_mode_enabled() or not torch.is_grad_enabled()):
        raise ArgumentError("torch computes no gradients here: train outside of torch.no_grad")
    device = torch.get_default_device().type
    check("the default device of torch", device, device in ("cpu", "cuda"), "cpu or cuda")
    if torch.is_autocast_enabled(device):
        raise ArgumentError("torch rounds to another dtype here: compute outside of torch.autocast")


@contextmanager
def shortage_named() -> Iterator[None]:
    """Turn what the framework says of memory that it does not get into a MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "t allocate memory" in str(error)):
            raise
        raise MemoryError("the memory is exhausted: take a smaller batch size") from error


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that computes the numbers."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
