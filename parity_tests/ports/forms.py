"""The forms in which a step may expect images and labels, in the order in which they are tried."""

from collections.abc import Callable

import numpy as np


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.rint(images * 255)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "(n, 784), from 0 to 1": lambda x, y: (x, y),
    "(n, 1, 28, 28), from 0 to 1": lambda x, y: (x.reshape(-1, 1, 28, 28), y),
    "(n, 28, 28), from 0 to 1": lambda x, y: (x.reshape(-1, 28, 28), y),
    "(n, 784), from 0 to 255": lambda x, y: (_bytes(x), y),
    "(n, 28, 28), from 0 to 255": lambda x, y: (_bytes(x).reshape(-1, 28, 28), y),
    "(n, 1, 28, 28), from 0 to 255": lambda x, y: (_bytes(x).reshape(-1, 1, 28, 28), y),
    "(n, 28, 28), bytes": lambda x, y: (_bytes(x).astype("uint8").reshape(-1, 28, 28), y),
    "(n, 784), from 0 to 1, with labels one-hot": lambda x, y: (x, np.eye(10, dtype=x.dtype)[y]),
    "(784, n), from 0 to 1": lambda x, y: (np.ascontiguousarray(x.T), y),
}
"""By what is said of it, a function of images in rows of 784 numbers from 0 to 1, and labels."""
