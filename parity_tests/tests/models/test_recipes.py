"""Which layers and modules go together, and where each of their numbers goes, without Keras."""

import numpy as np
import pytest

from parity_tests.check.models.recipes import RECIPES, pairing


def unit(kind, shapes, **more):
    """Describe a layer, given the shapes of its weights by role."""
    weights = {role: [f"l/{role}", list(shape)] for role, shape in shapes.items()}
    return {"class": kind, "path": "l", "name": "l", "weights": weights, **more}


def module(kind, shapes, **config):
    """Describe a module, given the shapes of its weights by name."""
    weights = {name: [list(shape), "float32"] for name, shape in shapes.items()}
    return {"class": kind, "path": "m", "weights": weights, "config": config}


def numbered(described):
    """Return a layer's weights, each number of them another."""
    weights, start = {}, 1
    for path, shape in described["weights"].values():
        size = int(np.prod(shape))
        weights[path] = np.arange(start, start + size, dtype="float32").reshape(shape)
        start += size
    return weights


def moved(layer, port):
    """Return a layer's numbers and those of the port, after a check that they come back."""
    found = pairing(layer, port)
    assert found is not None
    weights = numbered(layer)
    arrays = found.to_port(weights)
    assert {name: list(a.shape) for name, a in arrays.items()} == {
        f"m.{name}": shape for name, (shape, _) in port["weights"].items()
    }
    back = found.to_keras(arrays)
    assert back.keys() == weights.keys() - {found.path(role) for role in found.missing}
    for path, array in back.items():
        np.testing.assert_array_equal(array, weights[path], strict=True)
    return (
        {path.removeprefix("l/"): a for path, a in weights.items()},
        {name.removeprefix("m."): a for name, a in arrays.items()},
    )


DENSE = unit("Dense", {"kernel": (2, 3), "bias": (3,)})


def test_a_dense_layer_is_a_linear_one_or_a_convolution_of_width_1():
    for kind, ones in (("Linear", ()), ("Conv1d", (1,)), ("Conv2d", (1, 1))):
        port = module(kind, {"weight": (3, 2, *ones), "bias": (3,)})
        w, found = moved(DENSE, port)
        assert found["weight"].reshape(3, 2).tolist() == w["kernel"].T.tolist()
        assert found["bias"].tolist() == w["bias"].tolist()
        (first, second) = pairing(DENSE, port).lines()
        said = "(in, out) to (out, in, 1)" if ones else "(in, out) to (out, in)"
        assert first == ("l/kernel", "m.weight", said)
        assert second == ("l/bias", "m.bias", "as it is")


def test_a_bias_that_only_the_module_has_is_0_and_one_that_only_the_layer_has_is_missing():
    layer = unit("Dense", {"kernel": (2, 3)})
    found = pairing(layer, module("Linear", {"weight": (3, 2), "bias": (3,)}))
    assert (found.extra, found.missing) == (("bias",), [])
    bias = found.to_port(numbered(layer))["m.bias"]
    assert (bias.tolist(), bias.dtype) == ([0, 0, 0], np.float32)
    assert list(found.lines())[1] == ("-", "m.bias", "0, since the layer has none")
    found = pairing(DENSE, module("Linear", {"weight": (3, 2)}))
    assert (found.extra, found.missing) == ((), ["bias"])
    assert list(found.lines())[1] == ("l/bias", "-", "the port has none")
    assert list(found.to_keras(found.to_port(numbered(DENSE)))) == ["l/kernel"]


def test_a_scale_that_only_the_module_has_is_1():
    shapes = dict.fromkeys(("beta", "moving_mean", "moving_variance"), (3,))
    layer = unit("BatchNormalization", shapes)
    names = ("weight", "bias", "running_mean", "running_var")
    found = pairing(layer, module("BatchNorm2d", dict.fromkeys(names, (3,))))
    assert (found.extra, found.missing) == (("weight",), [])
    assert found.to_port(numbered(layer))["m.weight"].tolist() == [1, 1, 1]
    assert list(found.lines())[-1] == ("-", "m.weight", "1, since the layer has none")


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3)])
def test_learned_slopes_are_one_for_each_channel(shape):
    layer, port = unit("PReLU", {"alpha": shape}), module("PReLU", {"weight": (3,)})
    w, found = moved(layer, port)
    assert found["weight"].tolist() == w["alpha"].ravel().tolist()
    (line,) = pairing(layer, port).lines()
    assert line == ("l/alpha", "m.weight", "(..., channels) to (channels)")


