"""What goes through a layer in the ways that users call it."""

import importlib
import os

import numpy as np

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    importlib.import_module("tf_reference.framework")  # Triton, then TensorFlow: see there
keras = importlib.import_module("keras")
units = importlib.import_module("parity_tests.check.keras.units")
layers = keras.layers


def test_a_recurrent_unit_begins_with_the_state_that_it_is_given():
    layer, x = layers.GRU(2, return_sequences=True), keras.ops.ones((1, 5, 4))
    state = keras.ops.full((1, 2), 0.5)
    expected = keras.ops.convert_to_numpy(layer(x, initial_state=state))
    assert not np.allclose(expected, keras.ops.convert_to_numpy(layer(x)))
    with units.traced([layer], []) as calls:
        layer(x, state)
        layer(x, initial_state=state, training=True)
    for call in calls:
        np.testing.assert_allclose(call["output"], expected, rtol=1e-6)


def test_the_output_of_a_unit_is_before_its_activation_also_if_that_is_a_layer():
    right = layers.LeakyReLU(0.5)
    dense = layers.Dense(2, activation=right, kernel_initializer="ones")
    x = keras.ops.array([[-1.0, -2.0]])
    dense(x)
    with units.traced([dense], []) as calls:
        dense(x)
    (call,) = calls
    assert (call["output"].tolist(), call["returned"].tolist()) == ([[-3, -3]], [[-1.5, -1.5]])
    assert dense.activation is right


def test_a_layer_that_may_have_an_activation_and_has_none_is_traced():
    class Scaled(layers.Layer):
        activation = None

        def build(self, shape):
            self.scale = self.add_weight(shape=(1,), initializer="ones")

        def call(self, x):
            return x * self.scale if self.activation is None else self.activation(x)

    layer = Scaled()
    layer(keras.ops.ones((1, 2)))
    with units.traced([layer], []) as calls:
        layer(keras.ops.ones((1, 2)))
    assert calls[0]["output"].tolist() == [[1, 1]]
