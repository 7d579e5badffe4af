"""The port's RMSprop: Keras's rule, and the conventions of `torch.optim`."""

import numpy as np
import pytest
import torch

from parity_tests.ladder.compare import Divergence, Judge
from torch_port import RMSprop

STEPS = 10


def gradients(dtype):
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.integers(-6, 1, (4, 3))  # from below the root of epsilon to far above
    return [(scales * rng.standard_normal((4, 3))).astype(dtype) for _ in range(STEPS)]


def weight(dtype):
    return torch.tensor(np.linspace(-1, 1, 12, dtype=dtype).reshape(4, 3), requires_grad=True)


def take(optimizer, w, gradients):
    """Take a step for each gradient; return the weight after each."""
    found = []
    for g in gradients:
        w.grad = torch.tensor(g)
        optimizer.step()
        found.append(w.detach().numpy().copy())
    return found


def by_keras(dtype, **options):
    from tf_reference.framework import tf  # here: the port alone needs none

    variable = tf.Variable(weight(dtype).detach().numpy())
    optimizer = tf.keras.optimizers.RMSprop(1e-3, **options)
    found = []
    for g in gradients(dtype):
        optimizer.apply_gradients([(tf.constant(g), variable)])
        found.append(variable.numpy())
    return found


def compare(judge, found, expected):
    for step, (w, of_keras) in enumerate(zip(found, expected, strict=True)):
        arrays = {"port": w, "reference": of_keras}
        judge("one update", "update by RMSprop", "w", step=f"step {step}", scale=abs(w), **arrays)


def steps_of(optimizer_class, dtype, **options):
    w = weight(dtype)
    return take(optimizer_class([w], lr=float(np.float32(1e-3)), **options), w, gradients(dtype))


def test_ten_steps_are_those_of_keras_to_two_units_in_the_last_place(judge, dtype):
    compare(judge, steps_of(RMSprop, dtype), by_keras(dtype))


def test_another_rho_and_epsilon_are_those_of_keras_too(judge, dtype):
    found = steps_of(RMSprop, dtype, rho=0.5, eps=1e-3)
    compare(judge, found, by_keras(dtype, rho=0.5, epsilon=1e-3))


@pytest.mark.parametrize("options", [{}, {"alpha": 0.9, "eps": 1e-7}])
def test_stock_rmsprop_is_not_that_of_keras_also_with_the_same_numbers(dtype, options):
    with pytest.raises(Divergence, match="w at step 0"):
        compare(Judge(), steps_of(torch.optim.RMSprop, dtype, **options), by_keras(dtype))


def test_a_run_resumed_from_its_state_dict_goes_on_bit_for_bit(dtype, tmp_path):
    w = weight(dtype)
    optimizer = RMSprop([w])
    take(optimizer, w, gradients(dtype)[:5])
    torch.save({"w": w.detach(), "optimizer": optimizer.state_dict()}, tmp_path / "state")
    expected = take(optimizer, w, gradients(dtype)[5:])

    saved = torch.load(tmp_path / "state", weights_only=True)
    resumed = saved["w"].requires_grad_()
    optimizer = RMSprop([resumed], lr=99)
    optimizer.load_state_dict(saved["optimizer"])
    found = take(optimizer, resumed, gradients(dtype)[5:])
    np.testing.assert_array_equal(found, expected, strict=True)

    forgetful = saved["w"].detach().clone().requires_grad_()
    assert not np.array_equal(take(RMSprop([forgetful]), forgetful, gradients(dtype)[5:]), expected)


def test_groups_have_options_of_their_own(dtype):
    fast, slow = weight(dtype), weight(dtype)
    optimizer = RMSprop([{"params": [fast], "lr": 0.1}, {"params": [slow]}], lr=0)
    for w in (fast, slow):
        w.grad = torch.ones_like(w)
    optimizer.step()
    assert (fast != weight(dtype)).all()
    assert torch.equal(slow, weight(dtype))


def test_a_closure_computes_the_gradients_and_its_loss_is_returned(dtype):
    w = weight(dtype)
    optimizer = RMSprop([w])

    def closure():
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses == sorted(losses, reverse=True)
    assert optimizer.step() is None


def test_a_weight_without_a_gradient_stays_as_it_is():
    w, frozen = weight("float32"), weight("float32")
    optimizer = RMSprop([w, frozen])
    w.grad = torch.ones_like(w)
    optimizer.step()
    assert torch.equal(frozen, weight("float32"))
    assert list(optimizer.state) == [w]
    w.grad = None
    optimizer.step()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1e-3}, ValueError, "lr is -0.001: expected a finite number, 0 or above"),
        ({"lr": float("nan")}, ValueError, "lr is nan"),
        ({"rho": 1.1}, ValueError, "rho is 1.1: expected a number from 0 to 1"),
        ({"eps": -1.0}, ValueError, "eps is -1.0: expected a finite number, 0 or above"),
        ({"alpha": 0.99}, TypeError, "unexpected keyword argument 'alpha'"),
    ],
)
def test_options_out_of_range_and_unknown_ones_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RMSprop([weight("float32")], **options)


def test_the_state_of_another_model_is_refused():
    state = RMSprop([weight("float32")]).state_dict()
    with pytest.raises(ValueError, match="parameter group"):
        RMSprop([weight("float32"), weight("float32")]).load_state_dict(state)


def test_a_sparse_gradient_is_refused():
    w = weight("float32")
    w.grad = torch.ones_like(w).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        RMSprop([w]).step()
