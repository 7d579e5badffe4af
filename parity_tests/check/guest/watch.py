"""What can be seen of a training while a program runs: its steps, and what went into each.

A step is what lies between two changes of the weights. Nothing needs a name: a weight is a tensor
that asks for a gradient and meets data; the loss is the number from which gradients are taken.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from parity_tests.check.guest.steps import Pass, Step, layer_of
from parity_tests.check.guest.tensors import (
    copied,
    copy,
    equal,
    flat,
    graph,
    held_gradient,
    on_cpu,
    scalar,
    sums_to_one,
    tensors,
    with_doubles,
)

PRODUCTS = {"linear", "matmul", "__matmul__", "__rmatmul__", "mm", "addmm", "bmm", "mv", "einsum"}
"""Functions in which a kernel meets its inputs."""

OF_LOGITS = {"softmax", "log_softmax", "cross_entropy"}
"""Functions that are given logits."""

DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "dropout_"}
DRAWS = {"rand_like", "randn_like", "rand", "randn", "normal", "normal_", "uniform_", "bernoulli"}
DRAWS |= {"bernoulli_", "rrelu", "gumbel_softmax", "multinomial"}
"""Functions that draw random numbers."""


class Watch(TorchFunctionMode):
    """Sees each function of torch that a program calls, and tells where steps end.

    Args:
        path: Of the program, whose lines are told.

    Attributes:
        steps: Those that are complete.
        passes: How many forward passes have begun.
        on_pass: Called with the number of each pass that begins; returns whether the weights are
            others since, as in a process that was forked there.
        on_step: Called with each step that is complete.
        on_gradients: Called with each step of which gradients are taken, and the graph.
        on_meeting: Called with the arguments of functions that are given what has gradients.
        double: Whether float32 stands for float64 in all that the program asks for.
        detailed: Whether inputs and outputs of the layers are kept.
        strange: Whether an optimizer has made a step with other tensors than the weights.
        returned: The first number that each call of a step returned; None of one without.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.steps: list[Step] = []
        self.returned: list[float | None] = []
        self.passes = 0
        self.on_pass: Callable[[int], bool] = lambda number: False
        self.on_step: Callable[[Step], None] = lambda step: None
        self.on_gradients: Callable[[Step, set[Any]], None] = lambda step, nodes: None
        self.on_meeting: Callable[[Any], None] | None = None
        self.double = self.strange = False
        self.detailed = True
        self._open: Step | None = None
        self._inside = False
        self._pass = Pass()
        self._earlier: list[Pass] = []
        autograd = torch.autograd
        self._backward, self._grad = autograd.backward, autograd.grad
        # Before the program is run, so that it takes these, by whatever name.
        autograd.backward = self._see_backward
        autograd.grad = self._see_grad
        register_optimizer_step_pre_hook(self._see_optimizer)

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call a function, and note what it does."""
        kwargs = kwargs or {}
        if torch._C._functorch.maybe_current_level() is not None:
            return function(*args, **kwargs)  # what torch.func transforms has no numbers to see
        name = getattr(function, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")
        args = [on_cpu(arg) for arg in args]
        kwargs = {key: on_cpu(value) for key, value in kwargs.items()}
        if self.double:
            function = torch.Tensor.double if function is torch.Tensor.float else function
            args, kwargs = with_doubles(args, kwargs, in_place)
        if name in DROPOUTS | DRAWS:
            self._note_draw(name, args, kwargs)
        if in_place:
            self._note_change(args)
        if not torch.is_grad_enabled():
            return self._promoted(function(*args, **kwargs))
        given = list(tensors((args, kwargs)))
        weights = [w for tensor in given for w in self._weights_of(tensor)]
        result = self._promoted(function(*args, **kwargs))
        made = next(tensors(result), None)
        if made is None or made.grad_fn is None:
            return result
        if self.on_meeting is not None:
            self.on_meeting((args, kwargs))
        if weights and not (in_place and made is weights[0]):
            if self._begins(name, weights):
                if self._begin():  # it was computed from the weights as they were
                    result = self._promoted(function(*args, **kwargs))
                    made = next(tensors(result))
                weights = [w for tensor in given for w in self._weights_of(tensor)]
            self._use(name, given, weights, made)
        elif self._pass.layers and self.detailed:
            self._note_meeting(name, args, kwargs, made)
        return result

    def _promoted(self, result: Any) -> Any:
        if self.double and isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            return result if result.requires_grad else result.double()
        return result

    def _weights_of(self, tensor: torch.Tensor) -> Iterator[torch.Tensor]:
        if tensor.requires_grad and (tensor.is_leaf or tensor.retains_grad):
            yield tensor
        elif id(tensor) in self._pass.made:
            yield self._pass.made[id(tensor)][1]

    def _begins(self, name: str, weights: list[torch.Tensor]) -> bool:
        """Return whether a function that uses weights begins a pass."""
        kernels = [layer.kernel for layer in self._pass.layers[:1]]
        again = name in PRODUCTS and (not kernels or any(w is kernels[0] for w in weights))
        return again or not self._pass.uses

    def _begin(self) -> bool:
        """Begin a pass: the step that is open is complete if its weights have changed.

        Returns:
            Whether the weights are others now.
        """
        self.settle()
        if self._pass.uses:
            self._earlier.append(self._pass)
        draws = [] if self._pass.uses else self._pass.draws  # of the inputs
        self.passes += 1
        self._pass = Pass(self.passes, made=self._pass.made, draws=draws)
        return self.on_pass(self.passes)

    def settle(self, others: Iterable[torch.Tensor] = ()) -> None:
        """Complete the step that is open, if its weights have changed.

        Args:
            others: Tensors that may have taken the place of the weights.
        """
        step = self._open
        if step is None:
            return
        changed = (not equal(w, b) for w, b in zip(step.weights, step.before, strict=True))
        if step.touched or any(changed):  # an update by gradients of 0 is one too
            self._complete(step.weights)
            return
        known = {*map(id, step.weights)}
        left = [t for t in others if t.requires_grad and t.is_leaf and id(t) not in known]
        successors = []
        for weight in step.weights:
            fits = [t for t in left if t.shape == weight.shape]
            successors += fits[:1]
            left = [t for t in left if not fits or t is not fits[0]]
        if len(successors) == len(step.weights):
            self._complete(successors)

    def _complete(self, weights: Sequence[torch.Tensor]) -> None:
        step, self._open = self._open, None
        assert step is not None, "there is one"
        step.after = [w.detach().clone() for w in weights]
        self.steps.append(step)
        self.on_step(step)

    def _use(
        self, name: str, tensors: list[torch.Tensor], weights: list[torch.Tensor], made: Any
    ) -> None:
        """Note a function that used weights."""
        forward = self._pass
        forward.uses += [(weight, made.grad_fn) for weight in weights]
        data = [t for t in tensors if not any(True for _ in self._weights_of(t))]
        data = [t for t in data if t.is_floating_point()]
        if not data:
            forward.made[id(made)] = made, weights[0]
            return
        if not self.detailed:
            if not forward.layers:  # what the model was given
                forward.layers.append(layer_of(name, tensors, data[0], weights, made))
            return
        if name in PRODUCTS:
            forward.probabilities, forward.logits = [], []  # in the midst of a model are none
            forward.layers.append(layer_of(name, tensors, data[0], weights, made))
        elif forward.layers and any(t is forward.layers[-1].latest for t in data):
            last = forward.layers[-1]
            last.outputs, last.latest, last.bias = copy(made), made, weights[0]

    def _note_meeting(self, name: str, args: Any, kwargs: Any, made: torch.Tensor) -> None:
        """Note probabilities, and tensors without gradients that meet what comes of the model."""
        forward = self._pass
        last = forward.layers[-1].latest
        if name in OF_LOGITS and not forward.logits:
            given = [t for t in tensors((args, kwargs)) if t.shape == last.shape and t.grad_fn]
            forward.logits = [copy(t) for t in given[:1]]
        if made.shape == last.shape and not forward.probabilities:
            sums = name in ("softmax", "sigmoid") or sums_to_one(made)
            if sums and made.ndim == 2 and bool(((made >= 0) & (made <= 1)).all()):
                forward.probabilities.append(copy(made))
        for item in flat((args, kwargs)):
            if isinstance(item, torch.Tensor) and not item.requires_grad and item.numel() > 0:
                forward.met.append(item.detach().clone().numpy())
            elif isinstance(item, np.ndarray) and item.size:
                forward.met.append(item.copy())

    def _note_draw(self, name: str, args: Any, kwargs: Any) -> None:
        if name in DROPOUTS:
            rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            if not kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True)):
                return
            name = f"dropout of {rate:g}"
        elif not self._pass.uses and not name.endswith("_like"):
            return  # what is drawn before is data, but for noise that is added to them
        self._pass.draws.append((name, self.line()))

    def _note_change(self, args: Sequence[Any]) -> None:
        """Keep the gradients that an update finds, when it first changes a weight."""
        step = self._open
        changed = next(tensors(args), None)
        if step is None or step.touched or changed is None or not step.gradients:
            return
        with suppress(RuntimeError):  # a tensor that has no place in memory
            if any(changed.data_ptr() == w.data_ptr() for w in step.weights):
                self._keep_gradients(step)
                step.touched = True

    def _keep_gradients(self, step: Step) -> None:
        for index, weight in enumerate(step.weights):
            if (held := held_gradient(weight)) is not None:
                step.gradients[index] = held.detach().clone()

    def _see_optimizer(self, optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        step = self._open
        if step is None:
            return
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        known = [weight for weight in step.weights if id(weight) in held]
        if known and not step.touched:
            self._keep_gradients(step)
            step.touched = True
            step.rates = [float(of["lr"]) for of in optimizer.param_groups if "lr" in of]
        self.strange = self.strange or not known

    def _see_backward(self, tensors: Any, *arguments: Any, **options: Any) -> Any:
        several = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
        given = arguments[0] if arguments else options.get("grad_tensors")
        step = self._see(several, given, None)
        result = self._backward(tensors, *arguments, **options)
        if step is not None:
            step.gradients = [copied(held_gradient(w)) for w in step.weights]
        return result

    def _see_grad(self, outputs: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        transformed = torch._C._functorch.maybe_current_level() is not None
        if self._inside or transformed:  # torch hands it to this mode, which calls it once more
            return self._grad(outputs, inputs, *arguments, **options)
        several = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        wanted = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        given = arguments[0] if arguments else options.get("grad_outputs")
        step = self._see(several, given, wanted)
        self._inside = True
        try:
            gradients = self._grad(outputs, inputs, *arguments, **options)
        finally:
            self._inside = False
        if step is not None:
            arrived = {id(w): copied(g) for w, g in zip(wanted, gradients, strict=False)}
            step.gradients = [arrived.get(id(w)) for w in step.weights]
        return gradients

    def _see(self, outputs: list[torch.Tensor], given: Any, inputs: Any) -> Step | None:
        """Gradients are taken: what was used on the way belongs to the step that is open."""
        self.settle()  # where no pass was seen, as in what is scripted
        nodes, leaves = graph(outputs)
        passes = [*self._earlier, self._pass]
        passes = [p for p in passes if any(node in nodes for _, node in p.uses)]
        uses = [use for p in passes for use in p.uses if p.layers or use[1] in nodes]
        # A leaf that a weight was computed from is no weight.
        sources = {weight.grad_fn for weight, _ in uses if not weight.is_leaf}
        candidates = [weight for weight, node in uses if node not in sources]
        candidates = candidates if candidates and not self.on_meeting else leaves
        weights = list({id(w): w for w in candidates}.values())
        if inputs is not None and not any(w is i for w in weights for i in inputs):
            return None  # gradients of something else than the weights
        if not weights:
            return None
        step = self._open
        if step is not None and {*map(id, weights)}.isdisjoint(map(id, step.weights)):
            if [w.shape for w in weights] == [w.shape for w in step.weights]:
                self._complete(weights)  # new tensors have taken the place of the old ones
            step = None
        if step is None:
            step = Step(weights, [w.detach().clone() for w in weights], line=self.line())
            step.first_pass = passes[0].number if passes else 0
            self._open = step
        others = [w for w in weights if self.on_meeting and not any(w is of for of in step.weights)]
        step.weights += others
        step.before += [copy(w) for w in others]
        step.losses.append(scalar(outputs, given))
        for one in passes:
            step.layers += one.layers
            step.probabilities += one.probabilities
            step.logits += one.logits
            if one.layers:
                step.met.append(one.met)
                step.draws += one.draws
        self._pass, self._earlier = Pass(), []
        self.on_gradients(step, nodes)
        return step

    def add(
        self, weights: list[torch.Tensor], before: list[torch.Tensor], loss: float | None
    ) -> None:
        """Add a step in which no gradients were taken, and weights changed all the same."""
        nothing: list[torch.Tensor | None] = [None] * len(weights)
        self._open = Step(weights, before, nothing, losses=[] if loss is None else [loss])
        self.settle()
        self._open = None

    def line(self) -> int:
        """Return the line of the program that is being run; 0 if none is."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back  # type: ignore[assignment]
        return frame.f_lineno if frame is not None else 0

    @property
    def open(self) -> Step | None:
        """The step that is not complete."""
        return self._open
