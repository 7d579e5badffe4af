"""The book's first example: the network made of the framework's own parts."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from .framework import (
    ArgumentError,
    Tensor,
    check,
    check_positive,
    check_whole,
    tf,
)
from .optimizers import RMSprop
from .training import BEGINNING, Progress, check_finite, check_weights, each_epoch, ignore
from .weights import named_weights

Dense = tf.keras.layers.Dense

Sequential: TypeAlias = tf.keras.Sequential


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Draw a kernel uniform in [-limit, limit), limit = sqrt(6 / (inputs + outputs)).

    Args:
        rng: Draws it, in float64.
        shape: (inputs, outputs), each at least 1.

    Raises:
        ArgumentError: If a size is no whole number above 0.

    Source: keras/src/initializers/random_initializers.py.
    """
    for size in shape:
        check_whole("a size of shape", size, 1)
    limit = math.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def mnist_model(seed: int | None = None) -> Sequential:
    """Return the first example's model: 784 pixels, 512 relu units, 10 classes.

    Its weights are in the default dtype. Keras takes the softmax of its last layer off
    again when it trains, so the port ends with the logits.

    Args:
        seed: Of the kernels, at least 0, which NumPy then draws. By default the framework
            does, from the same distribution.

    Raises:
        ArgumentError: If the seed is no whole number, 0 or above.

    Source: Deep Learning with Python, 2nd edition, section 2.1.
    """
    model = Sequential(
        [
            tf.keras.Input((28 * 28,)),
            Dense(512, activation="relu"),
            Dense(10, activation="softmax"),
        ]
    )
    if seed is not None:
        rng = np.random.default_rng(check_whole("seed", seed, 0))
        for layer in model.layers:
            kernel, _ = layer.weights
            kernel.assign(glorot_uniform(rng, kernel.shape))
    return model


def rmsprop(model: Sequential, learning_rate: float = 1e-3) -> RMSprop:
    """Return the optimizer of the first example for the weights of a model.

    Args:
        model: Its weights are changed by the optimizer.
        learning_rate: Step size, above 0.

    Raises:
        ArgumentError: If the learning rate is not a finite number above 0.
    """
    learning_rate = check_positive("learning_rate", learning_rate)
    optimizer = RMSprop(learning_rate)
    optimizer.build(model.trainable_variables)
    return optimizer


def named_velocities(model: Sequential, optimizer: RMSprop) -> dict[str, Tensor]:
    """Return the averages that RMSprop keeps, by names such as `layers.0.W.velocity`: no copies."""
    velocities = [variable for variable in optimizer.variables if "velocity" in variable.path]
    return {
        f"{name}.velocity": velocity
        for name, velocity in zip(named_weights(model), velocities, strict=True)
    }


def check_optimizer(model: Sequential, optimizer: RMSprop) -> None:
    """Refuse an optimizer that would leave the weights of a model as they are."""
    right = isinstance(optimizer, tf.keras.optimizers.Optimizer)
    check("optimizer", optimizer, right, "one as rmsprop makes it")
    # tf.keras finds this in the first step only.
    held = {id(w) for w in optimizer._trainable_variables}
    if held != {id(w) for w in model.trainable_variables}:
        raise ArgumentError("the optimizer is not of this model: make one by rmsprop(model)")


def one_training_step(
    model: Sequential, images_batch: Tensor, labels_batch: Tensor, optimizer: RMSprop
) -> tuple[Tensor, Tensor]:
    """Run the model forward and backward on one batch, and update its weights.

    Args:
        model: Its weights are changed in place.
        images_batch: Shape (batch, pixels), in the dtype of the weights.
        labels_batch: Class indices, shape (batch,), integers.
        optimizer: Changes the weights.

    Returns:
        The average loss of the batch in nats per sample, and the fraction of it that was
        predicted right, both before the update: scalars.
    """
    model.reset_metrics()
    loss, accuracy = model.train_on_batch(images_batch, labels_batch)
    return tf.constant(loss, "float64"), tf.constant(accuracy, "float64")


def fit(
    model: Sequential,
    images: Tensor,
    labels: Tensor,
    epochs: int = 5,
    batch_size: int = 128,
    *,
    learning_rate: float = 1e-3,
    optimizer: RMSprop | None = None,
    shuffle_seed: int | None = None,
    start: Progress = BEGINNING,
    step: Callable | None = None,
    on_step: Callable[[int, int, float], object] = ignore,
    on_epoch: Callable[[int], object] = ignore,
) -> dict[str, list[float]]:
    """Train a model by RMSprop, printing the loss and the accuracy of each epoch.

    Args:
        model: Its weights are changed in place.
        images: Shape (samples, pixels), in the dtype of the weights.
        labels: Class indices, shape (samples,), integers from 0 to classes - 1.
        epochs: Passes over the data set, at least 1.
        batch_size: Samples in a batch, at least 1.
        learning_rate: Step size of RMSprop, above 0.
        optimizer: As `rmsprop` makes it, in place of a new one of that learning rate.
        shuffle_seed: Seeds NumPy's generator, which draws a new order of the samples for
            each epoch. By default every epoch takes them in the order of the data set.
        start: Where to begin, with the weights and the optimizer of that moment. By default the
            beginning.
        step: Called in place of `one_training_step`, with its arguments.
        on_step: Called after each step with the epoch and the batch, both counted from 0,
            and the average loss of that batch in nats per sample.
        on_epoch: Called after each epoch with its number.

    Returns:
        The "loss" and the "accuracy" of each epoch that ended: averages over its samples, each
        predicted before the update of its batch.

    Raises:
        ArgumentError: If `each_epoch` refuses an argument.
        DivergenceError: If a loss is not finite, or a weight after an epoch.

    Source: Deep Learning with Python, 2nd edition, section 2.1.
    """
    fits = isinstance(model, tf.keras.Sequential)
    check("model", model, fits, "the first example's, by mnist_model")
    optimizer = optimizer or rmsprop(model, learning_rate)
    check_optimizer(model, optimizer)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    step = step or one_training_step
    history: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for epoch_counter, begin, batch_generator in each_epoch(
        model, images, labels, epochs, batch_size, shuffle_seed, start, step, on_step, on_epoch
    ):
        print(f"Epoch {epoch_counter}")
        total_loss, matches = begin.total_loss, begin.matches
        for batch_counter in range(begin.batch, batch_generator.num_batches):
            images_batch, labels_batch = batch_generator.next()
            loss, accuracy = step(model, images_batch, labels_batch, optimizer)
            check_finite(loss, epoch_counter, batch_counter)
            total_loss += float(loss) * len(images_batch)
            matches += round(float(accuracy) * len(images_batch))
            on_step(epoch_counter, batch_counter, float(loss))
        check_weights(model, epoch_counter)
        history["loss"].append(total_loss / len(images))
        history["accuracy"].append(matches / len(images))
        print(f"loss: {history['loss'][-1]:.4f}, accuracy: {history['accuracy'][-1]:.4f}")
        on_epoch(epoch_counter)
    return history
