"""Which weight of a port is which: orders, orientations, names, and what is refused."""

import numpy as np
import pytest

from parity_tests.check.book.mapping import Matching, Weight, matchings
from parity_tests.check.messages import NotObservable, UnusablePort

LINEAR = {
    "fc1.weight": (32, 784),
    "fc1.bias": (32,),
    "fc2.weight": (10, 32),
    "fc2.bias": (10,),
}


def names(found):
    """Return the weights of a matching by name, those that are transposed with a star."""
    return {
        name.removeprefix("layers."): of.name + "*" * of.transposed
        for name, of in found.weights.items()
    }


def test_the_modules_of_a_port_are_matched_in_their_order():
    (found,) = matchings(LINEAR, {"fc1.weight": True, "fc2.weight": True}, {})
    assert found.sizes == (784, 32, 10)
    assert names(found) == {
        "0.W": "fc1.weight*",
        "0.b": "fc1.bias",
        "1.W": "fc2.weight*",
        "1.b": "fc2.bias",
    }
    assert found.shapes == {
        "layers.0.W": (784, 32),
        "layers.0.b": (32,),
        "layers.1.W": (32, 10),
        "layers.1.b": (10,),
    }
    assert {w.shape for w in found.weights.values()} == set(LINEAR.values())


def test_kernels_lead_from_pixels_to_classes_in_whatever_order_they_come():
    (found,) = matchings({"z": (32, 10), "c": (10,), "y": (784, 32), "d": (1, 32)}, {}, {})
    assert names(found) == {"0.W": "y", "0.b": "d", "1.W": "z", "1.b": "c"}
    assert found.weights["layers.0.b"].shape == (1, 32)


def test_a_single_layer_and_three_are_matched():
    (found,) = matchings({"W": (784, 10), "b": (10,)}, {}, {})
    assert (found.sizes, names(found)) == ((784, 10), {"0.W": "W", "0.b": "b"})
    shapes = {"a": (784, 64), "p": (64,), "b": (64, 32), "q": (32,), "c": (32, 10), "r": (10,)}
    (found,) = matchings(shapes, {}, {})
    assert found.sizes == (784, 64, 32, 10)
    assert list(names(found).values()) == ["a", "p", "b", "q", "c", "r"]


def test_a_square_kernel_is_tried_as_it_is_and_transposed_and_only_as_it_is_seen_to_be():
    shapes = {"a": (784, 32), "p": (32,), "b": (32, 32), "q": (32,), "c": (32, 10), "r": (10,)}
    kernels = [
        (names(m)["1.W"], names(m)["0.b"], names(m)["1.b"]) for m in matchings(shapes, {}, {})
    ]
    assert kernels == [("b", "p", "q"), ("b", "q", "p"), ("b*", "p", "q"), ("b*", "q", "p")]
    kernels = [names(found)["1.W"] for found in matchings(shapes, {"b": True}, {})]
    assert kernels == ["b*", "b*"]
    kernels = [names(found)["1.W"] for found in matchings(shapes, {"b": False}, {})]
    assert kernels == ["b", "b"]
    with pytest.raises(UnusablePort):
        matchings(shapes, {"a": True}, {})  # which would lead from 32 to 784


def test_a_bias_that_is_seen_with_its_kernel_goes_to_no_other():
    shapes = {"a": (784, 32), "p": (32,), "b": (32, 32), "q": (32,), "c": (32, 10), "r": (10,)}
    (found,) = matchings(shapes, {"b": False}, {"a": "q"})
    assert (names(found)["0.b"], names(found)["1.b"]) == ("q", "p")
    with pytest.raises(UnusablePort):
        matchings(shapes, {}, {"a": "q", "b": "q"})


def test_biases_of_like_names_come_first():
    shapes = {
        "two.W": (32, 32),
        "one.W": (784, 32),
        "out.W": (32, 10),
        "two.b": (32,),
        "out.b": (10,),
        "one.b": (32,),
    }
    first, *_ = matchings(shapes, {}, {})
    assert names(first) == {
        **{"0.W": "one.W", "0.b": "one.b", "1.W": "two.W", "1.b": "two.b"},
        **{"2.W": "out.W", "2.b": "out.b"},
    }


