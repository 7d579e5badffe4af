"""What a caller gives is what is asked for, or is refused by the name of the argument."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

DTYPES = ("float32", "float64")


def check_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number of a range as one of Python's, which does not overflow.

    Raises:
        ValueError: With the name, the value and the range.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (whole and low <= value and (high is None or value <= high)):
        wanted = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {shown(repr(value))}: expected a whole number {wanted}")
    return int(value)


def check_number(name: str, value: Any, low: float, high: float | None = None) -> float:
    """Return a finite number of a range as one of Python's, which every framework takes.

    Raises:
        ValueError: With the name, the value and the range.
    """
    number = _as_float(value)
    if not (low <= number < math.inf and (high is None or number <= high)):
        wanted = (
            f"finite number, {low} or above" if high is None else f"number from {low} to {high}"
        )
        raise ValueError(f"{name} is {shown(repr(value))}: expected a {wanted}")
    return number


def check_positive(name: str, value: Any) -> float:
    """Return a finite number above 0 as one of Python's, which every framework takes.

    Raises:
        ValueError: With the name and the value.
    """
    number = _as_float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {shown(repr(value))}: expected a finite number above 0")
    return number


def _as_float(value: Any) -> float:
    try:
        return math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def check_choice(name: str, value: object, choices: tuple[str, ...] = DTYPES) -> None:
    """Refuse what is none of the words that are allowed.

    Raises:
        ValueError: With the name, the value and the words.
    """
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{name} is {shown(value)}: expected {' or '.join(choices)}")


def check_kind(name: str, value: object, kind: Any, expected: str) -> None:
    """Refuse what is not of a class.

    Raises:
        ValueError: With the name, the value and, in words, what was expected.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {shown(repr(value))}: expected {expected}")


def check_calls(**functions: Any) -> None:
    """Refuse what cannot be called, by its name; None stands for no function.

    Raises:
        ValueError: With the name and the value.
    """
    for name, function in functions.items():
        if function is not None:
            check_kind(name, function, Callable, "a function")


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
        ValueError: If they are no such numbers, a single one, some of them masked or too large, or
            rows of different lengths.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"the {name} are ragged: expected rows of one length") from error
    except (RuntimeError, TypeError) as error:  # a tensor that is sparse, or has no numbers yet
        raise ValueError(f"the {name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "biuf" or array.itemsize > 8:
        found = "None" if values is None else f"of dtype {array.dtype}"
        raise ValueError(f"the {name} are {found}: expected real numbers of at most 64 bits")
    if array.ndim == 0:
        raise ValueError(f"the {name} are a single number: expected an array")
    if np.ma.is_masked(values):
        raise ValueError(f"some of the {name} are masked: expected real numbers")
    if array.dtype == "uint64" and array.max(initial=0) >= 2**63:
        raise ValueError(f"one of the {name} is {array.max()}: expected numbers below 2**63")
    return np.require(array, array.dtype.newbyteorder("="), ["C", "W"])


def as_floats(**arrays: Any) -> list[np.ndarray]:
    """Return arrays whose numbers are of one dtype, float32 or float64.

    Raises:
        ValueError: With the name of the first that is not.
    """
    found: list[np.ndarray] = []
    dtypes: tuple[str, ...] = DTYPES
    for name, values in arrays.items():
        array = as_array(f"numbers of {name}", values)
        check_choice(f"the dtype of {name}", array.dtype.name, dtypes)
        dtypes = (array.dtype.name,)
        found.append(array)
    return found


def shown(value: object, longest: int = 60) -> str:
    """Return a value as a message shows it: in its own words, but never long."""
    text = value if isinstance(value, str) and value == value.strip() else repr(value)
    text = " ".join(text.split()) or "empty"
    return text if len(text) <= longest else f"{text[: longest - 10]}... ({len(text)} characters)"
