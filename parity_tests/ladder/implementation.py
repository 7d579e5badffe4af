"""What the ladder asks of an implementation of the training."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Implementation(Protocol):
    """What the ladder needs of an implementation.

    Weights and gradients are NumPy arrays under the names of the weights files, such as
    `layers.0.W`; what is returned is never changed by a later call.
    """

    name: str
    dtype: str

    def data(self) -> dict[str, np.ndarray]:
        """Returns MNIST as the implementation loads it, by name."""

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Returns the weights of the 784-512-10 model that a seed gives."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replaces the weights."""

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the weights."""

    def layer_output(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Returns what one layer makes of its inputs."""

    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Returns the loss of each sample, in nats."""

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        """Returns the derivative of a sum of losses, each times its dloss, by the predictions."""

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns the average loss of a batch and its gradients; the weights stay."""

    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns what `gradients` does, and updates the weights."""

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        """Applies the update rule to the weights."""

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Trains in the order of the data set; returns the average loss of each batch."""

    def fit_first_example(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Trains the first example from the weights, which change; returns what `fit` does."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the predicted class of each image."""

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Returns the fraction of the images whose label is predicted: a float64 scalar."""
