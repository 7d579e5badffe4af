"""Mistakes in which weights a layer has: one is missing, or only the port has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers as L  # noqa: N812

from parity_tests.check.keras.edits import Edit, holding


def scaled(layer: Any) -> Iterator[Edit]:
    """Yield a scale or an offset that is missing or that only the port has."""
    for role, option in (("gamma", "scale"), ("beta", "center")):
        if getattr(layer, role, None) is not None:
            none = {role: None, option: False}
            yield Edit(layer.name, f"no {role}", "layers", partial(holding, layer, **none))
        elif layer.weights:
            yield _gaining(layer, role, option, layer.weights[0].shape)


def biased(layer: Any) -> Iterator[Edit]:
    """Yield a bias that is missing or that only the port has."""
    of_dense = isinstance(layer, L.Dense | L.EinsumDense)
    if getattr(layer, "bias", None) is not None:
        none = {"bias": None} if of_dense else {"use_bias": False}
        yield Edit(layer.name, "no bias", "layers", partial(holding, layer, **none))
    elif not isinstance(layer, L.EinsumDense):
        if isinstance(layer, L.DepthwiseConv2D):
            size = layer.kernel.shape[-2] * layer.depth_multiplier
        else:
            size = layer.units if of_dense else layer.filters
        yield _gaining(layer, "bias", "use_bias", (size,))


def _gaining(layer: Any, role: str, option: str, shape: tuple[int, ...]) -> Edit:
    """Return the edit that a layer has a weight which it is told to go without."""
    plant = partial(_gained, layer, role, option, shape)
    return Edit(layer.name, f"it has a {role}", "trajectory", plant)


@contextmanager
def _gained(layer: Any, role: str, option: str, shape: tuple[int, ...]) -> Iterator[None]:
    start = np.full(shape, role == "gamma", layer.variable_dtype)
    weight = keras.Variable(start, trainable=layer.trainable, name=role)
    weight._path = f"{layer.path}/{role}"
    with holding(layer._tracker, locked=False):
        layer._track_variable(weight)
    try:
        with holding(layer, **{role: weight, option: True}):
            yield
    finally:
        layer._untrack_variable(weight)