@pytest.mark.parametrize(
    ("layer", "port"),
    [
        (DENSE, module("Linear", {"weight": (2, 3), "bias": (3,)})),
        (DENSE, module("Linear", {"weight": (3, 2), "bias": (2,)})),
        (DENSE, module("Linear", {"weight": (3, 2), "bias": (3,), "more": (1,)})),
        (DENSE, module("Linear", {})),
        (DENSE, module("Conv3d", {"weight": (3, 2, 1, 1, 1), "bias": (3,)})),
        (DENSE, module("Conv1d", {"weight": (3, 2, 2), "bias": (3,)})),
        (DENSE, module("Module", {"other": (5,)})),
        (unit("Dense", {}), module("Linear", {"weight": (3, 2)})),
        (unit("Unknown", {"kernel": (2, 3)}), module("Linear", {"weight": (3, 2)})),
        (
            unit("EinsumDense", {"kernel": (4, 2, 3)}),
            module("Linear", {"weight": (5, 4)}),
        ),
    ],
)
def test_what_does_not_fit_is_not_paired(layer, port):
    assert pairing(layer, port) is None


@pytest.mark.parametrize("bias", [True, False])
def test_a_projection_onto_heads_and_from_them_is_folded(bias):
    shapes = {"kernel": (4, 2, 3), **({"bias": (2, 3)} if bias else {})}
    port = {"weight": (6, 4), **({"bias": (6,)} if bias else {})}
    w, found = moved(unit("EinsumDense", shapes), module("Linear", port))
    for i, head, size in np.ndindex(4, 2, 3):
        assert found["weight"][3 * head + size, i] == w["kernel"][i, head, size]
    if bias:
        assert found["bias"].tolist() == w["bias"].ravel().tolist()
    shapes = {"kernel": (2, 3, 4), **({"bias": (4,)} if bias else {})}
    port = {"weight": (4, 6), **({"bias": (4,)} if bias else {})}
    w, found = moved(unit("EinsumDense", shapes), module("Linear", port))
    assert found["weight"].tolist() == w["kernel"].reshape(6, 4).T.tolist()
    w, found = moved(unit("EinsumDense", {"kernel": (4, 6)}), module("Linear", {"weight": (6, 4)}))
    assert found["weight"].tolist() == w["kernel"].T.tolist()
    said = [row[2] for row in pairing(unit("EinsumDense", shapes), module("Linear", port)).lines()]
    assert said == ["heads folded, (2, 3, 4) to (out, in)", "heads folded"][: 1 + bias]


@pytest.mark.parametrize("kernel", [(2,), (2, 3), (2, 3, 4)])
def test_the_channels_of_a_convolution_come_first(kernel):
    dims = len(kernel)
    layer = unit(f"Conv{dims}D", {"kernel": (*kernel, 5, 6), "bias": (6,)})
    port = module(f"Conv{dims}d", {"weight": (6, 5, *kernel), "bias": (6,)})
    w, found = moved(layer, port)
    for *at, i, o in np.ndindex(*kernel, 5, 6):
        assert found["weight"][(o, i, *at)] == w["kernel"][(*at, i, o)]
    assert found["bias"].tolist() == w["bias"].tolist()
    said = ["(k, in, out) to (out, in, k)", "HWIO to OIHW", "DHWIO to OIDHW"][dims - 1]
    assert next(pairing(layer, port).lines())[2] == said


@pytest.mark.parametrize("kernel", [(2,), (2, 3), (2, 3, 4)])
def test_the_channels_of_a_transposed_convolution_come_first(kernel):
    dims = len(kernel)
    layer = unit(f"Conv{dims}DTranspose", {"kernel": (*kernel, 6, 5), "bias": (6,)})
    port = module(f"ConvTranspose{dims}d", {"weight": (5, 6, *kernel), "bias": (6,)})
    w, found = moved(layer, port)
    for *at, o, i in np.ndindex(*kernel, 6, 5):
        assert found["weight"][(i, o, *at)] == w["kernel"][(*at, o, i)]
    assert found["bias"].tolist() == w["bias"].tolist()
    said = ["(k, out, in) to (in, out, k)", "HWOI to IOHW", "DHWOI to IODHW"][dims - 1]
    assert next(pairing(layer, port).lines())[2] == said


