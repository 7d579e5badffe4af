"""The weights of the port in files, without TensorFlow: what is written, read and refused."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch

import torch_port
from parity_tests.tests.packages.test_port import tiny
from torch_port import weights

IS = "float32 of shape (6, 4)"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


def test_a_file_holds_each_weight_under_its_name_in_its_shape_and_dtype(dtype, path):
    model, *_ = tiny(dtype)
    torch_port.save_weights(model, path)
    found = safetensors.numpy.load_file(path)
    assert sorted(found) == ["layers.0.W", "layers.0.b"]
    for array, w in zip((found[name] for name in sorted(found)), model.weights, strict=True):
        np.testing.assert_array_equal(array, w.detach().numpy(), strict=True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == torch_port.weights_sha256(model)
    assert weights.described(path).keys() == found.keys()


def test_a_kernel_that_lies_in_memory_the_other_way_is_written_as_it_is(path):
    model = torch_port.first_example.mnist_model(seed=0)
    torch_port.save_weights(model, path)
    found = safetensors.numpy.load_file(path)
    for name, w in weights.named_weights(model).items():
        np.testing.assert_array_equal(found[name], w.detach().numpy(), strict=True)


def test_a_file_is_read_into_the_weights_that_are_there(path):
    written, read = tiny(seed=1)[0], tiny()[0]
    torch_port.save_weights(written, path)
    kept = list(read.weights)
    torch_port.load_weights(read, path)
    for before, w, expected in zip(kept, read.weights, written.weights, strict=True):
        assert w is before
        assert torch.equal(w, expected)


def test_metadata_are_kept_and_are_no_tensor(path):
    named = weights.named_weights(tiny()[0])
    path.write_bytes(weights.serialized(named, {"made": "here"}))
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"made": "here"}
    assert weights.described(path).keys() == named.keys()
    assert weights.read_tensors(path, named).keys() == named.keys()


W, B = np.ones((6, 4), "float32"), np.ones(4, "float32")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, f"holds nothing as layers.0.W: expected {IS}"),
        ({"layers.0.b": B, "x": B}, f"holds nothing as layers.0.W: expected {IS}"),
        (
            {"layers.0.W": W, "layers.0.b": B, "y": B, "x": B},
            "holds float32 of shape (4,) as x: expected nothing",
        ),
        (
            {"layers.0.W": W.T, "layers.0.b": B},
            f"holds float32 of shape (4, 6) as layers.0.W: expected {IS}",
        ),
        (
            {"layers.0.W": W.astype("float64"), "layers.0.b": B},
            f"holds float64 of shape (6, 4) as layers.0.W: expected {IS}, "
            "or a model in float64 (--dtype float64)",
        ),
        (
            {"layers.0.W": W.astype("float16"), "layers.0.b": B},
            f"holds F16 of shape (6, 4) as layers.0.W: expected {IS}",
        ),
        (
            {"layers.0.W": W, "layers.0.b": np.array([1, 1, np.inf, 1], "float32")},
            "holds a number in layers.0.b that is not finite",
        ),
    ],
)
def test_a_file_of_other_tensors_is_refused_and_changes_no_weight(path, held, message):
    model, *_ = tiny()
    before = torch_port.weights_sha256(model)
    path.write_bytes(safetensors.numpy.save(held))
    with pytest.raises(ValueError, match="safetensors") as error:
        torch_port.load_weights(model, path)
    assert str(error.value) == f"{path} {message}"
    assert torch_port.weights_sha256(model) == before


def test_what_is_no_safetensors_file_or_names_a_tensor_twice_is_refused(path):
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    twice = b"{%b,%b}" % (entry, entry)
    for content, message in (
        (safetensors.numpy.save({"a": B})[:-1], "w.safetensors is not a whole safetensors file: "),
        (
            len(twice).to_bytes(8, "little") + twice + bytes(4),
            r"a name in .* \['a', 'a'\]: expected each",
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            weights.described(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="a safetensors file, as `train --save-weights`"):
        torch_port.load_weights(tiny()[0], path)


def test_a_file_that_the_system_cannot_read_is_named_with_the_reason():
    with pytest.raises(OSError, match=r"^/proc/self/mem cannot be read: No such device"):
        weights.described(Path("/proc/self/mem"))  # whose first bytes are not mapped


def test_a_model_without_layers_or_with_a_layer_of_three_weights_is_refused():
    for model in (None, SimpleNamespace(layers=())):
        with pytest.raises(ValueError, match=r"^the model is .*: expected one that has layers"):
            weights.named_weights(model)
    model = SimpleNamespace(layers=tuple(tiny()[0].layers))
    assert list(weights.named_weights(model)) == ["layers.0.W", "layers.0.b"]
    model = SimpleNamespace(layers=[SimpleNamespace(weights=[W, B, B])])
    with pytest.raises(ValueError, match="zip"):
        weights.named_weights(model)
