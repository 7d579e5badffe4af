"""What a call of PyTorch can be changed into: other arguments, another function, none at all."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from parity_tests.check.guest.tensors import tensors

Change = Mapping[str, Any]
Function = Callable[..., Any]

PLAIN = (bool, int, float, str, type(None))
UNSIGNED: dict[str, dict[str, Any]] = {
    "gelu": {"approximate": "none"},
    "var": {"correction": 1},
    "std": {"correction": 1},
    "softplus": {"beta": 1.0},
    "sum": {"dim": None},
    "add": {"alpha": 1},
    "sub": {"alpha": 1},
    "pixel_shuffle": {"upscale_factor": None},
    "logsumexp": {"dim": None},
}
"""By functions of torch without a signature, the arguments that are known, and their defaults."""

ONLY_OF_MAXIMUM = ("dilation", "return_indices")
"""Arguments of a pooling that only one by the maximum has."""


def is_plain(value: Any) -> bool:
    """Return whether an argument is a number, a word, None, or a few of them."""
    if isinstance(value, list | tuple):
        return len(value) <= 8 and all(isinstance(item, PLAIN) for item in value)
    return isinstance(value, PLAIN)


def arguments(function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain arguments of a call, by name or by place, those left out as well."""
    found = {str(place): value for place, value in enumerate(args)}
    found |= kwargs
    known = dict(UNSIGNED.get(function.__name__, {}))
    try:
        signature = inspect.signature(function)
        names = list(signature.parameters)
        found = {**dict(zip(names, args, strict=False)), **kwargs}
        known = {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if parameter.default is not parameter.empty
        }
    except (ValueError, TypeError):  # a function of C
        pass
    known = {name: value for name, value in known.items() if not name.startswith("_")}
    return {name: value for name, value in {**known, **found}.items() if is_plain(value)}


def _argument(function: Function, name: str, value: Any) -> Function:
    def changed(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        try:
            names = list(inspect.signature(function).parameters)
        except (ValueError, TypeError):
            names = []
        place = int(name) if name.isdigit() else names.index(name) if name in names else len(given)
        if place < len(given):
            given[place] = value
            return function(*given, **kwargs)
        return function(*given, **{**kwargs, name: value})

    return changed


def _without(function: Function) -> Function:
    return lambda *args, **kwargs: next(tensors((args, kwargs)))


def _before(function: Function, name: str, options: Mapping[str, Any], place: int = 0) -> Function:
    def changed(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        given[place] = named(name)(given[place], **options)
        return function(*given, **kwargs)

    return changed


def _after(function: Function, name: str, options: Mapping[str, Any]) -> Function:
    return lambda *args, **kwargs: named(name)(function(*args, **kwargs), **options)


def _instead(function: Function, name: str, options: Mapping[str, Any]) -> Function:
    return lambda *args, **kwargs: named(name)(next(tensors((args, kwargs))), **options)


def _called(function: Function, name: str, options: Mapping[str, Any]) -> Function:
    def changed(*args: Any, **kwargs: Any) -> Any:
        if name.startswith("avg"):  # which knows less than the maximum
            kwargs = {key: of for key, of in kwargs.items() if key not in ONLY_OF_MAXIMUM}
        return named(name)(*args, **kwargs, **options)

    return changed


def _reversed(function: Function) -> Function:
    return lambda several, *args, **kwargs: function([*several][::-1], *args, **kwargs)


def _averaged(function: Function) -> Function:
    return lambda *args, **kwargs: function(*args, **kwargs) / len(next(tensors((args, kwargs))))


def _mirrored(function: Function) -> Function:
    """Return what cuts at the end what would be cut at the start, and the other way round."""

    def mirrored(part: Any) -> Any:
        if not isinstance(part, slice) or part.step not in (None, 1):
            return part
        if part.stop is None and isinstance(part.start, int) and part.start > 0:
            return slice(None, -part.start)
        if not part.start and isinstance(part.stop, int) and part.stop < 0:
            return slice(-part.stop, None)
        return part

    def changed(tensor: Any, index: Any) -> Any:
        several = index if isinstance(index, tuple) else (index,)
        return function(tensor, tuple(map(mirrored, several)))

    return changed


KINDS: dict[str, Callable[..., Function]] = {
    "argument": _argument,
    "without": _without,
    "before": _before,
    "after": _after,
    "instead": _instead,
    "called": _called,
    "reversed": _reversed,
    "mirrored": _mirrored,
    "averaged": _averaged,
}
"""By the kind of a change, what makes a function of another one and of what the change says."""


def named(name: str) -> Function:
    """Return a function of torch, by the last part of its name."""
    for holder in (functional, torch, torch.Tensor, torch.nn.utils):
        if hasattr(holder, name):
            return getattr(holder, name)
    raise AttributeError(name)


def changed(function: Function, changes: Sequence[Change]) -> Function:
    """Return a function with changes made, one after the other."""
    for change in changes:
        function = partial(KINDS[change["kind"]], function)(**change["by"])
    return function
