"""The module that a program trains: seen where it is called, and asked in a process of its own."""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from parity_tests.check.guest.steps import Step
from parity_tests.check.guest.tensors import as_tensor, flat_outputs, to_numpy
from parity_tests.check.messages import UnusablePort, numbered

TOKENS = (nn.Embedding, nn.EmbeddingBag)
PLAIN = (torch.float32, torch.float64)
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
CONFIG = (
    "eps momentum kernel_size stride padding dilation groups batch_first num_layers bidirectional "
    "num_heads embed_dim num_groups num_embeddings embedding_dim normalized_shape"
)
"""Of the configuration of a module, what a mapping and a message may need."""


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and the running statistics of a module, by name.

    A weight that is computed, as by a weight normalization, counts, and not what it is made from.
    """
    kept = set(module.state_dict())
    found: dict[str, torch.Tensor] = dict(module.named_parameters())
    found |= {n: b for n, b in module.named_buffers() if b.is_floating_point() and n in kept}
    found = {n: w for n, w in found.items() if ".parametrizations." not in f".{n}"}
    for path, part in module.named_modules():
        for name in getattr(part, "parametrizations", ()):
            found[f"{path}.{name}".removeprefix(".")] = getattr(part, name)
    return found


def part_of(module: nn.Module, path: str) -> Any:
    """Return a module in a module, which may be scripted, by its path."""
    return functools.reduce(getattr, path.split(".") if path else (), module)


def load(module: nn.Module, name: str, array: np.ndarray) -> None:
    """Replace a weight or a running statistic, by its name."""
    path, _, last = name.rpartition(".")
    part = part_of(module, path)
    if last in getattr(part, "parametrizations", ()):
        setattr(part, last, torch.from_numpy(array))
    else:
        getattr(part, last).data.copy_(torch.from_numpy(array))


def shown(
    number: int, step: Step, seen: nn.Module, brief: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a step of a module as JSON and arrays.

    Args:
        number: Of the step.
        step: That was seen.
        seen: The module that it trains.
        brief: Whether no arrays are wanted.
    """
    own = [call for call in step.calls if call.module is seen]
    said = {
        "loss": sum(step.losses),
        "line": step.line,
        "pass": step.first_pass,
        "others": sorted({type(c.module).__name__ for c in step.calls if c.module is not seen}),
        "training": all(call.training for call in own),
        "frozen": own[0].frozen if own else [],
        "rates": step.rates,
    }
    if brief:
        return said, {}
    gradients = {id(w): g for w, g in zip(step.weights, step.gradients, strict=True)}
    arrays = {f"gradient {n}": gradients.get(id(w)) for n, w in state(seen).items()}
    arrays |= {f"after {n}": w for n, w in step.state.items()}
    for kind, found in (
        ("inputs", _together([call.inputs for call in own])),
        ("targets", step.targets),
    ):
        arrays |= {f"{kind} {i}": tensor for i, tensor in enumerate(found)}
    named = {f"{number} {name}": tensor for name, tensor in arrays.items() if tensor is not None}
    return said, {name: to_numpy(tensor) for name, tensor in named.items()}


def require_plain(module: nn.Module) -> None:
    """Require that weights are dense, and of float32 or float64.

    Raises:
        UnusablePort: If one is not.
    """
    for name, weight in state(module).items():
        if weight.dtype not in PLAIN or weight.layout != torch.strided or weight.is_meta:
            kind = "on the device meta" if weight.is_meta else f"of {weight.dtype}"
            raise UnusablePort(
                f"its weight {name} is {kind}: expected a dense tensor of float32 or float64"
            )


