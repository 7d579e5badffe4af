"""Evaluation: the predicted labels, and how many of them are right."""

import numpy as np

from .framework import Tensor, check, check_settings
from .layers import NaiveSequential
from .training import as_tensors, check_images, checked_data


def predict(model: NaiveSequential, images: Tensor) -> np.ndarray:
    """Return the most probable class of each image, the lowest one if several tie.

    Args:
        model: Maps images to probabilities of shape (samples, classes).
        images: Shape (samples, pixels), at least one, in the dtype of the weights.

    Returns:
        Class indices, shape (samples,), NumPy int64.

    Raises:
        ArgumentError: If `check_images` refuses the images, or if the predictions are of another
            shape.

    Source: Deep Learning with Python, 2nd edition, section 2.5.4.
    """
    check_settings()
    images, _ = as_tensors(images, [])
    check_images(model, images)
    predictions = model(images).numpy()
    fits = predictions.ndim == 2 and len(predictions) == len(images)
    check("the shape of the predictions", predictions.shape, fits, "one row for each image")
    return np.argmax(predictions, axis=1)


def evaluate(model: NaiveSequential, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy: the fraction of images, in [0, 1], whose label is predicted.

    Args:
        model: Maps images to probabilities of shape (samples, classes).
        images: Shape (samples, pixels), at least one, in the dtype of the weights.
        labels: Class indices, shape (samples,), integers.

    Raises:
        ArgumentError: If `checked_data` refuses images or labels.

    Source: Deep Learning with Python, 2nd edition, section 2.5.4.
    """
    images, labels = checked_data(model, images, labels)
    predicted_labels = predict(model, images)
    matches = predicted_labels == labels
    return float(matches.mean())
