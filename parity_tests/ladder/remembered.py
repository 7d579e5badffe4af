"""Answers that are remembered: the ladder asks an implementation the same again and again."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from parity_tests.ladder.implementation import Implementation


def digest(arguments: tuple) -> str:
    """Return a short hash of what an implementation was asked, arrays included."""
    sha256 = hashlib.sha256()
    for argument in arguments:
        items = argument.items() if isinstance(argument, Mapping) else [("", argument)]
        for name, value in items:
            array = np.asarray(value, order="C")
            sha256.update(f"{name} {array.dtype} {array.shape} ".encode())
            sha256.update(array.tobytes())
    return sha256.hexdigest()[:16]


class Remembered:
    """An implementation that is asked only what it was not asked before, in the same order.

    What an implementation answers depends on no more than what it was asked since it was made.
    The reference is asked the same for every port; and the port, for every hypothesis.

    Args:
        name: Of the implementation.
        dtype: "float32" or "float64".
        make: Returns the implementation, without memory of earlier calls.
        answers: What was answered, by a hash of all that had been asked; shared by all that
            are made alike.
        sizes: Of the images and of the output of each layer.
    """

    def __init__(
        self,
        name: str,
        dtype: str,
        make: Callable[[], Implementation],
        answers: dict[str, Any],
        sizes: tuple[int, ...] = (784, 512, 10),
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.sizes = sizes
        self._make = make
        self._answers = answers
        self._made: Implementation | None = None
        self._asked: list[tuple[str, tuple]] = []
        self._key = ""

    def __getattr__(self, method: str) -> Any:
        """Return a method that remembers."""
        return partial(self._ask, method)

    def _ask(self, method: str, *arguments: Any) -> Any:
        self._key = f"{method} {digest((self._key, *arguments))}"
        if self._made is None and self._key not in self._answers:
            self._made = self._make()
            for earlier, of_earlier in self._asked:
                getattr(self._made, earlier)(*of_earlier)
        self._asked.append((method, arguments))
        if self._made is not None:
            self._answers[self._key] = getattr(self._made, method)(*arguments)
        return self._answers[self._key]
