"""Reading a model that Keras saved, in the dtype of the check."""

import re
from pathlib import Path
from typing import Any

import keras

from parity_tests.check.messages import UnusablePort


def load(path: Path, floatx: str) -> Any:
    """Return the model of a file, computing in another dtype than it was saved in.

    Raises:
        UnusablePort: If Keras cannot load it.
    """
    # A file of the old format has names of losses that Keras does not look up by itself.
    named = {name: keras.losses.get(name) for name in ("mse", "mae", "mape", "msle")}
    try:
        saved = keras.models.load_model(path, named if path.suffix != ".keras" else None)
    except Exception as error:
        unknown = re.search(r"Could not locate class '(\w+)'", str(error))
        why = f"it has a layer of a class {unknown[1]} of its own" if unknown else "it is damaged"
        what = "check the Python file that defines it" if unknown else "save the model once more"
        raise UnusablePort(f"Keras cannot load it: {why}; {what}") from error
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
