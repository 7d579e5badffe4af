"""The loss of a classifier whose labels are class indices."""

from .framework import Tensor, tf


def sparse_categorical_crossentropy(labels: Tensor, predictions: Tensor) -> Tensor:
    """Return the cross-entropy of each sample as Keras computes it in eager mode.

    The probabilities are clipped to [1e-7, 1 - 1e-7], and the logarithms of the clipped
    ones pass through a softmax again, which makes them sum to 1: the loss of a sample is
    -log(clip(p)[label] / sum(clip(p))). No gradient flows where a probability was
    clipped; at the bounds themselves it does.

    Args:
        labels: Class indices, shape (batch,), integers from 0 to classes - 1.
        predictions: Probabilities, shape (batch, classes), float32 or float64.

    Returns:
        Losses in nats, shape (batch,), in the dtype of the predictions.

    Source: keras/src/backend/tensorflow/nn.py.
    """
    return tf.keras.losses.sparse_categorical_crossentropy(labels, predictions)
