"""Training: the batches, one step, and the loop over epochs."""

import math
from collections.abc import Callable, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import optimizers
from .arguments import (
    as_array,
    check_calls,
    check_choice,
    check_integer,
    check_kind,
    seeded,
    shown,
)
from .framework import Tensor, check_settings, tf
from .layers import NaiveSequential
from .losses import sparse_categorical_crossentropy
from .ranks import average, averaged, share
from .weights import describe, dtype_name, named_weights, weights_sha256


class DivergenceError(ArithmeticError):
    """Training has failed: numbers are not finite, or the weights are stuck where they are bad."""


@dataclass
class Progress:
    """How far a training has come: what it needs to go on, beside its weights and its optimizer.

    Attributes:
        epoch: Epochs that are done.
        batch: Batches of the next one that are done.
        total_loss: Sum of the losses of these batches; in the first example, of their samples.
        samples: In the first example, those of these batches.
        matches: In the first example, those of them that were predicted right.
        initial_sha256: Of the weights with which that epoch began.
    """

    epoch: int = 0
    batch: int = 0
    total_loss: float = 0.0
    samples: int = 0
    matches: int = 0
    initial_sha256: str = ""

    @classmethod
    def begun(cls, progress: "Progress | None", epochs: int, batches: int) -> "Progress":
        """Return where a training begins, its beginning by default.

        Raises:
            ValueError: If that is no place to which a training of so many epochs comes.
        """
        at = cls() if progress is None else progress
        check_kind("progress", at, cls, "a Progress")
        check_integer("progress.epoch", at.epoch, 0, epochs)
        check_integer("progress.batch", at.batch, 0, batches - 1)
        return at

    def end_epoch(self) -> None:
        """Go on to the next epoch."""
        self.__dict__.update(Progress(self.epoch + 1).__dict__)


class BatchGenerator:
    """Cuts a data set into batches; the last one holds what is left over.

    Args:
        images: Shape (samples, ...), at least one sample.
        labels: Shape (samples,).
        batch_size: Samples in a batch, at least 1.
        order: Positions of the samples in the order in which they are drawn. By default
            the order of the data set.

    Raises:
        ValueError: If there are no images, not as many labels or positions as images, or if the
            batch size is no whole number above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.1.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        batch_size: int = 128,
        order: np.ndarray | None = None,
    ) -> None:
        check_kind("images", images, Sized, "an array")
        check_kind("labels", labels, Sized, "an array")
        if len(images) != len(labels):
            raise ValueError(
                f"{len(images)} images but {len(labels)} labels: expected one label for each image"
            )
        if len(images) == 0:
            raise ValueError("the data set is empty: expected at least one image")
        if order is not None and len(order) != len(images):
            raise ValueError(
                f"order has {len(order)} positions for {len(images)} images: expected one for each"
            )
        if order is not None:
            order = np.ascontiguousarray(order)
            inside = (order >= 0) & (order < len(images))
            if not (np.issubdtype(order.dtype, np.integer) and inside.all()):
                raise ValueError(f"order is {shown(order)}: expected positions of images")
            images, labels = as_tensors(images, labels)
        self.index = 0
        self.images = images
        self.labels = labels
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.order = order
        self.num_batches = math.ceil(len(images) / self.batch_size)

    def next(self) -> tuple[Any, Any]:
        """Return the images and the labels of the next batch.

        Raises:
            IndexError: If all batches were drawn.
        """
        if self.index >= len(self.images):
            raise IndexError(f"all {self.num_batches} batches were drawn: make another generator")
        batch: slice | np.ndarray = slice(self.index, self.index + self.batch_size)
        if self.order is not None:
            batch = self.order[batch]
        self.index += self.batch_size
        return self.images[batch], self.labels[batch]


def one_training_step(
    model: NaiveSequential,
    images_batch: Tensor,
    labels_batch: Tensor,
    update_weights: optimizers.UpdateRule = optimizers.update_weights,
) -> Tensor:
    """Run the model on a batch and move its weights against the gradient of the loss.

    Args:
        model: Its weights are changed in place.
        images_batch: Shape (batch, pixels), in the dtype of the weights.
        labels_batch: Class indices, shape (batch,), integers.
        update_weights: Given the gradients and the weights, changes the weights in place.

    Returns:
        The average loss of the batch before the update, in nats per sample: a scalar.

    Source: Deep Learning with Python, 2nd edition, section 2.5.2.
    """
    with tf.GradientTape() as tape:
        predictions = model(images_batch)
        per_sample_losses = sparse_categorical_crossentropy(labels_batch, predictions)
        average_loss = tf.reduce_mean(per_sample_losses)
    gradients = tape.gradient(average_loss, model.weights)
    update_weights(gradients, model.weights)
    return average_loss


def fit(
    model: NaiveSequential,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    batch_size: int = 128,
    *,
    update_weights: optimizers.UpdateRule = optimizers.update_weights,
    shuffle_seed: int | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train a model, printing the epoch and the loss of every hundredth batch.

    The book's listing takes `batch_size` and leaves it unused; this one uses it.

    Args:
        model: Its weights are changed in place.
        images: Shape (samples, pixels), in the dtype of the weights.
        labels: Class indices, shape (samples,), integers from 0 to classes - 1.
        epochs: Passes over the data set, at least 1.
        batch_size: Samples in a batch, at least 1.
        update_weights: Given the gradients and the weights, changes the weights in place.
        shuffle_seed: Seeds NumPy's generator, which draws a new order of the samples for
            each epoch. By default every epoch takes them in the order of the data set.
        on_step: Called after each step with the epoch and the batch, both counted from 0,
            and the average loss of that batch in nats per sample.
        on_epoch: Called after each epoch with its number.
        progress: Where to begin, with the weights of that moment; kept up to date. By default
            the beginning.

    Raises:
        ValueError: If `check_data` refuses an argument.
        DivergenceError: If the loss of a batch or a weight after an epoch is not finite; or if
            a whole epoch changed no weight, at an average loss above that of a guess, the
            logarithm of the number of classes. The loss clips probabilities, and where all are
            clipped no gradient flows.

    Source: Deep Learning with Python, 2nd edition, section 2.5.3.
    """
    check_settings(gradients=True)
    check_kind("model", model, NaiveSequential, "a NaiveSequential, as mnist_model makes it")
    check_kind("update_weights", update_weights, Callable, "a function of gradients and weights")
    check_calls(on_step=on_step, on_epoch=on_epoch)
    images, labels = as_tensors(images, labels)
    check_data(model, images, labels, epochs, batch_size)
    guess = math.log(model.weights[-1].shape[0])
    at = Progress.begun(progress, epochs, math.ceil(len(images) / batch_size))
    rng = None if shuffle_seed is None else seeded("shuffle_seed", shuffle_seed)
    update_weights = averaged(update_weights)
    for epoch_counter in range(epochs):
        order = None if rng is None else rng.permutation(len(images))
        if epoch_counter < at.epoch:
            continue
        print(f"Epoch {epoch_counter}")
        batch_generator = BatchGenerator(images, labels, batch_size, order)
        batch_generator.index = at.batch * batch_generator.batch_size
        if at.batch == 0:
            at.initial_sha256 = weights_sha256(model)
        for batch_counter in range(at.batch, batch_generator.num_batches):
            images_batch, labels_batch = share(*batch_generator.next())
            loss = one_training_step(model, images_batch, labels_batch, update_weights)
            (loss,) = average([loss])
            check_finite(loss, epoch_counter, batch_counter)
            at.total_loss += float(loss)
            at.batch += 1
            if batch_counter % 100 == 0:
                print(f"loss at batch {batch_counter}: {loss:.2f}")
            if on_step is not None:
                on_step(epoch_counter, batch_counter, float(loss))
        average_loss = at.total_loss / batch_generator.num_batches
        if average_loss > guess and weights_sha256(model) == at.initial_sha256:
            raise DivergenceError(
                f"epoch {epoch_counter} changed no weight, at an average loss of "
                f"{average_loss:.2f}, where a guess has {guess:.2f}"
            )
        check_weights(model, epoch_counter)
        at.end_epoch()
        if on_epoch is not None:
            on_epoch(epoch_counter)


