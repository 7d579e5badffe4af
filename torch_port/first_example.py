"""The book's first example: the network made of the framework's own parts."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from .arguments import check_calls, check_integer, check_kind, check_positive, seeded
from .files import as_path, check_input, write_whole
from .framework import check_settings, use_dtype
from .optimizers import RMSprop
from .ranks import average, average_gradients, share
from .training import BatchGenerator, Progress, as_tensors, check_data, check_finite, check_weights
from .weights import named_weights, read_header, read_tensors


class Dense(torch.nn.Linear):
    """A `torch.nn.Linear` that starts as a Keras Dense does: glorot_uniform, biases 0."""

    def reset_parameters(self) -> None:
        """Draw the kernel from the framework's generator."""
        torch.nn.init.xavier_uniform_(self.weight)
        torch.nn.init.zeros_(self.bias)

    @property
    def weights(self) -> list[Tensor]:
        """The kernel, of shape (inputs, outputs) as in Keras, and the bias: no copies."""
        return [self.weight.T, self.bias]


class Sequential(torch.nn.Sequential):
    """A `torch.nn.Sequential` that knows which of its modules have weights."""

    @property
    def layers(self) -> list[Dense]:
        """The dense layers, in their order."""
        return [module for module in self if isinstance(module, Dense)]


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Draw a kernel uniform in [-limit, limit), limit = sqrt(6 / (inputs + outputs)).

    Args:
        rng: Draws it, in float64.
        shape: (inputs, outputs), each at least 1.

    Raises:
        ValueError: If a size is no whole number above 0.

    Source: keras/src/initializers/random_initializers.py.
    """
    for size in shape:
        check_integer("a size of shape", size, 1)
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
        ValueError: If the seed is no whole number, 0 or above.

    Source: Deep Learning with Python, 2nd edition, section 2.1.
    """
    model = Sequential(
        Dense(28 * 28, 512),
        torch.nn.ReLU(),
        Dense(512, 10),
    )
    if seed is not None:
        rng = seeded("seed", seed)
        for layer in model.layers:
            kernel, _ = layer.weights
            kernel.data.copy_(torch.as_tensor(glorot_uniform(rng, kernel.shape)))
    return model


def rmsprop(model: Sequential, learning_rate: float = 1e-3) -> RMSprop:
    """Return the optimizer of the first example for the weights of a model.

    Args:
        model: Its weights are changed by the optimizer.
        learning_rate: Step size, above 0.

    Raises:
        ValueError: If the learning rate is not a finite number above 0.
    """
    learning_rate = check_positive("learning_rate", learning_rate)
    optimizer = RMSprop(model.parameters(), learning_rate)
    average_gradients(optimizer)
    return optimizer


def named_velocities(model: Sequential, optimizer: RMSprop) -> dict[str, Tensor]:
    """Return the averages that RMSprop keeps, by names such as `layers.0.W.velocity`: no copies.

    Args:
        model: Whose weights the optimizer changes.
        optimizer: As `rmsprop` makes it.
    """
    velocities: list[Tensor] = []
    for layer in model.layers:
        for w in (layer.weight, layer.bias):
            velocity = optimizer.state[w].setdefault("velocity", torch.zeros_like(w))
            velocities.append(velocity.T if w is layer.weight else velocity)
    return {
        f"{name}.velocity": velocity
        for name, velocity in zip(named_weights(model), velocities, strict=True)
    }


