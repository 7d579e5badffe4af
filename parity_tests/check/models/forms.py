"""The forms in which a port takes and returns arrays, such as another order of their axes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Both = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


def _moved(to: int, ranks: Callable[[int], bool]) -> Both:
    """Return the form in which the channels are elsewhere, in arrays of some numbers of axes."""
    return (
        lambda x: np.moveaxis(x, -1, to) if ranks(x.ndim) else x,
        lambda x: np.moveaxis(x, to, -1) if ranks(x.ndim) else x,
    )


FORMS: dict[str, Both] = {
    "channels first": _moved(1, lambda rank: rank > 3),
    "as it is": (lambda x: x, lambda x: x),
    "channels first in sequences": _moved(1, lambda rank: rank > 2),
    "channels first in frames": _moved(2, lambda rank: rank == 5),
    "flattened": (lambda x: x.reshape(len(x), -1), lambda x: x),
    "with an axis of one channel": (lambda x: x[:, None], lambda x: x[:, 0]),
    "without the axis of one channel": (lambda x: x[..., 0], lambda x: x[..., None]),
    "in another shape": (lambda x: x, lambda x: x),
}
"""By how a port takes arrays: from the model's to its own, and back; but those of which only the
shape differs have to be told it."""

LAYOUTS = {
    "NCHW": "channels first",
    "NHWC": "as it is",
    "NCL": "channels first in sequences",
    "NLC": "as it is",
}
"""What a file may say of the form of its inputs."""


def forms_of(shapes: Sequence[Sequence[int]], layout: str | None) -> list[str]:
    """Return the forms in which a port may take inputs, the likeliest first.

    Args:
        shapes: Of one sample of each input, in the model.
        layout: What one of the files says of it.
    """
    if layout in LAYOUTS:
        return [LAYOUTS[layout]]
    ranks = {len(shape) + 1 for shape in shapes}
    forms = ["channels first"] if max(ranks) > 3 else []
    forms += ["as it is", *(["channels first in sequences"] if 3 in ranks else [])]
    forms += ["channels first in frames"] if 5 in ranks else []
    if len(shapes) == 1 and max(ranks) > 2:
        forms += ["flattened"]
        forms += ["with an axis of one channel"] if ranks == {3} else []
        forms += ["without the axis of one channel"] if shapes[0][-1] == 1 else []
    return [*forms, "in another shape"]


def given(form: str, array: np.ndarray) -> np.ndarray:
    """Return an array of the model as the port takes it."""
    return np.ascontiguousarray(FORMS[form][0](array))


def taken(form: str, array: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """Return an array that the port was given as the model takes it; None if it does not fit.

    Args:
        form: Of the port.
        array: That it was given.
        shape: Of one sample in the model.
    """
    if form in ("flattened", "in another shape"):
        alike = array[0].size == np.prod(shape) and (form != "flattened" or array.ndim == 2)
        return array.reshape(len(array), *shape) if alike else None
    if form == "with an axis of one channel" and array.ndim < 3:
        return None
    back = FORMS[form][1](array)
    fits = len(back.shape) == len(shape) + 1 and back.shape[1:] == tuple(shape)
    return np.ascontiguousarray(back) if fits else None


def _softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


OUTPUTS: dict[str, Both] = {
    "as it is": (lambda x: x, lambda x: x),
    "logits of a softmax, the model probabilities": (_softmax, lambda x: x),
    "logits of a sigmoid, the model probabilities": (lambda x: 1 / (1 + np.exp(-x)), lambda x: x),
    "logarithms of probabilities, the model probabilities": (np.exp, lambda x: x),
    "logarithms of probabilities, the model logits": (np.exp, _softmax),
    "probabilities of a softmax, the model logits": (lambda x: x, _softmax),
}
"""What a port may return, and what is compared of it and of the model, in the order of trial."""

AXES: dict[str, Both] = {
    "as it is": (lambda x: x, lambda x: x),
    "channels first": _moved(1, lambda rank: rank > 2),
    "time first": (lambda x: np.swapaxes(x, 0, 1), lambda x: np.swapaxes(x, 0, 1)),
}
"""Where a module may have its axes: from those of a Keras layer to its own, and back."""

CHANNELS_FIRST = ("Conv", "BatchNorm", "SyncBatchNorm", "GroupNorm", "InstanceNorm", "PReLU")


def axes_of_class(module: Mapping[str, Any]) -> str | None:
    """Return where a module of PyTorch has its axes; None if its class does not say so."""
    if module["own"]:
        return None
    if module["class"].startswith(CHANNELS_FIRST):
        return "channels first"
    batch_first = module["config"].get("batch_first")
    return {True: "as it is", False: "time first", None: None}[batch_first]
