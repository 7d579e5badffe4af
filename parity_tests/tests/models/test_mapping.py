"""Which layer is which module: by order, by shape, by name, by hand; and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from parity_tests.check.messages import UnusablePort
from parity_tests.check.models.mapping import by_hand, mappings, possible


def unit(path, inputs, outputs):
    name = path.rsplit("/", maxsplit=1)[-1]
    weights = {"kernel": [f"{path}/kernel", [inputs, outputs]]}
    return {"class": "Dense", "path": path, "name": name, "weights": weights}


def module(path, inputs, outputs):
    weights = {"weight": [[outputs, inputs], "float32"]}
    return {"class": "Linear", "path": path, "weights": weights, "config": {}}


def pairs(mapping):
    return [(p.unit["path"], p.module["path"]) for p in mapping.pairings]


ONE, TWO, THREE = unit("model/one", 2, 3), unit("model/two", 3, 3), unit("model/three", 3, 3)


def test_layers_and_modules_in_one_order_are_paired_in_that_order():
    (found,) = mappings([ONE, TWO], [module("a", 2, 3), module("b", 3, 3)])
    assert found.how == "by order of execution"
    assert pairs(found) == [("model/one", "a"), ("model/two", "b")]


def test_layers_of_other_order_are_paired_by_their_shapes():
    (found,) = mappings([ONE, TWO], [module("b", 3, 3), module("a", 2, 3)])
    assert found.how == "by shape and order"
    assert pairs(found) == [("model/one", "a"), ("model/two", "b")]


def test_names_give_another_mapping_where_shapes_leave_several():
    modules = [module("Three", 3, 3), module("TWO", 3, 3)]
    first, second = mappings([TWO, THREE], modules)
    assert (first.how, second.how) == ("by order of execution", "by shape and name")
    assert pairs(first) == [("model/two", "Three"), ("model/three", "TWO")]
    assert pairs(second) == [("model/two", "TWO"), ("model/three", "Three")]


def test_square_weights_of_modules_of_its_own_are_tried_as_they_are_and_transposed():
    def own(path, weight):
        return {**module(path, 0, 0), "class": "Module", "weights": {"weight": [weight, True]}}

    one, other = mappings([ONE, TWO], [own("a", [2, 3]), own("b", [3, 3])])
    assert [m.how for m in (one, other)] == [
        *("by order of execution", "by order of execution, square weights transposed"),
    ]
    said = [[p.said()[0] for p in m.pairings] for m in (one, other)]
    assert said == [["as it is"] * 2, ["as it is", "(in, out) to (out, in)"]]
    (alone,) = mappings([ONE], [own("a", [2, 3])])
    assert alone.how == "by order of execution"
    (square,) = mappings([TWO], [module("b", 3, 3)])
    assert square.how == "by order of execution"


def test_names_are_alike_whatever_separates_their_words():
    layers = [unit("block-1/proj_Out", 3, 3), unit("block-1/proj_In", 3, 3)]
    modules = [module("block.1.proj.in", 3, 3), module("block.1.proj.out", 3, 3)]
    _, second = mappings(layers, modules)
    assert pairs(second) == [
        ("block-1/proj_Out", "block.1.proj.out"),
        ("block-1/proj_In", "block.1.proj.in"),
    ]


def test_what_separates_words_counts_as_one_character_in_the_likeness_of_names():
    layers = [unit("a/b/c/d/x", 3, 3), unit("a/b/c/d/y", 3, 3)]
    _, found = mappings(layers, [module("a/b/c/d/y", 3, 3), module("a.b.c.d.x", 3, 3)])
    assert pairs(found) == [("a/b/c/d/x", "a.b.c.d.x"), ("a/b/c/d/y", "a/b/c/d/y")]
    layers = [unit("ab/c", 3, 3), unit("zz/q", 3, 3)]
    _, found = mappings(layers, [module("xy.c", 3, 3), module("abc", 3, 3)])
    assert pairs(found) == [("ab/c", "abc"), ("zz/q", "xy.c")]


def test_weights_go_to_the_port_and_back_and_are_listed():
    (found,) = mappings([ONE, THREE], [module("a", 2, 3), module("longer", 3, 3)])
    weights = {"model/one/kernel": np.arange(6).reshape(2, 3), "model/three/kernel": np.eye(3)}
    arrays = found.to_port(weights)
    assert arrays["a.weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert arrays["longer.weight"].tolist() == np.eye(3).tolist()
    for gradient in (False, True):
        back = found.to_keras(arrays, gradient)
        assert {k: a.tolist() for k, a in back.items()} == {
            k: a.tolist() for k, a in weights.items()
        }
    said = "(in, out) to (out, in)"
    assert found.rows() == [
        {"model": "model/one/kernel", "port": "a.weight", "transform": said},
        {"model": "model/three/kernel", "port": "longer.weight", "transform": said},
    ]
    assert list(found.lines()) == [
        f"  model/one/kernel    a.weight       {said}",
        f"  model/three/kernel  longer.weight  {said}",
    ]


def test_one_bias_in_place_of_two_has_a_gradient_of_its_own():
    weights = {
        "kernel": ["l/kernel", [2, 4]],
        "recurrent_kernel": ["l/recurrent", [1, 4]],
        "bias": ["l/bias", [4]],
    }
    layer = {"class": "LSTM", "path": "l", "name": "l", "weights": weights}
    shapes = {"weight_ih_l0": [4, 2], "weight_hh_l0": [4, 1], "bias_ih_l0": [4], "bias_hh_l0": [4]}
    lstm = {
        "class": "LSTM",
        "path": "m",
        "weights": {name: [shape, "float32"] for name, shape in shapes.items()},
        "config": {"num_layers": 1, "bidirectional": False},
    }
    (found,) = mappings([layer], [lstm])
    arrays = {f"m.{name}": np.ones(shape) for name, shape in shapes.items()}
    assert found.to_keras(arrays)["l/bias"].tolist() == [2] * 4
    assert found.to_keras(arrays, gradient=True)["l/bias"].tolist() == [1] * 4


@pytest.mark.parametrize(
    ("units", "modules", "message"),
    [
        ([ONE, TWO], [module("a", 2, 3)], "in the Keras model model/two (Dense of (3, 3)); "),
        ([ONE], [module("a", 2, 3), module("b", 3, 3)], "in the port b (Linear of (3, 3)); "),
        (
            [ONE],
            [module("a", 5, 3)],
            "in the Keras model model/one (Dense of (2, 3)); in the port a (Linear of (3, 5)); ",
        ),
        (
            [unit(f"u{i}", 2, 3) for i in range(5)],
            [module("a", 2, 3)],
            "in the Keras model u1 (Dense of (2, 3)), u2 (Dense of (2, 3)), u3 (Dense of (2, 3)), "
            "u4 (Dense of (2, 3)); ",
        ),
        (
            [unit(f"u{i}", 2, 3) for i in range(6)],
            [module("a", 2, 3)],
            "in the Keras model u1 (Dense of (2, 3)), u2 (Dense of (2, 3)), u3 (Dense of (2, 3)), "
            "u4 (Dense of (2, 3)) and more; ",
        ),
    ],
)
def test_what_has_no_partner_is_named(units, modules, message):
    with pytest.raises(UnusablePort) as error:
        mappings(units, modules)
    assert str(error.value) == (
        "these layers have no partner: "
        + message
        + 'name pairs in the port as mapping = {"module": "layer"}'
    )


def test_a_mapping_by_hand_is_taken_in_the_order_of_the_layers():
    modules = [module("a", 2, 3), module("b", 3, 3), module("c", 3, 3)]
    given = {"c": "two", "b": "model/three", "a": "one"}
    found = by_hand([ONE, TWO, THREE], modules, given)
    assert found.how == "as mapping says"
    assert pairs(found) == [("model/one", "a"), ("model/two", "c"), ("model/three", "b")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": "won"}, "mapping names won, which the model has not (there is "),
        ({"a": "qqqqqqq"}, "mapping names qqqqqqq, which the model has not"),
        ({"linear": "one"}, "mapping names linear, which the port has not"),
        ({"aa": "one"}, "mapping names aa, which the port has not (there is a)"),
        ({"acdb": "one"}, "mapping names acdb, which the port has not (there is b, a)"),
        (
            {"b": "one"},
            "mapping pairs b with one, but b (Linear of (3, 3)) does not fit model/one "
            "(Dense of (2, 3))",
        ),
        (
            {"a": "one"},
            "these layers have no partner: in the Keras model model/two (Dense of (3, 3)); "
            'in the port b (Linear of (3, 3)); name pairs in the port as mapping = {"module": '
            '"layer"}',
        ),
    ],
)
def test_a_mapping_by_hand_that_does_not_fit_is_refused(given, message):
    with pytest.raises(UnusablePort) as error:
        by_hand([ONE, TWO], [module("a", 2, 3), module("b", 3, 3)], given)
    found = str(error.value)
    assert found == message or (message.endswith("there is ") and found.startswith(message))


def test_each_shape_of_a_layer_is_named_once():
    layer = unit("model/one", 2, 3)
    layer["weights"] |= {"bias": ["p", [3]], "other": ["q", [3]]}
    with pytest.raises(UnusablePort, match=r"model/one \(Dense of \(2, 3\), \(3,\)\)"):
        mappings([layer], [])


def test_a_port_has_no_more_weights_than_its_modules_train():
    mistakes = ("tanh", "it has a bias", "it has a beta", "it has a gamma")
    edits = [
        {
            "name": f"{name}: {mistake}",
            "where": name,
            "rung": "trajectory" if "it has" in mistake else "layers",
        }
        for name in "abc"
        for mistake in mistakes
    ]
    pairings = [
        SimpleNamespace(
            unit={"name": name}, extra=extra, module={"weights": {n: [[], t] for n, t in held}}
        )
        for name, extra, held in (
            ("a", ("bias",), [("weight", True), ("bias", True)]),
            ("b", ("weight", "bias"), [("weight", True), ("bias", False)]),
            ("c", ("in.bias",), [("in.bias", True)]),
        )
    ]
    left = [of["name"] for of in possible(edits, pairings)]
    assert left == [
        *("a: tanh", "a: it has a bias", "a: it has a beta"),
        *("b: tanh", "b: it has a gamma"),
        *("c: tanh", "c: it has a bias", "c: it has a beta"),
    ]
    assert possible(edits, []) == [of for of in edits if of["rung"] == "layers"]