def check_optimizer(model: Sequential, optimizer: RMSprop) -> None:
    """Refuse an optimizer that would leave the weights of a model as they are.

    Raises:
        ValueError: If it is no optimizer, or not of this model.
    """
    check_kind("optimizer", optimizer, torch.optim.Optimizer, "one as rmsprop makes it")
    # torch.optim would step through the weights of that model, whose gradients are absent.
    held = {id(w) for group in optimizer.param_groups for w in group["params"]}
    if held != {id(w) for w in model.parameters()}:
        raise ValueError("the optimizer is not of this model: make one by rmsprop(model)")


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
    on_step: Callable[[int, int, float], None] | None = None,
    on_epoch: Callable[[int], None] | None = None,
    progress: Progress | None = None,
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
        on_step: Called after each step with the epoch and the batch, both counted from 0,
            and the average loss of the epoch so far in nats per sample.
        on_epoch: Called after each epoch with its number.
        progress: Where to begin, with the weights and the optimizer of that moment; kept up to
            date. By default the beginning.

    Returns:
        The "loss" and the "accuracy" of each epoch that ended: averages over its samples, each
        predicted before the update of its batch.

    Raises:
        ValueError: If `check_data` refuses an argument.
        DivergenceError: If a loss is not finite, or a weight after an epoch.

    Source: Deep Learning with Python, 2nd edition, section 2.1.
    """
    check_settings(gradients=True)
    check_kind("model", model, Sequential, "the first example's, as mnist_model makes it")
    check_calls(on_step=on_step, on_epoch=on_epoch)
    images, labels = as_tensors(images, labels)
    check_data(model, images, labels, epochs, batch_size)
    optimizer = optimizer or rmsprop(model, learning_rate)
    check_optimizer(model, optimizer)
    at = Progress.begun(progress, epochs, math.ceil(len(images) / batch_size))
    rng = None if shuffle_seed is None else seeded("shuffle_seed", shuffle_seed)
    history: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for epoch_counter in range(epochs):
        order = None if rng is None else rng.permutation(len(images))
        if epoch_counter < at.epoch:
            continue
        print(f"Epoch {epoch_counter}")
        batch_generator = BatchGenerator(images, labels, batch_size, order)
        batch_generator.index = at.batch * batch_generator.batch_size
        for batch_counter in range(at.batch, batch_generator.num_batches):
            images_batch, labels_batch = batch_generator.next()
            samples = len(labels_batch)
            images_batch, labels_batch = share(images_batch, labels_batch)
            logits = model(images_batch)
            average_loss = torch.nn.functional.cross_entropy(logits, labels_batch.long())
            optimizer.zero_grad()
            average_loss.backward()
            optimizer.step()

            right = (logits.argmax(dim=1) == labels_batch).to(logits.dtype).mean()
            average_loss, right = average([average_loss.detach(), right])
            at.samples += samples
            at.total_loss += average_loss.item() * samples
            at.matches += round(right.item() * samples)
            at.batch += 1
            check_finite(at.total_loss, epoch_counter, batch_counter)
            if on_step is not None:
                on_step(epoch_counter, batch_counter, at.total_loss / at.samples)
        history["loss"].append(at.total_loss / at.samples)
        history["accuracy"].append(at.matches / at.samples)
        check_weights(model, epoch_counter)
        print(f"loss: {history['loss'][-1]:.4f}, accuracy: {history['accuracy'][-1]:.4f}")
        at.end_epoch()
        if on_epoch is not None:
            on_epoch(epoch_counter)
    return history


def save_model(model: Sequential, path: str | os.PathLike) -> None:
    """Write a model to a file of the framework, which appears whole or not at all.

    Args:
        model: As `mnist_model` makes it.
        path: For Keras a name in .keras (the whole model) or .weights.h5; for PyTorch one in
            .safetensors, which gets the state dict. An existing file is replaced.

    Raises:
        ValueError: If the model is another one, or if the name ends otherwise.
        OSError: If the file cannot be written.
    """
    check_kind("model", model, Sequential, "the first example's, as mnist_model makes it")
    path = as_path(path)
    if not path.name.endswith(".safetensors"):
        raise ValueError(f"{path}: expected a name in .safetensors for a state dict of PyTorch")
    write_whole(path, safetensors.torch.save(model.state_dict()))


def load_model(path: str | os.PathLike) -> Sequential:
    """Read a model from a file of the framework, in the dtype that the file has.

    That becomes the default dtype, as `use_dtype` makes it, unless the file is refused.

    Args:
        path: As `save_model` writes it, or the framework's own functions.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or one of another model.
    """
    path = check_input(path, "the file of a trained model")
    default = torch.get_default_dtype()
    try:
        check_model_file(path)
        dtypes = {entry.get("dtype") for entry in read_header(path).values()}
        use_dtype("float64" if "F64" in dtypes else "float32")
        model = mnist_model()
        model.load_state_dict(read_tensors(path, model.state_dict()))
    except ValueError as error:
        torch.set_default_dtype(default)
        raise ValueError(f"{path} is not a file of the first example's model: {error}") from error
    return model


def check_model_file(path: Path) -> None:
    """Refuse a file that would take the framework's own reader far more memory than the model has.

    Raises:
        ValueError: If it is no such file, or its header promises too much.
    """
    if "layers.0.W" in read_header(path):  # whose sizes are compared before it is read
        raise ValueError(
            "it was written by `train --save-weights`, and load_weights or --initial-weights "
            "reads it; expected the state dict that save_model writes"
        )
