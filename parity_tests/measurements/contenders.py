"""The same training by others, for the benchmark: each contender in a process of its own.

Every contender starts from the same weights, takes the same batches and stops after the same
step, so that its weights can be checked. It imports only what it needs itself, since some run
in another environment; its loop is what its framework's documentation would write.

    python -m parity_tests.measurements.contenders NAME BATCH_SIZE RATE COPIES DATA

answers each number of batches on standard input by a line of JSON: the seconds that it took to
train on the first ones, and the loss and the peak memory after that.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from parity_tests.ladder import oracle


class Task(NamedTuple):
    """What there is to be trained, as float32 and int64 arrays."""

    weights: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray
    batch_size: int
    rate: float


class Contender(NamedTuple):
    """A training that is under way.

    Attributes:
        run: Trains on so many batches, from the first.
        weights: Returns W and b of the layers; None for what is no training.
    """

    run: Callable[[int], None]
    weights: Callable[[], Iterable[Any]] | None


def batches(task: Task, number: int) -> Iterable[slice]:
    """Yield the place in the data set of each of the first batches."""
    for batch in range(number):
        yield slice(batch * task.batch_size, (batch + 1) * task.batch_size)


def products_in_torch(task: Task, precision: str) -> Contender:
    """Time the five matrix products of a step alone, the lower bound of its time."""
    import torch

    from torch_port import use_device

    use_device("cpu")
    torch.set_float32_matmul_precision(precision)
    x, da = torch.as_tensor(task.images), torch.rand(task.batch_size, 512)
    h, dz = torch.rand(task.batch_size, 512), torch.rand(task.batch_size, 10)
    W1, W2 = (torch.as_tensor(task.weights[f"layers.{index}.W"]) for index in (0, 1))
    return products(task, x, da, h, dz, W1, W2)


def products_in_numpy(task: Task) -> Contender:
    """Time the same products in NumPy."""
    rng = np.random.default_rng(0)
    shapes = [(task.batch_size, width) for width in (512, 512, 10)]
    da, h, dz = (rng.random(shape, "float32") for shape in shapes)
    return products(
        task, task.images, da, h, dz, task.weights["layers.0.W"], task.weights["layers.1.W"]
    )


def products(task: Task, x: Any, da: Any, h: Any, dz: Any, W1: Any, W2: Any) -> Contender:
    """Return the products forward through two layers and back; the images need no gradient."""

    def run(number: int) -> None:
        for batch in batches(task, number):
            x_batch = x[batch]
            x_batch @ W1, h @ W2, h.T @ dz, dz @ W2.T, x_batch.T @ da

    return Contender(run, None)


def numpy_by_hand(task: Task) -> Contender:
    """Train in NumPy in float32, with the gradients of the oracle."""
    W1, b1, W2, b2 = weights = [w.copy() for w in task.weights.values()]

    def run(number: int) -> None:
        for batch in batches(task, number):
            x, labels = task.images[batch], task.labels[batch]
            z1 = oracle.dense(x, W1, b1)
            h = oracle.relu(z1)
            p = oracle.softmax(oracle.dense(h, W2, b2))
            shares = np.full(len(x), 1 / len(x), "float32")
            oracle.loss(p, labels, "float32") @ shares
            dz2 = oracle.softmax_gradient(p, oracle.loss_gradient(p, labels, shares, "float32"))
            dz1 = oracle.relu_gradient(z1, oracle.dense_input_gradient(W2, dz2))
            gradients = *oracle.dense_gradient(x, dz1), *oracle.dense_gradient(h, dz2)
            for w, g in zip(weights, gradients, strict=True):
                w -= g * np.float32(task.rate)

    return Contender(run, lambda: weights)


def torch_port(
    task: Task, settled: bool = True, sgd: bool = False, whole: bool = False
) -> Contender:
    """Train `torch_port`, with or without the settings of its command line, by step or by `fit`."""
    import torch

    from torch_port import SGD, fit, mnist_model, training, update_weights, use_device

    if settled:
        use_device("cpu")
    model = mnist_model(seed=0)
    images, labels = torch.as_tensor(task.images), torch.as_tensor(task.labels)
    rule = SGD(task.rate) if sgd else partial(update_weights, learning_rate=task.rate)

    def run_fit(number: int) -> None:
        span = slice(number * task.batch_size)
        with open(os.devnull, "w") as log, redirect_stdout(log):

            def on_step(epoch: int, batch: int, loss: float) -> None:
                print(json.dumps({"epoch": epoch, "batch": batch, "loss": loss}), file=log)

            options: dict[str, Any] = {"update_weights": rule, "on_step": on_step}
            fit(model, images[span], labels[span], 1, task.batch_size, **options)

    run = run_fit if whole else steps(training, task, model, images, labels, rule)
    return Contender(run, lambda: [w.detach() for w in model.weights])


def tf_reference(task: Task, **compiled: bool) -> Contender:
    """Train `tf_reference` eagerly, or in a graph, where its loss takes the logits unclipped."""
    import tensorflow as tf

    from tf_reference import mnist_model, training, update_weights

    if compiled:
        # A graph that was traced for one model must not serve another.
        training.one_training_step = tf.function(training.one_training_step, **compiled)
    model = mnist_model(seed=0)
    images, labels = tf.constant(task.images), tf.constant(task.labels)
    rule = partial(update_weights, learning_rate=task.rate)
    return Contender(steps(training, task, model, images, labels, rule), lambda: model.weights)


def steps(
    training: Any, task: Task, model: Any, images: Any, labels: Any, update_weights: Callable
) -> Callable[[int], None]:
    """Return the steps of either package, batch by batch, each with its loss as a number."""

    def run(number: int) -> None:
        for batch in batches(task, number):
            float(training.one_training_step(model, images[batch], labels[batch], update_weights))

    return run


def torch_nn(task: Task) -> Contender:
    """Train with torch.nn and torch.optim.SGD, as a tutorial does."""
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10)
    )
    for p, value in zip(model.parameters(), task.weights.values(), strict=True):
        p.data.copy_(torch.as_tensor(value.T))
    optimizer = torch.optim.SGD(model.parameters(), lr=task.rate)
    criterion = torch.nn.CrossEntropyLoss()
    images, labels = torch.as_tensor(task.images), torch.as_tensor(task.labels)

    def run(number: int) -> None:
        for batch in batches(task, number):
            loss = criterion(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return Contender(run, lambda: [p.detach().numpy().T for p in model.parameters()])


def keras_fit(task: Task, backend: str) -> Contender:
    """Train with Keras's `fit` on one of its backends."""
    model = keras_model(backend, task.weights.values(), task.rate)

    def run(number: int) -> None:
        span = slice(number * task.batch_size)
        model.fit(
            task.images[span],
            task.labels[span],
            batch_size=task.batch_size,
            shuffle=False,
            verbose=0,
        )

    return Contender(run, model.get_weights)


