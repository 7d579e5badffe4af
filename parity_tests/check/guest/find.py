"""What a file that was run holds: models, their weights, and the functions of a name."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from parity_tests.check import source
from parity_tests.check.guest.arguments import call, fill
from parity_tests.check.messages import UnusablePort

FUNCTIONS = ("model", "forward", "net", "network", "predict", "mlp", "f")
"""Names of a function that computes probabilities or logits."""
ENDS = ("model", "net", "network", "mlp", "params", "parameters", "weights")
BEGINNINGS = ("init", "make_", "build", "create")
"""Of the name of a function that may make a model, or its weights."""


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
            if isinstance(value, list | tuple | dict) and value and all(map(_is_trained, items)):
                return value
        return {name: value for name, value in self.names.items() if _is_trained(value)}

    def __call__(self, images: Any) -> Any:
        """Return what their function makes of images."""
        function = next(f for name in FUNCTIONS if inspect.isfunction(f := self.names.get(name)))
        given = {"images": images, "weights": self.weights, "model": self.weights}
        return call(function, fill(function, given, self.names, ("images",)))


def _is_trained(value: Any) -> bool:
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


def holds_weights(value: Any) -> bool:
    """Return whether a value is a list or a dict of several tensors that need gradients."""
    items = value.values() if isinstance(value, dict) else value
    return (
        isinstance(value, list | tuple | dict) and len(value) > 1 and all(map(_is_trained, items))
    )


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


def find_models(
    tree: ast.Module,
    names: dict[str, Any],
    model: str | None,
    sizes: tuple[int, ...],
    steps: Sequence[str],
) -> tuple[dict[str, Any], list[str]]:
    """Return the models that a file may train, by a description, and what is said of them.

    Args:
        tree: Its code.
        names: What it holds, by name.
        model: The name of the model, if it was given.
        sizes: Of the default network, if the model has to be built.
        steps: Names of what may train it, the likeliest first.

    Raises:
        UnusablePort: If it has no model, or it is not clear which.
    """
    instances = _instances(names, model)
    if instances:
        step = next(filter(None, (function_of(name, names) for name in steps)), None)
        name, value = _trained(instances, names, step)
        return {name: value}, []
    if model is None and len(tensors(Loose(names))) > 1:
        return {"the tensors of the file": Loose(names)}, []
    recipes = dict(_recipes(names, model, sizes, source.functions(tree)))
    models = {}
    for name, make in recipes.items():
        with suppress(Exception):  # whatever theirs raises, it cannot be built so
            models[name] = make()
    if not models:
        candidates = [n for n, v in names.items() if inspect.isclass(v) or callable(v)]
        hint = source.nearest(model, [n for n in candidates if n != model]) if model else ""
        what = f"no model {model}{hint}" if model else "no model"
        raise UnusablePort(
            f"it has {what}: expected a variable such as model = Net(), or a class of "
            "torch.nn.Module that takes no arguments; name another with --model"
        )
    return models, ["no instance of the model was found: it is built here"]


def function_of(name: str, names: Mapping[str, Any]) -> Callable | None:
    """Return a function of a name, or the method of an instance."""
    if callable(names.get(name)):
        return names[name]
    for value in names.values():
        method = getattr(value, name, None)
        of_torch = type(value).__module__.split(".")[0] == "torch"
        if of_torch or isinstance(value, torch.optim.Optimizer):  # whose step is another
            continue
        if not inspect.isclass(value) and not inspect.ismodule(value) and inspect.ismethod(method):
            return method
    return None


def _instances(names: Mapping[str, Any], wanted: str | None) -> dict[str, Any]:
    """Return the models that a file has made, by name; those in lists and dicts as well."""
    if wanted is not None:
        value = names.get(wanted)
        return {wanted: value} if is_model(value) else {}
    return {name: value for name, value in _held(names) if is_model(value)}


def _held(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a file holds: in variables, in lists and dicts, and in objects of its own."""
    for name, value in list(names.items()):
        if name.startswith("__"):
            continue
        yield name, value
        if isinstance(value, list | tuple):
            yield from ((f"{name}[{i}]", item) for i, item in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{name}[{key!r}]", item) for key, item in value.items())
        elif hasattr(value, "__dict__") and not inspect.isclass(value) and is_theirs(type(value)):
            yield from ((f"{name}.{key}", item) for key, item in vars(value).items())


def has_instances(names: Mapping[str, Any], wanted: str | None) -> bool:
    """Return whether a file has made a model."""
    return bool(_instances(names, wanted))


def optimizers(names: Mapping[str, Any]) -> list[torch.optim.Optimizer]:
    """Return the optimizers that a file has made."""
    return [value for _, value in _held(names) if isinstance(value, torch.optim.Optimizer)]


def _trained(
    instances: dict[str, Any], names: Mapping[str, Any], step: Callable | None
) -> tuple[str, Any]:
    """Return the model that is trained: the one whose weights an optimizer holds."""
    held = {
        id(weight)
        for optimizer in optimizers(names)
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    ids = {name: {id(w) for w in tensors(value).values()} for name, value in instances.items()}
    optimized = [name for name in instances if ids[name] & held] or list(instances)
    # Of a model and its parts, the whole.
    whole = [name for name in optimized if not any(ids[name] < ids[other] for other in optimized)]
    distinct = {frozenset(ids[name]): name for name in reversed(whole)}
    used = getattr(inspect.unwrap(step), "__code__", None) if step else None
    in_step = [name for name in distinct.values() if used and name in used.co_names]
    if len(distinct) > 1 and len(in_step) == 1:
        return in_step[0], instances[in_step[0]]
    if len(distinct) > 1 and "model" in whole:
        return "model", instances["model"]
    if len(distinct) > 1:
        listed = ", ".join(sorted(distinct.values()))
        raise UnusablePort(
            f"it has several models: {listed}; name the one that is trained with --model"
        )
    (name,) = distinct.values()
    return name, instances[name]


def _recipes(
    names: Mapping[str, Any],
    wanted: str | None,
    sizes: tuple[int, ...],
    defined: Mapping[str, ast.FunctionDef],
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield ways to build a model, where the file has made none."""
    dense, sequential = names.get("NaiveDense"), names.get("NaiveSequential")
    if wanted is None and inspect.isclass(dense) and inspect.isclass(sequential):
        yield from _of_the_book(names, dense, sequential, sizes)
        return
    classes: list[tuple[str, Callable]] = [
        (name, value)
        for name, value in names.items()
        if inspect.isclass(value) and is_theirs(value)
    ]
    makers: list[tuple[str, Callable]] = [
        (name, value)
        for name, value in names.items()
        if inspect.isfunction(value)
        and (name.endswith(ENDS) or name.startswith(BEGINNINGS))
        and not source.trains(defined.get(name, ast.Pass()))
        and not name.startswith(("train", "fit", "save", "load", "test", "eval", "download"))
    ]
    built: dict[str, Callable] = {}
    for name, make in [*classes, *makers]:
        if wanted in (None, name) and (way := _way(make, sizes)) is not None:
            built[name] = way
    # A class that another uses is a part of it.
    parts = {other for name, make in (*classes, *makers) for other in _uses(make) - {name}}
    for name, make in built.items():
        if name not in parts or len(built) == 1:
            yield f"{name}()", make


def is_theirs(kind: type) -> bool:
    foreign = {"torch", "torchvision", "numpy", "builtins", "collections", "typing", "abc"}
    return kind.__module__.split(".")[0] not in foreign


def _way(make: Callable, sizes: tuple[int, ...]) -> Callable[[], Any] | None:
    """Return how to make a model without arguments, or with the sizes of its layers."""
    for arguments in ((), sizes, (list(sizes),)) if sizes else ((),):
        try:
            made = make(*arguments)
            if is_model(made) or holds_weights(made):
                return partial(make, *arguments)
        except Exception:  # noqa: BLE001, S112 (whatever theirs raises, it cannot be built so)
            continue
    return None


def _uses(make: Any) -> set[str]:
    functions = vars(make).values() if inspect.isclass(make) else [make]
    return {name for f in functions if inspect.isfunction(f) for name in f.__code__.co_names}


def _of_the_book(
    names: Mapping[str, Any], dense: Any, sequential: Any, sizes: tuple[int, ...]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield ways in which the book's classes may take their activations."""
    softmax = lambda z: torch.softmax(z, dim=-1)  # noqa: E731

    def of_layers(relu: Any, last: Any) -> Callable[[], Any]:
        activations = [relu] * (len(sizes) - 2) + [last]
        shapes = list(zip(sizes[:-1], sizes[1:], activations, strict=True))
        return lambda: sequential([dense(*shape, activation) for *shape, activation in shapes])

    def between(layer: Callable[[Any], Any]) -> Callable[[], Any]:
        def make() -> Any:
            layers = []
            for index, shape in enumerate(pairwise(sizes)):
                function = torch.relu if index < len(sizes) - 2 else softmax
                layers += [dense(*shape), layer(function)]
            return sequential(layers)

        return make

    yield (
        "NaiveSequential of NaiveDense, with functions as activations",
        of_layers(torch.relu, softmax),
    )
    yield "NaiveSequential of NaiveDense, with names of activations", of_layers("relu", "softmax")
    for name, value in names.items():
        if inspect.isclass(value) and is_theirs(value) and value not in (dense, sequential):
            yield f"NaiveSequential of NaiveDense and {name}", between(value)
    yield "NaiveSequential of NaiveDense and functions", between(lambda function: function)
