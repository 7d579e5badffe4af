"""The layers of a Keras model that hold weights: which they are, and what goes through them."""

import importlib
import os
from typing import Any

import numpy as np
import pytest

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    importlib.import_module("tf_reference.framework")  # Triton, then TensorFlow: see there
keras = importlib.import_module("keras")
units = importlib.import_module("parity_tests.check.keras.units")
layers = keras.layers
Layer: Any = layers.Layer


def model_of(*parts, inputs=(4,), dtype="float32"):
    """Return a model of some layers in a row, which is built."""
    return keras.Sequential([keras.Input(inputs, dtype=dtype), *parts])


def names(some):
    return [layer.name for layer in some]


class Block(Layer):
    """A layer that holds others, and weights of its own if it is told."""

    def __init__(self, *parts, own=False, **options):
        super().__init__(**options)
        self.layers = [*parts, "no layer"]
        self.own = own

    def build(self, shape):
        if self.own:
            self.scale = self.add_weight(shape=(1,), name="scale")
        self.count = self.add_weight(shape=(), dtype="int32", trainable=False, name="count")

    def call(self, x):
        for part in self.layers[:-1]:
            x = part(x)
        return x


def test_the_layers_of_a_model_are_walked_those_in_them_as_well():
    inner = keras.Sequential([layers.Dense(3, name="a")], name="inner")
    block = Block(inner, layers.Dense(3, name="b"), name="block")
    model = model_of(
        block, layers.TimeDistributed(layers.Dense(2, name="c"), name="over"), inputs=(5, 4)
    )
    assert names(units.walk(model)) == ["block", "inner", "a", "b", "over", "c"]


def test_the_units_are_the_layers_with_weights_each_once_in_their_order():
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([shared, layers.Dropout(0.5)], name="inner")
    x = keras.Input((6, 4))
    y = layers.TimeDistributed(layers.Dense(4, name="at_each_step"))(shared(x))
    y = Block(layers.Dense(4, name="in_a_block"))(inner(y))
    y = layers.Normalization(mean=0.0, variance=1.0)(y)
    y = layers.MultiHeadAttention(1, 2, name="attention")(y, y)
    y = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(y)
    y = layers.RNN(layers.SimpleRNNCell(3), return_sequences=True, name="of_a_cell")(y)
    model = keras.Model(x, layers.Flatten()(y))
    assert names(units.of(model)) == [
        *("shared", "at_each_step", "in_a_block", "attention", "both", "of_a_cell")
    ]


def test_a_layer_with_weights_of_its_own_beside_those_of_its_parts_is_as_its_parts():
    model = model_of(Block(layers.Dense(3, name="part"), own=True, name="whole"))
    assert names(units.of(model)) == ["part"]
    model = model_of(Block(layers.Activation("relu"), own=True, name="whole"))
    assert names(units.of(model)) == ["whole"]
    assert units.of(model_of(Block())) == []  # its weight is a counter
    assert units.of(Block(layers.Dense(3))) == []  # not built, so without weights


def test_a_layer_that_is_not_taken_as_a_whole_is_its_parts():
    attention = layers.MultiHeadAttention(1, 2, name="attention")
    x = keras.Input((5, 4))
    model = keras.Model(x, attention(x, x))
    assert names(units.of(model)) == ["attention"]
    assert names(units.of(model, units.RECURRENT)) == ["query", "key", "value", "attention_output"]


def test_a_weight_is_what_has_a_floating_point_dtype():
    block = Block(own=True, name="whole")
    model_of(block)
    assert [units.is_float(w) for w in (block.scale, block.count)] == [True, False]


def test_a_unit_is_described_with_its_weights_by_role():
    (unit,) = units.of(model_of(layers.Dense(3, name="dense")))
    assert units.describe(unit) == {
        "path": unit.path,
        "name": "dense",
        "class": "Dense",
        "channels first": False,
        "inner": "Dense",
        "weights": {"kernel": [unit.kernel.path, [4, 3]], "bias": [unit.bias.path, [3]]},
    }
    block = Block(own=True, name="whole")
    model_of(block)
    assert list(units.describe(block)["weights"]) == ["scale"]
    assert units.describe(Block(name="not called"))["path"] == "not called"


