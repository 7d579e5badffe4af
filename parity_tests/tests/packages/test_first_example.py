"""The first example of both packages: what `fit` reports, its weights, its files."""

import numpy as np
import pytest

import tf_reference
import torch_port
from parity_tests.ladder.adapters import Port, Reference

pytestmark = pytest.mark.usefixtures("default_dtype")


def test_fit_reports_what_one_call_of_keras_fit_reports(mnist, dtype):
    images, labels = (array[:1000] for array in mnist(dtype)[:2])
    model = tf_reference.first_example.mnist_model(seed=0)
    ours = tf_reference.first_example.fit(model, images, labels, epochs=2)
    again = tf_reference.first_example.mnist_model(seed=0)
    again.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = again.fit(images, labels, epochs=2, batch_size=128, shuffle=False, verbose=0)
    assert ours.keys() == history.history.keys()
    for name, values in history.history.items():  # which Keras averages in the default dtype
        assert ours[name] == pytest.approx(values, rel=1e-6 if dtype == "float32" else 1e-13)
    for ours_weight, weight in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours_weight, weight, strict=True)


def test_accuracy_is_what_keras_evaluate_reports(trio, mnist, dtype):
    _, _, images, labels = mnist(dtype)
    model = trio[0].model
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    _, accuracy = model.evaluate(images, labels, verbose=0)
    assert tf_reference.evaluate(model, images, labels) == pytest.approx(accuracy, abs=1e-7)


def test_a_seeded_shuffle_gives_both_the_same_order(trio, mnist, dtype):
    images, labels = (array[:500] for array in mnist(dtype)[:2])
    reference, port, _ = trio
    fitted = [
        one.package.first_example.fit(one.model, images, labels, 2, shuffle_seed=3)["loss"]
        for one in (port, reference)
    ]
    assert fitted[0] == pytest.approx(fitted[1], rel=1e-4 if dtype == "float32" else 1e-13)
    in_order = port.package.first_example.fit(port.model, images, labels, 2)["loss"]
    assert fitted[1] != pytest.approx(in_order, rel=1e-4)


def test_each_step_reports_the_average_loss_of_its_batch(trio, mnist, dtype):
    images, labels = (array[:300] for array in mnist(dtype)[:2])
    reported = []

    def batched(steps):
        losses = [loss for *_, loss in steps]
        return losses[:3], losses[3:]

    for one in trio[:2]:
        steps = []
        history = one.package.first_example.fit(
            one.model, images, labels, 2, on_step=lambda *step, steps=steps: steps.append(step)
        )
        assert [step[:2] for step in steps] == [(e, b) for e in range(2) for b in range(3)]
        sums = [(128 * a + 128 * b + 44 * c) / 300 for a, b, c in batched(steps)]
        assert sums == pytest.approx(history["loss"], rel=1e-13)
        reported.append([loss for *_, loss in steps])
    assert reported[0] == pytest.approx(reported[1], rel=1e-5 if dtype == "float32" else 1e-13)


def test_a_kernel_is_glorot_uniform_in_every_implementation(package, dtype):
    limit = np.sqrt(6 / (784 + 512))
    for seed in (None, 0):
        adapter = Reference() if package is tf_reference else Port()
        adapter.model = package.first_example.mnist_model(seed)
        kernel, bias = list(adapter.weights().values())[:2]
        assert kernel.shape == (784, 512)
        # A number below the limit may be rounded to float32 just above it.
        assert limit * 0.999 < np.abs(kernel).max() <= kernel.dtype.type(limit)
        assert np.abs(kernel.mean()) < limit / 200
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
        assert (bias == 0).all()


def test_weights_pass_from_keras_to_torch_and_back_unchanged(trio, dtype, tmp_path):
    reference, *_ = trio
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    before = reference.weights()
    tf_reference.save_weights(reference.model, first)
    torch_model = torch_port.first_example.mnist_model()
    torch_port.load_weights(torch_model, first)
    torch_port.save_weights(torch_model, second)
    assert first.read_bytes() == second.read_bytes()
    tf_reference.load_weights(reference.model, second)
    for name, weight in reference.weights().items():
        np.testing.assert_array_equal(weight, before[name], strict=True)
    state = torch_model.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "0.weight": (512, 784),
        "0.bias": (512,),
        "2.weight": (10, 512),
        "2.bias": (10,),
    }
    np.testing.assert_array_equal(state["0.weight"].numpy(), before["layers.0.W"].T, strict=True)
