"""The framework itself: how it is imported, where it runs, which versions these are."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import numpy as np

from .arguments import check_choice

# Another Keras backend would return its own tensors in the middle of a GradientTape.
# Asked before the import, since a backend that is not installed fails far from its cause.
if (backend := os.environ.get("KERAS_BACKEND")) not in (None, "", "tensorflow"):
    raise ImportError(
        f"tf_reference needs Keras on TensorFlow, but KERAS_BACKEND is {backend!r}: "
        "unset it, or set it to 'tensorflow'"
    )

# Keras of before version 3, and trainings that end early without a word.
if stray := [
    f"{name} is {os.environ[name]!r}"
    for name in ("TF_USE_LEGACY_KERAS", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")
    if os.environ.get(name, "0") not in ("", "0", "false", "False")
]:
    raise ImportError(f"tf_reference needs Keras 3 in full, but {stray[0]}: unset it")

# TensorFlow and Triton (which torch.optim loads) each carry an LLVM; one process
# survives both only if Triton comes first (tensorflow#124205).
if "tensorflow" not in sys.modules:
    with suppress(ImportError):
        import triton  # noqa: F401

try:
    import tensorflow as tf

    backend = tf.keras.config.backend()
except (AssertionError, AttributeError, RecursionError, TypeError, ValueError) as error:
    raise ImportError(
        f"Keras cannot be loaded ({type(error).__name__}: {error}): mend or remove keras.json in "
        f"{os.environ.get('KERAS_HOME') or os.path.expanduser('~/.keras')}"
    ) from error
if backend != "tensorflow":
    raise ImportError(
        f"tf_reference needs Keras on TensorFlow, but keras.json asks for "
        f"{backend!r}: set its \"backend\" to 'tensorflow'"
    )
if tf.keras.config.epsilon() != 1e-7:
    raise ImportError(
        f"tf_reference needs Keras's epsilon of 1e-07, but keras.json says "
        f'{tf.keras.config.epsilon()!r}: take "epsilon" out'
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
        ValueError: If it is neither, or a CUDA device is asked for and there is none.
    """
    check_choice("device", device, ("cpu", "cuda"))
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

    Raises:
        ValueError: If it is neither of the two.
    """
    check_choice("dtype", dtype)
    tf.keras.config.set_floatx(dtype)
    tf.keras.config.set_dtype_policy(dtype)  # of layers, which Keras settles with the first one


def check_settings(gradients: bool = False) -> None:
    """Refuse to compute where the framework was told to do so in another way.

    Args:
        gradients: Whether they are computed as well.

    Raises:
        ValueError: With what is in the way.
    """
    if not tf.executing_eagerly():
        raise ValueError("tf builds a graph here: call this outside of tf.function")


@contextmanager
def shortage_named() -> Iterator[None]:
    """Turn what the framework says of memory that it does not get into a sentence.

    Raises:
        MemoryError: In place of the framework's own error.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError("the memory is exhausted: take a smaller batch size") from error


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that computes the numbers."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "keras": tf.keras.__version__,
    }