def test_the_roles_in_a_layer_of_several_parts_name_the_part():
    (both,) = units.of(model_of(layers.Bidirectional(layers.SimpleRNN(2)), inputs=(5, 4)))
    found = units.describe(both)
    assert (found["class"], found["inner"]) == ("Bidirectional", "SimpleRNN")
    roles = ("kernel", "recurrent_kernel", "bias")
    assert list(found["weights"]) == [
        f"{way} {r}" for way in ("forward", "backward") for r in roles
    ]
    x = keras.Input((5, 4))
    attention = layers.MultiHeadAttention(2, 3)
    keras.Model(x, attention(x, x))
    shapes = {role: shape for role, (_, shape) in units.describe(attention)["weights"].items()}
    assert shapes == {
        **{f"{part} kernel": [4, 2, 3] for part in ("query", "key", "value")},
        **{f"{part} bias": [2, 3] for part in ("query", "key", "value")},
        **{"output kernel": [2, 3, 4], "output bias": [4]},
    }


def test_layers_of_one_name_get_that_of_what_holds_them_and_the_others_keep_theirs():
    def nested(name):
        shared = Block(layers.Dense(4, name=f"in_{name}"), name="shared")
        return keras.Sequential(
            [keras.Input((4,), name="in"), shared, layers.Dense(4, name=f"own_{name}")], name=name
        )

    outer = layers.Dense(4, name="shared")
    model = model_of(nested("a"), nested("b"), outer)
    before = {layer.name: layer.path for layer in units.walk(model)}
    units.tell_apart(model)
    after = {layer.name: layer.path for layer in units.walk(model)}
    assert after == {
        **{name: before[name] for name in ("a", "own_a", "b", "own_b", "shared")},
        **{f"{name}.shared": f"{name}.shared" for name in "ab"},
        **{f"in_{name}": f"{name}.shared/in_{name}" for name in "ab"},
    }
    first = model.layers[0].layers[0]
    assert [w.path for w in first.weights] == [
        *("a.shared/count", "a.shared/in_a/kernel", "a.shared/in_a/bias")
    ]
    assert [w.path for w in outer.weights] == [f"{outer.path}/{n}" for n in ("kernel", "bias")]
    assert [part._layers[0].name for part in model.layers[:2]] == ["in", "in"]


def test_layers_of_one_name_in_one_layer_are_numbered_and_each_is_renamed_once():
    same = [layers.Dense(4, name="same") for _ in range(3)]
    model = model_of(Block(same[0], *same, Block(same[1], name="of_parts"), name="block"))
    units.tell_apart(model)
    assert names(same) == ["block.same", "block.same_1", "block.same_1_1"]
    model = Block(*(layers.Dense(4, name="same") for _ in range(2)), layers.Dense(4, name="other"))
    units.tell_apart(model)
    assert names(units.walk(model)) == ["same", "same_1", "other"]


def test_the_parts_of_a_recurrent_layer_keep_their_names_and_move_with_it():
    def nested(name):
        return keras.Sequential([layers.LSTM(4, name="lstm", return_sequences=True)], name=name)

    model = model_of(nested("a"), nested("b"), inputs=(5, 4))
    units.tell_apart(model)
    first, second = (part.layers[0] for part in model.layers)
    assert names([first, second]) == ["a.lstm", "b.lstm"]
    assert names([first.cell, second.cell]) == ["lstm_cell"] * 2
    roles = ("kernel", "recurrent_kernel", "bias")
    assert [w.path for w in second.weights] == [f"b.lstm/lstm_cell/{role}" for role in roles]


