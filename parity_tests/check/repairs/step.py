"""What could be otherwise in a step: its loss, its optimizers, and what it lacks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity_tests.check.repairs.candidates import (
    change_of,
    made,
    place_of_module,
    settings,
    shown,
    siblings,
)
from parity_tests.check.repairs.functions import OPTIMIZERS, SIZES
from parity_tests.check.repairs.repair import Call, Repair, Wanted

CLIPS = (
    ("global_clipnorm", "clip_grad_norm_", False),
    ("clipnorm", "clip_grad_norm_", True),
    ("clipvalue", "clip_grad_value_", False),
)
"""What Keras calls a clipping, the function of PyTorch, and whether it clips each weight alone."""


def of_loss(calls: Sequence[Call], wanted: Wanted, ratio: float) -> Iterator[list[Repair]]:
    """Yield what could be otherwise in the calls that make a loss of the outputs.

    Args:
        calls: From the outputs on.
        wanted: Of the model.
        ratio: Of the model's loss to the port's.
    """
    yield [repair for call in calls for repair in settings(call, wanted.numbers())]
    factors = [n for n in wanted.numbers() if isinstance(n, float) and n not in (0.0, 1.0)]
    yield [repair for call in calls for repair in siblings(call, factors)]
    yield [repair for call in calls for repair in _of_loss(call, [*factors, ratio])]


def _of_loss(call: Call, factors: Sequence[float]) -> Iterator[Repair]:
    """Yield what could be done to what a loss is given, and to the loss itself."""
    takes, returns = call["takes"], call["returns"]
    for name in ("log", "softmax", "log_softmax", "sigmoid") if takes and takes[0] else ():
        options = {"dim": -1} if "softmax" in name else {}
        said = f"{name} of its input"
        yield made(call, "before", said, name=name, options=options, place=0)
    if len(takes) > 1 and abs(len(takes[0]) - len(takes[1])) == 1:
        place = int(len(takes[0]) > len(takes[1]))
        for name, at in (("unsqueeze", place), ("squeeze", 1 - place)):
            said = f"{name}(-1) of its {'target' if at else 'input'}"
            yield made(call, "before", said, name=name, options={"dim": -1}, place=at)
    if takes[:1] == returns[:1]:
        yield made(call, "without", "left out")
    if call["arguments"].get("reduction") == "mean" and call["at"]:
        summed = next(r for r in settings(call, []) if "'sum'" in r.sentence)
        whole = made(call, "averaged", "")
        said = "the sum over the size of the batch, not over the weights"
        yield Repair((*whole.changes, *summed.changes), call["what"], said)
    for factor in factors if returns == [[]] else ():
        if 0 < factor < math.inf:
            said = f"times {factor:g}"
            yield made(call, "after", said, name="mul", options={"other": factor})


def of_update(
    calls: Sequence[Call], optimizers: Sequence[Call], wanted: Wanted
) -> Iterator[Repair]:
    """Yield what could be otherwise in the optimizers of a port, and in what it clips."""
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
                    change = change_of(optimizer, "group", place, place, name=name, value=other)
                    said = f"{name} = {shown(value)} -> {shown(other)}"
                    yield Repair((change,), optimizer["what"], said)
    for call in calls:
        for key, name, each in CLIPS if call["what"].startswith("clip_grad_") else ():
            if (limit := config.get(key)) and name != call["what"] and not each:
                place = {"name": "1", "value": limit}
                value = change_of(call, "argument", call["at"], call["at"][:5], **place)
                other = made(call, "called", "", name=name, options={})
                said = f"{name}({limit:g}) instead"
                yield Repair((*other.changes, value), call["what"], said)
        yield from settings(call, numbers)


def of_step(calls: Sequence[Call], wanted: Wanted) -> Iterator[Repair]:
    """Yield what a step may lack: clipped gradients, gradients that are zeroed, its mode."""
    for call in calls:
        if call["what"] == "eval" and call["at"]:
            change = change_of(call, "mode", call["at"], call["at"][:5])
            yield Repair((change,), "eval", "train() in its place")
    for call in (call for call in calls if call["what"] == "step"):
        text = call["at"][:5]
        for key, name, each in CLIPS:
            if limit := wanted.optimizer.get(key):
                by = {"name": name, "value": limit, "each": each}
                change = change_of(call, "clip", call["optimizer"], text, **by)
                said = f"{name}({limit:g}) before it{', of each weight' if each else ''}"
                yield Repair((change,), "step", said)
        change = change_of(call, "zero", call["optimizer"], text)
        yield Repair((change,), "step", "zero_grad() after it")


def of_penalties(
    calls: Sequence[Call], wanted: Wanted, kernels: Mapping[str, str], root: Any
) -> Iterator[Repair]:
    """Yield the penalty on the kernels that the model has, added to a loss.

    Args:
        calls: From the outputs on.
        wanted: Of the layers, each with its "name".
        kernels: The name of the port's kernel, by the name of the layer.
        root: Where the port calls its model.
    """
    factors = {
        kernels[config["name"]]: config["kernel_regularizer"]["l2"]
        for config in wanted.configs
        if (config.get("kernel_regularizer") or {}).get("l2") and config.get("name") in kernels
    }
    for call in calls if factors else ():
        if call["returns"] == [[]]:
            at = call["at"] or place_of_module(call)
            change = change_of(call, "penalty", at, call["at"] and call["at"][:5])
            change["by"] = {"factors": factors, "root": root}
            yield Repair(
                (change,), call["what"], f"the penalty on {', '.join(factors)} added to it"
            )
