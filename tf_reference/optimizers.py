"""The update rules of the book: by hand, by the SGD optimizer, and RMSprop."""

from collections.abc import Callable, Sequence

from .framework import ArgumentError, Tensor, check, check_positive, tf
from .weights import describe

UpdateRule = Callable[[Sequence, Sequence], None]
"""Given the gradients and the weights, changes the weights in place."""


def update_weights(
    gradients: Sequence[Tensor], weights: Sequence[tf.Variable], learning_rate: float = 1e-3
) -> None:
    """Subtract `learning_rate` times its gradient from each weight, in place.

    The book's listing reads the weights of a global model; this one reads its argument.

    Args:
        gradients: One for each weight, of its shape and dtype.
        weights: Changed in place.
        learning_rate: Step size, above 0.

    Raises:
        ArgumentError: If the learning rate is not a finite number above 0, or if `check_gradients`
            refuses the gradients.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """
    learning_rate = check_positive("learning_rate", learning_rate)
    check_gradients(gradients, weights)
    for g, w in zip(gradients, weights, strict=True):
        w.assign_sub(g * learning_rate)


def check_gradients(gradients: Sequence[Tensor], weights: Sequence[tf.Variable]) -> None:
    """Refuse gradients that are not one for each weight, of its shape and dtype."""
    # A number would be subtracted from a whole weight, by rules that differ in the frameworks.
    count = len(gradients)
    check("the number of gradients", count, count == len(weights), f"{len(weights)}, as of weights")
    for index, (g, w) in enumerate(zip(gradients, weights, strict=True)):
        check(f"gradient {index}", g, isinstance(g, Tensor), describe(w))
        fits = g.dtype == w.dtype and w.shape.is_compatible_with(g.shape)
        check(f"gradient {index}", describe(g), fits, describe(w))


class SGD:
    """`update_weights` by the framework's optimizer: plain SGD, without momentum.

    Keras keeps the learning rate in the default dtype, whatever the dtype of the weights.
    Unless `use_dtype` changed it, a step is that of the nearest float32, in both packages.

    Args:
        learning_rate: Step size, above 0.

    Raises:
        ArgumentError: If the learning rate is not a finite number above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """

    def __init__(self, learning_rate: float = 1e-3) -> None:
        learning_rate = check_positive("learning_rate", learning_rate)
        self.optimizer = tf.keras.optimizers.SGD(learning_rate=learning_rate)
        self.weights: list[tf.Variable] = []

    def __call__(self, gradients: Sequence[Tensor], weights: Sequence[tf.Variable]) -> None:
        """Update the weights in place, which must be those of the first call."""
        check_gradients(gradients, weights)
        self.weights = self.weights or list(weights)
        if [id(w) for w in weights] != [id(w) for w in self.weights]:
            raise ArgumentError("SGD was given other weights before: make one SGD for each model")
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))


RMSprop = tf.keras.optimizers.RMSprop
