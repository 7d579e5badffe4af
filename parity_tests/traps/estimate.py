"""The constants of an update rule, estimated from what it does to the weights."""

from collections.abc import Sequence

import numpy as np

from parity_tests.traps.one_update import schedule, sgd
from parity_tests.traps.trap import Trap

RATE = 1e-3
DIGITS = {"float32": 3, "float64": 10}
"""Significant digits to which a constant is rounded, as people write them with few."""


Arrays = dict[str, np.ndarray]


def estimated(seen: Sequence[tuple[Arrays, Arrays, Arrays]]) -> list[Trap]:
    """Return the mistakes that a port makes if it is SGD with other constants, or a schedule.

    The first step gives the learning rate and the weight decay, by least squares, and the
    second one the momentum. Whether they explain the updates, whoever asks has to confirm.

    Args:
        seen: Of each of two or more steps in a row, the weights before it, the gradients, and the
            weights after it, by name.
    """
    steps = list(seen)
    dtype = next(iter(steps[0][0].values())).dtype.name
    names = [name for name, g in steps[0][1].items() if g.any()]
    weights, gradients, moved = (
        [
            np.concatenate([arrays[name].ravel() for name in names]).astype(np.float64)
            for arrays in of_steps
        ]
        for of_steps in zip(*((w, g, _moved(w, after)) for w, g, after in steps), strict=True)
    )
    if not np.isfinite([*gradients, *moved]).all() or not all(
        a.any() for a in (*moved, *gradients)
    ):
        return []
    constants = _constants(weights, gradients, moved, DIGITS[dtype])
    rates = [
        _rounded(_fraction(m, g), DIGITS[dtype]) for m, g in zip(moved, gradients, strict=True)
    ]
    return [*_of_constants(*constants), *_of_rates(rates)]


def _moved(before: dict, after: dict) -> dict[str, np.ndarray]:
    return {name: w.astype(np.float64) - after[name] for name, w in before.items()}


def _fraction(array: np.ndarray, of: np.ndarray) -> float:
    return float(np.vdot(of, array) / np.vdot(of, of))


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _constants(weights: list, gradients: list, moved: list, digits: int) -> tuple[float, ...]:
    """Return the learning rate, the weight decay and the momentum that fit two steps best."""
    terms = np.stack([gradients[0], weights[0]], axis=1)
    (rate, decayed), *_ = np.linalg.lstsq(terms, moved[0], rcond=None)
    velocity = gradients[0] + decayed / rate * weights[0]
    rest = moved[1] - rate * gradients[1] - decayed * weights[1]
    others = decayed / rate, _fraction(rest, velocity) / rate
    # What rounding alone leaves is no decay and no momentum.
    decay, momentum = (_rounded(value, digits) if abs(value) > 1e-6 else 0.0 for value in others)
    return _rounded(rate, digits), decay, momentum


def _of_constants(rate: float, decay: float, momentum: float) -> list[Trap]:
    said = [f"the learning rate is {rate:g}, expected {RATE:g}"] if rate != RATE else []
    said += [f"the weight decay is {decay:g}, expected none"] if decay else []
    said += [f"the momentum is {momentum:g}, expected none"] if momentum else []
    name, source = "SGD with other constants", "estimated from the updates"
    planted = sgd(rate, decay, momentum)
    return [Trap(name, "; ".join(said), source, "one update", *planted)] if said else []


def _of_rates(rates: list[float]) -> list[Trap]:
    if len(set(rates)) == 1:
        return []
    listed = ", ".join(f"{rate:g}" for rate in rates)
    mistake = f"the learning rate changes from step to step: {listed}, expected {RATE:g}"
    source = "estimated from the updates"
    return [Trap("schedule", mistake, source, "one update", *schedule(rates))]
