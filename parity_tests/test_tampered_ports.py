"""A port tampered with in one place fails on the rung where that place is, and nowhere below."""

import functools

import pytest
import torch

from parity_tests.harness import lockstep
from parity_tests.harness.adapters import Port, Reference

RUNGS = lockstep.RUNGS


@pytest.fixture
def climb(mnist, dtype):
    """Climbs the ladder; returns the divergences by rung."""

    def climb():
        images, labels, _, _ = mnist(dtype)
        crew = Reference(dtype=dtype), Port(dtype=dtype), Port(dtype=dtype)
        return lockstep.climb(*crew, images, labels)

    return climb


def clipped_loss(labels, predictions, epsilon=1e-7, renormalise=True):
    """Returns the port's loss, with another epsilon or without its second softmax."""
    clipped = torch.where(predictions < epsilon, epsilon, predictions)
    clipped = torch.where(clipped > 1 - epsilon, 1 - epsilon, clipped)
    if renormalise:
        return torch.nn.functional.cross_entropy(torch.log(clipped), labels, reduction="none")
    return torch.nn.functional.nll_loss(torch.log(clipped), labels, reduction="none")


class ReluThatPassesAtZero(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx, da):
        (z,) = ctx.saved_tensors
        return torch.where(z >= 0, da, 0)


def test_the_port_as_it_is_climbs_every_rung(climb):
    assert climb() == {}


def test_the_port_with_its_loss_written_out_climbs_every_rung(climb, monkeypatch):
    monkeypatch.setattr("torch_port.training.sparse_categorical_crossentropy", clipped_loss)
    assert climb() == {}


@pytest.mark.parametrize("mistake", [{"epsilon": 1e-6}, {"renormalise": False}])
def test_a_wrong_clip_fails_first_at_the_loss(climb, monkeypatch, mistake):
    monkeypatch.setattr(
        "torch_port.training.sparse_categorical_crossentropy",
        functools.partial(clipped_loss, **mistake),
    )
    assert min(climb(), key=RUNGS.index) == "loss"


def test_a_relu_that_passes_the_gradient_at_0_fails_first_at_the_gradients(climb, monkeypatch):
    monkeypatch.setattr(torch, "relu", ReluThatPassesAtZero.apply)
    assert min(climb(), key=RUNGS.index) == "gradients"


def test_two_exchanged_units_fail_first_at_the_layer_outputs(climb, monkeypatch):
    right = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda x, W: right(x, W)[:, _exchanged(W.shape[1])])
    assert min(climb(), key=RUNGS.index) == "layer outputs"


def _exchanged(outputs):
    return [1, 0, *range(2, outputs)]


def test_an_update_of_another_learning_rate_fails_first_at_the_update(climb, monkeypatch):
    def update_weights(gradients, weights):
        with torch.no_grad():
            for g, w in zip(gradients, weights, strict=True):
                w -= g * 1.0001e-3

    monkeypatch.setattr("torch_port.optimizers.update_weights", update_weights)
    assert min(climb(), key=RUNGS.index) == "one update"
