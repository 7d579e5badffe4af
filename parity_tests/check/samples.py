"""Which images of MNIST a batch holds, told by their numbers, whatever scale they have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PIXELS = 28 * 28

IMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "(n, 784), from 0 to 1": lambda x: x,
    "(n, 1, 28, 28), from 0 to 1": lambda x: x.reshape(-1, 1, 28, 28),
    "(n, 28, 28), from 0 to 1": lambda x: x.reshape(-1, 28, 28),
    "(n, 784), from 0 to 255": lambda x: np.rint(x * 255),
    "(n, 28, 28), from 0 to 255": lambda x: np.rint(x * 255).reshape(-1, 28, 28),
    "(n, 1, 28, 28), from 0 to 255": lambda x: np.rint(x * 255).reshape(-1, 1, 28, 28),
    "(n, 28, 28), bytes": lambda x: np.rint(x * 255).astype("uint8").reshape(-1, 28, 28),
    "(784, n), from 0 to 1": lambda x: np.ascontiguousarray(x.T),
}
"""By what is said of it, a function of images in rows of 784 numbers from 0 to 1."""

LABELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "labels": lambda y: y,
    "one-hot labels": lambda y: np.eye(10)[y],
    "labels in a column": lambda y: y[:, None],
}
"""By what is said of it, a function of labels of shape (n,)."""


def prints(images: np.ndarray) -> list[bytes]:
    """Return a fingerprint of each image: which of its pixels are not the darkest.

    Args:
        images: Shape (samples, 784).
    """
    lit = images > images.min(axis=1, keepdims=True)
    return [row.tobytes() for row in np.packbits(lit, axis=1)]


def rows(inputs: np.ndarray) -> np.ndarray | None:
    """Return what a model was given as images in rows of 784 pixels; None if it is none."""
    if inputs.ndim == 2 and inputs.shape[0] == PIXELS != inputs.shape[1]:
        inputs = inputs.T  # a sample in each column
    if inputs.size == 0 or inputs.size % PIXELS or inputs.shape[0] * PIXELS != inputs.size:
        return inputs.reshape(1, PIXELS) if inputs.size == PIXELS else None
    return inputs.reshape(-1, PIXELS)


@dataclass(frozen=True)
class Scale:
    """How pixels reach a model: `factor` times a pixel from 0 to 1, plus `offset`."""

    factor: float = 1.0
    offset: float = 0.0

    @property
    def right(self) -> bool:
        """Whether pixels are from 0 to 1."""
        return abs(self.factor - 1) < 1e-6 and abs(self.offset) < 1e-6


@dataclass
class Recognized:
    """What a batch holds.

    Attributes:
        numbers: Of the images of MNIST, in the order of the batch; -1 for one that is none.
        scale: Of their pixels; None if no image is known, or they have not one scale.
    """

    numbers: list[int]
    scale: Scale | None

    @property
    def known(self) -> bool:
        """Whether each sample is an image of MNIST."""
        return bool(self.numbers) and min(self.numbers) >= 0


class Samples:
    """The training images of MNIST, to be recognized.

    Args:
        mnist: Arrays by name; "training images" are bytes of shape (60000, 784).
    """

    def __init__(self, mnist: Mapping[str, Any]) -> None:
        self.images, self.labels = mnist["training images"], mnist["training labels"]
        self._numbers: dict[bytes, list[int]] = {}
        for number, key in enumerate(prints(self.images)):
            self._numbers.setdefault(key, []).append(number)

    def number(self, key: bytes) -> int:
        """Return the number of the first image that has a fingerprint; -1 of none."""
        return self._numbers.get(key, [-1])[0]

    def numbers(self) -> list[int]:
        """Return the number by which each image is told, which few share with an earlier one."""
        told = [0] * len(self.images)
        for shared in self._numbers.values():
            for number in shared:
                told[number] = shared[0]
        return told

    def _closest(self, image: np.ndarray, key: bytes) -> int:
        """Return the number of the image that is most like one, of those with its fingerprint."""
        numbers = self._numbers.get(key, [-1])
        if len(numbers) == 1:
            return numbers[0]
        likeness = [np.corrcoef(image, self.images[number])[0, 1] for number in numbers]
        return numbers[int(np.argmax(likeness))]

    def recognized(self, images: np.ndarray) -> Recognized:
        """Return what a batch of shape (samples, 784) holds."""
        numbers = [
            self._closest(image, key) for image, key in zip(images, prints(images), strict=True)
        ]
        known = [place for place, number in enumerate(numbers) if number >= 0]
        if not known:
            return Recognized(numbers, None)
        pixels = self.images[[numbers[place] for place in known]].ravel() / 255
        found = images[known].astype(np.float64).ravel()
        design = np.stack([pixels, np.ones_like(pixels)], axis=1)
        (factor, offset), *_ = np.linalg.lstsq(design, found, rcond=None)
        left = np.abs(design @ (factor, offset) - found).max()
        even = left <= 1e-5 * max(np.abs(found).max(), 1e-300)
        offset = 0.0 if abs(offset) < 1e-9 * abs(factor) else float(offset)
        return Recognized(numbers, Scale(float(factor), offset) if even else None)