@pytest.mark.parametrize(("size", "kind"), [(1, "SeparableConv1D"), (2, "SeparableConv2D")])
@pytest.mark.parametrize("bias", [True, False])
def test_a_separable_convolution_is_two_that_have_its_weights_and_give_its_numbers(
    size, kind, bias
):
    made = getattr(layers, kind)
    options = {"depth_multiplier": 2, "use_bias": bias, "dtype": "float64"}
    first = made(5, 3, 1, "same", dilation_rate=2, activation="tanh", name="first", **options)
    inner = keras.Sequential([made(3, 2, 2, name="second", **options)], name="inner")
    model = model_of(first, inner, layers.Flatten(), inputs=(9,) * size + (4,))
    weights = model.weights
    x = np.random.default_rng(0).standard_normal((2, *(9,) * size, 4)).astype("float32")
    before = keras.ops.convert_to_numpy(model(x))
    units.split_separable(model)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), before, rtol=1e-5, atol=1e-6)
    assert list(map(id, model.weights)) == list(map(id, weights))
    parts = units.of(model)
    ends = ("first.depthwise", "first.pointwise", "second.depthwise", "second.pointwise")
    assert tuple(names(parts)) == ends
    assert [p.path for p in parts[:2]] == [f"{first.path}.{e}" for e in ("depthwise", "pointwise")]
    assert [part.use_bias for part in parts[:2]] == [False, bias]
    assert [part.compute_dtype for part in parts] == ["float64"] * 4
    assert (parts[0].depth_multiplier, parts[1].kernel_size) == (2, (1,) * size)
    roles = ["kernel", "bias"] if bias else ["kernel"]
    found = [units.describe(part) for part in parts]
    assert [list(of["weights"]) for of in found] == [["kernel"], roles] * 2
    assert [of["class"] for of in found[:2]] == [f"DepthwiseConv{size}D", f"Conv{size}D"]
    assert found[0]["weights"]["kernel"] == [first.depthwise_kernel.path, [*(3,) * size, 4, 2]]
    assert [call["unit"] for call in traced(model, x)[1]] == [part.path for part in parts]


def test_a_separable_convolution_of_the_users_own_class_stays_one():
    class Own(layers.SeparableConv2D):
        """As it may compute something else."""

    model = model_of(Own(2, 3, name="own"), inputs=(5, 5, 3))
    units.split_separable(model)
    assert names(units.of(model)) == ["own"]


def traced(model, *inputs, **options):
    order = []
    with units.traced(units.of(model), order) as calls:
        output = model(*inputs, **options)
    return order, calls, keras.ops.convert_to_numpy(output)


def test_what_goes_into_each_unit_and_comes_out_before_its_activation_is_kept():
    first, last = layers.Dense(3, "tanh", name="first"), layers.Dense(2, name="last")
    model = model_of(first, layers.ReLU(name="relu"), last)
    x = np.linspace(-1, 1, 8, dtype="float32").reshape(2, 4)
    order, (one, two), output = traced(model, x)
    assert order == [[model.name, 0], ["first", 0], ["relu", 1], ["last", 1]]
    before = x @ keras.ops.convert_to_numpy(first.kernel)
    after = np.maximum(np.tanh(before), 0)
    assert one.keys() == {"unit", "masked", "inputs", "output", "returned"}
    assert [one["unit"], two["unit"]] == [first.path, last.path]
    assert (one["masked"], two["masked"]) == (False, False)
    for found, expected in (
        (one["inputs"], [x]),
        ([one["output"], one["returned"]], [before, np.tanh(before)]),
        (two["inputs"], [after]),
        ([two["output"], two["returned"]], [output, output]),
    ):
        for array, of in zip(found, expected, strict=True):
            assert type(array) is np.ndarray
            np.testing.assert_allclose(array, of, rtol=1e-6)
    assert first.activation is keras.activations.tanh
    assert traced(model, x)[1][0].keys() == one.keys()  # as before: nothing stays changed


def test_a_call_that_fails_is_not_kept_and_the_next_one_is():
    (dense,) = (model := model_of(layers.Dense(3))).layers
    right = keras.Layer.__call__
    with units.traced(units.of(model), []) as calls:
        with pytest.raises(ValueError, match="incompatible"):
            dense(np.ones((2, 5), "float32"))
        dense(np.ones((2, 4), "float32"))
    assert len(calls) == 1
    assert keras.Layer.__call__ is right


