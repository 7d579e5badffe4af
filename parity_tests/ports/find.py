"""What a file that was run holds: a model, a step that trains it, a loop, and optional parts."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from parity_tests.ports import source
from parity_tests.ports.main_program import prepare
from parity_tests.ports.messages import UnusablePort
from parity_tests.ports.model import Loose, is_model, tensors


@dataclass
class Found:
    """What is judged of a file.

    Attributes:
        names: What the file holds, by name, and what its main program would make.
        models: By a description, functions that return a model; more than one where it is
            not clear how to build it.
        step: Trains on a batch; None if only a loop does.
        step_name: Its name, or that of the loop.
        loop: Trains on many batches; None if there is none.
        built: Whether the model has to be built, since the file has made none.
        notes: What was chosen, in sentences.
    """

    names: dict[str, Any]
    models: dict[str, Callable[[], Any]] = field(default_factory=dict)
    step: Callable | None = None
    step_name: str = ""
    loop: Callable | None = None
    built: bool = False
    notes: list[str] = field(default_factory=list)


def find(
    tree: ast.Module,
    namespace: dict[str, Any],
    model: str | None,
    step: str | None,
    sizes: tuple[int, ...],
) -> Found:
    """Return what a file holds.

    Args:
        tree: Its code.
        namespace: What its code made, by name; what only its main program would make is added.
        model: The name of the model, if it was given.
        step: The name of the step, if it was given.
        sizes: Of the default network, if the model has to be built.

    Raises:
        UnusablePort: If it has no step or no model, or it is not clear which.
    """
    found = Found(namespace)
    _find_step(found, tree, step)
    if not _instances(namespace, model) or not _optimizers(namespace):
        prepare(tree, namespace)
    instances = _instances(namespace, model)
    if instances:
        name, value = _trained(instances, namespace, found.step or found.loop)
        found.models[name] = lambda: value
    elif model is None and len(tensors(Loose(namespace))) > 1:
        found.models["the tensors of the file"] = lambda: Loose(namespace)
    else:
        found.models = dict(_recipes(namespace, model, sizes, source.functions(tree)))
        found.built = True
        found.notes.append("no instance of the model was found: it is built here")
    if not found.models:
        candidates = [n for n, v in namespace.items() if inspect.isclass(v) or callable(v)]
        hint = source.nearest(model, candidates) if model else ""
        what = f"no model {model}{hint}" if model else "no model"
        raise UnusablePort(
            f"it has {what}: expected a variable such as model = Net(), or a class of "
            "torch.nn.Module that takes no arguments; name another with --model"
        )
    return found


def _find_step(found: Found, tree: ast.Module, wanted: str | None) -> None:
    names = found.names
    defined = source.functions(tree)
    order = [wanted] if wanted else list(source.steps(tree))
    callables = {name: function_of(name, names) for name in order}
    steps = [name for name in order if callables[name]]
    if not steps:
        near = source.nearest(order[0], [n for n, v in names.items() if inspect.isfunction(v)])
        raise UnusablePort(f"it has no function {order[0]}{near}: name another with --step")
    loops = [name for name in steps if source.is_loop(name, defined)]
    first = steps[0]
    found.step_name = first
    if first not in loops or (wanted and first not in source.LOOPS):
        found.step = callables[first]
    known = [n for n in source.LOOPS if callable(names.get(n)) and n != first]
    for name in [*known, *loops]:
        if name != first or found.step is None:
            found.loop = found.loop or function_of(name, names)


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
        elif hasattr(value, "__dict__") and not inspect.isclass(value) and _is_theirs(type(value)):
            yield from ((f"{name}.{key}", item) for key, item in vars(value).items())


def _optimizers(names: Mapping[str, Any]) -> list[torch.optim.Optimizer]:
    return [value for _, value in _held(names) if isinstance(value, torch.optim.Optimizer)]


def _trained(
    instances: dict[str, Any], names: Mapping[str, Any], step: Callable | None
) -> tuple[str, Any]:
    """Return the model that is trained: the one whose weights an optimizer holds."""
    held = {
        id(weight)
        for optimizer in _optimizers(names)
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
        if inspect.isclass(value) and _is_theirs(value)
    ]
    makers: list[tuple[str, Callable]] = [
        (name, value)
        for name, value in names.items()
        if inspect.isfunction(value)
        and name.endswith(("model", "net", "network", "mlp"))
        and not source.trains(defined.get(name, ast.Pass()))
        and not name.startswith(("train", "fit", "save", "load", "test", "eval", "download"))
    ]
    built: dict[str, Callable] = {}
    for name, make in [*classes, *makers]:
        if wanted in (None, name) and (way := _way(make, sizes)) is not None:
            built[name] = way
    # A class that another uses is a part of it.
    names_used = {name: _uses(names[name]) for name in built}
    parts = {other for used in names_used.values() for other in used}
    for name, make in built.items():
        if name not in parts or len(built) == 1:
            yield f"{name}()", make


def _is_theirs(kind: type) -> bool:
    foreign = {"torch", "torchvision", "numpy", "builtins", "collections", "typing", "abc"}
    return kind.__module__.split(".")[0] not in foreign


def _way(make: Callable, sizes: tuple[int, ...]) -> Callable[[], Any] | None:
    """Return how to make a model without arguments, or with the sizes of its layers."""
    for arguments in ((), sizes, (list(sizes),)):
        try:
            if is_model(make(*arguments)):
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
        if inspect.isclass(value) and _is_theirs(value) and value not in (dense, sequential):
            yield f"NaiveSequential of NaiveDense and {name}", between(value)
    yield "NaiveSequential of NaiveDense and functions", between(lambda function: function)