def keras_model(backend: str, weights: Iterable[np.ndarray], rate: float) -> Any:
    """Return the network as Keras has it, compiled with SGD."""
    os.environ["KERAS_BACKEND"] = backend
    import keras

    layers = [
        keras.Input((784,)),
        keras.layers.Dense(512, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.set_weights(list(weights))
    model.compile(optimizer=keras.optimizers.SGD(rate), loss="sparse_categorical_crossentropy")
    return model


def jax_jit(task: Task, scan: bool = False) -> Contender:
    """Train in JAX with the step compiled, or the loop over the steps as well."""
    import jax
    import jax.numpy as jnp

    images, labels = jnp.asarray(task.images), jnp.asarray(task.labels)
    state = [jnp.asarray(w) for w in task.weights.values()]

    def loss_of(weights: Sequence, x: Any, y: Any) -> Any:
        W1, b1, W2, b2 = weights
        logits = jax.nn.relu(x @ W1 + b1) @ W2 + b2
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

    def one_step(weights: list, batch: Any) -> tuple[list, Any]:
        start = batch * task.batch_size
        x, y = (
            jax.lax.dynamic_slice_in_dim(array, start, task.batch_size)
            for array in (images, labels)
        )
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, y)
        return [w - task.rate * g for w, g in zip(weights, gradients, strict=True)], loss

    step = jax.jit(one_step, donate_argnums=0)
    loop = jax.jit(lambda weights, span: jax.lax.scan(one_step, weights, span), donate_argnums=0)

    def run(number: int) -> None:
        if scan:
            state[:], losses = loop(state, jnp.arange(number))
            losses.block_until_ready()
        else:
            for batch in range(number):
                state[:], loss = step(state, batch)
                float(loss)

    return Contender(run, lambda: state)


CONTENDERS: dict[str, Callable[[Task], Contender]] = {
    "five products, OpenBLAS": products_in_numpy,
    "five products, MKL": partial(products_in_torch, precision="highest"),
    "five products, oneDNN": partial(products_in_torch, precision="medium"),
    "torch_port": torch_port,
    "torch_port, fit with a log": partial(torch_port, whole=True),
    "torch_port, as imported": partial(torch_port, settled=False),
    "torch_port, SGD optimizer": partial(torch_port, sgd=True),
    "torch.nn, torch.optim.SGD": torch_nn,
    "tf_reference": tf_reference,
    "tf_reference, tf.function": partial(tf_reference, jit_compile=False),
    "tf_reference, XLA": partial(tf_reference, jit_compile=True),
    "Keras fit on TensorFlow": partial(keras_fit, backend="tensorflow"),
    "Keras fit on PyTorch": partial(keras_fit, backend="torch"),
    "Keras fit on JAX": partial(keras_fit, backend="jax"),
    "JAX jit": jax_jit,
    "JAX jit and scan": partial(jax_jit, scan=True),
    "NumPy by hand": numpy_by_hand,
}


def read_mnist(data: Path, which: str, copies: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return images, float32 in [0, 1], and labels, int64, of "train" or "t10k"."""
    raw = data / "MNIST" / "raw"
    images = np.fromfile(raw / f"{which}-images-idx3-ubyte", np.uint8, offset=16)
    labels = np.fromfile(raw / f"{which}-labels-idx1-ubyte", np.uint8, offset=8)
    pixels = np.tile(images, copies).reshape(-1, 784).astype("float32")
    pixels /= 255
    return pixels, np.tile(labels, copies).astype("int64")


def whole_keras_run(backend: str, data: Path) -> None:
    """Train for ten epochs by Keras's fit, and print the accuracy."""
    model = keras_model(backend, oracle.initial_weights(0).values(), rate=1e-3)
    model.fit(*read_mnist(data, "train"), epochs=10, batch_size=128, shuffle=False, verbose=0)
    images, labels = read_mnist(data, "t10k")
    p = model.predict(images, batch_size=10_000, verbose=0)
    print(f"accuracy: {np.mean(p.argmax(axis=1) == labels):.2f}")


def main() -> None:
    """Answer the lines of standard input, or runs Keras as a whole."""
    name, *options, folder = sys.argv[1:]
    if name == "whole-keras-run":
        whole_keras_run(options[0], Path(folder))
        return
    batch_size, rate, copies = int(options[0]), float(options[1]), int(options[2])
    images, labels = read_mnist(Path(folder), "train", copies)
    task = Task(oracle.initial_weights(0), images, labels, batch_size, rate)
    contender = CONTENDERS[name](task)
    for line in sys.stdin:
        start = time.perf_counter()
        contender.run(int(line))
        answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
        answer["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if contender.weights is not None:
            model, names = oracle.Oracle("float32"), oracle.initial_weights(0)
            found = map(np.asarray, contender.weights())
            model.load_weights(dict(zip(names, found, strict=True)))
            answer["loss"] = float(model.gradients(images[:1000], labels[:1000])[0])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
