"""The framework itself: how it is imported, where it runs, which versions these are."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

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

    Products of float32 are computed in float32, also where a device has a shorter format. Call it
    before the first tensor is made: it is a setting of the whole process.

    Args:
        device: "cpu", or "cuda" for the first CUDA device.

    Raises:
        ArgumentError: If it is neither, or a CUDA device is asked for and there is none.
    """
    check("device", device, device in ("cpu", "cuda"), "cpu or cuda")
    if device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise ArgumentError("device 'cuda' was asked for, but none was found: use 'cpu'")
    tf.config.experimental.enable_tensor_float_32_execution(False)  # 10 bits in place of 23
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")


def use_dtype(dtype: Literal["float32", "float64"]) -> None:
    """Make one dtype that of everything that follows and does not name its own.

    Call it before the first model or optimizer is made: it is a setting of the whole
    process. Keras computes losses and keeps learning rates in this dtype, whatever the
    dtype of the weights.

    Raises:
        ArgumentError: If it is neither of the two.
    """
    check("dtype", dtype, dtype in DTYPES, "float32 or float64")
    tf.keras.config.set_floatx(dtype)
    tf.keras.config.set_dtype_policy(dtype)  # of layers, which Keras settles with the first one


def check_settings(gradients: bool = False) -> None:
    """Refuse to compute, or to compute gradients, where the framework was told not to."""
    if not tf.executing_eagerly():
        raise ArgumentError("tf builds a graph here: call this outside of tf.function")


@contextmanager
def shortage_named() -> Iterator[None]:
    """Turn what the framework says of memory that it does not get into a MemoryError."""
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
