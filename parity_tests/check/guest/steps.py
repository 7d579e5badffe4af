"""A step of a training as it was seen, and how it is shown to whoever asks."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from parity_tests.check.guest.tensors import copy, flat, flat_outputs, tensors
from parity_tests.check.samples import prints, rows

LARGEST_MET = 20
"""How many tensors that met the outputs of a model are shown."""


@dataclass
class Layer:
    """A product of a kernel with its inputs, as it was computed.

    Attributes:
        kernel: The weight.
        transposed: Whether the function takes it as (outputs, inputs).
        inputs: What it was multiplied with.
        outputs: What came out, once biases are added.
        bias: The weight that was added.
        latest: The tensor whose numbers `outputs` are.
    """

    kernel: torch.Tensor
    transposed: bool
    inputs: torch.Tensor
    outputs: torch.Tensor
    bias: torch.Tensor | None
    latest: torch.Tensor


@dataclass
class Step:
    """A step of a training, which is complete once weights have changed.

    Attributes:
        weights: That get gradients, in the order in which the model uses them.
        before: Their values when the gradients were taken.
        gradients: As the update found them; None where none arrived.
        after: The values after the update; empty before.
        losses: The numbers from which gradients were taken, in their order.
        line: Of the program, where they were taken; 0 if it is not known.
        first_pass: The number of the forward pass with which it began.
        layers: The products of kernels with their inputs.
        probabilities: What was made of the last product, if that are probabilities.
        logits: What was made of it, and given to a softmax or to a loss that has one.
        met: Of each pass, tensors without gradients that met what was made of the last product.
        draws: Functions that drew random numbers, and their lines.
        rates: Of an optimizer of torch that made a step, one for each of its groups.
        rate: By how much of their gradients the weights have moved, in a brief run.
        calls: Of the module that is trained, where it is one.
        targets: Tensors without gradients that met what came of it.
        state: The weights and running statistics of the module after the step, by name.
    """

    weights: list[torch.Tensor]
    before: list[torch.Tensor]
    gradients: list[torch.Tensor | None] = field(default_factory=list)
    after: list[torch.Tensor] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    line: int = 0
    first_pass: int = 0
    layers: list[Layer] = field(default_factory=list)
    probabilities: list[torch.Tensor] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)
    met: list[list[np.ndarray]] = field(default_factory=list)
    draws: list[tuple[str, int]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    targets: list[torch.Tensor] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    rate: float | None = None
    touched: bool = False

    def forget(self) -> None:
        """Let go of all tensors but the weights."""
        self.before, self.gradients, self.after, self.targets = [], [], [], []
        for call in self.calls:
            call.inputs, call.outputs = [], []


@dataclass
class Pass:
    """What was computed from one batch, until gradients are taken or another one comes.

    Attributes:
        number: Of the pass, from 1.
        uses: Of weights: the weight, and the node of the graph that it led to.
        made: The tensors that are weights in another shape, by their identity.
    """

    number: int = 0
    uses: list[tuple[torch.Tensor, Any]] = field(default_factory=list)
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    probabilities: list[torch.Tensor] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)
    met: list[np.ndarray] = field(default_factory=list)
    draws: list[tuple[str, int]] = field(default_factory=list)


def layer_of(
    name: str,
    given: list[torch.Tensor],
    inputs: torch.Tensor,
    weights: list[torch.Tensor],
    made: torch.Tensor,
) -> Layer:
    """Return a product of a kernel with its inputs.

    Args:
        name: Of the function.
        given: The tensors that it was given; a kernel perhaps in another shape, as W.T.
        inputs: The one that is no weight.
        weights: The weights that the others are, or were made from.
        made: What the function returned.
    """
    kernel, *others = weights
    if name == "addmm":  # whose first argument is the bias
        *others, kernel = weights
    as_it_is = any(t is kernel for t in given)
    places = [place for place, t in enumerate(given) if t is inputs]
    left = name == "addmm" or places[0] < len(given) - 1  # of the kernel
    size = inputs.shape[-1] if left else inputs.shape[0]
    transposed = kernel.shape[0] != size
    if kernel.shape[0] == kernel.shape[-1]:
        transposed = as_it_is != left
    transposed = name == "linear" or transposed
    bias = next(iter(others), None)
    return Layer(kernel, transposed, copy(inputs), copy(made), bias, made)


def moved_by(step: Step) -> float | None:
    """Return the learning rate that fits an update best; None without gradients."""
    moved, square = 0.0, 0.0
    for before, after, gradient in zip(step.before, step.after, step.gradients, strict=True):
        if gradient is not None:
            moved += float(((before - after) * gradient).sum())
            square += float((gradient * gradient).sum())
    return moved / square if square else None


def shown(
    step: Step, names: Mapping[int, str], brief: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a step as JSON and arrays."""
    places = {id(w): place for place, w in enumerate(step.weights)}
    said: dict[str, Any] = {
        "loss": sum(step.losses) if step.losses else math.nan,
        "by hand": not any(gradient is not None for gradient in step.gradients),
        "parts": len(step.losses),
        "line": step.line,
        "pass": step.first_pass,
        "draws": [list(draw) for draw in step.draws],
        "weights": [
            {"id": id(w), "name": names.get(id(w), f"weight {place}"), "shape": list(w.shape)}
            for place, w in enumerate(step.weights)
        ],
        "layers": [
            {
                "kernel": places.get(id(layer.kernel), -1),
                "transposed": layer.transposed,
                "bias": places.get(id(layer.bias), -1),
            }
            for layer in step.layers
        ],
    }
    if brief:
        given = [rows(layer.inputs.numpy()) for layer in step.layers]
        said["samples"] = [key.hex() for one in given if one is not None for key in prints(one)]
        said["rate"] = step.rate
        return said, {}
    return said, {name: tensor.numpy() for name, tensor in _tensors(step)} | _met(step)


