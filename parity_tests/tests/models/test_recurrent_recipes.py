"""Where each number of a recurrent layer goes, without Keras."""

import numpy as np
import pytest

from parity_tests.check.models.recipes import pairing
from parity_tests.tests.models.test_recipes import module, moved, numbered, unit

GATES = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "SimpleRNN": [0]}
KINDS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}


def in_order(array, order):
    """Return the columns of gates, 3 of each, in another order, and first."""
    return np.concatenate([array[..., 3 * i : 3 * i + 3] for i in order], axis=-1).T


def recurrent_of(kind, both, bias):
    count = 3 * len(GATES[kind])
    layer, port = {}, {}
    for prefix, end in (("forward ", ""), ("backward ", "_reverse")) if both else (("", ""),):
        layer |= {f"{prefix}kernel": (2, count), f"{prefix}recurrent_kernel": (3, count)}
        port |= {f"weight_ih_l0{end}": (count, 2), f"weight_hh_l0{end}": (count, 3)}
        if bias:
            layer[f"{prefix}bias"] = bias
            port |= {f"bias_ih_l0{end}": (count,), f"bias_hh_l0{end}": (count,)}
    config = {"num_layers": 1, "bidirectional": both}
    made = unit("Bidirectional", layer, inner=kind) if both else unit(kind, layer)
    return made, module(KINDS[kind], port, **config)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_the_gates_of_a_recurrent_layer_are_put_in_order(kind, both, rows):
    count = 3 * len(GATES[kind])
    layer, port = recurrent_of(kind, both, {0: None, 1: (count,), 2: (2, count)}[rows])
    w, found = moved(layer, port)
    for prefix, end in (("forward ", ""), ("backward ", "_reverse")) if both else (("", ""),):
        for role, name in (("kernel", "ih"), ("recurrent_kernel", "hh")):
            expected = in_order(w[prefix + role], GATES[kind])
            assert found[f"weight_{name}_l0{end}"].tolist() == expected.tolist()
        if rows:
            bias = w[f"{prefix}bias"]
            of_both = bias if rows == 2 else [bias, 0 * bias]
            for name, expected in zip(("ih", "hh"), of_both, strict=True):
                right = in_order(expected, GATES[kind])
                assert found[f"bias_{name}_l0{end}"].tolist() == right.tolist()
    said = [row[2] for row in pairing(layer, port).lines()]
    order = ", gates z r h to r z n" if kind == "GRU" else ""
    assert said[:2] == [f"(in, out) to (out, in){order}"] * 2
    if rows:
        what = ("one bias to two, the second 0", "two rows to two biases")[rows - 1]
        assert said[2] == what + order


def test_two_biases_are_one_whose_gradient_is_that_of_either():
    layer, port = recurrent_of("LSTM", False, (12,))
    found = pairing(layer, port)
    arrays = found.to_port(numbered(layer))
    arrays["m.bias_hh_l0"] += 1
    arrays["m.bias_ih_l0"] -= 1
    bias = numbered(layer)["l/bias"]
    assert found.to_keras(arrays)["l/bias"].tolist() == bias.tolist()
    assert found.to_keras(arrays, gradient=True)["l/bias"].tolist() == (bias - 1).tolist()
    kernel = found.to_keras(arrays, gradient=True)["l/kernel"]
    assert kernel.tolist() == numbered(layer)["l/kernel"].tolist()
    del arrays["m.bias_hh_l0"]
    assert "l/bias" not in found.to_keras(arrays)
    assert "l/bias" in found.to_keras(arrays, gradient=True)
    del arrays["m.weight_ih_l0"]
    assert "l/kernel" not in found.to_keras(arrays)


def test_biases_that_only_the_recurrent_module_has_are_0():
    layer, _ = recurrent_of("GRU", True, None)
    _, port = recurrent_of("GRU", True, (9,))
    found = pairing(layer, port)
    assert found.extra == tuple(name for name in port["weights"] if name.startswith("bias"))
    layer, _ = recurrent_of("GRU", False, (9,))
    _, port = recurrent_of("GRU", False, None)
    assert pairing(layer, port).missing == ["bias"]


@pytest.mark.parametrize(
    "change",
    [
        {"class": "GRU"},
        {"config": {"num_layers": 2, "bidirectional": False}},
        {"config": {"num_layers": 1, "bidirectional": True}},
    ],
)
def test_another_kind_or_number_of_recurrent_layers_is_not_paired(change):
    layer, port = recurrent_of("LSTM", False, (12,))
    assert pairing(layer, port) is not None
    assert pairing(layer, port | change) is None
    layer["weights"]["kernel"][1] = [2, 10]  # of which no four gates are made
    assert pairing(layer, port) is None
    layer, port = recurrent_of("LSTM", True, (12,))
    assert pairing(layer | {"inner": "GRU"}, port) is None
    assert pairing(layer, port | {"class": "RNN"}) is None
