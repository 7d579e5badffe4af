"""The book's first example: the network made of the framework's own parts."""

import io
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from .arguments import check_calls, check_integer, check_kind, check_positive, seeded, shown
from .files import as_path, check_input, read_json, write_whole
from .framework import Tensor, check_settings, tf, use_dtype
from .optimizers import RMSprop
from .ranks import average, average_gradients, failures_named, group, share
from .training import BatchGenerator, Progress, as_tensors, check_data, check_finite, check_weights
from .weights import named_weights

LARGEST_FILE, LARGEST_CONFIG, LARGEST_LAYER = 100_000_000, 100_000, 4096
"""What is read of a .keras file: its bytes, those of its config.json, and the numbers in this."""

Dense = tf.keras.layers.Dense

Sequential: TypeAlias = tf.keras.Sequential


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
        [
            tf.keras.Input((28 * 28,)),
            Dense(512, activation="relu"),
            Dense(10, activation="softmax"),
        ]
    )
    if seed is not None:
        rng = seeded("seed", seed)
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
        ValueError: If the learning rate is not a finite number above 0.
    """
    learning_rate = check_positive("learning_rate", learning_rate)
    optimizer = RMSprop(learning_rate)
    optimizer.build(model.trainable_variables)
    average_gradients(optimizer)
    return optimizer


def named_velocities(model: Sequential, optimizer: RMSprop) -> dict[str, Tensor]:
    """Return the averages that RMSprop keeps, by names such as `layers.0.W.velocity`: no copies.

    Args:
        model: Whose weights the optimizer changes.
        optimizer: As `rmsprop` makes it.
    """
    velocities = [variable for variable in optimizer.variables if "velocity" in variable.path]
    return {
        f"{name}.velocity": velocity
        for name, velocity in zip(named_weights(model), velocities, strict=True)
    }


def check_optimizer(model: Sequential, optimizer: RMSprop) -> None:
    """Refuse an optimizer that would leave the weights of a model as they are.

    Raises:
        ValueError: If it is no optimizer, or not of this model.
    """
    check_kind("optimizer", optimizer, tf.keras.optimizers.Optimizer, "one as rmsprop makes it")
    # tf.keras finds this in the first step only.
    held = {id(w) for w in optimizer._trainable_variables}
    if held != {id(w) for w in model.trainable_variables}:
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
    accuracy = tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(
        optimizer=optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=[accuracy],
    )
    variables = [*model.metrics_variables[:2], *accuracy.variables]  # each a total and its count

    def on_epoch_begin(epoch: int, logs: dict[str, float]) -> None:
        totals = at.total_loss, at.samples, at.matches, at.samples
        for variable, total in zip(variables, totals, strict=True):
            variable.assign(total)

    def on_batch(batch_counter: int, logs: dict[str, float]) -> None:
        check_finite(logs["loss"], at.epoch, at.batch)
        at.total_loss = float(variables[0])
        at.samples, at.matches = (int(variable) for variable in variables[1:3])
        at.batch += 1
        if on_step is not None:
            on_step(at.epoch, at.batch - 1, float(logs["loss"]))

    callback = tf.keras.callbacks.LambdaCallback(
        on_epoch_begin=on_epoch_begin, on_train_batch_end=on_batch
    )

    def fit_by_shares(batch_generator: BatchGenerator) -> None:
        for _ in range(batch_generator.num_batches):
            images_batch, labels_batch = batch_generator.next()
            samples = len(labels_batch)
            images_batch, labels_batch = share(images_batch, labels_batch)
            model.reset_metrics()
            with failures_named():
                logs = model.train_on_batch(images_batch, labels_batch, return_dict=True)
            of_share = [tf.constant(logs[name], "float64") for name in ("loss", "accuracy")]
            average_loss, right = average(of_share)
            at.samples += samples
            at.total_loss += float(average_loss) * samples
            at.matches += round(float(right) * samples)
            at.batch += 1
            check_finite(at.total_loss, at.epoch, at.batch - 1)
            if on_step is not None:
                on_step(at.epoch, at.batch - 1, at.total_loss / at.samples)

    history: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for epoch_counter in range(epochs):
        order = None if rng is None else rng.permutation(len(images))
        if epoch_counter < at.epoch:
            continue
        print(f"Epoch {epoch_counter}")
        left: Any = slice(at.batch * batch_size, None)  # all, unless training goes on within
        left = left if order is None else order[left]
        if group.size > 1:
            fit_by_shares(BatchGenerator(images[left], labels[left], batch_size))
            of_epoch = {"loss": [at.total_loss / at.samples], "accuracy": [at.matches / at.samples]}
        else:
            options: Any = {"shuffle": False, "verbose": 0, "callbacks": [callback]}
            of_epoch = model.fit(images[left], labels[left], batch_size, **options).history
        history["loss"] += of_epoch["loss"]
        history["accuracy"] += of_epoch["accuracy"]
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
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, path.name)
        if temporary.name.endswith(".keras"):
            model.save(temporary)
        else:
            model.save_weights(temporary)
        write_whole(path, temporary.read_bytes())


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
    floatx, policy = tf.keras.config.floatx(), tf.keras.config.dtype_policy()
    try:
        check_model_file(path)
        if path.name.endswith(".keras"):
            model = tf.keras.models.load_model(path, compile=False)
            use_dtype(model.dtype)
        else:
            with h5py.File(path) as file:
                use_dtype(file["layers/dense/vars/0"].dtype.name)
            model = mnist_model()
            model.load_weights(path)
    except Exception as error:
        tf.keras.config.set_floatx(floatx)
        tf.keras.config.set_dtype_policy(policy)
        reason = shown((str(error) or type(error).__name__).split("\n")[0], 400)
        raise ValueError(f"{path} is not a file of the first example's model: {reason}") from error
    return model


def check_model_file(path: Path) -> None:
    """Refuse a file that would take the framework's own reader far more memory than the model has.

    Raises:
        ValueError: If it is no such file, or its header promises too much.
    """

    def numbers(item: Any) -> Iterator[float]:
        if isinstance(item, dict):
            item = [value for name, value in item.items() if name != "shared_object_id"]
        if isinstance(item, list):
            for part in item:
                yield from numbers(part)
        elif isinstance(item, int | float):
            yield item

    file: Any = path
    if path.name.endswith(".keras"):
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no whole zip file")
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member.file_size for member in archive.infolist()}
            if set(members) != {"metadata.json", "config.json", "model.weights.h5"}:
                raise ValueError(f"it holds {shown(', '.join(members))}")
            if sum(members.values()) > LARGEST_FILE or members["config.json"] > LARGEST_CONFIG:
                raise ValueError(f"it grows to {sum(members.values()):,} bytes")
            config = read_json(archive.read("config.json"), "its config.json")
            if (largest := max(numbers(config), default=0)) > LARGEST_LAYER:
                raise ValueError(f"its config.json asks for {largest:g} of something")
            file = io.BytesIO(archive.read("model.weights.h5"))
    total = 0

    def add(name: str, item: Any) -> None:
        nonlocal total
        total += item.size * item.dtype.itemsize if isinstance(item, h5py.Dataset) else 0

    with h5py.File(file) as weights:
        weights.visititems(add)
    if total > LARGEST_FILE:
        raise ValueError(f"its weights have {total:,} bytes")