def test_names_are_alike_up_to_their_last_part():
    shapes = {
        "net.z.W": (784, 32),
        "net.a.W": (32, 32),
        "net.m.W": (32, 10),
        "net.a.b": (32,),
        "net.m.b": (10,),
        "net.z.b": (32,),
    }
    first, *_ = matchings(shapes, {}, {})
    assert [names(first)[f"{i}.b"] for i in range(3)] == ["net.z.b", "net.a.b", "net.m.b"]


def test_many_layers_whose_sizes_alternate_each_take_a_bias_of_their_size():
    sizes = [784, 16, 8, 16, 8, 10]
    shapes = {f"W{i}": (sizes[i], sizes[i + 1]) for i in range(5)}
    shapes |= {f"b{i}": (sizes[i + 1],) for i in range(5)}
    for found in matchings(shapes, {}, {}):
        of_biases = [found.weights[f"layers.{i}.b"].shape for i in range(5)]
        assert of_biases == [(16,), (8,), (16,), (8,), (10,)]


def test_of_more_than_four_layers_one_pairing_is_tried():
    shapes = {"W0": (784, 16)}
    shapes |= {f"W{i}": (16, 16) for i in range(1, 4)}
    shapes |= {"W4": (16, 10), "c": (10,), **{f"b{i}": (16,) for i in range(4)}}
    found = matchings(shapes, {}, {})
    assert len(found) == 24
    assert {tuple(v for k, v in names(m).items() if k.endswith("b")) for m in found} == {
        ("b0", "b1", "b2", "b3", "c")
    }
    del shapes["b3"]
    shapes["b3"] = (17,)
    with pytest.raises(UnusablePort):
        matchings(shapes, {}, {})


def test_of_four_layers_all_pairings_are_tried_up_to_a_number():
    shapes = {"W0": (784, 16), "W1": (16, 16), "W2": (16, 16), "W3": (16, 10), "c": (10,)}
    shapes |= {f"b{i}": (16,) for i in range(3)}
    found = matchings(shapes, {"W1": True, "W2": True}, {})
    pairings = [tuple(v for k, v in names(m).items() if k.endswith("b")) for m in found]
    assert len(found) == 12
    assert len(set(pairings)) == 6


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"W": (784, 10)},
        {"W": (784, 11), "b": (11,)},
        {"W": (783, 10), "b": (10,)},
        {"W": (784, 10), "b": (9,)},
        {"W": (784, 10), "b": (2, 5)},
        {"W": (784, 10), "b": (10,), "c": (10,)},
        {"W": (784, 10), "b": (10,), "V": (3, 5), "c": (5,)},
    ],
)
def test_what_are_no_dense_layers_from_pixels_to_classes_is_refused(shapes):
    with pytest.raises(UnusablePort) as error:
        matchings(shapes, {}, {})
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
    assert str(error.value).startswith(f"the weights are {listed}: expected a kernel and a bias")


def test_weights_go_to_the_port_and_back():
    weights = {
        "layers.0.W": Weight("fc.weight", (3, 2), True),
        "layers.0.b": Weight("fc.bias", (1, 3)),
    }
    found = Matching((2, 3), weights)
    ours = {"layers.0.W": np.arange(6).reshape(2, 3), "layers.0.b": np.arange(3)}
    theirs = found.to_port(ours)
    assert theirs["fc.weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert theirs["fc.bias"].tolist() == [[0, 1, 2]]
    back = found.from_port(theirs)
    assert {name: a.tolist() for name, a in back.items()} == {
        name: a.tolist() for name, a in ours.items()
    }
    as_it_is = Matching((2, 3), {"layers.0.W": Weight("W", (2, 3))})
    assert as_it_is.to_port(ours)["W"].tolist() == ours["layers.0.W"].tolist()
    assert as_it_is.from_port({"W": ours["layers.0.W"]})["layers.0.W"].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    odd = found.from_port(theirs | {"fc.bias": np.arange(4)})
    assert odd["layers.0.b"].tolist() == [0, 1, 2, 3]
    with pytest.raises(NotObservable, match=r"what becomes of fc.weight, fc.bias is not seen"):
        found.from_port({})
