"""The framework itself: how it is imported, where it runs, which versions these are."""

import os
import platform
import sys
from contextlib import suppress
from typing import Literal

import numpy as np

# Another Keras backend would return its own tensors in the middle of a GradientTape.
# Asked before the import, since a backend that is not installed fails far from its cause.
if (backend := os.environ.get("KERAS_BACKEND")) not in (None, "", "tensorflow"):
    raise ImportError(
        f"tf_reference needs Keras on TensorFlow, but KERAS_BACKEND is {backend!r}: "
        "unset it, or set it to 'tensorflow'"
    )

# TensorFlow and Triton (which torch.optim loads) each carry an LLVM; one process
# survives both only if Triton comes first (tensorflow#124205).
if "tensorflow" not in sys.modules:
    with suppress(ImportError):
        import triton  # noqa: F401

import tensorflow as tf

if tf.keras.config.backend() != "tensorflow":
    raise ImportError(
        f"tf_reference needs Keras on TensorFlow, but keras.json asks for "
        f"{tf.keras.config.backend()!r}: set its \"backend\" to 'tensorflow'"
    )


Tensor = tf.Tensor


def use_device(device: Literal["cpu", "cuda"]) -> None:
    """Make one kind of device the place where everything that follows is computed.

    Products of float32 are computed in float32, also where a device has a shorter format; the
    fastest way to do so, and to allocate memory, is settled too. Call it before the first
    tensor is made: it is a setting of the whole process.

    Args:
        device: "cpu", or "cuda" for the first CUDA device.

    Raises:
        ValueError: If a CUDA device is asked for and there is none.
    """
    if device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise ValueError("device 'cuda' was asked for, but none was found: use 'cpu'")
    tf.config.experimental.enable_tensor_float_32_execution(False)  # 10 bits in place of 23
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")


def use_dtype(dtype: Literal["float32", "float64"]) -> None:
    """Make one dtype that of everything that follows and does not name its own.

    Call it before the first model or optimizer is made: it is a setting of the whole
    process. Keras computes losses and keeps learning rates in this dtype, whatever the
    dtype of the weights.
    """
    tf.keras.config.set_floatx(dtype)
    tf.keras.config.set_dtype_policy(dtype)  # of layers, which Keras settles with the first one


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that computes the numbers."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "keras": tf.keras.__version__,
    }
