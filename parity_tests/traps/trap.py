"""A trap: a mistake, how to plant it in the port, and how to make it in the oracle."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from unittest import mock

from parity_tests.ladder.oracle import Oracle

Plant = Callable[[], AbstractContextManager]
"""Returns a context in which the port makes a mistake."""


@dataclass(frozen=True)
class Trap:
    """One mistake.

    Attributes:
        name: Short and unique.
        mistake: A sentence that whoever made the mistake would recognise.
        source: The public thread or file where somebody met it.
        rung: The first rung of the ladder on which the mistake must show.
        plant: Makes the port make the mistake.
        oracle: Subclass of `Oracle` that makes the same mistake; None if the mistake draws
            numbers that the oracle cannot know.
        dtype: One in which the mistake shows.
    """

    name: str
    mistake: str
    source: str
    rung: str
    plant: Plant
    oracle: type[Oracle] | None
    dtype: str = "float64"

    def __str__(self) -> str:
        """Return the name and the sentence."""
        return f"{self.name} ({self.mistake})"


def instead(path: str, wrong: Callable[[Any], Any]) -> Plant:
    """Return a plant that replaces an object of the port.

    Args:
        path: Dotted path of the object, such as `torch_port.training.fit`.
        wrong: Given the right object, returns the wrong one.
    """

    def plant() -> AbstractContextManager:
        # It must not be imported for the first time while something in another module is wrong.
        import_module("torch_port.first_example")
        owner, name = path.rsplit(".", 1)
        parent = _resolve(owner)
        return mock.patch.object(parent, name, wrong(getattr(parent, name)))

    return plant


def _resolve(path: str) -> Any:
    try:
        return import_module(path)
    except ModuleNotFoundError:
        owner, name = path.rsplit(".", 1)
        return getattr(import_module(owner), name)
