"""The first example's model from Keras to PyTorch and back, by command, verified first."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tf_reference
import torch_port
from parity_tests.__main__ import main
from parity_tests.ladder.adapters import Port
from parity_tests.model_files import load_model
from tf_reference.framework import tf


@pytest.fixture
def convert(data, status_of, capsys):
    def convert(source, target):
        status = status_of(main, "convert", source, target, "--data", data)
        return status, *capsys.readouterr()

    return convert


@pytest.fixture
def trained(dtype, mnist):
    """A Keras model that has learnt from a thousand images."""
    for package in (tf_reference, torch_port):
        package.use_dtype(dtype)
    model = tf_reference.first_example.mnist_model(seed=0)
    images, labels = (array[:1000] for array in mnist(dtype)[:2])
    tf_reference.first_example.fit(model, images, labels, epochs=1)
    return model


@pytest.mark.sampled(4)
@pytest.mark.parametrize("keras_name", ["model.keras", "model.weights.h5"])
def test_a_trained_model_goes_to_torch_and_back_bit_for_bit(
    convert, trained, mnist, dtype, tmp_path, keras_name
):
    source, back = tmp_path / keras_name, tmp_path / f"back.{keras_name}"
    state = tmp_path / "state.safetensors"
    trained.save(source) if keras_name == "model.keras" else trained.save_weights(source)
    status, out, _ = convert(source, state)
    assert status == 0
    assert out.splitlines()[-1].endswith("same labels and probabilities for 10,000 test images")
    assert convert(state, back)[0] == 0

    kernel, _, last_kernel, _ = trained.get_weights()
    tensors = load_file(state)
    np.testing.assert_array_equal(tensors["0.weight"], kernel.T, strict=True)
    np.testing.assert_array_equal(tensors["2.weight"], last_kernel.T, strict=True)
    returned = load_model(back)
    for weight, expected in zip(returned.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected, strict=True)
    images = mnist(dtype)[2]
    model = load_model(state)
    labels = torch_port.predict(model, images)
    np.testing.assert_array_equal(labels, tf_reference.predict(trained, images))


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
def test_a_keras_model_that_computes_something_else_is_not_converted(convert, trained, tmp_path):
    layers = tf.keras.layers
    other = tf.keras.Sequential(
        [tf.keras.Input((784,)), layers.Dense(512, "tanh"), layers.Dense(10, "softmax")]
    )
    other.set_weights(trained.get_weights())
    other.save(tmp_path / "other.keras")
    status, _, err = convert(tmp_path / "other.keras", tmp_path / "state.safetensors")
    assert status == 1
    assert "labels predicted (int64)" in err
    assert "elements differ" in err
    assert [path.name for path in tmp_path.iterdir()] == ["other.keras"]


@pytest.mark.parametrize("exchanged", ["classes that tie", "clear classes"])
def test_rounding_may_choose_in_float32_between_classes_that_tie_and_no_others(
    convert, trained, dtype, tmp_path, monkeypatch, exchanged
):
    weights = trained.get_weights()
    for weight in weights[2:]:
        weight[..., 7] = weight[..., 4]
    trained.set_weights(weights)
    trained.save(tmp_path / "ties.keras")
    predict, (one, other) = Port.predict, (4, 7) if exchanged == "classes that tie" else (1, 0)

    def predict_other(port, images):
        labels = predict(port, images)
        return np.where(labels == one, other, labels)

    monkeypatch.setattr(Port, "predict", predict_other)
    status, out, err = convert(tmp_path / "ties.keras", tmp_path / "state.safetensors")
    if exchanged == "classes that tie" and dtype == "float32":
        assert status == 0
        assert "labels: their two most probable classes are as good as equal" in out
    else:
        assert status == 1
        assert "labels predicted (int64)" in err


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("model.pt", "model.keras", "expected a name in .keras, .weights.h5 or .safetensors"),
        ("a.keras", "b.weights.h5", "are of one framework: nothing to convert"),
        ("a.safetensors", "b.safetensors", "are of one framework: nothing to convert"),
        ("a.keras", "b.safetensors", "there is no "),
        ("broken.keras", "b.safetensors", "is not a file of the first example's model"),
        ("broken.weights.h5", "b.safetensors", "is not a file of the first example's model"),
        ("broken.safetensors", "b.keras", "is not a file of the first example's model"),
        ("small.keras", "b.safetensors", "has layers with weights of [[(784, 5), (5,)]]"),
        ("flat.keras", "b.safetensors", "has layers with weights of [[], [(784, 512), (512,)], "),
        ("half.keras", "b.safetensors", "holds weights in float16: expected float32 or float64"),
        ("a.h5", "b.safetensors", "expected a name in .keras, .weights.h5 or .safetensors"),
        ("small.safetensors", "b.keras", "holds float32 of shape (512, 783) as 0.weight: expected"),
        ("named.safetensors", "b.keras", "it was written by `train --save-weights`, and load_wei"),
        ("integers.safetensors", "b.keras", "is not a file of the first example's model"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(convert, tmp_path, source, target, message):
    for name in ("broken.keras", "broken.weights.h5", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not a model")
    small = tf.keras.Sequential([tf.keras.Input((784,)), tf.keras.layers.Dense(5)])
    small.save(tmp_path / "small.keras")
    dense = tf.keras.layers.Dense
    for name, shape, layers in (
        ("flat", (28, 28), [tf.keras.layers.Flatten(), dense(512), dense(10)]),
        ("half", (784,), [dense(512, dtype="float16"), dense(10, dtype="float16")]),
    ):
        tf.keras.Sequential([tf.keras.Input(shape), *layers]).save(tmp_path / f"{name}.keras")
    shapes = {"0.weight": (512, 783), "0.bias": (512,), "2.weight": (10, 512), "2.bias": (10,)}
    tensors = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "small.safetensors")
    save_file({"layers.0.W": np.zeros((784, 512))}, tmp_path / "named.safetensors")
    integers = {name: np.zeros(array.shape, "int64") for name, array in tensors.items()}
    save_file(integers, tmp_path / "integers.safetensors")
    status, _, err = convert(tmp_path / source, tmp_path / target)
    assert status == 2
    assert str(tmp_path / source) in err or source == "a.keras"
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / target).exists()
