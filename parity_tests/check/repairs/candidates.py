"""What could be otherwise in a model, as the other side's configuration and its calls suggest."""

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, product
from typing import Any

from parity_tests.check.repairs.functions import (
    ACTIVATIONS,
    AXES,
    CHOICES,
    CONSTANTS,
    FLATTENS,
    FUNCTIONS,
    INTEGERS,
    KEPT,
    LAST,
    MERGES,
    NO_NUMBERS,
    NORMS,
    OF_KERAS,
    OPTIONS,
    SIBLINGS,
    SIZES,
)
from parity_tests.check.repairs.repair import Call, Repair, Wanted


def of_model(calls: Sequence[Call], wanted: Wanted) -> Iterator[list[Repair]]:
    """Yield what could be otherwise in the calls that compute a model, the likeliest first."""
    yield from _of_model(calls, wanted)
    alone = [
        {**call, "at": None, "made": None, "near": call["at"] or call["made"]}
        for call in calls
        if call.get("path") and call["shared"]
    ]
    yield from _of_model(alone, wanted)  # as of blocks that one text makes


def _of_model(calls: Sequence[Call], wanted: Wanted) -> Iterator[list[Repair]]:
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
        what = call["what"]
        if name in SIZES or what in NO_NUMBERS or ("path" in call and not call["of torch"]):
            continue
        if name == "kernel_size" and what.startswith("Conv"):
            continue
        known = "pad" if "Pad" in what and name == "padding" else name
        for other in others(known, value, numbers):
            yield _set(call, name, value, other)


def _set(call: Call, name: str, value: Any, other: Any) -> Repair:
    kind, at, text = "argument", call["at"], call["at"] and call["at"][:5]
    if call.get("of torch"):
        kind, at, text = "attribute", place_of_module(call), call["made"]
    change = change_of(call, kind, at, text, name=name, value=other)
    said = "" if name.isdigit() else f"{name} = "
    return Repair((change,), call["what"], f"{said}{shown(value)} -> {shown(other)}")


def change_of(call: Call, kind: str, at: Any, text: Any, **by: Any) -> dict[str, Any]:
    """Return a change of a call, as the process of the program takes it.

    Args:
        call: That is changed.
        kind: One of those of `guest.changes`, or of `guest.calls`.
        at: Where it is made.
        text: The place in the text; None if it is not known.
        **by: What it is changed by.
    """
    order = call["order"]
    place = order.index(by["name"]) if by.get("name") in order else None
    path = call.get("path")
    near = text or call.get("near")
    where = {
        "at": at,
        "text": text,
        "near": near,
        "making": bool(text) and text == call.get("made"),
    }
    return {"kind": kind, **where, "by": by, "place": place, "path": path}


def place_of_module(call: Call) -> Any:
    """Return what names a module: where it was made, or its path."""
    return [*call["made"], call["what"]] if call["made"] else call["path"]


def shown(value: Any) -> str:
    """Return a value as it is told."""
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
        alike = [n for n in numbers if type(n) is type(value)]
        found += [*alike, *(round(1 - n, 12) for n in alike if 0 < n < 1)]
        found += INTEGERS if isinstance(value, int) else [0.0]
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
            yield made(call, "instead", f"{name} instead", name=name, options=options)
    yield from siblings(call)
    if alike and what not in ("Linear", "linear", "add", "__add__", "sub"):
        yield made(call, "without", "left out")
    if what == "__getitem__":
        yield made(call, "mirrored", "the other end of it")
    if what in MERGES:
        yield made(call, "reversed", "its inputs in the other order")
    rank = len(call["takes"][0]) if call["takes"] else 0
    if what in FLATTENS and rank in LAST and len(call["returns"][0]) < rank:
        order = LAST[rank]
        yield made(
            call, "before", f"permute{order} before it", name="permute", options={"dims": order}
        )
    for name, options in activations:
        told = "".join(f", {n}={shown(v)}" for n, v in options.items())
        yield made(call, "after", f"{name}{told} after it", name=name, options=options)


def siblings(call: Call, numbers: Sequence[Any] = ()) -> Iterator[Repair]:
    """Yield the functions that could be called with the same arguments, and the modules."""
    own = FUNCTIONS.get(call["what"], call["what"].strip("_"))
    family = next((of for of in SIBLINGS if own in of), ())
    for other in family:
        if other == own:
            continue
        options = {n: call["arguments"][n] for n in KEPT if n in call["arguments"]}
        options = options if "path" in call else {}
        constant = CONSTANTS.get(other)
        known = [of for name, of in call["arguments"].items() if name in CONSTANTS.values()]
        values = [*known, *(n for n in numbers if isinstance(n, float))] if constant else [None]
        for value in dict.fromkeys(values):
            named = {**options, **({constant: value} if constant else {})}
            said = f"{other}{f' of {constant} {value:g}' if constant else ''} instead"
            yield made(call, "called", said, name=other, options=named)


def made(call: Call, kind: str, sentence: str, **by: Any) -> Repair:
    """Return the change of one call, in the text where it is called, else where it was made."""
    at, text = call["at"], call["at"] and call["at"][:5]
    if not at or (kind == "called" and call.get("made")):
        at, text = place_of_module(call), call.get("made")
    return Repair((change_of(call, kind, at, text, **by),), call["what"], sentence)


def _padded(call: Call, wanted: Wanted) -> Iterator[Repair]:
    """Yield paddings of a convolution that are not alike on both sides."""
    if not call["what"].startswith("Conv") or "Transpose" in call["what"]:
        return
    at = call["at"] or call["path"]
    size = call["arguments"]["kernel_size"]
    causal = any(config.get("padding") == "causal" for config in wanted.configs)
    reach = (size[0] - 1) * call["arguments"]["dilation"][0]
    pads = [[reach, 0]] if causal and len(size) == 1 else paddings(len(size))
    for pad in pads:
        if pad[::2] != pad[1::2]:
            none = change_of(
                call,
                "attribute",
                place_of_module(call),
                call["made"],
                name="padding",
                value=[0] * len(size),
            )
            before = change_of(call, "before", at, call["at"] and call["at"][:5])
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
        out = made(first, "without", "")
        back = made(second, where, "", name=name, options=options)
        sentence = f"{name} {where} {second['what']}"
        yield Repair((*out.changes, *back.changes), first["what"], sentence)
