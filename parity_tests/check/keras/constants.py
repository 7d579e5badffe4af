"""Constants of a Keras model that would hide mistakes, or show ones that nobody made."""

from typing import Any

import keras
import numpy as np

from parity_tests.check.keras import units


def vary(model: Any) -> None:
    """Give other values to weights that all start alike, since they would hide mistakes."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        value = keras.ops.convert_to_numpy(variable)
        if not units.is_float(variable) or value.size < 2 or np.ptp(value):
            continue
        noise = rng.uniform(-1, 1, value.shape)
        variable.assign(value + noise * (0.5 if "variance" in variable.path else 0.1))


def round_otherwise(model: Any) -> None:
    """Move the mean and the variance of each Normalization to the next number of float32.

    Keras holds them in float32, whatever the dtype of the model, and a port has its own.
    """
    for layer in units.walk(model):
        if isinstance(layer, keras.layers.Normalization):
            for name in ("mean", "variance"):
                value = keras.ops.convert_to_numpy(getattr(layer, name))
                other = np.nextafter(value.astype("float32"), np.float32(np.inf))
                setattr(layer, name, keras.ops.convert_to_tensor(other.astype(value.dtype)))
