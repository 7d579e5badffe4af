"""MNIST, through the framework's own reader, from files whose content is verified."""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from .framework import DTYPES, ArgumentError, check, check_file, tf

FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The SHA-256 of each raw IDX file, as it lies in the folder MNIST/raw."""


def verify(raw: Path) -> None:
    """Check that a folder holds the four raw files of MNIST, each with its own content.

    Raises:
        OSError: If a file is missing, or cannot be read.
        ArgumentError: If a file is truncated or altered.
    """
    for name, expected in FILES.items():
        path = check_file(raw / name, "a file of MNIST; run `make data` to fetch it")
        with path.open("rb") as file:
            found = hashlib.sha256(file.read(50_000_000)).hexdigest()  # more than any has
        if found != expected:
            raise ArgumentError(
                f"{path} is truncated or altered (SHA-256 {found}, expected {expected}): "
                "run `make data` to fetch it again"
            )


def paths(folder: str | Path) -> list[Path]:
    """Return the raw files of a folder: of the training set, then of the test set."""
    return [Path(folder, "MNIST", "raw", name) for name in FILES]


def load_mnist(
    folder: str | Path = "data", dtype: Literal["float32", "float64"] = "float32"
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the training set and the test set, each as images and labels.

    A folder without any of MNIST's files makes the framework download the data set.

    Args:
        folder: Holds the raw files in MNIST/raw.
        dtype: Of the images.

    Returns:
        ((train_images, train_labels), (test_images, test_labels)): 60,000 and 10,000
        images of shape (samples, 784) in [0, 1], and labels of shape (samples,), int64,
        from 0 to 9.

    Raises:
        FileNotFoundError: If a file is missing, or the data set cannot be downloaded.
        OSError: If a file cannot be read.
        ArgumentError: If a file is truncated or altered.
    """
    check("dtype", dtype, dtype in DTYPES, "float32 or float64")
    raw = Path(folder, "MNIST", "raw")
    if any((raw / name).exists() for name in FILES):
        verify(raw)
        files = [tf.io.decode_raw(tf.io.read_file(str(path)), tf.uint8) for path in paths(folder)]
        # An IDX header is 4 bytes, and 4 for each dimension.
        train, test = (
            (images[16:].numpy(), labels[8:].numpy()) for images, labels in (files[:2], files[2:])
        )
    else:
        try:
            train, test = tf.keras.datasets.mnist.load_data()
        except Exception as error:  # a bare Exception is what Keras raises
            raise FileNotFoundError(
                f"MNIST is not in {raw} and could not be downloaded: run `make data` or "
                "`naive-parity fetch-mnist`, or name the folder that holds it"
            ) from error

    def prepare(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = images.reshape(-1, 28 * 28).astype(dtype)
        scaled /= 255  # in place, since to touch new memory takes longer than to divide
        return scaled, labels.astype("int64")

    return prepare(*train), prepare(*test)
