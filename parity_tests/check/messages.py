"""What the two processes of a check say to each other, and what can go wrong between them.

They exchange safetensors: a call or an answer as JSON in the metadata, arrays as tensors. Nothing
that a user's port sends is ever unpickled or evaluated.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

SAVED = (".keras", ".h5", ".hdf5")
"""Endings of the names of files in which Keras saves a model."""


class PortError(RuntimeError):
    """The port did not answer: it raised an error."""


class ProcessEnded(RuntimeError):  # noqa: N818 (it is a verdict)
    """A process has ended, of the port or of its model: there is nobody to ask any more."""


class Failed(Exception):  # noqa: N818 (it is a verdict)
    """The port is not the same training as the reference."""


class NotObservable(PortError):  # noqa: N818 (it is a verdict)
    """What is asked for cannot be seen from outside: it is neither right nor wrong."""


class UnusablePort(PortError):  # noqa: N818 (it is a verdict on the file)
    """The file is no port that can be checked."""


class OtherLayers(UnusablePort):
    """The port has other layers than its model: it is another network."""


def said_of_itself(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of the layout of its data, and of its weights."""
    layout, mapping = names.get("layout"), names.get("mapping")
    pairs = mapping.items() if isinstance(mapping, dict) else ()
    texts = bool(pairs) and all(isinstance(part, str) for pair in pairs for part in pair)
    return {
        "layout": layout if isinstance(layout, str) else None,
        "mapping": mapping if texts else None,
    }


def numbered(arrays: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Return the arrays "name 0", "name 1" and so on, in this order: a message keeps none."""
    found: list[np.ndarray] = []
    while (key := f"{name} {len(found)}") in arrays:
        found.append(arrays[key])
    return found


def encode(call: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a message."""
    whole = {name: np.array(array, order="C") for name, array in arrays.items()}
    return safetensors.numpy.save(whole, metadata={"call": json.dumps(call)})


def decode(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the call and the arrays of a message.

    Raises:
        PortError: If it is none, as where the port's own code has written to the connection.
    """
    try:
        arrays = safetensors.numpy.load(message)
        length = int.from_bytes(message[:8], "little")
        call = json.loads(json.loads(message[8 : 8 + length])["__metadata__"]["call"])
    except (SafetensorError, RecursionError, LookupError, TypeError, ValueError) as error:
        raise PortError("what it sent is no message") from error
    if not isinstance(call, dict):
        raise PortError("what it sent is no message")
    return call, arrays
