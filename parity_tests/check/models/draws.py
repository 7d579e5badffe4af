"""Judging noise: what each side would draw at random in training, how many numbers, and where."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity_tests.check.compared import folded_like
from parity_tests.check.messages import PortError, numbered
from parity_tests.check.models.settle import near
from parity_tests.check.models.sides import KerasSide, PortSide

ELSEWHERE = (
    "dropout is in another place: where each multiplies by 1 + its rate, the outputs in training "
    "are others"
)


@dataclass
class Draws:
    """What a port and its model would draw, were it not switched off.

    Attributes:
        port: The port.
        truth: The model in float64.
    """

    port: PortSide
    truth: KerasSide

    def draws_others(self) -> bool:
        """Return whether the port draws random numbers that were not switched off."""
        runs = [self.port.trace(True, seed=seed)[1] for seed in (0, 1)]
        return runs[0].keys() != runs[1].keys() or not all(
            np.array_equal(array, runs[1][name], equal_nan=True) for name, array in runs[0].items()
        )

    def differences(self) -> list[str]:
        """Return what differs, in words: when the model is called, in its step, or in places."""
        wrong = []
        for training, mode in ((True, "in training"), (False, "in inference")):
            port, model = self.port.trace(training)[0]["noise"], self.truth.noise(training)
            alone = (Counter(port) - Counter(model), Counter(model) - Counter(port))
            if any(alone):
                shown = [", ".join(of.elements()) or "none" for of in alone]
                wrong.append(f"dropout {shown[0]} in the port, {shown[1]} in the model, {mode}")
        steps = self._of_steps()
        if not wrong and steps[0].keys() != steps[1].keys():
            shown = [", ".join(of) or "none" for of in steps]
            wrong.append(
                f"dropout {shown[0]} in the port, {shown[1]} in the model, in the training step"
            )
        if not wrong and self._agree(marked=False) and not self._agree(marked=True):
            wrong.append(ELSEWHERE)
        return wrong

    def judged(self) -> tuple[str, list[str]]:
        """Return what was compared of a port without differences, and what was not, in words."""
        judged, left = "rates, numbers of draws and places", []
        port, model = self._of_steps()
        if not self._agree(marked=False):
            judged = "rates and numbers of draws"
            left.append("the places of dropout, since the outputs differ without it")
        if port != model:
            left.append("how many numbers dropout draws in a training step")
        return judged, left

    def _of_steps(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many numbers each side draws in its first step, by the rate."""
        try:
            return _by_rate(self.port.noise_of_step()), _by_rate(self.truth.noise_of_step())
        except PortError:  # which is said where the step is judged
            return Counter(), Counter()

    def _agree(self, marked: bool) -> bool:
        """Return whether the outputs in training are the model's."""
        of_port = self.port.trace(True, marked=marked)[1]
        of_model = self.truth.marked() if marked else self.truth.trace(True)[1]
        sides = (numbered(of, "outputs") for of in (of_port, of_model))
        for index, (port, truth) in enumerate(zip(*sides, strict=False)):
            returned = self.port.returned(index, port)
            expected = self.port.expected(index, truth)
            if not near(returned, folded_like(expected, returned)):
                return False
        return True


def _by_rate(drawn: Sequence[str]) -> Counter[str]:
    """Return how many numbers are drawn with each rate, given each "0.5 of 256 numbers"."""
    found: Counter[str] = Counter()
    for rate, numbers in (of.removesuffix(" numbers").split(" of ") for of in drawn):
        found[rate] += int(numbers)
    return found
