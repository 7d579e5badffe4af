"""What a Keras model is made of: its units, the layers that hold weights."""

import contextlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import keras
import numpy as np

RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)
WHOLE = (*RECURRENT, keras.layers.MultiHeadAttention)
"""Layers that hold others, and are one unit all the same."""
LINEAR = ("Dense", "EinsumDense")
"""Classes of which a port may hold several in one layer."""
SEPARABLE: dict[type, tuple[Any, Any]] = {
    keras.layers.SeparableConv1D: (keras.layers.DepthwiseConv1D, keras.layers.Conv1D),
    keras.layers.SeparableConv2D: (keras.layers.DepthwiseConv2D, keras.layers.Conv2D),
}
"""Layers that are two convolutions in PyTorch, and in Keras hold the weights of both."""


def walk(layer: Any) -> Iterator[Any]:
    """Yield the layers in a layer, those in them as well."""
    for part in getattr(layer, "layers", None) or layer._layers:
        if isinstance(part, keras.Layer):
            yield part
            yield from walk(part)


def of(model: Any, whole: tuple[type, ...] = WHOLE) -> list[Any]:
    """Return the units of a model, each once.

    Args:
        model: A Keras model.
        whole: Of the layers that hold others, those that are one unit.
    """
    found: dict[int, Any] = {}

    def visit(layer: Any) -> None:
        parts = layer._layers  # Keras keeps here what is a layer of all that it holds
        if isinstance(layer, keras.layers.Normalization):
            return  # its weights are constants, which a port writes down in another way
        if isinstance(layer, whole) or (layer.weights and not any(p.weights for p in parts)):
            found.setdefault(id(layer), layer)
        else:
            for part in parts:
                visit(part)

    for layer in model._layers:
        visit(layer)
    return [layer for layer in found.values() if any(is_float(w) for w in layer.weights)]


def tell_apart(model: Any) -> None:
    """Rename layers that share a name, so that names and paths say which layer is meant.

    Keras wants names to be unique only among the layers of one model. A layer of a nested one, or
    a part of a layer, such as "query", gets the name of what holds it in front: "block.query".
    """
    known = Counter(layer.name for layer in {id(part): part for part in walk(model)}.values())
    taken: set[str] = set()
    seen: set[int] = set()
    holders = [(model, False)]
    for holder, moved in holders:
        for layer in getattr(holder, "layers", None) or holder._layers:
            if not isinstance(layer, keras.Layer) or id(layer) in seen:
                continue
            seen.add(id(layer))
            name = layer.name
            if not isinstance(holder, RECURRENT):  # of which the whole is named
                if known[name] > 1 and holder is not model:
                    name = f"{holder.name}.{name}"
                while name in taken:
                    name += "_1"
                taken.add(name)
            renamed = name != layer.name
            if renamed or moved:
                layer.name, layer._path = name, name if renamed else f"{holder.path}/{name}"
                for variable in layer._trainable_variables + layer._non_trainable_variables:
                    variable._path = f"{layer.path}/{variable.name}"
            holders.append((layer, renamed or moved))


def split_separable(model: Any) -> None:
    """Let each separable convolution call a depthwise and a pointwise one, with its own weights."""
    for layer in {id(part): part for part in walk(model)}.values():
        if type(layer) not in SEPARABLE:
            continue
        depthwise, pointwise = SEPARABLE[type(layer)]
        options = {"data_format": layer.data_format, "dtype": layer.dtype_policy}
        depthwise = depthwise(
            layer.kernel_size,
            layer.strides,
            layer.padding,
            layer.depth_multiplier,
            dilation_rate=layer.dilation_rate,
            use_bias=False,
            name=f"{layer.name}.depthwise",
            **options,
        )
        pointwise = pointwise(
            layer.filters,
            1,
            activation=layer.activation,
            use_bias=layer.use_bias,
            name=f"{layer.name}.pointwise",
            **options,
        )
        depthwise.kernel, pointwise._kernel = layer.depthwise_kernel, layer.pointwise_kernel
        pointwise.bias = layer.bias
        for part, kind in ((depthwise, "depthwise"), (pointwise, "pointwise")):
            part.built, part._path = True, f"{layer.path}.{kind}"
            layer._layers.append(part)
        layer.call = lambda inputs, _first=depthwise, _then=pointwise: _then(_first(inputs))