def _tensors(step: Step) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a step, by what they are and their place."""
    for name, found in (
        ("before", step.before),
        ("gradient", step.gradients),
        ("after", step.after),
        ("inputs", [layer.inputs for layer in step.layers]),
        ("outputs", [layer.outputs for layer in step.layers]),
        ("probabilities", step.probabilities),
        ("logits", step.logits),
    ):
        yield from ((f"{name} {i}", tensor) for i, tensor in enumerate(found) if tensor is not None)


def _met(step: Step) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for number, met in enumerate(step.met):
        whole = [array for array in met if array.dtype != object][:LARGEST_MET]
        found |= {f"met {number} {place}": array for place, array in enumerate(whole)}
    return found


@dataclass
class Call:
    """A call of a module that no other module called.

    Attributes:
        module: That was called.
        inputs: The tensors that it was given.
        outputs: Those that it returned.
        training: Whether in training, not in inference.
        frozen: Paths of the modules in it that are in inference all the same.
    """

    module: nn.Module
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    training: bool
    frozen: list[str]


class Outermost:
    """Sees each call of a module that no other module calls, while gradients are wanted.

    Args:
        settle: Called before each, when weights may have changed.
    """

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle
        self._depth = 0
        self._open: list[bool] = []
        self._calls: list[Call] = []
        self._met: list[torch.Tensor] = []
        register_module_forward_pre_hook(self._before)
        register_module_forward_hook(self._after, with_kwargs=True, always_call=True)

    def _before(self, module: nn.Module, given: Any) -> None:
        # A loss may be a module too, in which targets meet what comes of the model.
        counts = bool(self._depth) or _is_trained(module)
        if counts and not self._depth and torch.is_grad_enabled():
            self._settle()
        self._open.append(counts)
        self._depth += counts

    def _after(self, module: nn.Module, given: Any, options: Any, outputs: Any) -> None:
        counts = self._open.pop()
        self._depth -= counts
        if counts and not self._depth and torch.is_grad_enabled():
            inputs = [copy(tensor) for tensor in tensors((given, options))]
            whole = unwrapped(module)
            still = [path for path, part in whole.named_modules() if not part.training]
            frozen = still if module.training else []
            call = Call(whole, inputs, flat_outputs(outputs), module.training, frozen)
            self._calls.append(call)

    def meet(self, arguments: Any) -> None:
        """Note tensors without gradients that meet what comes of a model."""
        if not self._depth and self._calls:
            found = [t for t in tensors(arguments) if not t.requires_grad and t.ndim]
            self._met += [copy(t) for t in found]
            arrays = [a for a in flat(arguments) if isinstance(a, np.ndarray) and a.ndim]
            self._met += [torch.from_numpy(a.copy()) for a in arrays]

    def take(self, step: Step, nodes: set[Any]) -> None:
        """Give a step the calls that its gradients are taken of."""
        step.calls += [c for c in self._calls if any(o.grad_fn in nodes for o in c.outputs)]
        step.targets += self._met
        self._calls, self._met = [], []


def _is_trained(module: nn.Module) -> bool:
    return any(w.requires_grad for w in module.parameters())


def unwrapped(module: Any) -> Any:
    """Return the module that a compiled or a parallel one was made from."""
    parallel = isinstance(module, nn.DataParallel)
    return module.module if parallel else getattr(module, "_orig_mod", module)
