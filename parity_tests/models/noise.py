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


def silence() -> list[str]:
    """Let nothing in this process make noise from now on; return the list that takes each draw.

    It takes them in the order of execution, whatever the layer: dropout of its own, that of
    attention and of a recurrent layer, and `keras.random.dropout` in a layer of the user's.
    """
    drawn: list[str] = []

    def note(kind: str, rate: float, shape: Iterable[int | None]) -> None:
        count = math.prod(size or 0 for size in shape)  # unknown while a model is being built
        drawn.append(f"{kind}{rate:g} of {count} numbers")

    def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
        wanted = noise_shape or [None] * len(inputs.shape)
        sizes = zip(wanted, inputs.shape, strict=True)
        note("", rate, (own if size is None else size for size, own in sizes))
        return inputs

    backend.random.dropout = dropout
    # A recurrent layer draws its masks beforehand, even if it does not use them in inference.
    keras.layers.RNN._maybe_config_dropout_masks = lambda *arguments: None
    for added, kind in ADDED.items():

        def call(layer: Any, inputs: Any, training: bool = False, kind: str = kind) -> Any:
            rate = getattr(layer, "stddev", None) or getattr(layer, "rate", 0)
            if training and rate:
                note(f"{kind} ", rate, inputs.shape)
            return inputs

        added.call = call
    return drawn