def as_tensors(images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels as the framework takes them, whatever holds their numbers.

    Raises:
        ValueError: If they are no real numbers, or rows of different lengths.
    """
    images, labels = as_array("images", images), as_array("labels", labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    return images, labels.astype("int64", copy=False) if whole else labels


def check_data(model: Any, images: Any, labels: Any, epochs: int = 1, batch_size: int = 1) -> None:
    """Refuse what no model can be trained or evaluated on, before anything is printed.

    Raises:
        ValueError: If there are no images, or not as many labels as images; if `check_images`
            refuses the images; if the labels are not class indices from 0 to classes - 1, one
            integer for each image; or if the number of epochs or the batch size is no whole
            number above 0.
    """
    BatchGenerator(images, labels, batch_size)
    check_integer("epochs", epochs, 1)
    check_images(model, images)
    if labels.ndim != 1 or labels.dtype != np.dtype("int64"):
        found = describe(labels)
        raise ValueError(f"the labels are {found}: expected one integer for each image")
    classes = model.layers[-1].weights[-1].shape[0]
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label < classes:
            raise ValueError(f"a label is {label}: expected classes from 0 to {classes - 1}")


def check_images(model: Any, images: Any) -> None:
    """Refuse images that the model cannot take, or that are not finite.

    Raises:
        ValueError: With what was found, and what was expected.
    """
    kernels = [(name, w) for name, w in named_weights(model).items() if name.endswith("W")]
    _, kernel = kernels[0]
    dtype = getattr(model.layers[0], "compute_dtype", dtype_name(kernel))  # tf.keras has a policy
    check_choice("the dtype in which the model computes", dtype)
    wanted = f"{dtype} of shape ({len(images)}, {kernel.shape[0]})"
    if (found := describe(images)) != wanted:
        raise ValueError(f"the images are {found}: expected {wanted}")
    for (before, outputs), (name, inputs) in pairwise(kernels):
        if (outputs.dtype, outputs.shape[1]) != (inputs.dtype, inputs.shape[0]):
            raise ValueError(
                f"{name} is {describe(inputs)}: expected one that takes the outputs of {before}, "
                f"which is {describe(outputs)}"
            )
    if len(images) and not all(math.isfinite(pixel) for pixel in (images.min(), images.max())):
        raise ValueError("a pixel of the images is not finite: expected numbers from 0 to 1")


def check_finite(loss: Any, epoch: int, batch: int) -> None:
    """Refuse a loss that is not a finite number.

    Raises:
        DivergenceError: With the epoch and the batch, both counted from 0.
    """
    if not math.isfinite(loss):
        raise DivergenceError(f"the loss is {float(loss)} at epoch {epoch}, batch {batch}")


def check_weights(model: Any, epoch: int) -> None:
    """Refuse weights that are not all finite numbers, since the last update is kept.

    Raises:
        DivergenceError: With the weight and the epoch.
    """
    for name, weight in named_weights(model).items():
        if not np.isfinite(weight.numpy()).all():
            raise DivergenceError(f"{name} holds a number that is not finite, in epoch {epoch}")
