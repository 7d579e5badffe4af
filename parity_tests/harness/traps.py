"""The catalogue: mistakes of people who ported a Keras model, to be planted and recognised.

Each trap says how to plant it in the port and, where it can be expressed there, how to make
the same mistake in the oracle: a subclass of `Oracle` that overrides the step concerned. Two
such subclasses make two mistakes at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from parity_tests.harness import oracle
from parity_tests.harness.oracle import EPSILON, Oracle, RMSprop, Rule

CALL = "torch_port.layers.NaiveDense.__call__"
MODEL = "torch_port.layers.mnist_model"
FIT = "torch_port.training.fit"
STEP = "torch_port.training.one_training_step"
BATCHES = "torch_port.training.BatchGenerator"
LOSS = "torch_port.training.sparse_categorical_crossentropy"
UPDATE = "torch_port.optimizers.update_weights"
MNIST = "torch_port.mnist.load_mnist"

Plant = Callable[[], AbstractContextManager]
"""Returns a context in which the port makes a mistake."""


@dataclass(frozen=True)
class Trap:
    """One mistake.

    Attributes:
        name: Short, and unique.
        mistake: In a sentence that one who made it would recognise.
        source: Where somebody met it: a public thread or file.
        rung: Of the ladder, the first on which it must show.
        plant: Makes the port make the mistake.
        oracle: Makes the same mistake; None where the oracle cannot know what was drawn.
    """

    name: str
    mistake: str
    source: str
    rung: str
    plant: Plant
    oracle: type[Oracle] | None


def instead(path: str, wrong: Callable[[Any], Any]) -> Plant:
    """Returns a plant that replaces what lies at a path of the port by `wrong` of it."""

    def plant() -> AbstractContextManager:
        owner, name = path.rsplit(".", 1)
        parent = _resolve(owner)
        return mock.patch.object(parent, name, wrong(getattr(parent, name)))

    return plant


def _resolve(path: str) -> Any:
    try:
        return import_module(path)
    except ModuleNotFoundError:
        owner, name = path.rsplit(".", 1)
        return getattr(import_module(owner), name)


# Data.


def images(change: Callable[[Any], Any]) -> tuple[Plant, type[Oracle]]:
    """Returns plant and oracle of a change to the images, arrays and tensors alike."""

    class Images(Oracle):
        def data(self) -> dict[str, np.ndarray]:
            return {
                name: change(array) if name.endswith("images") else array
                for name, array in super().data().items()
            }

    def wrong(load_mnist: Callable) -> Callable:
        return lambda *arguments: tuple((change(x), y) for x, y in load_mnist(*arguments))

    return instead(MNIST, wrong), Images


def column_by_column(flat: Any) -> Any:
    return flat.reshape(-1, 28, 28).swapaxes(1, 2).reshape(-1, 28 * 28)


class Int32Labels(Oracle):
    def data(self) -> dict[str, np.ndarray]:
        return {
            name: array.astype("int32") if name.endswith("labels") else array
            for name, array in super().data().items()
        }


def int32_labels(load_mnist: Callable) -> Callable:
    return lambda *arguments: tuple((x, y.int()) for x, y in load_mnist(*arguments))


def shuffled_once(load_mnist: Callable) -> Callable:
    def load(*arguments: Any) -> tuple:
        (x, y), test = load_mnist(*arguments)
        order = torch.as_tensor(np.random.default_rng(5).permutation(len(x)))
        return (x[order], y[order]), test

    return load


# Initial weights.


def kernels(draw: Callable[[np.random.Generator, Any], Any]) -> tuple[Plant, type[Oracle]]:
    """Returns plant and oracle of kernels drawn in another way, one after the other."""

    def drawn(seed: int, shapes: Sequence) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [draw(rng, shape) for shape in shapes]

    class Kernels(Oracle):
        def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
            weights = super().initial_weights(seed)
            names = [name for name in weights if name.endswith("W")]
            found = drawn(seed, [weights[name].shape for name in names])
            return weights | {
                name: W.astype(self.dtype) for name, W in zip(names, found, strict=True)
            }

    def wrong(mnist_model: Callable) -> Callable:
        def model_of(seed: int | None = None, dtype: str = "float32") -> Any:
            model = mnist_model(seed, dtype)
            if seed is not None:
                found = drawn(seed, [layer.W.shape for layer in model.layers])
                for layer, W in zip(model.layers, found, strict=True):
                    layer.W.data.copy_(torch.as_tensor(W))
            return model

        return model_of

    return instead(MODEL, wrong), Kernels


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    limit = np.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, tuple(shape))


def as_torch_draws(mnist_model: Callable) -> Callable:
    def model_of(seed: int | None = None, dtype: str = "float32") -> Any:
        model = mnist_model(seed, dtype)
        generator = torch.Generator().manual_seed(seed or 0)
        for layer in model.layers:
            limit = 1 / np.sqrt(layer.W.shape[0])
            for weight in layer.weights:
                weight.data.uniform_(-limit, limit, generator=generator)
        return model

    return model_of


# Layers.


class Reshaped(Oracle):
    def kernel(self, index: int) -> np.ndarray:
        W = self._weights[f"layers.{index}.W"]
        return W.reshape(W.shape[::-1]).T

    def dense(self, index: int, inputs: np.ndarray) -> np.ndarray:
        x = np.asarray(inputs, np.float64)
        return oracle.dense(x, self.kernel(index), self._weights[f"layers.{index}.b"])

    def dense_gradients(
        self, index: int, inputs: np.ndarray, dz: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        dW, db = super().dense_gradients(index, inputs, dz)
        return dW.T.reshape(dW.shape), db

    def dense_input_gradient(self, index: int, dz: np.ndarray) -> np.ndarray:
        return oracle.dense_input_gradient(self.kernel(index), dz)


def reshaped(call: Callable) -> Callable:
    return lambda layer, x: layer.activation(
        F.linear(x, layer.W.reshape(layer.W.shape[::-1]), layer.b)
    )


class NoBias(Oracle):
    def dense(self, index: int, inputs: np.ndarray) -> np.ndarray:
        return super().dense(index, inputs) - self._weights[f"layers.{index}.b"]

    def dense_gradients(
        self, index: int, inputs: np.ndarray, dz: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        dW, db = super().dense_gradients(index, inputs, dz)
        return dW, 0 * db


def no_bias(call: Callable) -> Callable:
    # The bias stays in the graph, so that it has a gradient: 0.
    return lambda layer, x: layer.activation(torch.matmul(x, layer.W) + 0 * layer.b)


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """Returns float32 numbers rounded to so many bits after the first one."""
    dropped = 23 - bits
    whole = np.asarray(array, "float32").view("uint32").astype("uint64")
    kept = (whole + (1 << (dropped - 1))) >> dropped << dropped
    return kept.astype("uint32").view("float32")


def products(bits: int) -> tuple[Plant, type[Oracle]]:
    """Returns plant and oracle of products whose factors are rounded, of float32 only."""

    class Products(Oracle):
        def factor(self, array: np.ndarray) -> np.ndarray:
            of_float32 = self.dtype == "float32"
            return np.asarray(rounded(array, bits) if of_float32 else array, np.float64)

        def dense(self, index: int, inputs: np.ndarray) -> np.ndarray:
            W, b = self._weights[f"layers.{index}.W"], self._weights[f"layers.{index}.b"]
            return oracle.dense(self.factor(inputs), self.factor(W), b)

        def dense_gradients(
            self, index: int, inputs: np.ndarray, dz: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray]:
            dW, _ = super().dense_gradients(index, self.factor(inputs), self.factor(dz))
            return dW, dz.sum(axis=0)

        def dense_input_gradient(self, index: int, dz: np.ndarray) -> np.ndarray:
            W = self._weights[f"layers.{index}.W"]
            return oracle.dense_input_gradient(self.factor(W), self.factor(dz))

    def round_(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float64:
            return tensor
        return torch.as_tensor(rounded(tensor.detach().numpy(), bits))

    class Matmul(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, W)
            return round_(x) @ round_(W)

        @staticmethod
        def backward(ctx: Any, dz: torch.Tensor) -> Any:
            x, W = ctx.saved_tensors
            return round_(dz) @ round_(W).T, round_(x).T @ round_(dz)

    def wrong(call: Callable) -> Callable:
        return lambda layer, x: layer.activation(Matmul.apply(x, layer.W) + layer.b)

    return instead(CALL, wrong), Products


def activations(hidden: Callable | None = None, last: Callable | None = None) -> Plant:
    """Returns a plant of other activations."""

    def wrong(mnist_model: Callable) -> Callable:
        def model_of(*arguments: Any, **options: Any) -> Any:
            model = mnist_model(*arguments, **options)
            model.layers[0].activation = hidden or model.layers[0].activation
            model.layers[-1].activation = last or model.layers[-1].activation
            return model

        return model_of

    return instead(MODEL, wrong)


class NoRelu(Oracle):
    def activation(self, z: np.ndarray) -> np.ndarray:
        return z

    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return da


class LeakyRelu(Oracle):
    def activation(self, z: np.ndarray) -> np.ndarray:
        return np.where(z > 0, z, 0.01 * z)

    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return np.where(z > 0, da, 0.01 * da)


class SoftmaxOverTheBatch(Oracle):
    def probabilities(self, z: np.ndarray) -> np.ndarray:
        return super().probabilities(z.T).T

    def probabilities_gradient(self, z: np.ndarray, p: np.ndarray, dp: np.ndarray) -> np.ndarray:
        return super().probabilities_gradient(z.T, p.T, dp.T).T


class ReluBeforeSoftmax(Oracle):
    def probabilities(self, z: np.ndarray) -> np.ndarray:
        return super().probabilities(oracle.relu(z))

    def probabilities_gradient(self, z: np.ndarray, p: np.ndarray, dp: np.ndarray) -> np.ndarray:
        return oracle.relu_gradient(z, super().probabilities_gradient(z, p, dp))


class LastOfTies(Oracle):
    def predict(self, images: np.ndarray) -> np.ndarray:
        p = self.probabilities_of(images)
        return p.shape[1] - 1 - p[:, ::-1].argmax(axis=1)


def last_of_ties(predict: Callable) -> Callable:
    def wrong(model: Any, images: torch.Tensor) -> np.ndarray:
        predictions = model(images).detach().numpy()
        return predictions.shape[1] - 1 - predictions[:, ::-1].argmax(axis=1)

    return wrong


# The loss.


def loss(wrong: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Plant:
    """Returns a plant of another loss of labels and predictions."""
    return instead(LOSS, lambda right: lambda labels, p: wrong(labels.long(), p))


def of_labels(array: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the number in each row that its label names."""
    return array[np.arange(len(labels)), labels]