def test_a_layer_within_a_unit_is_no_call_of_its_own():
    x = keras.Input((5, 4))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    model = keras.Model(x, attention(x, x, return_attention_scores=True))
    a, b = (keras.ops.full((1, 5, 4), value) for value in (1, 2))
    order = []
    with units.traced(units.of(model), order) as calls:
        returned, _ = attention(a, value=b, return_attention_scores=True)
    ((name, before), *parts), (call,) = order, calls
    assert (name, before) == ("attention", 0)
    assert parts
    assert [given.max() for given in call["inputs"]] == [1, 2]
    for array in (call["output"], call["returned"]):
        np.testing.assert_array_equal(array, keras.ops.convert_to_numpy(returned))


@pytest.mark.parametrize("both", [False, True])
def test_the_output_of_a_recurrent_unit_is_that_of_every_step(both):
    layer = layers.LSTM(2, return_state=not both)
    layer = layers.Bidirectional(layer) if both else layer
    model_of(layer, inputs=(5, 4)) if both else layer.build((1, 5, 4))
    x = keras.ops.convert_to_tensor(np.random.default_rng(0).standard_normal((1, 5, 4)), "float32")
    mask = keras.ops.convert_to_tensor([[True, True, True, False, False]])
    with units.traced([layer], []) as calls:
        layer(x)
        layer(x, mask=mask, training=False)
    whole, masked = calls
    assert (whole["masked"], masked["masked"]) == (False, True)
    assert whole["output"].shape == (1, 5, 4 if both else 2)
    np.testing.assert_array_equal(whole["output"], whole["returned"])
    forward = slice(0, 2)
    np.testing.assert_array_equal(*(of["output"][0, :3, forward] for of in (whole, masked)))
    assert not np.allclose(*(of["output"][0, 3:, forward] for of in (whole, masked)))
    assert not layer.return_sequences


def test_a_mask_that_an_embedding_hands_on_is_told():
    embedding, dense = layers.Embedding(5, 4, mask_zero=True), layers.Dense(2)
    model = model_of(embedding, dense, inputs=(3,), dtype="int32")
    _, calls, _ = traced(model, np.array([[1, 2, 0]], "int32"))
    assert [call["masked"] for call in calls] == [False, True]


def test_the_inputs_of_a_layer_that_takes_several_at_once_are_all_kept():
    class Both(layers.Layer):
        def build(self, shapes):
            self.w = self.add_weight(shape=(1,))

        def call(self, pair):
            return [pair[0] * self.w, pair[1]]

    both, a, b = Both(), keras.ops.ones((1, 2)), keras.ops.zeros((1, 3))
    both([a, b])
    with units.traced([both], []) as calls:
        returned = both([a, b])
    (call,) = calls
    for found, given in zip(call["inputs"], (a, b), strict=True):
        np.testing.assert_array_equal(found, keras.ops.convert_to_numpy(given), strict=True)
    for name in ("output", "returned"):
        np.testing.assert_array_equal(call[name], keras.ops.convert_to_numpy(returned[0]))


def test_the_gradients_that_an_optimizer_takes_are_kept_after_clipping():
    model = model_of(layers.Dense(3, name="used"), layers.Dense(2, name="left"))
    model.compile(keras.optimizers.SGD(0.1, clipnorm=1.0))
    optimizer, variables = model.optimizer, model.trainable_variables
    optimizer.build(variables)
    right = optimizer.apply
    gradients = [keras.ops.full(v.shape, 3.0) for v in variables]
    for given, taken in (
        ((gradients, variables), variables),
        ((gradients,), variables),
        ((gradients[1:], variables[1:]), variables[1:]),
    ):
        with units.gradients_seen(model) as found:
            optimizer.apply(*given)
        assert list(found) == [v.path for v in taken]
        for v in taken:
            size = np.sqrt(np.prod(v.shape))
            np.testing.assert_allclose(found[v.path], np.full(v.shape, 1 / size), rtol=1e-6)
    assert optimizer.apply == right
    with units.gradients_seen(model), pytest.raises(ValueError, match="zip"):
        optimizer.apply(gradients[1:], variables)
    some = [None, *gradients[1:]]
    with units.gradients_seen(model) as found, pytest.warns(UserWarning, match="Gradients do not"):
        optimizer.apply(some, variables)
    assert list(found) == [v.path for v in variables[1:]]
    assert all(type(array) is np.ndarray for array in found.values())
