"""Training: the batches, one step, and the loop over epochs."""

import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import optimizers
from .framework import DTYPES, as_array, check, check_settings, check_whole
from .layers import NaiveSequential
from .losses import sparse_categorical_crossentropy
from .weights import describe, dtype_name, named_weights


class DivergenceError(ArithmeticError):
    """Training has failed: a loss or a weight is not finite, or the weights are stuck."""


@dataclass(frozen=True)
class Progress:
    """How far a training has come, beside its weights and its optimizer.

    Attributes:
        epoch: Epochs that are done.
        batch: Batches of the next one that are done.
        total_loss: Sum of the losses of the samples of these batches, in nats.
        matches: How many of these samples were predicted right; counted in the first example.
    """

    epoch: int = 0
    batch: int = 0
    total_loss: float = 0.0
    matches: int = 0


BEGINNING = Progress()


def ignore(*arguments: Any) -> None:
    """Do nothing, which is what a training calls where nobody follows it."""


class BatchGenerator:
    """Cuts a data set into batches; the last one holds what is left over.

    Args:
        images: Shape (samples, ...), at least one sample.
        labels: Shape (samples,).
        batch_size: Samples in a batch, at least 1.
        order: Positions of the samples in the order in which they are drawn. By default
            the order of the data set.

    Raises:
        ArgumentError: If there are no images, not as many labels or positions as images, or if
            the batch size is no whole number above 0.

    Source: Deep Learning with Python, 2nd edition, section 2.5.1.
    """

    def __init__(
        self, images: Any, labels: Any, batch_size: int = 128, order: np.ndarray | None = None
    ) -> None:
        check_batches(images, labels, batch_size, order)
        if order is not None:
            order = np.ascontiguousarray(order)
            images, labels = as_tensors(images, labels)
        self.index = 0
        self.images = images
        self.labels = labels
        self.batch_size = int(batch_size)
        self.order = order
        self.num_batches = math.ceil(len(images) / batch_size)

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
    predictions = model(images_batch)
    per_sample_losses = sparse_categorical_crossentropy(labels_batch, predictions)
    average_loss = torch.mean(per_sample_losses)
    gradients = torch.autograd.grad(average_loss, model.weights)
    update_weights(gradients, model.weights)
    return average_loss.detach()


