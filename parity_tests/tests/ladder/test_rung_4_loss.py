"""Rung 4: the loss of each sample, given the same predictions, at the bounds and beyond."""

import numpy as np
import pytest

from parity_tests.ladder import rungs
from parity_tests.ladder.compare import Divergence, Judge


def test_the_loss_of_each_sample_agrees(judge, reference, port):
    rungs.losses(judge, reference, port)


@pytest.mark.parametrize("wrong", [np.inf, np.nan, 16.1])
def test_one_wrong_loss_is_seen(reference, port, wrong):
    right = port.losses

    def losses(labels, predictions):
        found = np.array(right(labels, predictions))
        found[7] = wrong
        return found

    port.losses = losses
    with pytest.raises(Divergence, match=r"loss of each sample .*: 1 of 120 elements differ"):
        rungs.losses(Judge(), reference, port)


def test_losses_already_averaged_are_seen(reference, port):
    right = port.losses
    port.losses = lambda labels, predictions: right(labels, predictions).mean()
    with pytest.raises(Divergence, match=r"shape \(\) in port, \(120,\) in "):
        rungs.losses(Judge(), reference, port)