def shown_steps(
    steps: Sequence[Step], seen: nn.Module, brief: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the steps of a module as JSON and arrays, by their numbers."""
    arrays: dict[str, np.ndarray] = {}
    said: dict[str, Any] = {"module": id(seen), "steps": []}
    said["other"] = bool(steps) and is_of_another(steps[0], seen)
    for number, step in enumerate(steps):
        of_step, found = shown(number, step, seen, brief)
        said["steps"].append(of_step)
        arrays |= found
    return said, arrays


def is_of_another(step: Step, module: nn.Module) -> bool:
    """Return whether a step calls neither a module, nor a part of it, nor what it is a part of."""
    parts = {*module.modules()}
    called = [call.module for call in step.calls]
    return bool(called) and not any(one in parts or module in {*one.modules()} for one in called)


def trained(step: Step) -> nn.Module | None:
    """Return the module whose call a step takes gradients of: that of the most weights."""
    found = {id(call.module): call.module for call in step.calls}.values()
    return max(found, key=lambda m: sum(w.numel() for w in m.parameters()), default=None)


def _together(parts: Sequence[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Return what several calls were given, those of one place in one tensor."""
    same = {tuple(t.shape[1:] for t in part) for part in parts}
    if len(parts) == 1 or len(same) != 1:
        return parts[0] if parts else []
    return [torch.cat(of) for of in zip(*parts, strict=True)]


class Asked:
    """A module, in a process that ends once it has answered.

    Args:
        module: Of the program.
        noise: Of this process.
    """

    def __init__(self, module: Any, noise: Any) -> None:
        if not isinstance(module, nn.Module):
            raise UnusablePort("its model is no torch.nn.Module")
        self.module, self.noise = module, noise
        require_plain(module)
        self.dtype = next(iter(state(module).values())).dtype

    def describe(self, arrays: dict) -> tuple[dict, dict]:
        """Return the modules that hold weights, and their first values."""
        found = {f"weight {name}": to_numpy(w) for name, w in state(self.module).items()}
        return {
            "units": [_described(path, module) for path, module in _units(self.module)],
            "takes": list(inspect.signature(self.module.forward).parameters),
            "type": type(self.module).__name__,
        }, found

    def trace(
        self,
        arrays: Mapping[str, np.ndarray],
        training: bool,
        marked: bool = False,
        frozen: Sequence[str] = (),
    ) -> tuple[dict, dict]:
        """Return what goes into each unit and comes out of it, and what the module returns.

        Where there is an array "feed U K", the K-th call of unit U returns it.

        Args:
            arrays: The inputs, and what is fed.
            training: Whether in training, not in inference.
            marked: Whether each dropout multiplies by 1 + its rate, which shows where it is.
            frozen: Paths of the modules that are in inference all the same.
        """
        calls: list[dict[str, Any]] = []
        found: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for path, module in _units(self.module):

            def hook(
                unit: nn.Module, given: tuple, options: dict, output: Any, path: str = path
            ) -> Any:
                every = (*given, *options.values())
                plain = bool(every) and isinstance(every[0], torch.Tensor)
                count = counts[path] = counts.get(path, -1) + 1
                index = len(calls)
                calls.append({"unit": path, "plain": plain, "alone": len(every) == 1})
                if plain:
                    plainly = [a for a in every if isinstance(a, torch.Tensor)]
                    for position, tensor in enumerate(plainly):
                        found[f"call {index} input {position}"] = to_numpy(tensor)
                    found[f"call {index} output"] = to_numpy(_first(output))
                feed = arrays.get(f"feed {path} {count}")
                return output if feed is None else _fed(unit, output, as_tensor(feed, self.dtype))

            if not isinstance(module, torch.jit.ScriptModule):  # which takes none
                module.register_forward_hook(hook, with_kwargs=True)
        self.noise.marked = marked
        self.module.train(training)
        for path in frozen:
            part_of(self.module, path).training = False
        with torch.no_grad():
            outputs = self.called(arrays)
        found |= {f"outputs {i}": to_numpy(output) for i, output in enumerate(outputs)}
        return {"calls": calls, "noise": list(self.noise.drawn)}, found

    def called(self, arrays: Mapping[str, np.ndarray]) -> list[torch.Tensor]:
        """Return what the module makes of inputs."""
        inputs = [as_tensor(array, self.dtype) for array in numbered(arrays, "inputs")]
        return flat_outputs(call_module(self.module, *inputs))

    def unit_output(
        self, arrays: Mapping[str, np.ndarray], unit: str, training: bool
    ) -> tuple[dict, dict]:
        """Return what one unit makes of its inputs."""
        module = part_of(self.module, unit)
        given = [as_tensor(array, self.dtype) for array in numbered(arrays, "input")]
        if isinstance(module, TOKENS):
            given = [tensor.long() for tensor in given]
        module.train(training)
        with torch.no_grad():
            return {}, {"output": to_numpy(_first(module(*given)))}


def call_module(module: Any, *inputs: Any) -> Any:
    """Return what a model makes of one input, or of several as it takes them."""
    if len(inputs) == 1:
        return module(*inputs)
    takes = inspect.signature(getattr(module, "forward", module)).parameters.values()
    several = len(takes) > 1 or any(p.kind is p.VAR_POSITIONAL for p in takes)
    return module(*inputs) if several else module(list(inputs))


def _fed(unit: nn.Module, output: Any, tensor: torch.Tensor) -> Any:
    """Return an output of a unit with other numbers in it."""
    if not isinstance(output, tuple):
        return tensor
    if isinstance(unit, RECURRENT):
        half = tensor.shape[-1] // 2 if unit.bidirectional else tensor.shape[-1]
        steps = tensor if not unit.batch_first else tensor.transpose(0, 1)
        last = [steps[-1, :, :half]]
        last += [steps[0, :, half:]] if unit.bidirectional else []
        rest = output[1]
        before = rest[0] if isinstance(rest, tuple) else rest
        hidden = torch.cat([before[: -len(last)], torch.stack(last)])  # of several layers, all
        return tensor, ((hidden, rest[1]) if isinstance(rest, tuple) else hidden)
    return (tensor, *output[1:])


def _units(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that hold weights of their own; attention as one."""
    inside = ""
    for path, module in model.named_modules():
        if inside and path.startswith(inside):
            continue
        if path.endswith("parametrizations") or ".parametrizations." in f".{path}.":
            continue
        own = [*module.parameters(recurse=False), *getattr(module, "parametrizations", ())]
        own += [b for name, b in module.named_buffers("", False) if name.startswith("running_")]
        if isinstance(module, nn.MultiheadAttention):
            inside = f"{path}."
        if own:
            yield path, module


def _described(path: str, module: nn.Module) -> dict[str, Any]:
    recurse = isinstance(module, nn.MultiheadAttention)
    whole = state(module)
    inside = [n for n, _ in module.named_children()] if not recurse else []
    held = {
        name: [list(w.shape), w.requires_grad]
        for name, w in whole.items()
        if not name.startswith(tuple(f"{part}." for part in inside))
    }
    scripted = isinstance(module, torch.jit.ScriptModule)
    of_torch = "torch.nn.modules"
    kinds: list[Any] = [k for k in type(module).__mro__ if k.__module__.startswith(of_torch)]
    config = {}
    for name in CONFIG.split():
        value = getattr(module, name, None)
        if isinstance(value, int | float | str | tuple | bool):
            config[name] = list(value) if isinstance(value, tuple) else value
    return {
        "path": path,
        "class": module.original_name if scripted else kinds[0].__name__,
        "own": not scripted and type(module).forward is not kinds[0].forward,
        "weights": held,
        "config": config,
    }


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) else output
