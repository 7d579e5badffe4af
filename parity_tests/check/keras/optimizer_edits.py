"""Mistakes in the optimizer: its constants, its rate, its clipping, its arithmetic."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
from keras import ops

from parity_tests.check.keras import units
from parity_tests.check.keras.edits import Edit, holding, remade


def of(model: Any) -> Iterator[Edit]:
    """Yield the edits of the optimizer of a compiled model."""
    optimizer = model.optimizer
    config = optimizer.get_config()

    def edit(said: str, takes: str, make: Callable[[type], type], **values: Any) -> Edit:
        rung = "gradients" if "clip" in takes else "update"
        plant = partial(_with_optimizer, model, make, values)
        return Edit("optimizer", said, rung, plant, takes=takes)

    for said, values in _settings(config):
        yield edit(said, ", ".join(values), lambda kind: kind, **values)
    for said, make in _kinds(type(optimizer), config):
        yield edit(said, "kind", make)
    for said, rate in _rates(optimizer):
        yield edit(said, "rate", partial(_rated, rate))
    for said, clip in _clips(config):
        yield Edit(
            "optimizer",
            said,
            "gradients",
            partial(_clipping, model, clip),
            takes="clipping",
            of_framework="plus 1e-6" in said,
        )
    for layer in units.of(model):
        if isinstance(layer, keras.layers.LSTM | keras.layers.SimpleRNN):
            said = "its bias is two, as in torch.nn: their sum moves twice as fast"
            make = partial(_doubling, layer.cell.bias)
            plant = partial(_with_optimizer, model, make, {})
            yield Edit(layer.name, said, "update", plant, takes=f"kind of {layer.name}")


@contextmanager
def _with_optimizer(model: Any, make: Callable[[type], type], values: dict) -> Iterator[None]:
    """Train by an optimizer of another class or with other constants than it has."""
    right = model.optimizer
    with holding(model, optimizer=remade(make(type(right)), right, **values)):
        yield


def _settings(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield other values of what an optimizer is configured with."""
    others: dict[str, tuple[Any, ...]] = {
        "momentum": (0.0, 0.9),
        "nesterov": (False, True),
        "rho": (0.9, 0.99, 0.95),
        "beta_1": (0.9, 0.5),
        "beta_2": (0.999, 0.99, 0.98),
        "epsilon": (1e-7, 1e-8, 1e-6),
        "initial_accumulator_value": (0.0, 0.1),
        "amsgrad": (False, True),
        "centered": (False, True),
        "weight_decay": (0.0, 0.01, 0.004),
        "clipnorm": (None, 1.0),
        "global_clipnorm": (None, 1.0),
        "clipvalue": (None, 1.0),
    }
    for name, values in others.items():
        if name not in config or (name == "nesterov" and not config.get("momentum")):
            continue
        for value in values:
            if (value or None) != (config[name] or None):
                yield f"{name} is {value}, not {config[name]}", {name: value}
    norm, whole = config.get("clipnorm"), config.get("global_clipnorm")
    if norm:
        said = "the norm of all gradients together is clipped, not of each"
        yield said, {"clipnorm": None, "global_clipnorm": norm}
        yield "the gradients are clipped by value", {"clipnorm": None, "clipvalue": norm}
    if whole:
        said = "the norm of each gradient is clipped, not of all together"
        yield said, {"clipnorm": whole, "global_clipnorm": None}
        yield "the gradients are clipped by value", {"global_clipnorm": None, "clipvalue": whole}


def _rates(optimizer: Any) -> Iterator[tuple[str, Any]]:
    """Yield other learning rates, as functions of the step."""
    right = optimizer._learning_rate
    if isinstance(right, keras.optimizers.schedules.LearningRateSchedule):
        yield "the schedule is one step early", lambda step: right(step + 1)
        yield "the schedule is one step late", lambda step: right(ops.maximum(step - 1, 0))
        yield "the schedule is missing: the rate stays", lambda _: right(0)
    rate = right if callable(right) else lambda _: ops.convert_to_tensor(right)
    for said, factor in (("ten times the rate", 10.0), ("a tenth of the rate", 0.1)):
        yield said, lambda step, factor=factor: rate(step) * factor


def _rated(rate: Callable[[Any], Any], kind: Any) -> type:
    class Rated(kind):
        """Has a rate of its own."""

        def _get_current_learning_rate(self) -> Any:
            return rate(self.iterations)

    return Rated


def _doubling(bias: Any, kind: Any) -> type:
    class Doubling(kind):
        """Moves one bias twice as far."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            before = ops.convert_to_tensor(variable) + 0
            super().update_step(gradient, variable, learning_rate)
            if self._trainable_variables[self._get_variable_index(variable)] is bias:
                variable.assign(2 * variable - before)

    return Doubling


@contextmanager
def _clipping(model: Any, clip: Callable[[Any], Any]) -> Iterator[None]:
    with holding(model.optimizer, _clip_gradients=clip):
        yield


def _clips(config: dict[str, Any]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield the clipping of torch.nn.utils, which adds 1e-6 to the norm of all gradients."""
    limit = config.get("global_clipnorm") or config.get("clipnorm")
    if not limit:
        return

    def clip(gradients: Any) -> Any:
        squares = [ops.sum(ops.square(g)) for g in gradients]
        norm = ops.sqrt(ops.sum(ops.stack(squares)))
        factor = ops.minimum(limit / (norm + 1e-6), 1.0)
        return [g * factor for g in gradients]

    if config.get("global_clipnorm"):
        yield "the norm of all gradients is taken plus 1e-6, as by clip_grad_norm_", clip
    else:
        said = "the norm of all gradients together is clipped, not of each, as by clip_grad_norm_"
        yield said, clip
        said = "the norm of each gradient is taken plus 1e-6, as by clip_grad_norm_"
        yield said, lambda gradients: [clip([g])[0] for g in gradients]


