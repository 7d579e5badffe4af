"""Rung 7: a run across the end of an epoch, with its partial batch, step by step."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tf_reference
import torch_port
from parity_tests.ladder import training
from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.oracle import initial_weights

TINY = (6, 5, 4)


def crew(dtype, sizes=(784, 512, 10), rule="hand", learning_rate=1e-3):
    """Return the reference and two instances of the port, with the weights of seed 0."""
    rules = {
        "hand": lambda package: partial(package.update_weights, learning_rate=learning_rate),
        "sgd": lambda package: package.SGD(learning_rate),
    }
    reference, port, free_port = (
        adapter(sizes, dtype, rules[rule](package))
        for adapter, package in ((Reference, tf_reference), (Port, torch_port), (Port, torch_port))
    )
    reference.load_weights(initial_weights(0, sizes, dtype))
    return reference, port, free_port


@pytest.mark.parametrize(("samples", "batch_size"), [(300, 128), (20, 1), (2000, 2000)])
def test_every_step_agrees_for_every_size_of_batch(judge, mnist, dtype, samples, batch_size):
    images, labels = (array[:samples] for array in mnist(dtype)[:2])
    training.train(
        judge, "trajectory", *crew(dtype), images, labels, epochs=2, batch_size=batch_size
    )


@pytest.mark.parametrize(
    ("samples", "batch_size", "epochs", "learning_rate"),
    [
        (50, 1, 2, 1e-4),
        (2000, 128, 2, 1e-3),
        (2000, 2000, 2, 1e-3),
        pytest.param(60000, 128, 1, 1e-3, marks=pytest.mark.soak),
        # At 1e-3 true SGD never settles here, and any two runs part: in float64 the losses of
        # port and reference, equal to rounding at first, differ by 2e-9 after 957 steps.
        pytest.param(1000, 1, 2, 1e-4, marks=pytest.mark.soak),
        pytest.param(60000, 60000, 2, 1e-3, marks=pytest.mark.soak),
    ],
)
def test_true_mini_batch_and_full_batch_sgd_agree_in_a_shuffled_order(
    judge, mnist, dtype, samples, batch_size, epochs, learning_rate
):
    images, labels = (array[:samples] for array in mnist(dtype)[:2])
    training.train(
        judge,
        "trajectory",
        *crew(dtype, learning_rate=learning_rate),
        images,
        labels,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        shuffle_seed=0,
    )


def test_every_step_agrees_by_the_optimizers(judge, mnist, dtype):
    images, labels = (array[:300] for array in mnist(dtype)[:2])
    rate = float(np.float32(1e-3))  # as Keras keeps it
    crew_with_sgd = crew(dtype, rule="sgd")
    training.train(
        judge, "trajectory", *crew_with_sgd, images, labels, epochs=2, learning_rate=rate
    )


@pytest.mark.parametrize("shuffle_seed", [None, 3])
def test_fit_takes_the_steps_that_are_judged(package, dtype, mnist, shuffle_seed):
    adapter = Reference if package is tf_reference else Port
    fitted, stepped = adapter(dtype=dtype), adapter(dtype=dtype)
    stepped.load_weights(fitted.weights())
    images, labels = (array[:300] for array in mnist(dtype)[:2])
    losses = []
    package.fit(
        fitted.model,
        images,
        labels,
        epochs=2,
        shuffle_seed=shuffle_seed,
        on_step=lambda *step: losses.append(step),
    )
    rng = np.random.default_rng(shuffle_seed)
    for epoch in range(2):
        order = np.arange(300) if shuffle_seed is None else rng.permutation(300)
        for batch in range(3):
            samples = order[batch * 128 : (batch + 1) * 128]
            loss, _ = stepped.step(images[samples], labels[samples])
            assert losses.pop(0) == (epoch, batch, loss)
    for name, weight in stepped.weights().items():
        np.testing.assert_array_equal(fitted.weights()[name], weight, strict=True)


arrays = st.integers(1, 9).flatmap(
    lambda batch: st.tuples(
        hnp.arrays("float64", (batch, TINY[0]), elements=st.floats(-10, 10, width=32)),
        hnp.arrays("int64", batch, elements=st.integers(0, TINY[-1] - 1)),
        hnp.arrays("float64", TINY[:2], elements=st.floats(-2, 2, width=32)),
        hnp.arrays("float64", TINY[1:], elements=st.floats(-2, 2, width=32)),
    )
)


SMALL = crew("float64", TINY)


@given(arrays)
def test_any_step_of_a_small_model_agrees_in_float64(drawn):
    images, labels, *kernels = drawn
    weights = initial_weights(0, TINY, "float64")
    weights["layers.0.W"], weights["layers.1.W"] = kernels
    SMALL[0].load_weights(weights)
    # One step: at a second one, a bias of 0 that rounding made 1e-17 would open a relu.
    training.train(Judge(), "trajectory", *SMALL, images, labels, epochs=1)


def test_a_last_partial_batch_that_is_dropped_is_seen(mnist, dtype):
    reference, port, free_port = crew(dtype)
    right = free_port.step
    free_port.step = lambda images, labels: (
        right(images, labels) if len(images) == 128 else free_port.gradients(images, labels)
    )
    images, labels = (array[:300] for array in mnist(dtype)[:2])
    with pytest.raises(Divergence, match=r"weights layers\.0\.W at epoch 0"):
        training.train(Judge(), "trajectory", reference, port, free_port, images, labels, epochs=2)


def test_a_port_that_does_not_shuffle_is_seen(mnist, dtype):
    images, labels = (array[:300] for array in mnist(dtype)[:2])
    reference, port, free_port = crew(dtype)
    right = free_port.step
    in_order = zip(images.reshape(3, 100, -1), labels.reshape(3, 100), strict=True)
    free_port.step = lambda images, labels: right(*next(in_order))
    with pytest.raises(Divergence, match="loss free running at epoch 0"):
        training.train(
            Judge(),
            "trajectory",
            reference,
            port,
            free_port,
            images,
            labels,
            epochs=1,
            batch_size=100,
            shuffle_seed=0,
        )


def test_gradients_that_accumulate_are_seen_at_the_second_step(mnist, dtype):
    reference, port, free_port = crew(dtype)
    right = port.step
    kept = {}

    def accumulating(images, labels):
        loss, gradients = right(images, labels)
        for name, gradient in gradients.items():
            kept[name] = kept.get(name, 0) + gradient
        return loss, dict(kept)

    port.step = accumulating
    images, labels = (array[:300] for array in mnist(dtype)[:2])
    with pytest.raises(Divergence, match=r"gradient layers\.0\.W at epoch 0, batch 1"):
        training.train(Judge(), "trajectory", reference, port, free_port, images, labels, epochs=2)
