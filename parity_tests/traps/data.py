"""Mistakes in loading MNIST."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from parity_tests.ladder.oracle import Oracle
from parity_tests.traps.trap import Plant, Trap, instead

MNIST = "torch_port.mnist.load_mnist"


def images(change: Callable[[Any], Any]) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of a change to the images, arrays and tensors alike."""

    class Images(Oracle):
        def data(self) -> dict[str, np.ndarray]:
            return {
                name: change(array) if name.endswith("images") else array
                for name, array in super().data().items()
            }

    def wrong(load_mnist: Callable) -> Callable:
        return lambda *arguments: tuple((change(x), y) for x, y in load_mnist(*arguments))

    return instead(MNIST, wrong), Images


def column_by_column(flat: Any) -> Any:
    return flat.reshape(-1, 28, 28).swapaxes(1, 2).reshape(-1, 28 * 28)


class Int32Labels(Oracle):
    def data(self) -> dict[str, np.ndarray]:
        return {
            name: array.astype("int32") if name.endswith("labels") else array
            for name, array in super().data().items()
        }


def int32_labels(load_mnist: Callable) -> Callable:
    return lambda *arguments: tuple((x, y.int()) for x, y in load_mnist(*arguments))


def shuffled_once(load_mnist: Callable) -> Callable:
    def load(*arguments: Any) -> tuple:
        (x, y), test = load_mnist(*arguments)
        order = torch.as_tensor(np.random.default_rng(5).permutation(len(x)))
        return (x[order], y[order]), test

    return load


TRAPS = [
    Trap(
        "bytes as pixels",
        "the images were not divided by 255",
        "Keras's MNIST example; torchvision's ToTensor divides, its raw data does not",
        "data",
        *images(lambda x: x * 255),
    ),
    Trap(
        "pixels over 256",
        "the images were divided by 256, not by 255",
        "the number of values of a byte in place of the largest",
        "data",
        *images(lambda x: x * 255 / 256),
    ),
    Trap(
        "standardised images",
        "the images were standardised by mean 0.1307 and deviation 0.3081",
        "pytorch/examples, mnist/main.py",
        "data",
        *images(lambda x: (x - 0.1307) / 0.3081),
    ),
    Trap(
        "pixels column by column",
        "the images were flattened column by column",
        "nn-transfer#11, where a flatten meets another memory layout",
        "data",
        *images(column_by_column),
    ),
    Trap(
        "labels in int32",
        "the labels are int32, where int64 is expected",
        "keras#6977; torch's cross_entropy refuses int32, where nothing converts it",
        "data",
        instead(MNIST, int32_labels),
        Int32Labels,
    ),
    Trap(
        "shuffled once",
        "the training set was shuffled when it was loaded",
        "tensorflow#36626",
        "data",
        instead(MNIST, shuffled_once),
        None,
    ),
]