def at_labels(array: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns what each row has at its label, and 0 elsewhere."""
    return np.where(np.eye(array.shape[1], dtype=bool)[labels], array, 0)


class SoftmaxTwice(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return oracle.cross_entropy(np.asarray(predictions, np.float64), labels)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        return oracle.cross_entropy_gradient(p, labels, dlosses)


class NotRenormalised(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        return -np.log(of_labels(oracle.clip(p, self.dtype), labels))

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        dq = at_labels(-dlosses[:, None] / oracle.clip(p, self.dtype), labels)
        return oracle.clip_gradient(p, dq, self.dtype)


def not_renormalised(labels: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    q = torch.where(p < EPSILON, EPSILON, p)
    q = torch.where(q > 1 - EPSILON, 1 - EPSILON, q)
    return F.nll_loss(torch.log(q), labels, reduction="none")


class OtherEpsilon(Oracle):
    epsilon = 1e-8

    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        return oracle.loss(p, labels, self.dtype, self.epsilon)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        return oracle.loss_gradient(p, labels, dlosses, self.dtype, self.epsilon)


def other_epsilon(labels: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    q = torch.where(p < OtherEpsilon.epsilon, OtherEpsilon.epsilon, p)
    q = torch.where(q > 1 - OtherEpsilon.epsilon, 1 - OtherEpsilon.epsilon, q)
    return F.cross_entropy(torch.log(q), labels, reduction="none")


class EpsilonAdded(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return -np.log(of_labels(np.asarray(predictions, np.float64) + EPSILON, labels))

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        return at_labels(-dlosses[:, None] / (p + EPSILON), labels)


class NothingClipped(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return -np.log(of_labels(np.asarray(predictions, np.float64), labels))

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0, as autograd has it too
            return at_labels(-dlosses[:, None] + 0 * p, labels) / p

    def probabilities_gradient(self, z: np.ndarray, p: np.ndarray, dp: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # 0 times infinity, as autograd has it too
            return super().probabilities_gradient(z, p, dp)


class ClampGradient(Oracle):
    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p = np.asarray(predictions, np.float64)
        inside = oracle.clip(p, self.dtype)
        strictly = (inside == p) & (p > oracle.clip(p * 0, self.dtype))
        strictly &= p < oracle.clip(p * 0 + 1, self.dtype)
        return np.where(strictly, super().losses_gradient(labels, predictions, dlosses), 0)


class MeanOverClasses(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return super().losses(labels, predictions) / predictions.shape[1]

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        return super().losses_gradient(labels, predictions, dlosses) / predictions.shape[1]


def mean_over_classes(right: Callable) -> Callable:
    return lambda labels, p: right(labels, p) / p.shape[1]


class BinaryCrossEntropy(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        p, y = self._p_and_y(labels, predictions)
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.where(y, np.log(p), np.log1p(-p)), -100)  # torch's bound
        return -logs.mean(axis=1)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        p, y = self._p_and_y(labels, predictions)
        slope = (p - y) / np.maximum((1 - p) * p, float(np.float32(1e-12)))  # torch's bound
        return slope * dlosses[:, None] / p.shape[1]

    @staticmethod
    def _p_and_y(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = np.asarray(predictions, np.float64)
        return p, np.eye(p.shape[1], dtype=bool)[labels]


def binary_cross_entropy(labels: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    y = F.one_hot(labels, p.shape[1]).to(p.dtype)
    return F.binary_cross_entropy(p, y, reduction="none").mean(dim=1)


# Gradients.


def gradients(change: Callable[[list], list]) -> Plant:
    """Returns a plant of a change to the gradients of a step, before the update."""

    def wrong(one_training_step: Callable) -> Callable:
        def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
            return one_training_step(model, x, y, lambda g, w: update_weights(change(g), w))

        return step

    return instead(STEP, wrong)


class Gradients(Oracle):
    """Makes a mistake in the gradients, given the right ones."""

    def change(self, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return gradients

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        loss, gradients = super().gradients(images, labels)
        return loss, self.change(gradients)


class OnLogits(Oracle):
    def __init__(self, dtype: str, rule: Rule | None = None, on_logits: bool = True) -> None:
        super().__init__(dtype, rule, on_logits=True)


def on_logits(one_training_step: Callable) -> Callable:
    def loss(labels: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z, labels.long(), reduction="none")

    def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
        last = model.layers[-1]
        with mock.patch.object(last, "activation", lambda z: z), mock.patch(LOSS, loss):
            return one_training_step(model, x, y, update_weights)

    return step


class Summed(Oracle):
    def shares(self, samples: int) -> np.ndarray:
        return np.ones(samples)


class DividedBy128(Oracle):
    def shares(self, samples: int) -> np.ndarray:
        return np.full(samples, 1 / 128)


class PassesAtZero(Oracle):
    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return np.where(z >= 0, da, 0)


class ReluThatPassesAtZero(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z)
        return torch.relu(z)

    @staticmethod
    def backward(ctx: Any, da: torch.Tensor) -> torch.Tensor:
        (z,) = ctx.saved_tensors
        return torch.where(z >= 0, da, 0)


class Detached(Oracle):
    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return np.zeros_like(da)


def detached(call: Callable) -> Callable:
    def wrong(model: Any, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = model.layers
        for layer in hidden:
            x = layer(x)
        return last(x.detach() + 0 * x)  # in the graph, so that it has a gradient: 0

    return wrong


class NormClipped(Gradients):
    def change(self, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        return {name: g * min(1, 1 / (norm + 1e-6)) for name, g in gradients.items()}


def norm_clipped(gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    norm = torch.sqrt(torch.stack([(g**2).sum() for g in gradients]).sum())
    return [g * torch.clamp(1 / (norm + 1e-6), max=1) for g in gradients]  # as torch.nn.utils does


class Accumulated(Gradients):
    def change(self, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = self.__dict__.setdefault("kept", {})
        for name, g in gradients.items():
            kept[name] = kept.get(name, 0) + g
        return dict(kept)


def accumulated(one_training_step: Callable) -> Callable:
    kept: dict[Any, list] = {}

    def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
        def accumulate(gradients: Sequence, weights: Sequence) -> None:
            before = kept.get(model, [0] * len(gradients))
            kept[model] = [a + g for a, g in zip(before, gradients, strict=True)]
            update_weights(kept[model], weights)

        return one_training_step(model, x, y, accumulate)

    return step


# The update.


def update(wrong: Callable[..., None]) -> Plant:
    """Returns a plant of another rule: `wrong` of the right one, and its three arguments."""

    def replace(right: Callable) -> Callable:
        def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
            with torch.no_grad():
                wrong(right, gradients, weights, learning_rate)

        return rule

    return instead(UPDATE, replace)


class Update(Oracle):
    """Makes a mistake in what is taken for the gradient in an update."""

    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return g

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        super().update(
            {name: self.direction(name, g, self._weights[name]) for name, g in gradients.items()}
        )


class NoBiasUpdate(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return 0 * g if name.endswith("b") else super().direction(name, g, w)


class TenfoldRate(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return 10 * super().direction(name, g, w)


class WeightDecay(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return super().direction(name, g, w) + 1e-2 * w


class Momentum(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        v = self.__dict__.setdefault("velocities", {})
        v[name] = 0.9 * v.get(name, 0) + super().direction(name, g, w)
        return v[name]


class Adam(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        t, m, v = self.__dict__.setdefault("moments", {}).get(name, (0, 0, 0))
        g = super().direction(name, g, w)
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        self.__dict__["moments"][name] = t, m, v
        return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def weight_decay(right: Callable, g: Sequence, w: Sequence, learning_rate: float) -> None:
    right([g_ + 1e-2 * w_ for g_, w_ in zip(g, w, strict=True)], w, learning_rate)


def momentum(right: Callable) -> Callable:
    velocities: dict[torch.Tensor, torch.Tensor] = {}

    def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
        for g, w in zip(gradients, weights, strict=True):
            velocities[w] = 0.9 * velocities.get(w, 0) + g
        right([velocities[w] for w in weights], weights, learning_rate)

    return rule


def adam(right: Callable) -> Callable:
    optimizers: dict[torch.Tensor, torch.optim.Optimizer] = {}

    def rule(gradients: Sequence, weights: Sequence, learning_rate: float = 1e-3) -> None:
        made = optimizers.setdefault(weights[0], torch.optim.Adam(weights, lr=learning_rate))
        for g, w in zip(gradients, weights, strict=True):
            w.grad = g
        made.step()
        made.zero_grad()

    return rule


# The loop.


class LastBatchDropped(Oracle):
    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        yield from super().batches(samples // batch_size * batch_size, epochs, batch_size)


class BatchSizeUnused(Oracle):
    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        yield from super().batches(samples, epochs, 128)


class LastEpochNotRun(Oracle):
    def batches(self, samples: int, epochs: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        yield from super().batches(samples, epochs - 1, batch_size)


class RateHalved(Update):
    def direction(self, name: str, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return super().direction(name, g, w) * 0.5**self.epoch


class LossAfterTheUpdate(Oracle):
    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        _, gradients = super().step(images, labels)
        return super().gradients(images, labels)[0], gradients


def last_batch_dropped(batch_generator: Any) -> Any:
    class Dropping(batch_generator):
        def __init__(self, images: Any, *arguments: Any) -> None:
            super().__init__(images, *arguments)
            self.num_batches = len(images) // self.batch_size

    return Dropping


def batch_size_unused(batch_generator: Any) -> Any:
    return lambda images, labels, batch_size=128, order=None: batch_generator(
        images, labels, 128, order
    )


def last_epoch_not_run(fit: Callable) -> Callable:
    return lambda model, images, labels, epochs, *arguments, **options: fit(
        model, images, labels, epochs - 1, *arguments, **options
    )


def rate_halved(fit: Callable) -> Callable:
    def wrong(
        model: Any,
        images: Any,
        labels: Any,
        epochs: int,
        batch_size: int = 128,
        *,
        update_weights: Callable,
        **options: Any,
    ) -> None:
        steps = iter(range(epochs * -(-len(images) // batch_size)))

        def decayed(gradients: Sequence, weights: Sequence) -> None:
            epoch = next(steps) // -(-len(images) // batch_size)
            update_weights([g * 0.5**epoch for g in gradients], weights)

        fit(model, images, labels, epochs, batch_size, update_weights=decayed, **options)

    return wrong


def loss_after_the_update(one_training_step: Callable) -> Callable:
    def step(model: Any, x: Any, y: Any, update_weights: Callable) -> Any:
        one_training_step(model, x, y, update_weights)
        return one_training_step(model, x, y, lambda g, w: None)

    return step


def always_shuffled(fit: Callable) -> Callable:
    return lambda *arguments, **options: fit(*arguments, **{**options, "shuffle_seed": 5})


# The first example.


def first_rmsprop(
    wrong: Callable[..., torch.optim.Optimizer], make: Callable[[float], Rule]
) -> tuple[Plant, type[Oracle]]:
    """Returns plant and oracle of another optimizer: of the weights and the rate, of the rate."""

    class First(Oracle):
        def first_example(self) -> Oracle:
            right = super().first_example()
            right.rule = make(1e-3)
            return right

    return instead("torch_port.first_example.RMSprop", lambda right: partial(wrong)), First


class EpsilonOutside(RMSprop):
    def root(self, v: np.ndarray) -> np.ndarray:
        return np.sqrt(v) + self.epsilon


class FirstClips(Oracle):
    def first_example(self) -> Oracle:
        right = super().first_example()
        right.on_logits = False
        return right


def first_clips(cross_entropy: Callable) -> Callable:
    losses = import_module("torch_port.losses")

    def wrong(x: torch.Tensor, labels: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        if reduction == "none":  # the network from scratch
            return cross_entropy(x, labels, reduction=reduction)
        return losses.sparse_categorical_crossentropy(labels, torch.softmax(x, dim=-1)).mean()

    return wrong


class FirstAccumulates(Oracle):
    def first_example(self) -> Oracle:
        right = super().first_example()
        return Accumulated(right.dtype, right.rule, on_logits=True)


def forgetful(rmsprop: Any) -> Any:
    class Forgetful(rmsprop):
        def zero_grad(self, set_to_none: bool = True) -> None:
            pass

    return Forgetful


def torch_rmsprop(**options: Any) -> Callable[..., torch.optim.Optimizer]:
    return partial(torch.optim.RMSprop, **options)


def ours(**options: Any) -> Callable[..., torch.optim.Optimizer]:
    def optimizer(params: Any, lr: float) -> torch.optim.Optimizer:
        rmsprop = import_module("torch_port.optimizers").RMSprop
        return rmsprop(params, **{"lr": lr, **options})

    return optimizer


CATALOGUE = [
    Trap(
        "bytes as pixels",
        "the images were not divided by 255",
        "Keras's MNIST example; torchvision's ToTensor divides, its raw data does not",
        "data",
        *images(lambda x: x * 255),
    ),
    Trap(
        "pixels over 256",
        "the images were divided by 256, not by 255",
        "the number of values of a byte in place of the largest",
        "data",
        *images(lambda x: x * 255 / 256),
    ),
    Trap(
        "standardised images",
        "the images were standardised by mean 0.1307 and deviation 0.3081",
        "pytorch/examples, mnist/main.py",
        "data",
        *images(lambda x: (x - 0.1307) / 0.3081),
    ),
    Trap(
        "pixels column by column",
        "the images were flattened column by column",
        "nn-transfer#11, where a flatten meets another memory layout",
        "data",
        *images(column_by_column),
    ),
    Trap(
        "labels in int32",
        "the labels are int32, where int64 is expected",
        "keras#6977; torch's cross_entropy refuses int32, where nothing converts it",
        "data",
        instead(MNIST, int32_labels),
        Int32Labels,
    ),
    Trap(
        "shuffled once",
        "the training set was shuffled when it was loaded",
        "tensorflow#36626",
        "data",
        instead(MNIST, shuffled_once),
        None,
    ),
    Trap(
        "glorot_uniform kernels",
        "the kernels start glorot_uniform, as Keras's Dense does, not uniform in [0, 0.1)",
        "pytorch#15314",
        "initial weights",
        *kernels(glorot_uniform),
    ),
    Trap(
        "kernels of both signs",
        "the kernels start uniform in [-0.1, 0.1), not in [0, 0.1)",
        "keras.initializers.RandomUniform is symmetric by default",
        "initial weights",
        *kernels(lambda rng, shape: rng.uniform(-0.1, 0.1, tuple(shape))),
    ),
    Trap(
        "normal kernels",
        "the kernels start normal with deviation 0.1, not uniform in [0, 0.1)",
        "torch.randn for tf.random.uniform",
        "initial weights",
        *kernels(lambda rng, shape: rng.normal(0, 0.1, tuple(shape))),
    ),
    Trap(
        "kernels drawn in float32",
        "the generator drew float32, which are other numbers from the same seed",
        "numpy.random.Generator.random",
        "initial weights",
        *kernels(lambda rng, shape: rng.random(tuple(shape), "float32") * np.float32(0.1)),
    ),
    Trap(
        "weights of nn.Linear",
        "kernels and biases start as torch.nn.Linear draws them",
        "pytorch#57109",
        "initial weights",
        instead(MODEL, as_torch_draws),
        None,
    ),
    Trap(
        "reshaped kernel",
        "a kernel was brought to (outputs, inputs) by a reshape, not by a transpose",
        "keras layers/core/dense.py against torch.nn.Linear",
        "layer outputs",
        instead(CALL, reshaped),
        Reshaped,
    ),
    Trap(
        "no bias",
        "the biases are not added",
        "torch.nn.Linear(bias=False)",
        "layer outputs",
        instead(CALL, no_bias),
        NoBias,
    ),
    Trap(
        "no relu",
        "there is no relu after the hidden layer",
        "Dense takes its activation along, torch.nn.Linear has none",
        "layer outputs",
        activations(hidden=lambda z: z),
        NoRelu,
    ),
    Trap(
        "leaky relu",
        "the hidden layer has a leaky relu of slope 0.01",
        "keras.layers.LeakyReLU has slope 0.3, torch.nn.LeakyReLU 0.01, and relu none",
        "layer outputs",
        activations(hidden=F.leaky_relu),
        LeakyRelu,
    ),
    Trap(
        "relu before softmax",
        "the last layer has a relu before its softmax",
        "a relu after every layer of a loop",
        "layer outputs",
        activations(last=lambda z: torch.softmax(torch.relu(z), dim=-1)),
        ReluBeforeSoftmax,
    ),
    Trap(
        "softmax over the batch",
        "softmax runs over the batch, not over the classes",
        "torch.softmax(dim=0)",
        "layer outputs",
        activations(last=partial(torch.softmax, dim=0)),
        SoftmaxOverTheBatch,
    ),
    Trap(
        "products in TensorFloat-32",
        "float32 products are computed in TensorFloat-32",
        "fairscale#921, pytorch#86799",
        "layer outputs",
        *products(bits=10),
    ),
    Trap(
        "products in bfloat16",
        "float32 products are computed in bfloat16",
        "torch.set_float32_matmul_precision('medium') permits it",
        "layer outputs",
        *products(bits=7),
    ),
    Trap(
        "last of ties",
        "of equal probabilities the last class is predicted, not the first",
        "numpy.argsort(p)[-1] for argmax",
        "layer outputs",
        instead("torch_port.evaluation.predict", last_of_ties),
        LastOfTies,
    ),
    Trap(
        "softmax twice",
        "a loss that expects logits is given probabilities",
        "shaoxiongji/federated-learning#9",
        "loss",
        loss(lambda labels, p: F.cross_entropy(p, labels, reduction="none")),
        SoftmaxTwice,
    ),
    Trap(
        "not renormalised",
        "the loss clips the probabilities and does not normalise them again",
        "keras src/backend/torch/nn.py",
        "loss",
        loss(not_renormalised),
        NotRenormalised,
    ),
    Trap(
        "nothing clipped",
        "the loss takes the logarithm of the probabilities as they are, and clips nothing",
        "tensorflow#34221",
        "loss",
        loss(lambda labels, p: F.nll_loss(torch.log(p), labels, reduction="none")),
        NothingClipped,
    ),
    Trap(
        "clipped at 1e-8",
        "the loss clips the probabilities at 1e-8, not at 1e-7",
        "keras#7563; 1e-8 is torch's usual epsilon",
        "loss",
        loss(other_epsilon),
        OtherEpsilon,
    ),
    Trap(
        "epsilon added",
        "the loss adds 1e-7 to the probability, in place of clipping",
        "keras#7563",
        "loss",
        loss(lambda labels, p: F.nll_loss(torch.log(p + EPSILON), labels, reduction="none")),
        EpsilonAdded,
    ),
    Trap(
        "gradient of torch.clamp",
        "the clip passes no gradient at its bounds, where TensorFlow's does",
        "pytorch#184572, #7049",
        "loss",
        loss(
            lambda labels, p: F.cross_entropy(
                torch.log(torch.clamp(p, EPSILON, 1 - EPSILON)), labels, reduction="none"
            )
        ),
        ClampGradient,
    ),
    Trap(
        "mean over the classes",
        "the loss is averaged over the classes as well",
        "an early version of JAX's from-scratch MNIST example",
        "loss",
        instead(LOSS, mean_over_classes),
        MeanOverClasses,
    ),
    Trap(
        "binary cross-entropy",
        "the loss is the binary cross-entropy of one-hot labels",
        "keras.losses.BinaryCrossentropy, torch.nn.BCELoss",
        "loss",
        loss(binary_cross_entropy),
        BinaryCrossEntropy,
    ),
    Trap(
        "loss of the logits",
        "the loss is that of the logits, as in a tf.function or Keras's fit, and clips nothing",
        "keras src/backend/tensorflow/nn.py, _get_logits",
        "gradients",
        instead(STEP, on_logits),
        OnLogits,
    ),
    Trap(
        "summed loss",
        "the loss is summed over the batch, not averaged",
        "pytorch#1429",
        "gradients",
        instead("torch.mean", lambda right: torch.sum),
        Summed,
    ),
    Trap(
        "always divided by 128",
        "the loss of a partial batch is divided by 128 too",
        "a constant batch size in hand-written averages",
        "gradients",
        instead("torch.mean", lambda right: lambda losses: losses.sum() / 128),
        DividedBy128,
    ),
    Trap(
        "relu passes at 0",
        "relu passes the gradient on where its input is exactly 0",
        "jax#37821, pytorch#184574",
        "gradients",
        activations(hidden=ReluThatPassesAtZero.apply),
        PassesAtZero,
    ),
    Trap(
        "detached hidden layer",
        "no gradient reaches the first layer",
        "a detach(), a .data or a no_grad() in the forward pass",
        "gradients",
        instead("torch_port.layers.NaiveSequential.__call__", detached),
        Detached,
    ),
    Trap(
        "gradients clipped to norm 1",
        "the gradients are clipped to a global norm of 1",
        "torch.nn.utils.clip_grad_norm_ in a training template",
        "gradients",
        gradients(norm_clipped),
        NormClipped,
    ),
    Trap(
        "zero_grad forgotten",
        "the gradients of all steps add up: zero_grad is missing",
        "pytorch#47175",
        "gradients",
        instead(STEP, accumulated),
        Accumulated,
    ),
    Trap(
        "biases never updated",
        "the update leaves the biases as they are",
        "a list of parameters without the biases",
        "one update",
        update(lambda right, g, w, lr: right(g[::2], w[::2], lr)),
        NoBiasUpdate,
    ),
    Trap(
        "rate of 1e-2",
        "the learning rate is 1e-2, Keras's default for SGD, not 1e-3",
        "keras/src/optimizers/sgd.py",
        "one update",
        update(lambda right, g, w, lr: right(g, w, 10 * lr)),
        TenfoldRate,
    ),
    Trap(
        "momentum",
        "SGD has a momentum of 0.9",
        "torch.optim.SGD in most examples",
        "one update",
        instead(UPDATE, momentum),
        Momentum,
    ),
    Trap(
        "weight decay",
        "the update decays the weights by 1e-2, as AdamW does by default",
        "mlcommons/hpc#22",
        "one update",
        update(weight_decay),
        WeightDecay,
    ),
    Trap(
        "Adam",
        "the optimizer is Adam, not SGD",
        "tf-keras#315",
        "one update",
        instead(UPDATE, adam),
        Adam,
    ),
    Trap(
        "last batch dropped",
        "the last, partial batch of an epoch is dropped",
        "4Dsurvival#11; DataLoader(drop_last=True)",
        "trajectory",
        instead(BATCHES, last_batch_dropped),
        LastBatchDropped,
    ),
    Trap(
        "batch size unused",
        "fit takes a batch size, and uses 128",
        "the book's listing of fit",
        "trajectory",
        instead(BATCHES, batch_size_unused),
        BatchSizeUnused,
    ),
    Trap(
        "last epoch not run",
        "the last epoch is not run",
        "range(1, epochs)",
        "trajectory",
        instead(FIT, last_epoch_not_run),
        LastEpochNotRun,
    ),
    Trap(
        "rate halved each epoch",
        "a schedule halves the learning rate after each epoch",
        "torch.optim.lr_scheduler.StepLR in a training template",
        "trajectory",
        instead(FIT, rate_halved),
        RateHalved,
    ),
    Trap(
        "loss after the update",
        "the loss that is reported is that after the update",
        "a second forward pass for the metrics",
        "trajectory",
        instead(STEP, loss_after_the_update),
        LossAfterTheUpdate,
    ),
    Trap(
        "always shuffled",
        "the samples are shuffled in each epoch",
        "tensorflow#36626; DataLoader(shuffle=True), and Keras's fit does it by default",
        "trajectory",
        instead(FIT, always_shuffled),
        None,
    ),
    Trap(
        "RMSprop: epsilon outside",
        "RMSprop adds epsilon to the root, as PyTorch does, not under it",
        "pytorch#23796, jax#1427",
        "first example",
        *first_rmsprop(torch_rmsprop(alpha=0.9, eps=1e-7), EpsilonOutside),
    ),
    Trap(
        "RMSprop: rho 0.99",
        "RMSprop averages with 0.99, PyTorch's default, not with 0.9",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(ours(rho=0.99), partial(RMSprop, rho=0.99)),
    ),
    Trap(
        "RMSprop: epsilon 1e-8",
        "RMSprop has an epsilon of 1e-8, PyTorch's default, not 1e-7",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(ours(eps=1e-8), partial(RMSprop, epsilon=1e-8)),
    ),
    Trap(
        "RMSprop: rate 1e-2",
        "RMSprop has a learning rate of 1e-2, PyTorch's default, not 1e-3",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(ours(lr=1e-2), lambda rate: RMSprop(10 * rate)),
    ),
    Trap(
        "RMSprop: as torch has it",
        "the optimizer is torch.optim.RMSprop with its defaults, but for the learning rate",
        "torch.optim.RMSprop against keras/src/optimizers/rmsprop.py",
        "first example",
        *first_rmsprop(torch_rmsprop(), lambda rate: EpsilonOutside(rate, 0.99, 1e-8)),
    ),
    Trap(
        "RMSprop: zero_grad forgotten",
        "the gradients of all steps add up, and RMSprop hides it",
        "pytorch#47175",
        "first example",
        instead("torch_port.first_example.RMSprop", forgetful),
        FirstAccumulates,
    ),
    Trap(
        "first example clips",
        "the first example trains on clipped probabilities, where Keras's fit takes the logits",
        "keras src/backend/tensorflow/nn.py, _get_logits",
        "first example",
        instead("torch.nn.functional.cross_entropy", first_clips),
        FirstClips,
    ),
]
