"""Mistakes in the loss of each sample."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from parity_tests.ladder import oracle
from parity_tests.ladder.oracle import EPSILON, Oracle
from parity_tests.traps.trap import Plant, Trap, instead

LOSS = "torch_port.training.sparse_categorical_crossentropy"


def loss(wrong: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Plant:
    """Return a plant of another loss of labels and predictions."""
    return instead(LOSS, lambda right: lambda labels, p: wrong(labels.long(), p))


def of_labels(array: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the number in each row that its label names."""
    return array[np.arange(len(labels)), labels]


def at_labels(array: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what each row has at its label, and 0 elsewhere."""
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


class SquaredError(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return np.mean(self._errors(labels, predictions) ** 2, axis=1)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        return 2 / predictions.shape[1] * self._errors(labels, predictions) * dlosses[:, None]

    @staticmethod
    def _errors(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return np.asarray(predictions, np.float64) - np.eye(predictions.shape[1])[labels]


def squared_error(labels: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return ((p - F.one_hot(labels, p.shape[1]).to(p.dtype)) ** 2).mean(dim=1)


class NoLogarithm(Oracle):
    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return -of_labels(np.asarray(predictions, np.float64), labels)

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        return at_labels(-dlosses[:, None] + 0 * np.asarray(predictions, np.float64), labels)


TRAPS = [
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
        "squared error",
        "the loss is the mean squared error of one-hot labels",
        "torch.nn.MSELoss in networks from scratch",
        "loss",
        loss(squared_error),
        SquaredError,
    ),
    Trap(
        "no logarithm",
        "the loss is the negative probability: nll_loss was given probabilities",
        "mjc92/GetToThePoint#8",
        "loss",
        loss(lambda labels, p: F.nll_loss(p, labels, reduction="none")),
        NoLogarithm,
    ),
    Trap(
        "binary cross-entropy",
        "the loss is the binary cross-entropy of one-hot labels",
        "keras.losses.BinaryCrossentropy, torch.nn.BCELoss",
        "loss",
        loss(binary_cross_entropy),
        BinaryCrossEntropy,
    ),
]
