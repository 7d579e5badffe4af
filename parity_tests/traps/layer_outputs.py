"""Mistakes in the layers, their activations and the predicted labels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from parity_tests.ladder import oracle
from parity_tests.ladder.oracle import Oracle
from parity_tests.traps.trap import Plant, Trap, instead

CALL = "torch_port.layers.NaiveDense.__call__"
MODEL = "torch_port.layers.mnist_model"


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
    """Return float32 numbers rounded to so many bits after the first one."""
    dropped = 23 - bits
    whole = np.asarray(array, "float32").view("uint32").astype("uint64")
    kept = (whole + (1 << (dropped - 1))) >> dropped << dropped
    return kept.astype("uint32").view("float32")


def products(bits: int) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of products whose factors are rounded, of float32 only."""

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
    """Return a plant of other activations."""

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


class Sigmoid(Oracle):
    def activation(self, z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return da * self.activation(z) * self.activation(-z)


class Tanh(Oracle):
    def activation(self, z: np.ndarray) -> np.ndarray:
        return np.tanh(z)

    def activation_gradient(self, z: np.ndarray, da: np.ndarray) -> np.ndarray:
        return da * (1 - np.tanh(z) ** 2)


class NoSoftmax(Oracle):
    def probabilities(self, z: np.ndarray) -> np.ndarray:
        return z

    def probabilities_gradient(self, z: np.ndarray, p: np.ndarray, dp: np.ndarray) -> np.ndarray:
        return dp


class SoftmaxOverAll(Oracle):
    def probabilities(self, z: np.ndarray) -> np.ndarray:
        return oracle.softmax(z.reshape(1, -1)).reshape(z.shape)

    def probabilities_gradient(self, z: np.ndarray, p: np.ndarray, dp: np.ndarray) -> np.ndarray:
        return p * (dp - (dp * p).sum())


class ExpWithoutMaximum(Oracle):
    def probabilities(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            exp = np.exp(z.astype(self.dtype)).astype(np.float64)  # beyond it, infinity
            return exp / exp.sum(axis=1, keepdims=True)


def dropout(z: torch.Tensor) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    kept = torch.rand(z.shape, generator=rng) >= 0.2
    return torch.relu(z) * kept.to(z.dtype) / 0.8


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


TRAPS = [
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
        "sigmoid",
        "the hidden layer has a sigmoid, not relu",
        "networks from scratch before relu was usual",
        "layer outputs",
        activations(hidden=torch.sigmoid),
        Sigmoid,
    ),
    Trap(
        "tanh",
        "the hidden layer has a tanh, not relu",
        "networks from scratch before relu was usual",
        "layer outputs",
        activations(hidden=torch.tanh),
        Tanh,
    ),
    Trap(
        "dropout",
        "the hidden layer drops a fifth of its outputs",
        "torch.nn.Dropout in most examples for MNIST",
        "layer outputs",
        activations(hidden=dropout),
        None,
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
        "no softmax",
        "the model returns logits, where its loss expects probabilities",
        "torch.nn.CrossEntropyLoss takes logits, so that models have no softmax",
        "layer outputs",
        activations(last=lambda z: 1 * z),
        NoSoftmax,
    ),
    Trap(
        "softmax over the whole array",
        "softmax divides by the sum over the whole batch",
        "exp.sum() without an axis",
        "layer outputs",
        activations(last=lambda z: torch.softmax(z.reshape(-1), dim=0).reshape(z.shape)),
        SoftmaxOverAll,
    ),
    Trap(
        "exp without its maximum",
        "softmax takes exponentials of the logits as they are, which overflow",
        "softmax in most networks from scratch",
        "layer outputs",
        activations(last=lambda z: torch.exp(z) / torch.exp(z).sum(dim=1, keepdim=True)),
        ExpWithoutMaximum,
    ),
    Trap(
        "products in TensorFloat-32",
        "float32 products are computed in TensorFloat-32",
        "fairscale#921, pytorch#86799",
        "layer outputs",
        *products(bits=10),
        dtype="float32",
    ),
    Trap(
        "products in bfloat16",
        "float32 products are computed in bfloat16",
        "torch.set_float32_matmul_precision('medium') permits it",
        "layer outputs",
        *products(bits=7),
        dtype="float32",
    ),
    Trap(
        "last of ties",
        "of equal probabilities the last class is predicted, not the first",
        "numpy.argsort(p)[-1] for argmax",
        "layer outputs",
        instead("torch_port.evaluation.predict", last_of_ties),
        LastOfTies,
    ),
]
