"""What the document tells in words, measured: learning rates, and optimizers of one name."""

import contextlib
import io
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from tqdm import tqdm

from parity_tests.ladder.adapters import PackageAdapter, Port, Reference
from parity_tests.program import files

PACKAGES = ("torch_port", "tf_reference")


def learning_rates(data: Path = Path("data"), plot: Path = Path("learning_rates.svg")) -> None:
    """Print and plot what the learning rate does to two epochs of SGD, in both packages.

    Args:
        data: Folder that holds MNIST in MNIST/raw.
        plot: Write the plot of the losses to this SVG file.
    """
    import matplotlib.pyplot as plt

    files.check_outputs([plot])
    plt.rcParams["svg.hashsalt"] = "naive-parity"  # the same file for the same numbers
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    print("learning rate  package       first loss  epoch 0  epoch 1  accuracy")
    rates = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    for color, rate in enumerate(tqdm(rates, unit="rate", disable=None)):
        for package, style in zip(PACKAGES, ("-", ":"), strict=True):
            losses, end = _train(import_module(package), rate, data)
            epochs = [losses[:469].mean(), losses[469:].mean()]
            means = "  ".join(f"{mean:7.4f}" for mean in epochs)
            tqdm.write(f"{rate:<13g}  {package:12}  {losses[0]:10.4f}  {means}  {end}")
            of_50 = np.convolve(losses, np.full(50, 1 / 50), "valid")
            label = f"{rate:g}" if style == "-" else None
            axes.plot(of_50, style, color=f"C{color}", label=label)
    axes.set(xlabel="step", ylabel="loss in nats, mean of 50 batches", yscale="log")
    axes.set_title("PyTorch (lines) and TensorFlow (dots) over it")
    axes.legend(title="learning rate")
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    files.write_or_rescue(plot, content.getvalue(), "the losses")


def _train(package: Any, rate: float, data: Path) -> tuple[np.ndarray, str]:
    train, test = package.load_mnist(data)
    model = package.mnist_model(seed=0)
    losses: list[float] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            package.fit(
                model,
                *train,
                epochs=2,
                update_weights=partial(package.update_weights, learning_rate=rate),
                on_step=lambda epoch, batch, loss: losses.append(loss),
            )
    except package.DivergenceError as error:
        return np.array(losses), str(error)
    return np.array(losses), f"{package.evaluate(model, *test):8.4f}"


def rmsprop(data: Path = Path("data")) -> None:
    """Print how far other optimizers named RMSprop take the first example from Keras's.

    Args:
        data: Folder that holds MNIST in MNIST/raw.
    """
    import torch

    import tf_reference
    import torch_port

    stock = torch.optim.RMSprop
    rows: dict[str, tuple[str, Callable]] = {
        "torch_port.RMSprop": ("float64", torch_port.RMSprop),
        "torch.optim.RMSprop, default options": ("float64", lambda params, lr: stock(params)),
        "  with Keras's learning rate": ("float64", stock),
        "  and with its rho as alpha": ("float64", partial(stock, alpha=0.9)),
        "  and with its epsilon": ("float64", partial(stock, alpha=0.9, eps=1e-7)),
        "Keras, one initial weight one ulp off": ("float32", tf_reference.RMSprop),
    }
    steps = (1, 10, 20, 50, 100, 469)
    print("W of the first layer, largest difference from Keras's over its largest element")
    print(f"{'':38} dtype   " + " ".join(f"{f'step {step}':>9}" for step in steps))
    expected = {dtype: _kernels(Reference, dtype, data, steps) for dtype in ("float32", "float64")}
    for name, (dtype, optimizer) in tqdm(rows.items(), unit="optimizer", disable=None):
        nudge = dtype == "float32"
        package = tf_reference if nudge else torch_port
        with mock.patch.object(package.first_example, "RMSprop", optimizer):
            found = _kernels(Reference if nudge else Port, dtype, data, steps, nudge)
        drifts = [
            np.abs(W - of_keras).max() / np.abs(of_keras).max()
            for W, of_keras in zip(found, expected[dtype], strict=True)
        ]
        tqdm.write(f"{name:38} {dtype} " + " ".join(f"{drift:9.1e}" for drift in drifts))


def _kernels(
    implementation_class: type[PackageAdapter],
    dtype: str,
    data: Path,
    steps: tuple[int, ...],
    nudge: bool = False,
) -> list[np.ndarray]:
    """Return the kernel of the first layer after each of some steps of the first epoch."""
    implementation = implementation_class(dtype=dtype)
    package = implementation.package
    package.use_dtype(dtype)
    (images, labels), _ = package.load_mnist(data, dtype)
    implementation.model = package.first_example.mnist_model(seed=0)
    if nudge:
        weights = implementation.weights()
        W = weights["layers.0.W"]
        W[300, 100] = np.nextafter(W[300, 100], W.dtype.type(1))
        implementation.load_weights(weights)
    kernels = []

    def keep(epoch: int, batch: int, loss: float) -> None:
        if batch + 1 in steps:
            kernels.append(implementation.weights()["layers.0.W"])

    with contextlib.redirect_stdout(io.StringIO()):
        package.first_example.fit(implementation.model, images, labels, epochs=1, on_step=keep)
    return kernels
