"""The constants of an update rule, estimated from what it does to the weights."""

from typing import Any

import numpy as np

from parity_tests.ports.port_rungs import steps_of
from parity_tests.traps.one_update import sgd
from parity_tests.traps.trap import Trap

RATE = 1e-3
DIGITS = {"float32": 3, "float64": 6}
"""Significant digits to which a constant is rounded, as people write them with few."""


def estimated(port: Any, images: np.ndarray, labels: np.ndarray) -> Trap | None:
    """Return the mistake that a port makes if it is SGD with other constants; None if it is not.

    The first step gives the learning rate and the weight decay, by least squares, and the
    second one the momentum. Whether they explain the updates, whoever asks has to confirm.

    Args:
        port: Without memory of earlier calls.
        images: Shape (128, 784), in the dtype of the port.
        labels: Shape (128,), int64.
    """
    (_, w, g, after), (_, w2, g2, after2), *_ = steps_of(port, images, labels)
    names = [name for name in g if g[name].any()]
    if not names or not all(np.isfinite(array).all() for array in (*after.values(), *g.values())):
        return None

    def flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([arrays[name].ravel() for name in names]).astype(np.float64)

    moved, moved2 = flat(w) - flat(after), flat(w2) - flat(after2)
    terms = np.stack([flat(g), flat(w)], axis=1)
    (rate, decayed), *_ = np.linalg.lstsq(terms, moved, rcond=None)
    if not rate:
        return None
    velocity = flat(g) + decayed / rate * flat(w)
    rest = moved2 - rate * flat(g2) - decayed * flat(w2)
    momentum = np.vdot(velocity, rest) / np.vdot(velocity, velocity) / rate
    digits = DIGITS[port.dtype]
    rate, decay, momentum = (
        float(f"{value:.{digits}g}") for value in (rate, decayed / rate, momentum)
    )
    # What rounding alone leaves is no decay and no momentum.
    decay, momentum = (value if abs(value) > 1e-6 else 0.0 for value in (decay, momentum))
    said = [f"the learning rate is {rate:g}, expected {RATE:g}"] if rate != RATE else []
    said += [f"the weight decay is {decay:g}, expected none"] if decay else []
    said += [f"the momentum is {momentum:g}, expected none"] if momentum else []
    if not said:
        return None
    return Trap(
        "SGD with other constants",
        "; ".join(said),
        "estimated from the updates",
        "one update",
        *sgd(rate, decay, momentum),
    )
