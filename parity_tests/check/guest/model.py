"""A model of theirs: an instance that has weights, or tensors that a function uses."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from parity_tests.check.guest.arguments import call, fill

FUNCTIONS = ("model", "forward", "net", "network", "predict", "mlp", "f")
"""Names of a function that computes probabilities or logits."""


class Loose:
    """Tensors of a file, and the function that uses them, where no instance has them.

    Args:
        names: What the file holds, by name.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names

    @property
    def weights(self) -> Any:
        """The list or the dict of the tensors that need gradients."""
        for value in self.names.values():
            items = value.values() if isinstance(value, dict) else value
            if isinstance(value, list | tuple | dict) and value and all(map(_trained, items)):
                return value
        return {name: value for name, value in self.names.items() if _trained(value)}

    def __call__(self, images: Any) -> Any:
        """Return what their function makes of images."""
        function = next(f for name in FUNCTIONS if inspect.isfunction(f := self.names.get(name)))
        given = {"images": images, "weights": self.weights, "model": self.weights}
        return call(function, fill(function, given, self.names, ("images",)))


def _trained(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a model by name, asked for anew each time: a step may replace them."""
    if isinstance(model, dict):
        return {str(name): w for name, w in model.items()}
    if isinstance(model, list | tuple):
        return {f"[{place}]": w for place, w in enumerate(model)}
    if isinstance(model, nn.Module):
        named = model.named_parameters()
        return {name.removeprefix("_orig_mod."): w for name, w in named}
    for name in ("weights", "parameters", "params"):
        held = getattr(model, name, None)
        if held is None or inspect.isclass(model):
            continue
        held = held() if callable(held) else held
        if isinstance(held, dict):
            return {str(key): w for key, w in held.items() if isinstance(w, torch.Tensor)}
        return {f"{name}[{i}]": w for i, w in enumerate(held) if isinstance(w, torch.Tensor)}
    return dict(_attributes(model, "", 3))


def _attributes(item: Any, path: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of floats that an object has as attributes, at most so deep."""
    if isinstance(item, torch.Tensor):
        if item.is_floating_point():
            yield path, item
    elif isinstance(item, nn.Module):
        for name, w in item.named_parameters():
            yield f"{path}.{name}".removeprefix("."), w
    elif depth and isinstance(item, list | tuple):
        for index, part in enumerate(item):
            yield from _attributes(part, f"{path}[{index}]", depth - 1)
    elif depth and isinstance(item, dict):
        for key, part in item.items():
            yield from _attributes(part, f"{path}[{key!r}]", depth - 1)
    elif depth and not isinstance(item, type) and hasattr(item, "__dict__"):
        for name, part in vars(item).items():
            yield from _attributes(part, f"{path}.{name}".removeprefix("."), depth - 1)


def outputs(model: Any, images: Any) -> Any:
    """Return what a model makes of images."""
    compute = model if callable(model) else getattr(model, "forward", None) or model.predict
    found = compute(images)
    return found[0] if isinstance(found, tuple) else found


def holds_weights(value: Any) -> bool:
    """Return whether a value is a list or a dict of several tensors that need gradients."""
    items = value.values() if isinstance(value, dict) else value
    return isinstance(value, list | tuple | dict) and len(value) > 1 and all(map(_trained, items))


def is_model(value: Any) -> bool:
    """Return whether a value is an instance that computes, and has weights."""
    if isinstance(value, type | torch.Tensor | torch.optim.Optimizer) or inspect.ismodule(value):
        return False
    if inspect.isroutine(value) or not hasattr(value, "__dict__"):
        return False
    if not (callable(value) or hasattr(value, "forward") or hasattr(value, "predict")):
        return False
    try:
        return bool(tensors(value))
    except (AttributeError, LookupError, TypeError):
        return False
