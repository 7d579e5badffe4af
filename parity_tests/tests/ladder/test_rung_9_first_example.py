"""Rung 9, the book's first example: Keras's own training, and its counterpart in PyTorch.

Both start from identical weights and take the images in the order of the data set.
"""

import numpy as np
import pytest
import torch

from parity_tests.ladder.compare import Divergence, Judge, judge_tensors
from parity_tests.ladder.training import evaluation

RUNG = "first example"


pytestmark = pytest.mark.usefixtures("default_dtype")


@pytest.mark.soak
@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_five_epochs_are_the_same_training(judge, trio, mnist, dtype):
    images, labels, test_images, test_labels = mnist(dtype)
    reference, port, oracle = trio
    histories = [one.package.first_example.fit(one.model, images, labels, 5) for one in trio[:2]]
    arrays = [{name: np.array(values) for name, values in history.items()} for history in histories]
    judge(RUNG, "loss", "of epochs", port=arrays[1]["loss"], reference=arrays[0]["loss"])
    judge(
        RUNG, "accuracy", "of epochs", port=arrays[1]["accuracy"], reference=arrays[0]["accuracy"]
    )
    totals = oracle.fit(images, labels, 5) * np.tile([128] * 468 + [96], 5)
    averages = totals.reshape(5, -1).sum(axis=1) / 60000
    judge(RUNG, "loss", "of epochs of the oracle", oracle=averages, reference=arrays[0]["loss"])
    weights = [one.weights() for one in (port, reference, oracle)]
    judge_tensors(judge, RUNG, "weights", *weights, step="five epochs")
    evaluation(judge, RUNG, reference, port, oracle, test_images, test_labels)
    assert reference.accuracy(test_images, test_labels) >= 0.97


def take_ten_steps(trio, images, labels):
    """Train each of the three on the first ten batches."""
    samples = images[: 10 * 128], labels[: 10 * 128]
    *packages, oracle = trio
    oracle.fit(*samples, epochs=1)
    for one in packages:
        one.package.first_example.fit(one.model, *samples, epochs=1)


def test_the_first_ten_steps_agree(judge, trio, mnist, dtype):
    # In float32 not for longer: a division by the root of an average of squares makes whole
    # steps of the smallest gradients, rounding and all. `naive-parity rmsprop` shows how one
    # unit in the last place of one initial weight grows in the reference alone.
    images, labels, test_images, test_labels = mnist(dtype)
    reference, port, oracle = trio
    take_ten_steps(trio, images, labels)
    weights = [one.weights() for one in (port, reference, oracle)]
    judge_tensors(judge, RUNG, "weights", *weights, step="step 9")
    evaluation(judge, RUNG, reference, port, oracle, test_images, test_labels)


def test_stock_rmsprop_with_the_same_numbers_is_seen(trio, mnist, dtype, monkeypatch):
    images, labels, *_ = mnist(dtype)
    stock = lambda params, lr: torch.optim.RMSprop(params, lr, alpha=0.9, eps=1e-7)  # noqa: E731
    monkeypatch.setattr("torch_port.first_example.RMSprop", stock)
    reference, port, oracle = trio
    take_ten_steps(trio, images, labels)
    weights = [one.weights() for one in (port, reference, oracle)]
    with pytest.raises(Divergence, match=r"weights layers\.0\.W at step 9"):
        judge_tensors(Judge(), RUNG, "weights", *weights, step="step 9")
