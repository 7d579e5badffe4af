"""MNIST, through the framework's own reader, from files whose content is verified."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from .framework import DTYPES, ArgumentError, check, check_file

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
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
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
    if not any((raw / name).exists() for name in FILES):
        # Imported here, since it takes about as long as torch itself.
        import torchvision

        try:
            torchvision.datasets.MNIST(folder, download=True)
        except RuntimeError as error:
            for empty in (raw, *raw.parents[:2]):  # torchvision made them first
                with suppress(OSError):
                    empty.rmdir()
            raise FileNotFoundError(
                f"MNIST is not in {raw} and could not be downloaded: run `make data` or "
                "`naive-parity fetch-mnist`, or name the folder that holds it"
            ) from error
    verify(raw)
    files = [
        torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)
        for path in paths(folder)
    ]
    # An IDX header is 4 bytes, and 4 for each dimension.
    train, test = ((images[16:], labels[8:]) for images, labels in (files[:2], files[2:]))

    def prepare(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scaled = images.reshape(-1, 28 * 28).to(getattr(torch, dtype))
        scaled /= 255  # in place, since to touch new memory takes longer than to divide
        return torch.as_tensor(scaled), torch.as_tensor(labels.long())

    return prepare(*train), prepare(*test)
