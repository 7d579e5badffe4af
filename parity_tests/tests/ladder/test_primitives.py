"""Each primitive of the network alone: forward and gradient, on directed inputs."""

import numpy as np
import pytest

from parity_tests.ladder import oracle
from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge, judge_tensors
from parity_tests.ladder.directed_inputs import directed_predictions

RUNG = "layer outputs"


@pytest.fixture
def adapters(dtype):
    return {"port": Port(dtype=dtype), "reference": Reference(dtype=dtype)}


def check(judge, adapters, quantity, primitive, inputs, outputs, gradients, cotangent):
    """Judge a primitive's output and derivatives, given the oracle's."""
    found = {
        name: adapter.pullback(adapter.primitives()[primitive], inputs, cotangent)
        for name, adapter in adapters.items()
    }
    expected = [outputs, *gradients]
    for index, truth in enumerate(expected):
        arrays = {name: [output, *rest][index] for name, (output, rest) in found.items()}
        what = f"{primitive}, derivative {index}" if index else primitive
        row = "gradient" if index and quantity == "softmax" else quantity
        found_by = (arrays["port"], arrays["reference"], truth)
        judge_tensors(judge, RUNG, row, *({what: array} for array in found_by), step="")


def cotangent_of(outputs, dtype):
    """Return numbers from 1 to 2, one for each output, which are exact in either dtype."""
    return (1 + np.arange(outputs.size).reshape(outputs.shape) % 128 / 128).astype(dtype)


def test_relu_is_equal_at_0_and_beside_it(judge, adapters, dtype):
    tiny = np.finfo(dtype).smallest_normal
    z = np.array([[-1e4, -1, -tiny, -0.0], [0.0, tiny, 1, 1e4]], dtype)
    da = cotangent_of(z, dtype)
    dz = oracle.relu_gradient(z, da)
    check(judge, adapters, "relu and clip", "relu", [z], oracle.relu(z), [dz], da)
    assert (dz[z == 0] == 0).all()


def test_clip_passes_the_gradient_at_its_bounds_in_tensorflow_but_not_in_torch(judge, dtype):
    lower, upper = (np.dtype(dtype).type(bound) for bound in (1e-7, 1 - 1e-7))
    bounds = [np.nextafter(bound, bound + side) for bound in (lower, upper) for side in (-1, 0, 1)]
    p = np.array([0, *bounds, 0.5, 1], dtype)
    dq = cotangent_of(p, dtype)
    dp = {"oracle": oracle.clip_gradient(p, dq, dtype)}
    for name, adapter in (("reference", Reference(dtype=dtype)), ("port", Port(dtype=dtype))):
        clipped, (dp[name],) = adapter.pullback(adapter.primitives()["clip"], [p], dq)
        arrays = {name: clipped, "oracle": oracle.clip(p, dtype)}
        judge(RUNG, "relu and clip", f"clip of the {name}", **arrays)
    judge(
        RUNG, "relu and clip", "clip, derivative 1", reference=dp["reference"], oracle=dp["oracle"]
    )
    # This is why no gradient of the port's loss goes through torch.clamp.
    assert np.flatnonzero(dp["port"] != dp["reference"]).tolist() == [2, 5]


def test_log_is_right_to_two_units_over_all_that_clip_lets_through(judge, adapters, dtype):
    q = np.concatenate([np.geomspace(1e-7, 1 - 1e-7, 1000), 1 - np.geomspace(1e-7, 0.5, 1000)])
    q = q.astype(dtype)
    dl = cotangent_of(q, dtype)
    truth = np.log(q, dtype=np.float64), oracle.log_gradient(q.astype(np.float64), dl)
    for index, name in enumerate(("log", "log, derivative 1")):
        for adapter_name, adapter in adapters.items():
            output, derivatives = adapter.pullback(adapter.primitives()["log"], [q], dl)
            judge(RUNG, "log", name, **{adapter_name: [output, *derivatives][index],
                  "oracle": truth[index].astype(dtype)})  # fmt: skip


@pytest.mark.parametrize("scale", [1, 100, 1e4])
def test_softmax_agrees_up_to_saturation_and_at_ties(judge, adapters, dtype, scale):
    z = np.random.default_rng(0).uniform(-scale, scale, (96, 10)).astype(dtype)
    z[0] = 3  # ten equal logits
    z[1, :2] = z[1].max() + 1  # two that tie
    dp = cotangent_of(z, dtype)
    p = oracle.softmax(z.astype(np.float64))
    dz = oracle.softmax_gradient(p, dp.astype(np.float64))
    check(judge, adapters, "softmax", "softmax", [z], p, [dz], dp)


def test_dense_is_exact_where_nothing_is_rounded(judge, adapters, dtype):
    rng = np.random.default_rng(0)
    x, W, b = (rng.integers(-8, 9, shape).astype(dtype) for shape in ((96, 50), (50, 10), (10,)))
    dz = rng.integers(-8, 9, (96, 10)).astype(dtype)
    gradients = [oracle.dense_input_gradient(W, dz), *oracle.dense_gradient(x, dz)]
    check(
        judge,
        adapters,
        "dense on integers",
        "dense",
        [x, W, b],
        oracle.dense(x, W, b),
        gradients,
        dz,
    )


def test_the_gradient_of_the_loss_is_that_of_clip_log_and_cross_entropy(judge, adapters, dtype):
    p, labels = directed_predictions(dtype)
    dlosses = cotangent_of(labels, dtype)
    truth = oracle.loss_gradient(p.astype(np.float64), labels, dlosses, dtype)
    gradients = {}
    for name, adapter in adapters.items():
        tensor = adapter.to_tensor(labels)
        loss = lambda p, w=adapter, y=tensor: w.training.sparse_categorical_crossentropy(y, p)  # noqa: E731
        _, (gradients[name],) = adapter.pullback(loss, [p], dlosses)
    found = (gradients["port"], gradients["reference"], truth)
    judge_tensors(judge, "loss", "gradient", *({"predictions": array} for array in found), step="")
    assert (truth[p == 0] == 0).all()


def test_a_relu_that_passes_the_gradient_at_0_is_seen(adapters, dtype):
    z, da = np.zeros((2, 2), dtype), np.ones((2, 2), dtype)
    wrong = np.where(z >= 0, da, 0)
    with pytest.raises(Divergence, match=r"relu, derivative 1 .*: 4 of 4 elements differ"):
        check(
            Judge(),
            {**adapters, "reference": adapters["port"]},
            "relu and clip",
            "relu",
            [z],
            z,
            [wrong],
            da,
        )