@pytest.mark.parametrize("kernel", [(4,), (4, 5)])
def test_each_channel_of_a_depthwise_convolution_is_a_group(kernel):
    dims = len(kernel)
    layer = unit(f"DepthwiseConv{dims}D", {"kernel": (*kernel, 3, 2), "bias": (6,)})
    port = module(f"Conv{dims}d", {"weight": (6, 1, *kernel), "bias": (6,)})
    w, found = moved(layer, port)
    said = "(h, w, channels, multiplier) to (channels * multiplier, 1, h, w)"
    assert next(pairing(layer, port).lines())[2] == said
    for *at, channel, multiple in np.ndindex(*kernel, 3, 2):
        assert (
            found["weight"][(2 * channel + multiple, 0, *at)]
            == w["kernel"][(*at, channel, multiple)]
        )
    assert found["bias"].tolist() == w["bias"].tolist()


@pytest.mark.parametrize("dims", [1, 2])
def test_a_convolution_of_width_1_is_a_linear_layer_and_a_wider_one_is_not(dims):
    port = module("Linear", {"weight": (3, 2), "bias": (3,)})
    layer = unit(f"Conv{dims}D", {"kernel": (*[1] * dims, 2, 3), "bias": (3,)})
    w, found = moved(layer, port)
    assert found["weight"].tolist() == w["kernel"].reshape(2, 3).T.tolist()
    assert next(pairing(layer, port).lines())[2] == "(1, 1, in, out) to (out, in)"
    wider = unit(f"Conv{dims}D", {"kernel": (*[3] * dims, 2, 3), "bias": (3,)})
    assert pairing(wider, port) is None


def test_an_embedding_stays_as_it_is():
    for kind in ("Embedding", "EmbeddingBag"):
        layer = unit("Embedding", {"embeddings": (7, 3)})
        w, found = moved(layer, module(kind, {"weight": (7, 3)}))
        assert found["weight"].tolist() == w["embeddings"].tolist()


def test_a_normalization_keeps_its_statistics():
    roles = {"gamma": (3,), "beta": (3,), "moving_mean": (3,), "moving_variance": (3,)}
    names = {"weight": (3,), "bias": (3,), "running_mean": (3,), "running_var": (3,)}
    for kind in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"):
        w, found = moved(unit("BatchNormalization", roles), module(kind, names))
        assert [a.tolist() for a in found.values()] == [a.tolist() for a in w.values()]
    for layer, kind, roles in (
        ("LayerNormalization", "LayerNorm", ("gamma", "beta")),
        ("GroupNormalization", "GroupNorm", ("gamma", "beta")),
        ("GroupNormalization", "InstanceNorm2d", ("gamma", "beta")),
        ("RMSNormalization", "RMSNorm", ("scale",)),
    ):
        shapes = dict.fromkeys(roles, (3,))
        port = dict.fromkeys(("weight", "bias")[: len(roles)], (3,))
        w, found = moved(unit(layer, shapes), module(kind, port))
        assert [a.tolist() for a in found.values()] == [a.tolist() for a in w.values()]


def attention_of(bias):
    shapes = {f"{part} kernel": (4, 2, 3) for part in ("query", "key", "value")}
    shapes["output kernel"] = (2, 3, 4)
    port = {"in_proj_weight": (18, 4), "out_proj.weight": (4, 6)}
    if bias:
        shapes |= {f"{part} bias": (2, 3) for part in ("query", "key", "value")}
        shapes["output bias"] = (4,)
        port |= {"in_proj_bias": (18,), "out_proj.bias": (4,)}
    return unit("MultiHeadAttention", shapes), module("MultiheadAttention", port)


@pytest.mark.parametrize("bias", [True, False])
def test_query_key_and_value_of_attention_are_packed(bias):
    layer, port = attention_of(bias)
    w, found = moved(layer, port)
    parts = ("query", "key", "value")
    expected = np.concatenate([w[f"{part} kernel"].reshape(4, 6).T for part in parts])
    assert found["in_proj_weight"].tolist() == expected.tolist()
    assert found["out_proj.weight"].tolist() == w["output kernel"].reshape(6, 4).T.tolist()
    said = ["heads folded, (4, 2, 3) to (out, in), 3 packed in one"]
    said += ["heads folded, (2, 3, 4) to (out, in)", "heads folded, 3 packed in one", "as it is"]
    assert [row[2] for row in pairing(layer, port).lines()] == said[: 4 if bias else 2]
    if bias:
        expected = np.concatenate([w[f"{part} bias"].ravel() for part in parts])
        assert found["in_proj_bias"].tolist() == expected.tolist()
        assert found["out_proj.bias"].tolist() == w["output bias"].tolist()


