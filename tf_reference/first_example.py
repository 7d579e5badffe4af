"""The book's first example: the network made of the framework's own parts."""

import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np

from .framework import Tensor, tf, use_dtype
from .optimizers import RMSprop
from .training import check_data, check_finite
from .weights import write_whole

Dense = tf.keras.layers.Dense

Sequential: TypeAlias = tf.keras.Sequential


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Draw a kernel uniform in [-limit, limit), limit = sqrt(6 / (inputs + outputs)).

    Args:
        rng: Draws it, in float64.
        shape: (inputs, outputs).

    Source: keras/src/initializers/random_initializers.py.
    """
    limit = math.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, shape)


def mnist_model(seed: int | None = None) -> Sequential:
    """Return the first example's model: 784 pixels, 512 relu units, 10 classes.

    Its weights are in the default dtype. Keras takes the softmax of its last layer off
    again when it trains, so the port ends with the logits.

    Args:
        seed: Of the kernels, at least 0, which NumPy then draws. By default the framework
            does, from the same distribution.

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
        rng = np.random.default_rng(seed)
        for layer in model.layers:
            kernel, _ = layer.weights
            kernel.assign(glorot_uniform(rng, kernel.shape))
    return model


def fit(
    model: Sequential,
    images: Tensor,
    labels: Tensor,
    epochs: int = 5,
    batch_size: int = 128,
    *,
    learning_rate: float = 1e-3,
    shuffle_seed: int | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> dict[str, list[float]]:
    """Train a model by RMSprop, printing the loss and the accuracy of each epoch.

    Args:
        model: Its weights are changed in place.
        images: Shape (samples, pixels), in the dtype of the weights.
        labels: Class indices, shape (samples,), integers from 0 to classes - 1.
        epochs: Passes over the data set, at least 1.
        batch_size: Samples in a batch, at least 1.
        learning_rate: Step size of RMSprop, above 0.
        shuffle_seed: Seeds NumPy's generator, which draws a new order of the samples for
            each epoch. By default every epoch takes them in the order of the data set.
        on_step: Called after each step with the epoch and the batch, both counted from 0,
            and the average loss of the epoch so far in nats per sample.

    Returns:
        The "loss" and the "accuracy" of each epoch: averages over its samples, each
        predicted before the update of its batch.

    Raises:
        ValueError: If `check_data` refuses an argument.
        DivergenceError: If a loss is not finite.

    Source: Deep Learning with Python, 2nd edition, section 2.1.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    check_data(model, images, labels, epochs, batch_size)
    model.compile(
        optimizer=RMSprop(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )

    rng = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
    history: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for epoch_counter in range(epochs):
        print(f"Epoch {epoch_counter}")
        order = slice(None) if rng is None else rng.permutation(len(images))

        def on_batch(
            batch_counter: int, logs: dict[str, float], epoch: int = epoch_counter
        ) -> None:
            check_finite(logs["loss"], epoch, batch_counter)
            if on_step is not None:
                on_step(epoch, batch_counter, float(logs["loss"]))

        of_epoch = model.fit(
            images[order],
            labels[order],
            batch_size,
            shuffle=False,
            verbose=0,
            callbacks=[tf.keras.callbacks.LambdaCallback(on_train_batch_end=on_batch)],
        ).history
        history["loss"] += of_epoch["loss"]
        history["accuracy"] += of_epoch["accuracy"]
        print(f"loss: {history['loss'][-1]:.4f}, accuracy: {history['accuracy'][-1]:.4f}")
    return history


def save_model(model: Sequential, path: str | os.PathLike) -> None:
    """Write a model to a file of the framework, which appears whole or not at all.

    Args:
        model: As `mnist_model` makes it.
        path: For Keras a name in .keras (the whole model) or .weights.h5; for PyTorch one in
            .safetensors, which gets the state dict. An existing file is replaced.

    Raises:
        ValueError: If the name ends otherwise.
        OSError: If the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, Path(path).name)
        if temporary.name.endswith(".keras"):
            model.save(temporary)
        else:
            model.save_weights(temporary)
        write_whole(path, temporary.read_bytes())


def load_model(path: str | os.PathLike) -> Sequential:
    """Read a model from a file of the framework, in the dtype that the file has.

    That becomes the default dtype, as `use_dtype` makes it.

    Args:
        path: As `save_model` writes it, or the framework's own functions.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or one of another model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: expected the file of a trained model")
    try:
        if path.name.endswith(".keras"):
            model = tf.keras.models.load_model(path, compile=False)
            use_dtype(model.dtype)
        else:
            with h5py.File(path) as file:
                use_dtype(file["layers/dense/vars/0"].dtype.name)
            model = mnist_model()
            model.load_weights(path)
    except (KeyError, OSError, TypeError, ValueError) as error:
        whole = zipfile.is_zipfile(path) or not path.name.endswith(".keras")
        reason = str(error).split("\n")[0] if whole else "it is no whole zip file"
        raise ValueError(f"{path} is not a file of the first example's model: {reason}") from error
    return model