def is_float(variable: Any) -> bool:
    """Return whether a variable is a weight, and no counter or seed."""
    return "float" in str(variable.dtype)


def config(item: Any) -> dict[str, Any]:
    """Return the plain values that a layer, a loss or an optimizer is configured with."""
    own = not type(item).__module__.startswith("keras.")
    values = {name: of for name, of in vars(item).items() if own and not name.startswith("_")}
    with contextlib.suppress(NotImplementedError):  # of a layer of the file's own
        values |= item.get_config() | getattr(item, "_fn_kwargs", {})
    found: dict[str, Any] = {"class": type(item).__name__}
    for name, value in values.items():
        if isinstance(value, dict) and "activation" in name:  # as one with an alpha of its own
            value = value.get("class_name")
        elif name == "activation" and callable(value):
            value = getattr(value, "__name__", None)
        elif name.endswith("regularizer") and isinstance(value, dict):
            found[name] = {key: float(of) for key, of in value["config"].items()}
        several = isinstance(value, list | tuple) and len(value) <= 8
        every = value if several else [value]
        if all(isinstance(one, int | float | str | None) for one in every):
            found[name] = list(value) if several else value
    return found


def describe(layer: Any) -> dict[str, Any]:
    """Return what a unit is: its path, its class, its weights by role."""
    roles = {_role(layer, w): [w.path, list(w.shape)] for w in layer.weights if is_float(w)}
    return {
        "path": layer.path or layer.name,
        "name": layer.name,
        "class": type(layer).__name__,
        "channels first": getattr(layer, "data_format", "") == "channels_first"
        or (isinstance(layer, keras.layers.BatchNormalization) and layer.axis == 1),
        "inner": type(getattr(layer, "forward_layer", layer)).__name__,
        "weights": roles,
    }


def joined(described: Sequence[dict[str, Any]], groups: Sequence[Sequence[str]]) -> list[Any]:
    """Return what units are, those of each group as one, which a port may hold in one layer.

    Args:
        described: Each unit.
        groups: Paths of units that are called one after the other, with the same input or in a row.
    """
    left = {unit["path"]: unit for unit in described}
    for group in groups:
        parts = [left.pop(path) for path in group]
        name = ", ".join(part["name"] for part in parts)
        weights = {f"{p['name']} {role}": w for p in parts for role, w in p["weights"].items()}
        left[_joint(group)] = {
            "path": _joint(group),
            "name": name,
            "class": "Joined" if parts[0]["class"] in LINEAR else "Stacked",
            "weights": weights,
            "parts": parts,
        }
    return list(left.values())


def _joint(group: Sequence[str]) -> str:
    *parents, _ = group[0].split("/")
    return "/".join([*parents, ", ".join(path.split("/")[-1] for path in group)])