def _kinds(right: type, config: dict[str, Any]) -> Iterator[tuple[str, Callable[[Any], type]]]:
    """Yield makers of optimizers that compute otherwise from the same constants."""
    if config.get("weight_decay"):
        yield "the weight decay is added to the gradient, not taken off the weights", _coupled
    if right is not keras.optimizers.SGD:
        yield "the gradient's rows of a repeated word are added before they are squared", _merging
    if right is not keras.optimizers.SGD or config.get("momentum"):
        yield "its state is forgotten at each step", _forgetful
    if right in (keras.optimizers.Adam, keras.optimizers.AdamW):
        yield "epsilon is added after the correction of the bias, as in torch.optim", _adam
        said = "epsilon is added as in torch.optim, and is 1e-08"
        yield said, lambda kind: _adam(kind, 1e-8)
        yield "no correction of the bias", lambda kind: _adam(kind, corrected=False)
    if right is keras.optimizers.RMSprop:
        yield "epsilon is added to the root, as in torch.optim, not under it", _rmsprop
        said = "epsilon is added to the root, and is 1e-08"
        yield said, lambda kind: _rmsprop(kind, 1e-8)
        said = "as torch.optim by default: alpha 0.99, epsilon 1e-08"
        yield said, lambda kind: _rmsprop(kind, 1e-8, 0.99)
    if right is keras.optimizers.Adagrad:
        said = "epsilon is added to the root, and is 1e-10"
        yield said, lambda kind: _adagrad(kind, 1e-10)


def _coupled(kind: Any) -> type:
    class Coupled(kind):
        """Adds the weights to the gradient."""

        def _apply_weight_decay(self, variables: Any) -> None:
            pass

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            gradient = ops.convert_to_tensor(gradient) + self.weight_decay * variable
            super().update_step(gradient, variable, learning_rate)

    return Coupled


def _merging(kind: Any) -> type:
    class Merging(kind):
        """Adds up the rows of an embedding's gradient that are the same word's."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(ops.convert_to_tensor(gradient), variable, learning_rate)

    return Merging


def _forgetful(kind: Any) -> type:
    class Forgetful(kind):
        """Begins anew at each step."""

        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            for held in self.variables:
                if held is not self._iterations and held.path.split("/")[-1] != "learning_rate":
                    held.assign(ops.zeros_like(held))
            return super().apply(grads, trainable_variables)

    return Forgetful


def _adam(kind: Any, epsilon: float | None = None, corrected: bool = True) -> type:
    class TorchAdam(kind):
        """Adam as PyTorch has it."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            lr, g = ops.cast(learning_rate, variable.dtype), ops.convert_to_tensor(gradient)
            index = self._get_variable_index(variable)
            m, v = self._momentums[index], self._velocities[index]
            m.assign(m + (g - m) * (1 - self.beta_1))
            v.assign(v + (ops.square(g) - v) * (1 - self.beta_2))
            step = ops.cast(self.iterations + 1, variable.dtype)
            one, two = ops.cast(self.beta_1, variable.dtype), ops.cast(self.beta_2, variable.dtype)
            first = 1 - ops.power(one, step) if corrected else 1.0
            second = 1 - ops.power(two, step) if corrected else 1.0
            under = ops.sqrt(v / second) + (self.epsilon if epsilon is None else epsilon)
            variable.assign(variable - lr * m / first / under)

    return TorchAdam


def _rmsprop(kind: Any, epsilon: float | None = None, rho: float | None = None) -> type:
    class TorchRMSprop(kind):
        """RMSprop as PyTorch has it."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            lr, g = ops.cast(learning_rate, variable.dtype), ops.convert_to_tensor(gradient)
            v = self._velocities[self._get_variable_index(variable)]
            alpha = self.rho if rho is None else rho
            v.assign(alpha * v + (1 - alpha) * ops.square(g))
            under = ops.sqrt(v) + (self.epsilon if epsilon is None else epsilon)
            variable.assign(variable - lr * g / under)

    return TorchRMSprop


def _adagrad(kind: Any, epsilon: float) -> type:
    class TorchAdagrad(kind):
        """Adagrad as PyTorch has it."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            lr, g = ops.cast(learning_rate, variable.dtype), ops.convert_to_tensor(gradient)
            a = self._accumulators[self._get_variable_index(variable)]
            a.assign(ops.square(g) if int(self.iterations) == 0 else a + ops.square(g))
            variable.assign(variable - lr * g / (ops.sqrt(a) + epsilon))

    return TorchAdagrad
