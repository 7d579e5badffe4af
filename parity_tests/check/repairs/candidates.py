"""What could be otherwise in a port, as the model's own configuration and its calls suggest it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, product
from typing import Any

from parity_tests.check.repairs.functions import (
    ACTIVATIONS,
    AXES,
    CHOICES,
    CONSTANTS,
    FLATTENS,
    INTEGERS,
    KEPT,
    LAST,
    MERGES,
    NO_NUMBERS,
    NORMS,
    OF_KERAS,
    OPTIMIZERS,
    OPTIONS,
    SIBLINGS,
    SIZES,
)

Call = Mapping[str, Any]


@dataclass(frozen=True)
class Repair:
    """What could be otherwise in a port.

    Attributes:
        changes: That are made in its program, each with the "text" that it stands in.
        what: Is called there.
        sentence: What is changed.
    """

    changes: tuple[Mapping[str, Any], ...]
    what: str
    sentence: str

    def __str__(self) -> str:
        """Return the place and what is changed there."""
        place = f"{self.text[0]}:{self.text[1]}: " if self.text else ""
        return f"{place}{self.what}: {self.sentence}"

    @property
    def text(self) -> tuple[Any, ...] | None:
        """The place in the text; None if it is not known."""
        text = self.changes[0]["text"]
        return tuple(text) if text else None


@dataclass
class Wanted:
    """What the layers and the optimizer of a model are configured with.

    Attributes:
        configs: Of some layers, each with its "class".
        optimizer: Its configuration.
    """

    configs: Sequence[Mapping[str, Any]] = ()
    optimizer: Mapping[str, Any] = field(default_factory=dict)

    def numbers(self) -> list[Any]:
        """Return the numbers of the layers, each once."""
        found: dict[str, Any] = {}
        for config in self.configs:
            for value in config.values():
                if isinstance(value, int | float | list) and not isinstance(value, bool):
                    found.setdefault(repr(value), value)
        return list(found.values())

    def activations(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the activations of the layers, as functions of PyTorch with their options."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for config in self.configs:
            names = [config.get("activation"), config.get("recurrent_activation")]
            kind = str(config["class"])
            slope = config.get("negative_slope")
            if kind in ("LeakyReLU", "ReLU") and slope:
                found.setdefault(f"leaky {slope}", ("leaky_relu", {"negative_slope": slope}))
            elif kind == "ReLU" and config.get("max_value") == 6:
                found.setdefault("relu6", ("relu6", {}))
            elif kind == "ELU":
                found.setdefault("elu", ("elu", {"alpha": config.get("alpha", 1.0)}))
            elif kind in ("ReLU", "Softmax"):
                names.append(kind.lower())
            for name in names:
                if name in OF_KERAS:
                    found.setdefault(name, OF_KERAS[name])
        return list(found.values())


def of_model(calls: Sequence[Call], wanted: Wanted) -> Iterator[list[Repair]]:
    """Yield what could be otherwise in the calls that compute a model, the likeliest first."""
    numbers = wanted.numbers()
    yield [repair for call in calls[-1:] for repair in settings(call, numbers)]
    yield [repair for call in calls[:-1] for repair in settings(call, numbers)]
    activations = wanted.activations()
    yield [repair for call in calls for repair in _structure(call, activations)]
    yield [repair for pair in pairwise(calls) for repair in _exchanged(*pair)]
    yield [repair for call in calls for repair in _padded(call, wanted)]


def settings(call: Call, numbers: Sequence[Any]) -> Iterator[Repair]:
    """Yield other values of the arguments of a call, or of what a module holds."""
    for name, value in call["arguments"].items():
        if name in SIZES or call["what"] in NO_NUMBERS or ("path" in call and not call["of torch"]):
            continue
        for other in others(name, value, numbers):
            yield _set(call, name, value, other)


def _set(call: Call, name: str, value: Any, other: Any) -> Repair:
    kind, at, text = "argument", call["at"], call["at"] and call["at"][:5]
    if call.get("of torch"):
        kind, at, text = "attribute", _of_module(call), call["made"]
    change = _change(call, kind, at, text, name=name, value=other)
    said = "" if name.isdigit() else f"{name} = "
    return Repair((change,), call["what"], f"{said}{_shown(value)} -> {_shown(other)}")


def _change(call: Call, kind: str, at: Any, text: Any, **by: Any) -> dict[str, Any]:
    order = call["order"]
    place = order.index(by["name"]) if by.get("name") in order else None
    path = call.get("path")
    return {"kind": kind, "at": at, "text": text, "by": by, "place": place, "path": path}


def _of_module(call: Call) -> Any:
    return [*call["made"], call["what"]] if call["made"] else call["path"]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        value = tuple(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)


def others(name: str, value: Any, numbers: Sequence[Any]) -> list[Any]:
    """Return what an argument may be instead, given the numbers of the model."""
    found: list[Any] = []
    if value in CHOICES.get(name, ()) or (name == "align_corners" and value is None):
        found += CHOICES[name]
    elif isinstance(value, bool):
        found.append(not value)
    elif name in AXES or (name.isdigit() and isinstance(value, int)):
        found += [-1, 0, 1, 2, 3, -2] if isinstance(value, int) else []
    elif isinstance(value, int | float):
        whole = isinstance(value, int)
        plain = [n for n in numbers if isinstance(n, int | float)]
        found += [n for n in plain if isinstance(n, int) or not whole]
        found += [round(1 - n, 12) for n in plain if isinstance(n, float) and 0 < n < 1]
        found += INTEGERS if whole else [0.0]
    elif name == "pad" and isinstance(value, list):
        found += paddings(len(value) // 2)
    elif isinstance(value, list) and value and all(type(n) is int for n in value):
        found += [n for n in numbers if isinstance(n, list) and len(n) == len(value)]
        found += [[n] * len(value) for n in INTEGERS]
        found += ["same"] if name == "padding" else []
    unique = {repr(other): other for other in found if other != value}
    return list(unique.values())


def paddings(axes: int) -> list[list[int]]:
    """Return what may be put around an array, from its last axis on: as much as Keras does."""
    each = [[total // 2, total - total // 2] for total in range(5)]
    found = [[*chain(*sides)] for sides in product(each, repeat=axes)] if axes < 3 else []
    return found + ([[total, 0] for total in range(1, 9)] if axes == 1 else [])


def _structure(call: Call, activations: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Repair]:
    """Yield what could be done instead of a call, before it, after it, or not at all."""
    what, alike = call["what"], call["takes"][:1] == call["returns"][:1]
    own = ACTIVATIONS.get(what, what)
    is_activation = own in {name for name, _ in OF_KERAS.values()} | {"relu_"}
    if "path" in call and not call["of torch"]:
        activations = []
    for name, options in activations:
        if is_activation and name != own:
            yield _made(call, "instead", f"{name} instead", name=name, options=options)
    yield from _siblings(call)
    if alike and what not in ("Linear", "linear", "add", "__add__", "sub"):
        yield _made(call, "without", "left out")
    if what in MERGES[:4]:
        yield _made(call, "reversed", "its inputs in the other order")
    rank = len(call["takes"][0]) if call["takes"] else 0
    if what in FLATTENS and rank in LAST and len(call["returns"][0]) < rank:
        order = LAST[rank]
        yield _made(
            call, "before", f"permute{order} before it", name="permute", options={"dims": order}
        )
    for name, options in activations:
        shown = "".join(f", {n}={_shown(v)}" for n, v in options.items())
        yield _made(call, "after", f"{name}{shown} after it", name=name, options=options)


def _siblings(call: Call, numbers: Sequence[Any] = ()) -> Iterator[Repair]:
    """Yield the functions that could be called with the same arguments, and the modules."""
    plain = call["what"].replace("_", "").lower()
    family = next((of for of in SIBLINGS if plain in {n.replace("_", "") for n in of}), ())
    for other in family:
        if other.replace("_", "") == plain:
            continue
        options = {n: call["arguments"][n] for n in KEPT if n in call["arguments"]}
        options = options if "path" in call else {}
        constant = CONSTANTS.get(other)
        known = [of for name, of in call["arguments"].items() if name in CONSTANTS.values()]
        values = [*known, *(n for n in numbers if isinstance(n, float))] if constant else [None]
        for value in dict.fromkeys(values):
            named = {**options, **({constant: value} if constant else {})}
            said = f"{other}{f' of {constant} {value:g}' if constant else ''} instead"
            yield _made(call, "called", said, name=other, options=named)


def _made(call: Call, kind: str, sentence: str, **by: Any) -> Repair:
    at, text = call["at"], call["at"] and call["at"][:5]
    if not at or (kind == "called" and call.get("made")):
        at, text = _of_module(call), call.get("made")
    return Repair((_change(call, kind, at, text, **by),), call["what"], sentence)


def _padded(call: Call, wanted: Wanted) -> Iterator[Repair]:
    """Yield paddings of a convolution that are not alike on both sides."""
    if not call["what"].startswith("Conv") or "Transpose" in call["what"] or not call["at"]:
        return
    size = call["arguments"]["kernel_size"]
    causal = any(config.get("padding") == "causal" for config in wanted.configs)
    reach = (size[0] - 1) * call["arguments"]["dilation"][0]
    pads = [[reach, 0]] if causal and len(size) == 1 else paddings(len(size))
    for pad in pads:
        if pad[::2] != pad[1::2]:
            none = _change(
                call,
                "attribute",
                _of_module(call),
                call["made"],
                name="padding",
                value=[0] * len(size),
            )
            before = _change(call, "before", call["at"], call["at"][:5])
            before["by"] = {"name": "pad", "options": {"pad": pad}}
            yield Repair((none, before), call["what"], f"pad{tuple(pad)} before it, padding = 0")


def _exchanged(one: Call, other: Call) -> Iterator[Repair]:
    """Yield two neighbours in the other order, of which one is an activation."""
    for first, second, where in ((one, other, "after"), (other, one, "before")):
        name = ACTIVATIONS.get(first["what"], first["what"])
        if name not in {of for of, _ in OF_KERAS.values()} or not second["what"].startswith(NORMS):
            continue
        options = {
            n: first["arguments"][n] for n in OPTIONS.get(name, ()) if n in first["arguments"]
        }
        out = _made(first, "without", "")
        back = _made(second, where, "", name=name, options=options)
        sentence = f"{name} {where} {second['what']}"
        yield Repair((*out.changes, *back.changes), first["what"], sentence)


def of_loss(calls: Sequence[Call], wanted: Wanted, ratio: float) -> Iterator[list[Repair]]:
    """Yield what could be otherwise in the calls that make a loss of the outputs.

    Args:
        calls: From the outputs on.
        wanted: Of the model.
        ratio: Of the model's loss to the port's.
    """
    yield [repair for call in calls for repair in settings(call, wanted.numbers())]
    factors = [n for n in wanted.numbers() if isinstance(n, float) and n not in (0.0, 1.0)]
    yield [repair for call in calls for repair in _siblings(call, factors)]
    yield [repair for call in calls for repair in _of_loss(call, [*factors, ratio])]


def _of_loss(call: Call, factors: Sequence[float]) -> Iterator[Repair]:
    """Yield what could be done to what a loss is given, and to the loss itself."""
    takes, returns = call["takes"], call["returns"]
    for name in ("log", "softmax", "log_softmax", "sigmoid") if takes and takes[0] else ():
        options = {"dim": -1} if "softmax" in name else {}
        said = f"{name} of its input"
        yield _made(call, "before", said, name=name, options=options, place=0)
    if len(takes) > 1 and abs(len(takes[0]) - len(takes[1])) == 1:
        place = int(len(takes[0]) > len(takes[1]))
        for name, at in (("unsqueeze", place), ("squeeze", 1 - place)):
            said = f"{name}(-1) of its {'target' if at else 'input'}"
            yield _made(call, "before", said, name=name, options={"dim": -1}, place=at)
    if takes[:1] == returns[:1]:
        yield _made(call, "without", "left out")
    for factor in factors if returns == [[]] else ():
        if 0 < factor < math.inf:
            said = f"times {factor:g}"
            yield _made(call, "after", said, name="mul", options={"other": factor})


def of_update(
    calls: Sequence[Call], optimizers: Sequence[Call], wanted: Wanted
) -> Iterator[list[Repair]]:
    """Yield what could be otherwise in the optimizers of a port, and in what it clips."""
    yield [*_of_update(calls, optimizers, wanted)]


def _of_update(
    calls: Sequence[Call], optimizers: Sequence[Call], wanted: Wanted
) -> Iterator[Repair]:
    config = wanted.optimizer
    numbers = [n for n in config.values() if type(n) in (int, float)]
    for optimizer in optimizers:
        for name, value in optimizer["arguments"].items():
            if name in SIZES:
                continue
            found: list[Any] = []
            if name == "betas":
                found = [[config.get("beta_1"), config.get("beta_2")]]
            elif isinstance(value, bool):
                found = [not value]
            elif isinstance(value, int | float):
                own = config.get(OPTIMIZERS.get(name, name))
                found = [own, *numbers, 0.0]
            for other in {repr(n): n for n in found if n is not None and n != value}.values():
                if name != "betas" or None not in other:
                    place = optimizer["at"]
                    change = _change(optimizer, "group", place, place, name=name, value=other)
                    said = f"{name} = {_shown(value)} -> {_shown(other)}"
                    yield Repair((change,), optimizer["what"], said)
    for call in calls:
        yield from settings(call, numbers)
        if "clip" in call["what"]:
            yield _made(call, "without", "left out")


def of_step(calls: Sequence[Call], optimizers: Sequence[Call], wanted: Wanted) -> Iterator[Repair]:
    """Yield what a step may lack: clipped gradients, gradients that are zeroed, its mode."""
    clips = (
        ("global_clipnorm", "clip_grad_norm_", False),
        ("clipnorm", "clip_grad_norm_", True),
        ("clipvalue", "clip_grad_value_", False),
    )
    for call in calls:
        if call["what"] == "eval" and call["at"]:
            change = _change(call, "mode", call["at"], call["at"][:5])
            yield Repair((change,), "eval", "train() in its place")
    for call in (call for call in calls if call["what"] == "step"):
        text = call["at"][:5]
        for key, name, each in clips:
            if limit := wanted.optimizer.get(key):
                by = {"name": name, "value": limit, "each": each}
                change = _change(call, "clip", call["optimizer"], text, **by)
                said = f"{name}({limit:g}) before it{', of each weight' if each else ''}"
                yield Repair((change,), "step", said)
        change = _change(call, "zero", call["optimizer"], text)
        yield Repair((change,), "step", "zero_grad() after it")


def of_penalties(
    calls: Sequence[Call], wanted: Wanted, kernels: Mapping[str, str], model: str
) -> Iterator[Repair]:
    """Yield the penalty on the kernels that the model has, added to a loss.

    Args:
        calls: From the outputs on.
        wanted: Of the layers, each with its "name".
        kernels: The name of the port's kernel, by the name of the layer.
        model: What the port calls its model.
    """
    factors = {
        kernels[config["name"]]: config["kernel_regularizer"]["l2"]
        for config in wanted.configs
        if (config.get("kernel_regularizer") or {}).get("l2") and config.get("name") in kernels
    }
    for call in calls if factors else ():
        if call["returns"] == [[]]:
            at = call["at"] or _of_module(call)
            change = _change(call, "penalty", at, call["at"] and call["at"][:5])
            change["by"] = {"factors": factors, "model": model}
            yield Repair(
                (change,), call["what"], f"the penalty on {', '.join(factors)} added to it"
            )


def key_of(call: Call) -> str:
    """Return what tells a call of a program from its others."""
    return repr([call["at"], call["what"], call.get("path")])


def once(calls: Iterable[Call]) -> list[Call]:
    """Return the calls of a program, those of one place once."""
    found: dict[str, Call] = {}
    for call in calls:
        found.setdefault(key_of(call), call)
    return list(found.values())