def fit(
    model: NaiveSequential,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    batch_size: int = 128,
    *,
    update_weights: optimizers.UpdateRule = optimizers.update_weights,
    shuffle_seed: int | None = None,
    start: Progress = BEGINNING,
    step: Callable | None = None,
    on_step: Callable[[int, int, float], object] = ignore,
    on_epoch: Callable[[int], object] = ignore,
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
        start: Where to begin, with the weights of that moment. By default the beginning.
        step: Called in place of `one_training_step`, with its arguments.
        on_step: Called after each step with the epoch and the batch, both counted from 0,
            and the average loss of that batch in nats per sample.
        on_epoch: Called after each epoch with its number.

    Raises:
        ArgumentError: If `each_epoch` refuses an argument.
        DivergenceError: If the loss of a batch or a weight after an epoch is not finite.

    Source: Deep Learning with Python, 2nd edition, section 2.5.3.
    """
    check("model", model, isinstance(model, NaiveSequential), "a NaiveSequential")
    check("update_weights", update_weights, callable(update_weights), "a function of gradients")
    step = step or one_training_step
    for epoch_counter, begin, batch_generator in each_epoch(
        model, images, labels, epochs, batch_size, shuffle_seed, start, step, on_step, on_epoch
    ):
        print(f"Epoch {epoch_counter}")
        for batch_counter in range(begin.batch, batch_generator.num_batches):
            images_batch, labels_batch = batch_generator.next()
            loss = step(model, images_batch, labels_batch, update_weights)
            check_finite(loss, epoch_counter, batch_counter)
            if batch_counter % 100 == 0:
                print(f"loss at batch {batch_counter}: {loss:.2f}")
            on_step(epoch_counter, batch_counter, float(loss))
        check_weights(model, epoch_counter)
        on_epoch(epoch_counter)


def each_epoch(
    model: Any,
    images: Any,
    labels: Any,
    epochs: int,
    batch_size: int,
    shuffle_seed: int | None,
    start: Progress,
    *functions: Callable,
) -> Iterator[tuple[int, Progress, BatchGenerator]]:
    """Check the arguments of a training, and yield what is left of each epoch.

    Yields:
        The number of the epoch, where in it to begin, and its batches from there on.

    Raises:
        ArgumentError: If an argument is not as it must be, or if the framework was told not to
            compute gradients.
    """
    check_settings(gradients=True)
    images, labels = checked_data(model, images, labels)
    check_course(len(images), epochs, batch_size, shuffle_seed, start, functions)
    rng = np.random.default_rng(shuffle_seed)
    for epoch in range(epochs):
        order = None if shuffle_seed is None else rng.permutation(len(images))  # also if skipped
        if epoch >= start.epoch:
            begin = start if epoch == start.epoch else Progress(epoch)
            batch_generator = BatchGenerator(images, labels, batch_size, order)
            batch_generator.index = begin.batch * batch_size
            yield epoch, begin, batch_generator


def check_course(
    samples: int, epochs: int, batch_size: int, shuffle_seed: Any, start: Any, functions: Any
) -> None:
    """Refuse numbers of epochs, batches and seeds that there are not, and what cannot be called."""
    check_whole("epochs", epochs, 1)
    check_whole("batch_size", batch_size, 1)
    check_whole("shuffle_seed", shuffle_seed or 0, 0)
    check("start", start, isinstance(start, Progress), "a Progress")
    check_whole("start.epoch", start.epoch, 0, epochs)
    check_whole("start.batch", start.batch, 0, math.ceil(samples / batch_size) - 1)
    for name, function in zip(("step", "on_step", "on_epoch"), functions, strict=True):
        check(name, function, callable(function), "a function")


def as_tensors(images: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels as the framework takes them, whatever holds their numbers."""
    images, labels = (
        values if getattr(values, "is_cuda", False) else torch.as_tensor(as_array(name, values))
        for name, values in (("images", images), ("labels", labels))
    )
    # Torch cannot order uint16, uint32 and uint64.
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    return images, labels.long() if whole else labels


def check_batches(images: Any, labels: Any, batch_size: int, order: np.ndarray | None) -> None:
    """Refuse what cannot be cut into batches."""
    check_whole("batch_size", batch_size, 1)
    check("images", images, isinstance(images, Sized), "an array")
    check("labels", labels, isinstance(labels, Sized), "an array")
    samples = len(images)
    check("the number of images", samples, samples > 0, "at least one")
    check("the number of labels", len(labels), len(labels) == samples, f"{samples}, as of images")
    if order is not None:
        order = np.asarray(order)
        fits = order.dtype.kind in "iu" and order.shape == (samples,)
        fits = fits and order.min() >= 0 and order.max() < samples
        check("order", order, fits, f"{samples} positions of images")


def checked_data(model: Any, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels as tensors, if the labels are one class index for each image."""
    images, labels = as_tensors(images, labels)
    check_batches(images, labels, 1, None)
    check_images(model, images)
    whole = labels.ndim == 1 and labels.dtype == torch.int64
    check("the array of labels", describe(labels), whole, "one integer for each image")
    classes = model.layers[-1].weights[-1].shape[0]
    for label in (int(labels.min()), int(labels.max())):
        check("a label", label, 0 <= label < classes, f"classes from 0 to {classes - 1}")
    return images, labels


def check_images(model: Any, images: Any) -> None:
    """Refuse images that the model cannot take, or that are not finite."""
    kernels = [(name, w) for name, w in named_weights(model).items() if name.endswith("W")]
    _, kernel = kernels[0]
    dtype = dtype_name(kernel)
    check("the dtype of the model", dtype, dtype in DTYPES, "float32 or float64")
    wanted = f"{dtype} of shape ({len(images)}, {kernel.shape[0]})"
    check("the array of images", describe(images), describe(images) == wanted, wanted)
    for (before, outputs), (name, inputs) in pairwise(kernels):
        fits = (outputs.dtype, outputs.shape[1]) == (inputs.dtype, inputs.shape[0])
        check(name, describe(inputs), fits, f"a kernel that takes the outputs of {before}")
    for pixel in (images.min(), images.max()) if len(images) else ():
        check("a pixel", float(pixel), math.isfinite(pixel), "a finite number")


def check_finite(loss: Any, epoch: int, batch: int) -> None:
    """Raise a DivergenceError for a loss that is not a finite number."""
    if not math.isfinite(loss):
        raise DivergenceError(f"the loss is {float(loss)} at epoch {epoch}, batch {batch}")


def check_weights(model: Any, epoch: int) -> None:
    """Raise a DivergenceError for weights that are not all finite numbers."""
    for name, weight in named_weights(model).items():
        if not torch.isfinite(weight).all():
            raise DivergenceError(f"{name} holds a number that is not finite, in epoch {epoch}")
