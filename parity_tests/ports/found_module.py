"""What a file holds whose model is a `torch.nn.Module` of any kind, as functions of arrays."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from parity_tests.check.guest.arguments import OF_NAME, call, roles
from parity_tests.check.messages import CHANNELS_FIRST_FROM, UnusablePort, numbered
from parity_tests.ports.find import Found
from parity_tests.ports.found_step import FoundStep, to_numpy
from parity_tests.ports.watch import Watch

TOKENS = (nn.Embedding, nn.EmbeddingBag)
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
CONFIG = (
    "eps momentum kernel_size stride padding dilation groups batch_first num_layers bidirectional "
    "num_heads embed_dim num_groups num_embeddings embedding_dim normalized_shape"
)
"""Of the configuration of a module, what a mapping and a message may need."""
NOT_DATA = {"model", "optimizer", "criterion", "device", "dtype", "weights", "epoch", "epochs"}


def plain_step(names: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the usual training step of a file that has a loss and an optimizer, but no step.

    Raises:
        UnusablePort: If it has neither.
    """
    named = [value for name, value in names.items() if OF_NAME.get(name) == "criterion"]
    losses = [value for value in named if callable(value)]
    losses += [value for value in names.values() if isinstance(value, nn.modules.loss._Loss)]
    loss = losses[0] if losses else None
    optimizer = next((v for v in names.values() if isinstance(v, torch.optim.Optimizer)), None)
    if loss is None or optimizer is None:
        raise UnusablePort(
            "it has no training step: expected a function such as train_step(x, y), or a criterion "
            "and an optimizer; name another with --step"
        )

    def training_step(model: Any, images: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        value = loss(_called(model, images), labels)
        value.backward()
        optimizer.step()
        return value

    return training_step


def _called(model: Any, inputs: Any) -> Any:
    """Return what a model makes of one input, or of several as it takes them."""
    if not isinstance(inputs, tuple):
        return model(inputs)
    takes = inspect.signature(getattr(model, "forward", model)).parameters.values()
    several = len(takes) > 1 or any(p.kind is p.VAR_POSITIONAL for p in takes)
    return model(*inputs) if several else model(list(inputs))


class FoundModule(FoundStep):
    """A module of a file, and what else the file holds.

    Args:
        found: What the file holds.
        watch: Sees its gradients.
        model: Its module.
        dtype: Of the weights and the inputs.
        device: Where it computes.

    Raises:
        UnusablePort: If the model is no `torch.nn.Module`.
    """

    def __init__(self, found: Found, watch: Watch, model: Any, dtype: str, device: str) -> None:
        if not isinstance(model, nn.Module):
            raise UnusablePort("its model is no torch.nn.Module")
        super().__init__(found, watch, model, dtype, device)
        self.first |= {name: to_numpy(b) for name, b in _statistics(model).items()}

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights and the running statistics."""
        return {**super()._tensors(), **_statistics(self.model)}

    def describe(self) -> dict[str, Any]:
        """Return the modules that hold weights, and what the file says of itself."""
        names = self.found.names
        return {
            "units": [_described(path, module) for path, module in _units(self.model)],
            "takes": list(inspect.signature(self.model.forward).parameters),
            "layout": names.get("layout"),
            "mapping": names.get("mapping"),
            "brings": [n for n in ("batch", "inputs") if n in names],
        }

    def brought(self, arrays: dict) -> tuple[dict, dict]:
        """Return the batch that the file brings."""
        names = self.found.names
        inputs, targets = (
            names["batch"]() if "batch" in names else (names["inputs"], names["targets"])
        )
        found: dict[str, np.ndarray] = {}
        for name, items in (("inputs", inputs), ("targets", targets)):
            flat = items if isinstance(items, tuple | list) else [items]
            found |= {f"{name} {i}": to_numpy(item) for i, item in enumerate(flat)}
        return {}, found

    def _batch(self, arrays: Mapping[str, np.ndarray], form: Any) -> tuple[Any, Any]:
        def of(name: str, form: str) -> Any:
            given = [self._arranged(array, form) for array in numbered(arrays, name)]
            return given[0] if len(given) == 1 else tuple(given)

        return of("inputs", form[0]), of("targets", form[1])

    def _arranged(self, array: np.ndarray, form: str) -> torch.Tensor:
        """Return an array as the port takes it: floats in its dtype, channels where they belong."""
        tensor = torch.tensor(array).to(self.device)
        if tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        moved = tensor.ndim >= CHANNELS_FIRST_FROM[form]
        return tensor.movedim(-1, 1).contiguous() if moved else tensor

    def _take(self, step: Callable, images: Any, labels: Any) -> Any:
        found = roles(step)
        data = [name for name, role in found.items() if role not in NOT_DATA]
        parameters = inspect.signature(step).parameters
        data = [n for n in data if parameters[n].default is inspect.Parameter.empty]
        parts = [*_several(images), *_several(labels)]
        if len(parts) == 2 or len(data) != len(parts):
            return super()._take(step, images, labels)
        given = {**self._given(), **dict(zip(data, parts, strict=True))}
        others = {name: given[role] for name, role in found.items() if role in given}
        return call(step, {**others, **dict(zip(data, parts, strict=True))})

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """Put the model in a mode, and let its statistics be as they were afterwards."""
        before = {module: module.training for module in self.model.modules()}
        held = {name: b.clone() for name, b in self.model.named_buffers()}
        self.model.train(training)
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in before.items():
                module.training = mode
            for name, buffer in self.model.named_buffers():
                if name in held and buffer.shape == held[name].shape:
                    buffer.copy_(held[name])

    def trace(
        self, arrays: dict, form: list[str], training: bool, marked: bool = False
    ) -> tuple[dict, dict]:
        """Return what goes into each unit and comes out of it, and what the model returns.

        Where there is an array "feed U K", the K-th call of unit U returns it.

        Args:
            arrays: The batch, and what is fed.
            form: How it takes inputs, and how it returns outputs.
            training: Whether in training, not in inference.
            marked: Whether each dropout multiplies by 1 + its rate, which shows where it is.
        """
        calls: list[dict[str, Any]] = []
        found: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        handles = []
        for path, module in _units(self.model):

            def hook(
                unit: nn.Module, given: tuple, options: dict, output: Any, path: str = path
            ) -> Any:
                inputs = [a for a in (*given, *options.values()) if isinstance(a, torch.Tensor)]
                plain = bool(given or options) and isinstance(
                    next(iter((*given, *options.values()))), torch.Tensor
                )
                count = counts[path] = counts.get(path, -1) + 1
                index = len(calls)
                alone = len(given) + len(options) == 1
                calls.append({"unit": path, "plain": plain, "alone": alone})
                if plain:
                    for position, tensor in enumerate(inputs):
                        found[f"call {index} input {position}"] = to_numpy(tensor)
                    found[f"call {index} output"] = to_numpy(_first(output))
                feed = arrays.get(f"feed {path} {count}")
                return output if feed is None else self._fed(unit, output, feed)

            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        try:
            self.watch.marked = marked
            with self._mode(training):
                inputs = self._batch(arrays, form)[0]
                outputs = _called(self.model, inputs)
        finally:
            self.watch.marked = False
            for handle in handles:
                handle.remove()
        for index, output in enumerate(_flat(outputs)):
            found[f"outputs {index}"] = to_numpy(output)
        return {"calls": calls, "noise": list(self.watch.noise)}, found

    def _fed(self, unit: nn.Module, output: Any, feed: np.ndarray) -> Any:
        """Return an output of a unit with other numbers in it."""
        tensor = torch.tensor(feed).to(self.device, self.dtype)
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

    def unit_output(self, arrays: dict, unit: str, training: bool) -> tuple[dict, dict]:
        """Return what one unit makes of its inputs."""
        module = self.model.get_submodule(unit)
        given = [
            torch.tensor(array).to(self.device, self.dtype)
            if np.issubdtype(array.dtype, np.floating) and not isinstance(module, TOKENS)
            else torch.tensor(array).long()
            for array in numbered(arrays, "input")
        ]
        with self._mode(training):
            return {}, {"output": to_numpy(_first(module(*given)))}

    def steps(self, arrays: dict, form: list[str], steps: int) -> tuple[dict, dict]:
        """Take some steps on one batch; return losses, first gradients, weights and outputs."""
        found: dict[str, np.ndarray] = {}
        losses: list[Any] = []
        returned: list[float] = []
        trained = {n for n, w in self._tensors().items() if w.requires_grad}
        if self.model.training:  # what is called before each epoch, and may freeze a part
            self.model.train()
        for number in range(steps):
            self.watch.noise = []
            _, seen = self.step(arrays, form)
            losses += [seen.pop("")] if "" in seen else []
            returned += [float(self.returned[0])] if self.returns_other else []
            if number == 0:
                noise = self.watch.noise
                found |= {f"gradient {n}": g for n, g in seen.items() if n in trained}
                found |= {f"first {n}": to_numpy(w) for n, w in self._tensors().items()}
        found |= {f"last {n}": to_numpy(w) for n, w in self._tensors().items()}
        with self._mode(False):
            outputs = _called(self.model, self._batch(arrays, form)[0])
        found |= {f"outputs {i}": to_numpy(o) for i, o in enumerate(_flat(outputs))}
        for name, values in (("losses", losses), ("returned losses", returned)):
            if len(values) == steps:
                found[name] = np.array(values)
        return {"noise": noise}, found


def _statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers of a model that are floats, such as running statistics."""
    kept = set(model.state_dict())
    return {n: b for n, b in model.named_buffers() if b.is_floating_point() and n in kept}


def _units(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that hold weights of their own; attention as one."""
    inside = ""
    for path, module in model.named_modules():
        if inside and path.startswith(inside):
            continue
        own = list(module.parameters(recurse=False))
        own += [b for name, b in module.named_buffers("", False) if name.startswith("running_")]
        if isinstance(module, nn.MultiheadAttention):
            inside = f"{path}."
        if own:
            yield path, module


def _described(path: str, module: nn.Module) -> dict[str, Any]:
    recurse = isinstance(module, nn.MultiheadAttention)
    held = {
        name: [list(w.shape), w.requires_grad] for name, w in module.named_parameters("", recurse)
    }
    kept = module.state_dict()
    held |= {
        name: [list(b.shape), False]
        for name, b in module.named_buffers("", recurse)
        if b.is_floating_point() and name in kept
    }
    kinds: list[Any] = [k for k in type(module).__mro__ if k.__module__.startswith("torch.nn")]
    config = {}
    for name in CONFIG.split():
        value = getattr(module, name, None)
        if isinstance(value, int | float | str | tuple | bool):
            config[name] = list(value) if isinstance(value, tuple) else value
    own = type(module).forward is not kinds[0].forward
    return {
        "path": path,
        "class": kinds[0].__name__,
        "own": own,
        "weights": held,
        "config": config,
    }


def _several(item: Any) -> list[Any]:
    return list(item) if isinstance(item, tuple) else [item]


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) else output


def _flat(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors that a model returns: one, in a tuple, a dict or a dataclass."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if is_dataclass(outputs):
        outputs = vars(outputs)
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    return [o for o in outputs if isinstance(o, torch.Tensor)] if outputs else []
