"""What the page shows of the ten epochs: losses, differences, kernels, uncertain images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity_tests.ladder.compare import Record
from parity_tests.ladder.implementation import Implementation

STEPS_OF_POINT = 10
"""Steps that make one point of a curve: the one whose difference is nearest to its bound."""
SHOWN = 9
"""Hidden units whose kernels are shown, and test images."""


class Series:
    """Keeps what a judge compares on one rung: pass it as the judge's `watch`.

    Args:
        rung: Others are left out.
    """

    def __init__(self, rung: str = "ten epochs") -> None:
        self.rung = rung
        self.losses: dict[str, list[float]] = {}
        self._shares: dict[str, dict[str, list[np.ndarray]]] = {}

    def __call__(
        self,
        record: Record,
        difference: np.ndarray,
        largest: float,
        bound: Any,
        scale: float,
        arrays: Mapping[str, Any],
    ) -> None:
        """Keep a comparison of the port: difference and bound over the scale, at each step."""
        if record.rung != self.rung or "port" not in arrays or not scale:
            return
        if record.quantity not in ("loss", "gradient", "weights"):
            return
        if record.tensor == "free running":
            for name, array in arrays.items():
                self.losses.setdefault(name, []).extend(map(float, array))
        # The losses of an epoch are compared at once, each step one of them.
        of_steps = difference if record.quantity == "loss" else np.array([largest])
        pairs = np.stack([of_steps, np.full(of_steps.size, float(bound))]) / scale
        tensors = self._shares.setdefault(record.quantity, {})
        tensors.setdefault(record.tensor, []).append(pairs)

    def as_json(self) -> dict[str, Any]:
        """Return the losses, and the curves of differences and bounds, for JSON."""
        return {
            "losses": {name: _rounded(losses) for name, losses in self.losses.items()},
            "differences": {name: _thinned(tensors) for name, tensors in self._shares.items()},
        }


def _thinned(tensors: Mapping[str, list[np.ndarray]]) -> dict[str, Any]:
    """Return the tensor that came nearest to its bound; of some steps each, the nearest one."""
    every = {name: np.concatenate(pairs, axis=1) for name, pairs in tensors.items()}
    shares = {name: difference / bound for name, (difference, bound) in every.items()}
    name = max(shares, key=lambda name: shares[name].max())
    steps = len(shares[name])
    width = STEPS_OF_POINT if steps > 10 * STEPS_OF_POINT else 1
    starts = range(0, steps, width)
    nearest = [start + int(shares[name][start : start + width].argmax()) for start in starts]
    difference, bound = (np.char.mod("%.3g", row[nearest]).astype(float) for row in every[name])
    return {
        "tensor": name,
        "share": float(shares[name].max()),
        "difference": difference.tolist(),
        "bound": bound.tolist(),
    }


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.7g}") for value in np.asarray(values, np.float64).ravel()]


def trained(
    reference: Implementation,
    port: Implementation,
    initial: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    """Return what two trained models show: accuracies, labels, kernels, uncertain images.

    Args:
        reference: Trained.
        port: Trained likewise.
        initial: The weights that both began with.
        images: Of the test set, shape (samples, 784), from 0 to 1.
        labels: Of the test set.
    """
    of_both = {"reference": reference, "port": port}
    predicted = {name: one.predict(images) for name, one in of_both.items()}
    return {
        "accuracy": {name: float(np.mean(found == labels)) for name, found in predicted.items()},
        "labels": {
            "compared": len(labels),
            "equal": int(np.sum(predicted["reference"] == predicted["port"])),
        },
        "kernels": _kernels({name: one.weights() for name, one in of_both.items()}, initial),
        "images": _uncertain(of_both, predicted, images, labels),
    }


def _kernels(
    weights: Mapping[str, Mapping[str, np.ndarray]], initial: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return what training has added to the kernels of the units that it changed most."""
    added = {name: of["layers.0.W"] - initial["layers.0.W"] for name, of in weights.items()}
    norms = np.linalg.norm(added["reference"], axis=0)
    units = np.sort(np.argsort(-norms, kind="stable")[:SHOWN])
    difference = added["port"].astype(np.float64) - added["reference"]
    added["difference"] = difference
    of_units = {
        name: [_rounded(unit) for unit in array[:, units].T] for name, array in added.items()
    }
    return {"units": units.tolist(), **of_units}


def _uncertain(
    of_both: Mapping[str, Implementation],
    predicted: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the images on whose label the two disagree; where none, the least certain ones."""
    probabilities = {
        name: one.layer_output(1, one.layer_output(0, images)) for name, one in of_both.items()
    }
    *_, second, first = np.sort(probabilities["reference"], axis=1).T
    disagree = predicted["reference"] != predicted["port"]
    order = np.lexsort((first - second, ~disagree))[:SHOWN]
    return [
        {
            "index": int(index),
            "label": int(labels[index]),
            "disagree": bool(disagree[index]),
            "pixels": np.rint(images[index] * 255).astype(int).tolist(),
            "probabilities": {name: _rounded(p[index]) for name, p in probabilities.items()},
        }
        for index in order
    ]
