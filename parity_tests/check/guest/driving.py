"""Calling what a file defines that trains nothing when it is run: a step or a loop, with batches.

Which function is called, with which arguments, is chosen by few rules and said. What it then does
is watched like any program.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from parity_tests.check import source
from parity_tests.check.guest.arguments import (
    OF_NAME,
    Batch,
    brought,
    call,
    fill,
    first_number,
    roles,
    several,
    usual_step,
)
from parity_tests.check.guest.find import (
    Loose,
    find_models,
    function_of,
    has_instances,
    holds_weights,
    is_theirs,
    tensors,
)
from parity_tests.check.guest.steps import unwrapped
from parity_tests.check.guest.tensors import as_tensor
from parity_tests.check.guest.watch import Watch
from parity_tests.check.messages import (
    NotObservable,
    UnusablePort,
    numbered,
    said_of_itself,
)
from parity_tests.check.samples import IMAGES, LABELS

SIZES = (784, 512, 10)
"""Of the book's network, where a file makes none and it has to be built."""

BOOK = ("load_mnist", "NaiveDense", "BatchGenerator")
"""Names of the book that are judged where a file has them."""

DATA = {"images", "labels", "batch", "loader", "data", "dataset"}
"""Roles of arguments that bring data."""

NOT_DATA = {"model", "optimizer", "criterion", "device", "dtype", "weights", "epoch", "epochs"}
"""Roles of those that bring none."""


