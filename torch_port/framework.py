"""The framework itself: how it is imported, where it runs, which versions these are."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

from .arguments import check_choice


def use_device(device: Literal["cpu", "cuda"]) -> None:
    """Make one kind of device the place where everything that follows is computed.

    Products of float32 are computed in float32, also where a device has a shorter format; the
    fastest way to do so, and to allocate memory, is settled too. Call it before the first
    tensor is made: it is a setting of the whole process.

    Args:
        device: "cpu", or "cuda" for the first CUDA device.

    Raises:
        ValueError: If it is neither, or a CUDA device is asked for and there is none.
    """
    check_choice("device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but none was found: use 'cpu'")
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
    process. Keras computes losses and keeps learning rates in this dtype, whatever the
    dtype of the weights.

    Raises:
        ValueError: If it is neither of the two.
    """
    check_choice("dtype", dtype)
    torch.set_default_dtype(getattr(torch, dtype))


def check_settings(gradients: bool = False) -> None:
    """Refuse to compute where the framework was told to do so in another way.

    Args:
        gradients: Whether they are computed as well.

    Raises:
        ValueError: With what is in the way.
    """
    if gradients and (torch.is_inference_mode_enabled() or not torch.is_grad_enabled()):
        raise ValueError("torch computes no gradients here: train outside of torch.no_grad")
    device = torch.get_default_device().type
    check_choice("the default device of torch", device, ("cpu", "cuda"))
    if torch.is_autocast_enabled(device):
        raise ValueError("torch rounds to another dtype here: compute outside of torch.autocast")


@contextmanager
def shortage_named() -> Iterator[None]:
    """Turn what the framework says of memory that it does not get into a sentence.

    Raises:
        MemoryError: In place of the framework's own error.
    """
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