def test_attention_without_biases_is_paired_with_zeros_and_without_packing_is_not():
    layer, _ = attention_of(False)
    _, port = attention_of(True)
    found = pairing(layer, port)
    assert found.extra == ("in_proj_bias", "out_proj.bias")
    layer, _ = attention_of(True)
    _, port = attention_of(False)
    assert pairing(layer, port).missing == [role for role in layer["weights"] if "bias" in role]
    assert pairing(layer, module("MultiheadAttention", {"q_proj_weight": (6, 4)})) is None


def own(shapes):
    return module("Module", shapes)


def test_square_weights_of_a_module_of_ones_own_are_transposed_where_that_is_tried():
    layer, port = unit("Dense", {"kernel": (2, 2), "bias": (2,)}), own({"w": (2, 2), "b": (2,)})
    for described, said in (
        (port, "as it is"),
        (port | {"transposed": True}, "(in, out) to (out, in)"),
    ):
        w, found = moved(layer, described)
        right = w["kernel"].T if described is not port else w["kernel"]
        assert found["w"].tolist() == right.tolist()
        assert pairing(layer, described).said() == [said, "as it is"]
    oblong = own({"w": (2, 3), "b": (3,)}) | {"transposed": True}
    assert pairing(DENSE, oblong).said() == ["as it is"] * 2


def test_a_module_of_ones_own_is_paired_by_shape_and_by_names():
    w, found = moved(DENSE, own({"W": (2, 3), "b": (3,)}))
    assert found["W"].tolist() == w["kernel"].tolist()
    w, found = moved(DENSE, own({"weight": (3, 2), "bias": (3,)}))
    assert found["weight"].tolist() == w["kernel"].T.tolist()
    w, found = moved(DENSE, own({"first": (3, 2), "second": (3,)}))
    assert found["first"].tolist() == w["kernel"].T.tolist()
    layer = unit("Conv2D", {"kernel": (2, 3, 4, 5), "bias": (5,)})
    w, found = moved(layer, own({"w": (5, 4, 2, 3), "b": (5,)}))
    assert found["w"].tolist() == w["kernel"].transpose(3, 2, 0, 1).tolist()
    layer = unit("BatchNormalization", {"gamma": (3,), "beta": (3,)})
    w, found = moved(layer, own({"shift": (3,), "scale": (3,)}))
    assert (found["scale"].tolist(), found["shift"].tolist()) == (
        w["gamma"].tolist(),
        w["beta"].tolist(),
    )
    layer = unit("Mine", {"alpha": (3,), "omega": (3,)})
    w, found = moved(layer, own({"omega": (3,), "alpha": (3,)}))
    assert found["omega"].tolist() == w["omega"].tolist()
    assert pairing(layer, own({"omega": (3,), "alpha": (3,), "third": (3,)})) is None
    assert pairing(layer, own({"omega": (4,), "alpha": (3,)})) is None


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("kernel", "kernel weight w W"),
        ("bias", "bias b beta"),
        ("gamma", "gamma weight scale g"),
        ("beta", "beta bias shift b"),
        ("moving_mean", "running_mean moving_mean mean"),
        ("moving_variance", "running_var moving_variance var variance"),
    ],
)
def test_a_role_knows_its_names(role, names):
    layer = unit("Mine", {role: (3,), "else": (3,)})
    for name in names.split():
        found = pairing(layer, own({"else": (3,), name: (3,)}))
        assert [of.names for of in found.ties] == [(name,), ("else",)]


def test_every_class_of_layers_has_its_modules():
    assert {layer: classes for layer, (classes, _) in RECIPES.items()} == {
        "Dense": ("Linear", "Conv1d", "Conv2d"),
        "EinsumDense": ("Linear",),
        "Conv1D": ("Conv1d", "Linear"),
        "Conv2D": ("Conv2d", "Linear"),
        "Conv3D": ("Conv3d",),
        "DepthwiseConv1D": ("Conv1d",),
        "DepthwiseConv2D": ("Conv2d",),
        "Conv1DTranspose": ("ConvTranspose1d",),
        "Conv2DTranspose": ("ConvTranspose2d",),
        "Conv3DTranspose": ("ConvTranspose3d",),
        "Embedding": ("Embedding", "EmbeddingBag"),
        "BatchNormalization": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"),
        "LayerNormalization": ("LayerNorm",),
        "RMSNormalization": ("RMSNorm",),
        "GroupNormalization": ("GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
        "PReLU": ("PReLU",),
        "LSTM": ("LSTM",),
        "GRU": ("GRU",),
        "SimpleRNN": ("RNN",),
        "Bidirectional": ("LSTM", "GRU", "RNN"),
        "MultiHeadAttention": ("MultiheadAttention",),
        "Joined": ("Linear",),
        "Stacked": ("LSTM", "GRU", "RNN"),
    }
