"""Tensors in the arguments of a function, and the graph that gradients go through."""

import gc
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch


def tensors(item: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in an argument."""
    return (part for part in flat(item) if isinstance(part, torch.Tensor))


def flat(item: Any) -> Iterator[Any]:
    """Yield the items of an argument, however they are nested."""
    if isinstance(item, list | tuple) and not isinstance(item, torch.Size):
        for part in item:
            yield from flat(part)
    elif isinstance(item, dict):
        for part in item.values():
            yield from flat(part)
    else:
        yield item


def with_doubles(
    args: Sequence[Any], kwargs: dict[str, Any], in_place: bool
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return arguments in which float64 stands for float32, where tensors of both meet.

    Args:
        args: By position.
        kwargs: By name.
        in_place: Whether the first one is changed, and so has to be itself.
    """
    given = [tensor.dtype for tensor in tensors((args, kwargs))]
    if torch.float64 not in given or torch.float32 not in given:
        # A data set that is only sliced or measured is not copied as a whole.
        return [_wide(arg) for arg in args], {key: _wide(arg) for key, arg in kwargs.items()}
    keep = args[:1] if in_place else []
    wide = [*keep, *map(doubled, args[len(keep) :])]
    return wide, {key: doubled(value) for key, value in kwargs.items()}


def _wide(item: Any) -> Any:
    return torch.float64 if item is torch.float32 else item


def doubled(item: Any) -> Any:
    """Return an argument in which float64 stands for float32."""
    if isinstance(item, torch.Tensor):
        small = item.dtype == torch.float32 and not item.requires_grad
        return item.double() if small else item
    if type(item) in (list, tuple):
        return type(item)(map(doubled, item))
    return _wide(item)


def copy(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers of a tensor."""
    return tensor.detach().clone()


def copied(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """Return the numbers of a tensor; None if there is none."""
    return None if tensor is None else copy(tensor)


def equal(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors have the same shape and numbers."""
    return tensor.shape == other.shape and torch.equal(tensor.detach(), other)


def sums_to_one(array: torch.Tensor) -> bool:
    """Return whether each row of a matrix sums to 1."""
    return array.ndim == 2 and bool(((array.detach().sum(1) - 1).abs() < 1e-3).all())


def held_gradient(weight: torch.Tensor) -> torch.Tensor | None:
    """Return what lies in `.grad`, without the warning about tensors that keep none."""
    return weight.grad if weight.is_leaf or weight.retains_grad else None


def graph(outputs: Sequence[torch.Tensor]) -> tuple[set[Any], list[torch.Tensor]]:
    """Return the nodes that some outputs depend on, and the leaves that gradients arrive at."""
    nodes: set[Any] = set()
    leaves: list[torch.Tensor] = []
    left = [output.grad_fn for output in outputs]
    while left:
        node = left.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            if hasattr(node, "variable"):
                leaves.append(node.variable)
            left += [following for following, _ in node.next_functions]
    return nodes, leaves


def scalar(outputs: Sequence[torch.Tensor], given: Any) -> float:
    """Return the number from which gradients are taken."""
    shares = list(given) if isinstance(given, list | tuple) else [given] * len(outputs)
    total = 0.0
    for output, share in zip(outputs, shares, strict=True):
        weighted = output.detach() if share is None else output.detach() * share
        total += float(weighted.double().sum())
    return total


def names_of_weights(path: str, names: dict[str, Any]) -> dict[int, str]:
    """Return what a program calls its weights, by their identity.

    Args:
        path: Of the program.
        names: What it holds.
    """
    found: dict[int, str] = {}
    modules = [item for item in gc.get_objects() if isinstance(item, torch.nn.Module)]
    for module in sorted(modules, key=lambda one: -sum(1 for _ in one.modules())):
        for name, weight in module.named_parameters():
            found.setdefault(id(weight), name.removeprefix("_orig_mod."))
    frame = inspect.currentframe()
    namespaces = [names]
    while frame is not None:
        if frame.f_code.co_filename == path:
            namespaces.append(frame.f_locals)
        frame = frame.f_back
    for held_names in namespaces:
        for name, value in list(held_names.items()):
            for place, tensor in held(name, value, 3):
                found.setdefault(id(tensor), place)
    return found


def held(path: str, value: Any, depth: int) -> Any:
    """Yield the tensors that a variable holds, with the path of each."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif not depth or isinstance(value, type | ModuleType | torch.nn.Module):
        return
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value[:100]):
            yield from held(f"{path}[{index}]", item, depth - 1)
    elif isinstance(value, dict):
        for key, item in list(value.items())[:100]:
            yield from held(f"{path}[{key!r}]", item, depth - 1)
    elif hasattr(value, "__dict__"):
        for key, item in list(vars(value).items())[:100]:
            yield from held(f"{path}.{key}", item, depth - 1)


def flat_outputs(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors that a model returns: one, in a tuple, a dict or a dataclass."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if is_dataclass(outputs):
        outputs = vars(outputs)
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    return [o for o in outputs if isinstance(o, torch.Tensor)] if outputs else []


def to_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor or an array as an array."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().cpu().numpy()
    return np.array(tensor)


def on_cpu(item: Any) -> Any:
    """Return an argument in which this processor stands for a GPU."""
    names_gpu = isinstance(item, str | torch.device) and str(item).startswith("cuda")
    return torch.device("cpu") if names_gpu else item


def as_tensor(array: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return an array as a tensor, floats in some dtype, else in that of the program."""
    tensor = torch.from_numpy(array)
    return tensor.to(dtype or torch.get_default_dtype()) if tensor.is_floating_point() else tensor
