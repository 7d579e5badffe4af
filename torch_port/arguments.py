"""What a caller gives is what is asked for, or is refused by the name of the argument."""

import math
from typing import Any

import numpy as np

DTYPES = ("float32", "float64")


def check_integer(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Refuse what is not a whole number of a range.

    Raises:
        ValueError: With the name, the value and the range.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (whole and low <= value and (high is None or value <= high)):
        wanted = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {shown(value)}: expected a whole number {wanted}")


def check_positive(name: str, value: Any) -> None:
    """Refuse what is not a finite number above 0.

    Raises:
        ValueError: With the name and the value.
    """
    try:
        positive = not isinstance(value, str | bytes) and 0 < float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        positive = False
    if not positive:
        raise ValueError(f"{name} is {shown(value)}: expected a finite number above 0")


def check_choice(name: str, value: object, choices: tuple[str, ...] = DTYPES) -> None:
    """Refuse what is none of the words that are allowed.

    Raises:
        ValueError: With the name, the value and the words.
    """
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{name} is {shown(value)}: expected {' or '.join(choices)}")


def seeded(name: str, seed: int | None) -> np.random.Generator:
    """Return a generator that a seed makes; without one, it draws other numbers at every call.

    Raises:
        ValueError: If the seed is no whole number, 0 or above.
    """
    if seed is not None:
        check_integer(name, seed, 0)
    return np.random.default_rng(seed)


def as_array(name: str, values: Any) -> np.ndarray:
    """Return real numbers as an array that lies in memory as the machine reads it.

    Raises:
        ValueError: If they are no such numbers, or rows of different lengths.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"the {name} are ragged: expected rows of one length") from error
    if array.dtype.kind not in "biuf":
        found = "None" if values is None else f"of dtype {array.dtype}"
        raise ValueError(f"the {name} are {found}: expected real numbers")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def shown(value: object, longest: int = 60) -> str:
    """Return a value as a message shows it: in its own words, but never long."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split()) or "empty"
    return text if len(text) <= longest else f"{text[: longest - 10]}... ({len(text)} characters)"
