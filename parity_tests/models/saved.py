"""Reading a model that Keras saved, in the dtype of the check."""

from pathlib import Path
from typing import Any

import keras


def load(path: Path, floatx: str) -> Any:
    """Return the model of a .keras file, computing in another dtype than it was saved in."""
    saved = keras.models.load_model(path)
    config = keras.saving.serialize_keras_object(saved)
    model = keras.saving.deserialize_keras_object(_retyped(config, floatx))
    model.set_weights(saved.get_weights())
    return model


def _retyped(config: Any, floatx: str) -> Any:
    """Return a model's configuration with another dtype in place of each float one."""
    if isinstance(config, dict):
        return {
            key: floatx if key == "dtype" and "int" not in str(value) else _retyped(value, floatx)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [_retyped(item, floatx) for item in config]
    return config
