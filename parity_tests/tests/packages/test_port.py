"""The port alone, without TensorFlow: defaults, bounds, and where a training goes on."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import torch_port
from parity_tests.ladder import oracle


def tiny(dtype="float32", seed=0):
    """Return a softmax layer of 6 inputs and 4 classes, 30 images and their labels."""
    rng = np.random.default_rng(seed)
    softmax = torch_port.mnist_model().layers[1].activation
    layer = torch_port.NaiveDense(6, 4, softmax, rng=rng, dtype=dtype)
    images = rng.uniform(0, 1, (30, 6)).astype(dtype)
    return torch_port.NaiveSequential([layer]), images, rng.integers(0, 4, 30)


def copied(model):
    return [w.detach().clone() for w in model.weights]


def equal(some, others):
    return all(torch.equal(w, v) for w, v in zip(some, others, strict=True))


def test_a_layer_is_in_float32_unless_told_and_draws_its_kernel_below_a_tenth():
    layer = torch_port.NaiveDense(100, 1, torch.relu)
    assert {w.dtype for w in layer.weights} == {torch.float32}
    assert all(w.requires_grad for w in layer.weights)
    W, b = layer.weights
    assert (tuple(W.shape), tuple(b.shape), b.item()) == ((100, 1), (1,), 0)
    assert 0 <= W.min() < 0.02 < 0.08 < W.max() < 0.1
    assert torch_port.NaiveDense(1, 1, torch.relu, dtype="float64").W.dtype == torch.float64


def test_layers_draw_from_the_generator_that_they_are_given_or_another_each():
    of_seed = [
        torch_port.NaiveDense(3, 2, torch.relu, rng=np.random.default_rng(5)).W for _ in range(2)
    ]
    assert torch.equal(*of_seed)
    first, second = (torch_port.NaiveDense(3, 2, torch.relu).W for _ in range(2))
    assert not torch.equal(first, second)


def test_the_model_of_the_book_maps_784_pixels_to_probabilities_of_10_classes():
    model = torch_port.mnist_model(0)
    assert [tuple(w.shape) for w in model.weights] == [(784, 512), (512,), (512, 10), (10,)]
    assert {w.dtype for w in model.weights} == {torch.float32}
    assert torch.allclose(model(torch.rand(3, 784)).sum(dim=1), torch.ones(3))
    stacked = model.layers[1].activation(torch.zeros(2, 3, 4))  # the last axis, not the second
    assert torch.equal(stacked, torch.full((2, 3, 4), 0.25))
    assert not torch.equal(torch_port.mnist_model().weights[0], torch_port.mnist_model().weights[0])


def test_an_update_by_hand_and_by_sgd_takes_a_thousandth_of_the_gradient_unless_told():
    for make, rate in (
        (lambda: torch_port.update_weights, 1e-3),
        (lambda: partial(torch_port.update_weights, learning_rate=0.5), 0.5),
        (lambda: torch_port.SGD(), 1e-3),
        (lambda: torch_port.SGD(0.5), 0.5),
    ):
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        make()([torch.tensor([4.0, -4.0])], [w])
        assert torch.allclose(w, torch.tensor([1 - 4 * rate, 2 + 4 * rate]), rtol=1e-7)
        assert w.grad is None


def test_sgd_keeps_its_rate_in_the_default_dtype():
    assert torch_port.SGD(0.1).learning_rate == float(np.float32(0.1))


def test_sgd_updates_one_model_again_and_again_and_wants_a_gradient_for_each_weight():
    sgd, w = torch_port.SGD(1.0), torch.tensor([0.0], requires_grad=True)
    for _ in range(3):
        sgd([torch.ones(1)], [w])
    assert w.item() == -3
    for rule in (sgd, torch_port.update_weights):
        with pytest.raises(ValueError, match="the number of gradients is 0: expected 1, as of"):
            rule([], [w])


def by_oracle(rule, w, gradients):
    w, found = w.astype("float64"), []
    for g in gradients:
        rule("w", w, g)
        found.append(w.copy())
    return found


@pytest.mark.parametrize(
    "options", [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-3}, {"rho": 1.0, "lr": 0}]
)
def test_rmsprop_is_that_of_the_oracle(options):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(5), rng.standard_normal((4, 5))
    w = torch.tensor(start, requires_grad=True)
    optimizer = torch_port.RMSprop([w], **options)
    names = {"lr": "learning_rate", "eps": "epsilon", "rho": "rho"}
    rule = oracle.RMSprop(**{names[name]: value for name, value in options.items()})
    for g, expected in zip(gradients, by_oracle(rule, start, gradients), strict=True):
        w.grad = torch.tensor(g)
        assert optimizer.step() is None
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-14)


def test_rmsprop_takes_an_epsilon_of_0_and_no_rate_that_is_infinite():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = torch_port.RMSprop([w], lr=1.0, rho=0, eps=0)
    w.grad = torch.tensor([3.0])
    optimizer.step()
    assert w.item() == 0
    for options in ({"lr": math.inf}, {"eps": math.inf}, {"rho": -0.1}):
        with pytest.raises(ValueError, match="expected a"):
            torch_port.RMSprop([w], **options)
    for options in ({}, {"lr": 2.0}):
        group = torch_port.RMSprop([w], **options).param_groups[0]
        assert (group["rho"], group["eps"]) == (0.9, 1e-7)
        assert group["lr"] == options.get("lr", 1e-3)


def test_rmsprop_updates_some_weights_of_a_group_and_computes_gradients_in_a_closure():
    w, frozen = (torch.tensor([2.0], requires_grad=True) for _ in range(2))
    optimizer = torch_port.RMSprop([frozen, w], lr=1.0, rho=0.0, eps=0.0)

    def closure():
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert (w.item(), frozen.item()) == (1, 2)
    assert list(optimizer.state) == [w]
