"""Evaluation: the predicted labels, and how many of them are right."""

import numpy as np
import torch
from torch import Tensor

from .framework import check_settings
from .layers import NaiveSequential
from .training import as_tensors, check_data, check_images


def predict(model: NaiveSequential, images: Tensor) -> np.ndarray:
    """Return the most probable class of each image, the lowest one if several tie.

    Args:
        model: Maps images to probabilities of shape (samples, classes).
        images: Shape (samples, pixels), at least one, in the dtype of the weights.

    Returns:
        Class indices, shape (samples,), NumPy int64.

    Raises:
        ValueError: If `check_images` refuses the images, or `check_predictions` what the model
            returns.

    Source: Deep Learning with Python, 2nd edition, section 2.5.4.
    """
    check_settings()
    images, _ = as_tensors(images, [])
    check_images(model, images)
    with torch.no_grad():
        predictions = model(images).cpu().numpy()
    check_predictions(predictions, len(images))
    return np.argmax(predictions, axis=1)


def check_predictions(predictions: np.ndarray, samples: int) -> None:
    """Refuse what names no most probable class.

    Raises:
        ValueError: If the predictions are not of shape (samples, classes).
    """
    if predictions.ndim != 2 or len(predictions) != samples:
        found = tuple(predictions.shape)
        raise ValueError(f"the predictions are of shape {found}: expected ({samples}, classes)")


def evaluate(model: NaiveSequential, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy: the fraction of images, in [0, 1], whose label is predicted.

    Args:
        model: Maps images to probabilities of shape (samples, classes).
        images: Shape (samples, pixels), at least one, in the dtype of the weights.
        labels: Class indices, shape (samples,), integers.

    Raises:
        ValueError: If `check_data` refuses images or labels.

    Source: Deep Learning with Python, 2nd edition, section 2.5.4.
    """
    images, labels = as_tensors(images, labels)
    check_data(model, images, labels)
    predicted_labels = predict(model, images)
    matches = predicted_labels == labels.cpu().numpy()
    return float(matches.mean())