class Driver:
    """What a file defines, ready to be called.

    Args:
        tree: The code of the file.
        names: What the file holds, by name.
        watch: Sees what a call does.
        model: The name of the model, if it was given.
        step: The name of the step, if it was given.
        of_keras: Whether it is the port of a Keras model.

    Raises:
        UnusablePort: If the file has no model or no step, or it is not clear which.
    """

    def __init__(
        self,
        tree: ast.Module,
        names: dict[str, Any],
        watch: Watch,
        model: str | None,
        step: str | None,
        *,
        of_keras: bool,
    ) -> None:
        self.names, self.watch, self.of_keras = names, watch, of_keras
        defined = source.functions(tree)
        order = [step] if step else list(source.steps(tree))
        known = (function_of(name, names) for name in order)
        if of_keras and not step and not any(known) and (usual := usual_step(names)):
            names["training_step"] = usual
            order = ["training_step"]
        if not order:
            raise UnusablePort(
                "autograd takes no gradients when it is run, and it has no training step: "
                "expected a function such as training_step(model, images, labels) that updates "
                "the weights"
                f"{source.nearest('training_step', list(defined))}; name another with --step"
            )
        self.models: dict[str, Any] = {"its own model": None}
        self.notes: list[str] = []
        if model or has_instances(names, None) or not any(map(self._needs_no_model, order)):
            self.models, self.notes = find_models(
                tree, names, model, () if of_keras else SIZES, order
            )
        self.made: torch.optim.Optimizer | None = None
        self.calls: dict[str, Callable] = {}
        self._find_calls(order, defined)
        self._make_optimizer()

    def _find_calls(self, order: list[str], defined: dict[str, ast.FunctionDef]) -> None:
        """Find the functions that may be called, and which of them are loops."""
        names = self.names
        for name in [*order, *(n for n in source.LOOPS if callable(names.get(n)))]:
            function = function_of(name, names) or self._method(name)
            if function is not None:
                self.calls.setdefault(name, function)
        if not self.calls:
            near = source.nearest(order[0], [n for n, v in names.items() if inspect.isfunction(v)])
            raise UnusablePort(f"it has no function {order[0]}{near}: name another with --step")
        taken = {name: roles(function).values() for name, function in self.calls.items()}
        self.loops = [n for n in taken if source.is_loop(n, defined) or "loader" in taken[n]]

    def _make_optimizer(self) -> None:
        """Make an optimizer, if one is taken and the file makes none."""
        first = next(iter(self.models))
        takes = {role for function in self.calls.values() for role in roles(function).values()}
        if "optimizer" in takes and "optimizer" not in self._given(first):
            held = list(tensors(self.models[first]).values())
            self.made = torch.optim.SGD(held, lr=1e-3)

    def _needs_no_model(self, name: str) -> bool:
        """Return whether a function takes data and nothing else, and so makes what it trains."""
        function = self.names.get(name)
        if not inspect.isfunction(function):
            return False
        parameters = inspect.signature(function).parameters
        required = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty]
        takes = {role for n, role in roles(function).items() if n in required}
        makes = any(inspect.isclass(self.names.get(used)) for used in function.__code__.co_names)
        return makes and bool(takes & DATA) and takes <= {*DATA, "epochs", "batch_size"}

    def _method(self, name: str) -> Callable | None:
        """Return the method of a model, or of a class of which the file makes no instance."""
        for model in self.models.values():
            if is_theirs(type(model)) and inspect.ismethod(method := getattr(model, name, None)):
                return method
        given = self._given(next(iter(self.models)))
        for kind in list(self.names.values()):
            if inspect.isclass(kind) and is_theirs(kind) and name in vars(kind):
                made = call(kind, fill(kind, given, self.names, ("model", "optimizer")))
                self.names[f"{kind.__name__}()"] = made
                return getattr(made, name)
        return None

    def describe(self) -> dict[str, Any]:
        """Return what can be called, and what of the book the file has."""
        return {
            "models": list(self.models),
            "calls": [
                {
                    "name": name,
                    "loop": name in self.loops,
                    "alone": not self._data_of(function),
                    "takes": sorted(
                        set(roles(function).values()) & {*DATA, "epochs", "batch_size"}
                    ),
                }
                for name, function in sorted(self.calls.items(), key=self._needs_optimizer)
            ],
            "notes": self.notes,
            "made": self.made is not None,
            "names": [name for name in BOOK if callable(self.names.get(name))],
            "modules": {name: id(unwrapped(model)) for name, model in self.models.items()},
            **said_of_itself(self.names),
            "brings": self.of_keras and brought(self.names) is not None,
        }

    def _needs_optimizer(self, item: tuple[str, Callable]) -> bool:
        """Return whether a function can be called only with an optimizer that is made here."""
        return self.made is not None and "optimizer" in roles(item[1]).values()

    def call(self, how: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
        """Call a function with data.

        Args:
            how: "name" of the function; "model"; "form", of the images, of the labels, and
                whether they are NumPy arrays; "epochs" and "batch_size" for a loop.
            arrays: "images" of shape (n, 784) from 0 to 1, and "labels" of shape (n,); or, for
                the port of a Keras model, "inputs 0", "targets 0" and so on.
        """
        if how["name"] == "load_mnist":
            return self._load_mnist(how)
        if how["name"] == "batch":
            kinds = zip(("inputs", "targets"), brought(self.names) or (), strict=False)
            return {f"{kind} {i}": a for kind, of in kinds for i, a in enumerate(of)}
        if self.of_keras:
            inputs, targets = (
                [as_tensor(a) for a in numbered(arrays, kind)] for kind in ("inputs", "targets")
            )
            if how["name"] in self.loops:
                return self._run_loop(how, *map(_single, (inputs, targets)))
            data = torch.utils.data.TensorDataset(*inputs, *targets)
            for part in torch.utils.data.DataLoader(data, how["batch_size"]):
                of = map(_single, (part[: len(inputs)], part[len(inputs) :]))
                self._take(how, self.calls[how["name"]], *of)
            return None
        of_images, of_labels, bare = how["form"]
        images = IMAGES[of_images](arrays["images"])
        labels = LABELS[of_labels](arrays["labels"]).astype(
            images.dtype if of_labels.startswith("one") and images.dtype != np.uint8 else np.int64
        )
        batch = (images, labels) if bare else (torch.from_numpy(images), torch.from_numpy(labels))
        if how["name"] == "BatchGenerator":
            return self._run_batches(how, *batch)
        if how["name"] in self.loops:
            return self._run_loop(how, *batch)
        for first in range(0, len(arrays["images"]), how["batch_size"]):
            last = first + how["batch_size"]
            columns = of_images.startswith("(784")
            part = batch[0][:, first:last] if columns else batch[0][first:last]
            self._take(how, self.calls[how["name"]], part, batch[1][first:last])
        return None

    def _take(self, how: Mapping[str, Any], function: Callable, images: Any, labels: Any) -> Any:
        given = {**self._given(how["model"]), "images": images, "labels": labels}
        given |= {"batch": Batch((images, labels)), "data": Batch((images, labels))}
        filled = self._in_order(function, given, [*several(images), *several(labels)])
        filled = filled or fill(function, given, self.names, ("model", "images", "labels"))
        weights = list(tensors(self.models[how["model"]]).values())
        before = [w.detach().clone() for w in weights]
        seen = len(self.watch.steps)
        returned = exhausted(call(function, filled))
        self.watch.returned.append(first_number(returned))
        if len(self.watch.steps) == seen and self.watch.open is None:
            self.watch.add(weights, before, first_number(returned))  # without autograd, as it seems
        return returned

    def _data_of(self, function: Callable) -> list[str]:
        """Return the names of the arguments that a function needs, and that may be data."""
        parameters = inspect.signature(function).parameters
        return [
            name
            for name, role in roles(function).items()
            if role not in NOT_DATA and parameters[name].default is inspect.Parameter.empty
        ]

    def _in_order(
        self, function: Callable, given: Mapping[str, Any], parts: list[Any]
    ) -> dict[str, Any]:
        """Return the arguments of a step that takes several inputs or targets, one by one."""
        found, data = roles(function), self._data_of(function)
        if len(parts) == 2 or len(data) != len(parts):
            return {}
        others = {name: given[role] for name, role in found.items() if role in given}
        return {**others, **dict(zip(data, parts, strict=True))}

    def _given(self, model: str) -> dict[str, Any]:
        """Return what there is for arguments other than data, by role."""
        instance = self.models[model]
        weights: Any = list(tensors(instance).values())
        if isinstance(instance, Loose):
            weights = instance = instance.weights
        elif holds_weights(instance):
            weights = instance
        given = {"model": instance, "weights": weights}
        given["device"] = torch.device("cpu")
        kinds: dict[str, Any] = {
            "optimizer": torch.optim.Optimizer,
            "criterion": torch.nn.modules.loss._Loss,
        }
        held = {id(w) for w in tensors(self.models[model]).values()}
        for role, kind in kinds.items():
            values = {id(v): v for v in self.names.values() if isinstance(v, kind)}
            named = [v for name, v in self.names.items() if OF_NAME.get(name) == role]
            chosen = [v for v in named if not inspect.isclass(v) and not inspect.ismodule(v)]
            if role == "optimizer":  # that of this model
                of_model = [v for v in (*chosen, *values.values()) if _holds(v, held)]
                chosen = of_model or chosen
            if chosen or len(values) == 1:
                given[role] = [*chosen, *values.values()][0]
        if self.made is not None:
            given.setdefault("optimizer", self.made)
        return given

    def _run_loop(self, how: Mapping[str, Any], images: Any, labels: Any) -> Any:
        loop = self.calls[how["name"]]
        taken = roles(loop)
        if not DATA & set(taken.values()):
            return exhausted(call(loop, fill(loop, self._given(how["model"]), self.names, ())))
        without = "images" in taken.values() and "labels" not in taken.values()
        if without and not self.of_keras:  # else the images may be their own targets
            raise NotObservable(f"{how['name']} takes images and no labels")
        if isinstance(images, np.ndarray):
            images, labels = torch.from_numpy(images), torch.from_numpy(labels)
        data = torch.utils.data.TensorDataset(*several(images), *several(labels))
        loader = torch.utils.data.DataLoader(data, how["batch_size"])
        given = {**self._given(how["model"]), "images": images, "labels": labels}
        given |= {"loader": loader, "data": loader, "dataset": data, "batch": loader}
        given |= {"epochs": how["epochs"], "batch_size": how["batch_size"]}
        returned = None
        for epoch in range(1 if "epochs" in taken.values() else how["epochs"]):
            given["epoch"] = epoch
            last = "labels" if "images" in taken.values() else "loader"
            filled = fill(loop, given, self.names, ("model", last))
            returned = exhausted(call(loop, filled))
        return returned

    def _run_batches(self, how: Mapping[str, Any], images: Any, labels: Any) -> None:
        make = self.names["BatchGenerator"]
        step = next(f for name, f in self.calls.items() if name not in self.loops)
        given = {"images": images, "labels": labels, "batch_size": how["batch_size"]}
        for _ in range(how["epochs"]):
            batches = call(make, fill(make, given, self.names, ("images", "labels")))
            for _ in range(batches.num_batches):
                self._take(how, step, *batches.next())

    def _load_mnist(self, how: Mapping[str, Any]) -> dict[str, Any]:
        load_mnist = self.names["load_mnist"]
        given = {"folder": how["folder"], "dtype": how["dtype"], "device": torch.device("cpu")}
        sets = call(load_mnist, fill(load_mnist, given, self.names, ("folder",)))
        flat = [a for part in sets for a in (part if isinstance(part, tuple | list) else [part])]
        if len(flat) != 4 or not all(hasattr(array, "shape") for array in flat):
            raise NotObservable("load_mnist returns no four arrays: images and labels, twice")
        names = "training images", "training labels", "test images", "test labels"
        return dict(zip(names, flat, strict=True))


def exhausted(returned: Any) -> Any:
    """Return what a call returned, once a generator has come to its end."""
    if inspect.isgenerator(returned):
        for _ in returned:
            pass
    return returned


def _single(items: Sequence[Any]) -> Any:
    return items[0] if len(items) == 1 else tuple(items)


def _holds(optimizer: Any, held: set[int]) -> bool:
    groups = getattr(optimizer, "param_groups", ())
    return any(id(weight) in held for group in groups for weight in group["params"])
