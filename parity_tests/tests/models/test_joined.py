"""Units that a port holds in one layer: what they are together, and what goes through them."""

import importlib
import os

import numpy as np
import pytest

from parity_tests.check.models.recipes import pairing
from parity_tests.tests.models.test_recipes import module, moved, numbered, unit

if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    importlib.import_module("tf_reference.framework")  # Triton, then TensorFlow: see there
units = importlib.import_module("parity_tests.check.keras.units")


def named(name, kind, shapes, **more):
    """Describe a layer of a name."""
    weights = {role: [f"m/{name}/{role}", list(shape)] for role, shape in shapes.items()}
    return unit(kind, {}) | {"name": name, "path": f"m/{name}", "weights": weights} | more


def joined(*parts):
    (found,) = units.joined(parts, [[part["path"] for part in parts]])
    return found


FOLDED = {"kernel": (4, 2, 3), "bias": (2, 3)}
PLAIN = {"kernel": (4, 5), "bias": (5,)}
QUERY, KEY = named("query", "EinsumDense", FOLDED), named("key", "Dense", PLAIN)


def test_units_of_a_group_are_one_with_the_weights_of_all():
    other = named("other", "Dense", PLAIN)
    alone, together = units.joined([QUERY, other, KEY], [["m/query", "m/key"]])
    assert alone == other
    assert together == {
        "path": "m/query, key",
        "name": "query, key",
        "class": "Joined",
        "weights": {
            "query kernel": ["m/query/kernel", [4, 2, 3]],
            "query bias": ["m/query/bias", [2, 3]],
            "key kernel": ["m/key/kernel", [4, 5]],
            "key bias": ["m/key/bias", [5]],
        },
        "parts": [QUERY, KEY],
    }
    assert joined(KEY, QUERY)["class"] == "Joined"
    assert joined(named("a", "LSTM", {}), named("b", "LSTM", {}))["class"] == "Stacked"
    assert joined(QUERY, KEY | {"path": "other/key"})["path"] == "m/query, key"
    assert units.joined([QUERY], []) == [QUERY]
    roots = [part | {"path": part["name"]} for part in (QUERY, KEY)]
    assert joined(*roots)["path"] == "query, key"


def call(name, given, output, **more):
    return {
        "unit": name,
        "masked": False,
        "inputs": [np.array(given, "float32")],
        "output": output,
        "returned": output + 1,
        **more,
    }


def test_calls_with_one_input_are_one_whose_outputs_lie_side_by_side():
    q, k = (np.arange(n, dtype="float32") for n in (36, 30))
    x = np.ones((2, 3, 4))
    calls = [
        call("first", x, q),
        call("m/query", x, q.reshape(2, 3, 2, 3), masked=True),
        call("m/key", x, k.reshape(2, 3, 5)),
        call("m/key", x, k),
        call("last", x, k),
    ]
    order = [["m", 0], ["query", 1], ["key", 2], ["again", 3], ["last", 4], ["end", 5]]
    found = units.join_calls(calls, order, [["m/query", "m/key"]])
    assert [of["unit"] for of in found] == ["first", "m/query, key", "m/key", "last"]
    assert order == [["m", 0], ["query", 1], ["key", 2], ["again", 2], ["last", 3], ["end", 4]]
    both = np.concatenate([q.reshape(2, 3, 6), k.reshape(2, 3, 5)], 2)
    assert found[1]["output"].tolist() == both.tolist()
    assert found[1]["returned"].tolist() == (both + 1).tolist()
    assert (found[1]["masked"], found[1]["inputs"][0].tolist()) == (True, x.tolist())
    assert [found[0], found[2]] == [calls[0], calls[3]]
    assert units.join_calls(calls, [], []) == calls


