"""Mistakes in drawing the initial weights."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from parity_tests.ladder.oracle import Oracle
from parity_tests.traps.trap import Plant, Trap, instead

MODEL = "torch_port.layers.mnist_model"


def kernels(draw: Callable[[np.random.Generator, Any], Any]) -> tuple[Plant, type[Oracle]]:
    """Return plant and oracle of kernels drawn in another way, one after the other."""

    def drawn(seed: int, shapes: Sequence) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [draw(rng, shape) for shape in shapes]

    class Kernels(Oracle):
        def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
            weights = super().initial_weights(seed)
            names = [name for name in weights if name.endswith("W")]
            found = drawn(seed, [weights[name].shape for name in names])
            return weights | {
                name: W.astype(self.dtype) for name, W in zip(names, found, strict=True)
            }

    def wrong(mnist_model: Callable) -> Callable:
        def model_of(seed: int | None = None, dtype: str = "float32") -> Any:
            model = mnist_model(seed, dtype)
            if seed is not None:
                found = drawn(seed, [layer.W.shape for layer in model.layers])
                for layer, W in zip(model.layers, found, strict=True):
                    layer.W.data.copy_(torch.as_tensor(W))
            return model

        return model_of

    return instead(MODEL, wrong), Kernels


def glorot_uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    limit = np.sqrt(6 / sum(shape))
    return rng.uniform(-limit, limit, tuple(shape))


def as_torch_draws(mnist_model: Callable) -> Callable:
    def model_of(seed: int | None = None, dtype: str = "float32") -> Any:
        model = mnist_model(seed, dtype)
        generator = torch.Generator().manual_seed(seed or 0)
        for layer in model.layers:
            limit = 1 / np.sqrt(layer.W.shape[0])
            for weight in layer.weights:
                weight.data.uniform_(-limit, limit, generator=generator)
        return model

    return model_of


TRAPS = [
    Trap(
        "glorot_uniform kernels",
        "the kernels start glorot_uniform, as Keras's Dense does, not uniform in [0, 0.1)",
        "pytorch#15314",
        "initial weights",
        *kernels(glorot_uniform),
    ),
    Trap(
        "kernels of both signs",
        "the kernels start uniform in [-0.1, 0.1), not in [0, 0.1)",
        "keras.initializers.RandomUniform is symmetric by default",
        "initial weights",
        *kernels(lambda rng, shape: rng.uniform(-0.1, 0.1, tuple(shape))),
    ),
    Trap(
        "normal kernels",
        "the kernels start normal with deviation 0.1, not uniform in [0, 0.1)",
        "torch.randn for tf.random.uniform",
        "initial weights",
        *kernels(lambda rng, shape: rng.normal(0, 0.1, tuple(shape))),
    ),
    Trap(
        "kernels drawn in float32",
        "the generator drew float32, which are other numbers from the same seed",
        "numpy.random.Generator.random",
        "initial weights",
        *kernels(lambda rng, shape: rng.random(tuple(shape), "float32") * np.float32(0.1)),
    ),
    Trap(
        "weights of nn.Linear",
        "kernels and biases start as torch.nn.Linear draws them",
        "pytorch#57109",
        "initial weights",
        instead(MODEL, as_torch_draws),
        None,
    ),
]