def join_calls(
    calls: Sequence[dict[str, Any]], order: list[list[Any]], groups: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Return calls of units, those of a group as one, and count them so in the order of layers."""
    names = [call["unit"] for call in calls]
    found: list[dict[str, Any]] = []
    starts: list[int] = []
    start = 0
    while start < len(calls):
        group = next((g for g in groups if names[start : start + len(g)] == [*g]), None)
        end = start + len(group or [""])
        found.append(calls[start] if group is None else _as_one(calls[start:end], _joint(group)))
        starts.append(start)
        start = end
    for entry in order:
        entry[1] = bisect_left(starts, entry[1])
    return found


def _as_one(calls: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return calls as one: its output is the last one's, or has those of one input side by side."""
    whole = {**calls[-1], "unit": name, "inputs": calls[0]["inputs"]}
    whole["masked"] = any(call["masked"] for call in calls)
    first, second = (call["inputs"][0] for call in calls[:2])
    rank = first.ndim - 1  # beside which there may be several axes of outputs
    for kind in ("output", "returned") if np.array_equal(first, second) else ():
        arrays = [call[kind] for call in calls]
        whole[kind] = np.concatenate([a.reshape(*a.shape[:rank], -1) for a in arrays], -1)
    return whole


def _role(layer: Any, variable: Any) -> str:
    """Return what a weight is for, such as "kernel", or "query kernel" in a part of a layer."""
    name = str(variable.name).removeprefix("depthwise_").removeprefix("pointwise_")
    if isinstance(layer, keras.layers.Bidirectional):
        own = {id(w) for w in layer.forward_layer.weights}
        return ("forward " if id(variable) in own else "backward ") + name
    if isinstance(layer, keras.layers.MultiHeadAttention):
        for part in ("query", "key", "value", "output"):
            if any(variable is w for w in getattr(layer, f"_{part}_dense").weights):
                return f"{part} {name}"
    return name


@contextlib.contextmanager
def traced(units: list[Any], order: list[list[Any]]) -> Iterator[list[dict[str, Any]]]:
    """Keep what goes into each unit and comes out of it, before its activation.

    Args:
        units: Of a model.
        order: Takes the name of each layer that is called, and how many calls of units came
            before.
    """
    known = {id(unit): unit.path or unit.name for unit in units}
    calls: list[dict[str, Any]] = []
    right = keras.Layer.__call__
    inside: list[Any] = []

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        order.append([layer.name, len(calls)])
        if id(layer) not in known or inside:
            return right(layer, *arguments, **options)
        seen: list[Any] = []
        inside.append(layer)
        try:
            with _activation_seen(layer, seen):
                returned = right(layer, *arguments, **options)
            output = seen[-1] if seen else returned
            if isinstance(layer, RECURRENT):
                output = _sequence(layer, arguments, options)
        finally:
            inside.pop()
        given = [a for a in (*arguments, *options.values()) if keras.ops.is_tensor(a)]
        if isinstance(arguments[0], list | tuple):
            given = list(arguments[0])
        output = output[0] if isinstance(output, list | tuple) else output
        whole = returned[0] if isinstance(returned, list | tuple) else returned
        whole = output if isinstance(layer, RECURRENT) else whole
        mask = any(getattr(a, "_keras_mask", None) is not None for a in given)
        calls.append(
            {
                "unit": known[id(layer)],
                "masked": mask or options.get("mask") is not None,
                "inputs": [keras.ops.convert_to_numpy(a) for a in given],
                "output": keras.ops.convert_to_numpy(output),
                "returned": keras.ops.convert_to_numpy(whole),
            }
        )
        return returned

    with mock.patch.object(keras.Layer, "__call__", call):
        yield calls


@contextlib.contextmanager
def _activation_seen(layer: Any, seen: list[Any]) -> Iterator[None]:
    right = getattr(layer, "activation", None)
    if right is None or isinstance(layer, WHOLE):
        yield
        return

    def activation(value: Any) -> Any:
        seen.append(value)
        return right(value)

    with mock.patch.dict(vars(layer), activation=activation):  # also of a part
        yield


def _sequence(layer: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what a recurrent layer computes at every step, whatever it returns."""
    parts = [layer]
    if isinstance(layer, keras.layers.Bidirectional):
        parts = [layer, layer.forward_layer, layer.backward_layer]
    with contextlib.ExitStack() as stack:
        for part in parts:
            if hasattr(part, "return_sequences"):
                stack.enter_context(mock.patch.object(part, "return_sequences", True))
        kept = {name: a for name, a in options.items() if name in ("mask", "initial_state")}
        return layer.call(*arguments, **kept)


@contextlib.contextmanager
def gradients_seen(model: Any) -> Iterator[dict[str, np.ndarray]]:
    """Keep the gradients that an optimizer takes, clipped, by the path of their weight."""
    found: dict[str, np.ndarray] = {}
    optimizer = model.optimizer
    apply, clip = optimizer.apply, optimizer._clip_gradients

    def applied(gradients: Any, variables: Any = None) -> Any:
        taken = zip(variables or optimizer._trainable_variables, gradients, strict=True)
        names = [v.path for v, g in taken if g is not None]  # the optimizer leaves those out

        def clipped(of: Any) -> Any:
            kept = clip(of)
            dense = [keras.ops.convert_to_tensor(g) for g in kept]
            arrays = map(keras.ops.convert_to_numpy, dense)
            found.update(zip(names, arrays, strict=True))
            return kept

        with mock.patch.object(optimizer, "_clip_gradients", clipped):
            return apply(gradients, variables)

    with mock.patch.object(optimizer, "apply", applied):
        yield found