def test_calls_in_a_row_are_one_from_the_first_input_to_the_last_output():
    first = call("m/a", np.zeros((2, 3)), np.ones((2, 3)))
    then = call("m/b", np.ones((2, 3)), np.full((2, 3), 4.0))
    last = call("m/c", np.ones((2, 3)), np.full((2, 3), 5.0))
    (found,) = units.join_calls([first, then, last], [], [["m/a", "m/b", "m/c"]])
    assert found == {**last, "unit": "m/a, b, c", "inputs": first["inputs"]}


def test_layers_of_one_input_are_packed_in_one_linear_layer():
    layer, port = joined(QUERY, KEY), module("Linear", {"weight": (11, 4), "bias": (11,)})
    w = {path.removeprefix("m/"): array for path, array in numbered(layer).items()}
    _, found = moved(layer, port)
    kernel = np.concatenate([w["query/kernel"].reshape(4, 6).T, w["key/kernel"].T])
    assert found["weight"].tolist() == kernel.tolist()
    bias = np.concatenate([w["query/bias"].ravel(), w["key/bias"]])
    assert found["bias"].tolist() == bias.tolist()
    assert list(pairing(layer, port).lines())[1] == (
        *("m/query/bias, m/key/bias", "m.bias", "heads folded, 2 packed in one"),
    )


def test_biases_of_a_packed_layer_may_be_missing_on_either_side_but_not_of_one_part():
    without = module("Linear", {"weight": (11, 4)})
    assert pairing(joined(QUERY, KEY), without).missing == ["query bias", "key bias"]
    bare = [part | {"weights": {"kernel": part["weights"]["kernel"]}} for part in (QUERY, KEY)]
    port = module("Linear", {"weight": (11, 4), "bias": (11,)})
    assert pairing(joined(*bare), port).extra == ("bias",)
    assert pairing(joined(QUERY, bare[1]), port) is None
    assert pairing(joined(QUERY, KEY), module("Linear", {"weight": (12, 4)})) is None
    assert pairing(joined(QUERY, KEY), module("Linear", {"weight": (11, 5)})) is None
    assert pairing(joined(QUERY, KEY), module("Conv1d", {"weight": (11, 4, 1)})) is None


def stacked(both):
    """Return two recurrent layers, and a module that holds both."""
    parts, shapes = [], {}
    for level, inputs in enumerate((2, 6 if both else 3)):
        roles = {}
        for way, end in (("forward ", ""), ("backward ", "_reverse")) if both else (("", ""),):
            roles |= {f"{way}kernel": (inputs, 12), f"{way}recurrent_kernel": (3, 12)}
            shapes |= {
                f"weight_ih_l{level}{end}": (12, inputs),
                f"weight_hh_l{level}{end}": (12, 3),
            }
        kind = ("Bidirectional", "LSTM") if both else ("LSTM", "LSTM")
        parts.append(named(f"lstm_{level}", kind[0], roles, inner=kind[1]))
    return parts, module("LSTM", shapes, num_layers=2, bidirectional=both)


@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_in_a_row_are_the_levels_of_one_module(both):
    parts, port = stacked(both)
    w, found = moved(joined(*parts), port)
    for level in (0, 1):
        for way, end in (("forward ", ""), ("backward ", "_reverse")) if both else (("", ""),):
            for role, name in (("kernel", "ih"), ("recurrent_kernel", "hh")):
                right = w[f"m/lstm_{level}/{way}{role}"].T
                assert found[f"weight_{name}_l{level}{end}"].tolist() == right.tolist()


def test_recurrent_layers_of_other_kinds_or_numbers_are_not_the_levels_of_a_module():
    parts, port = stacked(False)
    assert pairing(joined(*parts, parts[1] | {"path": "m/c", "name": "c"}), port) is None
    assert pairing(joined(parts[0], parts[1] | {"class": "GRU"}), port) is None
    assert pairing(joined(parts[1], parts[0]), port) is None
    assert pairing(joined(*parts), port | {"class": "GRU"}) is None
    assert pairing(joined(*stacked(True)[0]), port) is None
