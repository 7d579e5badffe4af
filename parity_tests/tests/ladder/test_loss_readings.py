"""One line of Keras, three losses: eager, inside a `tf.function`, and after a softmax layer.

Only the eager reading clips; the other two find the logits. The reference is the eager one,
as in the book, and the port is held to it. Keras's own PyTorch backend is a fourth reading.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from parity_tests.ladder.adapters import Port
from parity_tests.ladder.directed_inputs import directed_predictions
from parity_tests.ladder.oracle import Oracle, cross_entropy, initial_weights
from tf_reference.framework import tf


@pytest.fixture
def step_0(mnist):
    """The logits of the first batch from the weights of seed 7, and its labels."""
    images, labels, _, _ = mnist("float32")
    weights = initial_weights(7)
    oracle = Oracle("float32")
    oracle.load_weights(weights)
    hidden = oracle.layer_output(0, images[:128])
    logits = hidden @ weights["layers.1.W"] + weights["layers.1.b"]
    return logits.astype("float32"), labels[:128]


def eager(logits, labels):
    return tf.keras.losses.sparse_categorical_crossentropy(labels, tf.nn.softmax(logits))


def softmax_layer(logits, labels):
    inputs = tf.keras.Input((10,))
    model = tf.keras.Model(inputs, tf.keras.layers.Softmax()(inputs))
    return tf.keras.losses.sparse_categorical_crossentropy(labels, model(logits))


@pytest.mark.parametrize(
    ("reading", "expected"),
    [(eager, 5.6015), (tf.function(eager), 5.6441), (softmax_layer, 5.6441)],
)
def test_the_three_readings_of_seed_7_at_step_0(step_0, reading, expected):
    losses = np.asarray(reading(*step_0))
    assert losses.mean() == pytest.approx(expected, abs=1e-4)
    clips = eager is reading
    exact = cross_entropy(step_0[0].astype(np.float64), step_0[1])
    assert (np.abs(losses - exact) > 1e-3).sum() == (2 if clips else 0)


def test_the_port_follows_the_eager_reading(step_0):
    logits, labels = step_0
    predictions = tf.nn.softmax(logits).numpy()
    of_port = Port().losses(labels, predictions)
    np.testing.assert_allclose(of_port, eager(logits, labels), rtol=1e-6, equal_nan=False)


KERAS_ON_TORCH = """
import json, sys, keras, numpy as np
p, labels = np.array(json.loads(input()), "float32"), np.array(json.loads(input()))
losses = keras.losses.sparse_categorical_crossentropy(labels, p)
print(json.dumps(losses.detach().numpy().tolist()))
"""


def test_keras_on_torch_is_another_function_where_a_probability_is_1():
    p, labels = directed_predictions("float32")
    result = subprocess.run(
        [sys.executable, "-c", KERAS_ON_TORCH],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        input="\n".join(json.dumps(array.tolist()) for array in (p, labels)),
        capture_output=True,
        text=True,
        check=True,
    )
    of_keras_on_torch = np.array(json.loads(result.stdout), "float32")
    on_tensorflow = tf.keras.losses.sparse_categorical_crossentropy(labels, p).numpy()
    certain = p[np.arange(len(p)), labels] == 1
    assert of_keras_on_torch[certain] == pytest.approx(1.1920930e-07, rel=1e-6)
    assert on_tensorflow[certain] == pytest.approx(9.536739e-07, rel=1e-6)
    # A loss near 0 is the logarithm of a sum near 1, whose unit in the last place is 1.19e-7.
    of_port = Port().losses(labels, p)
    np.testing.assert_allclose(of_port, on_tensorflow, rtol=1e-6, atol=1.2e-7, equal_nan=False)
