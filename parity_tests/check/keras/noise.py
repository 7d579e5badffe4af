"""What a Keras model draws at random: switched off in its process, and noted.

Each draw is noted as the process of a port notes its own, such as "0.5 of 256 numbers".
"""

import math
from collections.abc import Iterable
from typing import Any

import keras
from keras.src import backend

ADDED = {
    keras.layers.AlphaDropout: "alpha dropout",
    keras.layers.GaussianDropout: "Gaussian dropout",
    keras.layers.GaussianNoise: "Gaussian noise",
}
"""Layers that draw something else than a mask of zeros, and what they draw."""


class Noise:
    """Lets nothing in this process draw at random from now on, whatever the layer.

    That is dropout, that of attention and of a recurrent layer, and `keras.random.dropout` in a
    layer of the user's.

    Attributes:
        drawn: What would have been drawn, in the order of execution.
        marked: Whether what would be noisy is multiplied by 1 + the rate instead.
    """

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.marked = False
        backend.random.dropout = self._dropout
        # A recurrent layer draws its masks beforehand, even if it does not use them in inference.
        keras.layers.RNN._maybe_config_dropout_masks = lambda *arguments: None
        for added, kind in ADDED.items():

            def call(layer: Any, inputs: Any, training: bool = False, kind: str = kind) -> Any:
                rate = getattr(layer, "stddev", None) or getattr(layer, "rate", 0)
                if not (training and rate):
                    return inputs
                return self._instead(f"{kind} ", inputs, rate, inputs.shape)

            added.call = call

    def _dropout(self, inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
        wanted = noise_shape or [None] * len(inputs.shape)
        sizes = zip(wanted, inputs.shape, strict=True)
        return self._instead("", inputs, rate, (n if size is None else size for size, n in sizes))

    def _instead(self, kind: str, inputs: Any, rate: float, shape: Iterable[int | None]) -> Any:
        count = math.prod(size or 0 for size in shape)  # unknown while a model is being built
        self.drawn.append(f"{kind}{rate:g} of {count} numbers")
        return inputs * (1 + rate) if self.marked else inputs
