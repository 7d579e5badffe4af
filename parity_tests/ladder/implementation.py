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
    sizes: tuple[int, ...]

    def data(self) -> dict[str, np.ndarray]:
        """Return MNIST as the implementation loads it, by name."""

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Return the weights of the 784-512-10 model that a seed gives."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace the weights."""

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights."""

    def layer_output(self, index: int, inputs: np.ndarray) -> np.ndarray:
        """Return what one layer makes of its inputs."""

    def losses(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Return the loss of each sample, in nats."""

    def losses_gradient(
        self, labels: np.ndarray, predictions: np.ndarray, dlosses: np.ndarray
    ) -> np.ndarray:
        """Return the derivative of a sum of losses, each times its dloss, by the predictions."""

    def gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the average loss of a batch and its gradients; the weights stay."""

    def step(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return what `gradients` does, and update the weights."""

    def update(self, gradients: Mapping[str, np.ndarray]) -> None:
        """Apply the update rule to the weights."""

    def fit(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Train in the order of the data set; return the average loss of each batch."""

    def fit_first_example(
        self, images: np.ndarray, labels: np.ndarray, epochs: int, batch_size: int
    ) -> np.ndarray:
        """Train the first example from the weights, which change; return what `fit` does."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the predicted class of each image."""

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the fraction of the images whose label is predicted: a float64 scalar."""
