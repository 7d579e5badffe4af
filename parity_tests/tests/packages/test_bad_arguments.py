"""Bad arguments of functions: each is refused by its name, in the same words by both packages."""

import importlib

import numpy as np
import pytest


@pytest.fixture
def library(package):
    """The framework itself."""
    framework = importlib.import_module(f"{package.__name__}.framework")
    return framework.torch if package.__name__ == "torch_port" else framework.tf


@pytest.fixture
def tensor(package):
    """Make a tensor of the framework from an array."""
    framework = importlib.import_module(f"{package.__name__}.framework")
    if package.__name__ == "torch_port":
        return framework.torch.as_tensor
    return framework.tf.constant


@pytest.mark.parametrize("rule", ["by hand", "SGD"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda gradients: gradients[:1],
            "the number of gradients is 1: expected 2, as of weights",
        ),
        (lambda gradients: [None, gradients[1]], "gradient 0 is None: expected float32 of shape"),
        (
            lambda gradients: [gradients[0], 1.0],
            r"gradient 1 is 1.0: expected float32 of shape \(4",
        ),
        (
            lambda gradients: [gradients[1]] * 2,
            r"gradient 0 is 'float32 of shape \(4,\)': expected float32 of sh",
        ),
        (
            lambda gradients: [gradients[0], gradients[1][:1]],
            r"gradient 1 is 'float32 of shape \(1,\)'",
        ),
        (lambda gradients: [gradients[0], "0"], "gradient 1 is '0': expected float32"),
    ],
)
def test_gradients_that_are_not_one_for_each_weight_change_none(
    package, tiny, tensor, rule, change, message
):
    model, *_ = tiny
    before = package.weights_sha256(model)
    gradients = [tensor(np.ones(weight.shape, "float32")) for weight in model.weights]
    update = package.update_weights if rule == "by hand" else package.SGD()
    with pytest.raises(ValueError, match=message):
        update(change(gradients), model.weights)
    with pytest.raises(ValueError, match=r"gradient 0 is 'float64 of shape .*': expected float32"):
        update([tensor(np.ones(weight.shape)) for weight in model.weights], model.weights)
    assert package.weights_sha256(model) == before
    update(gradients, model.weights)
    assert package.weights_sha256(model) != before


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"update_weights": None}, "update_weights is None: expected a function of gradients"),
        ({"step": 5}, "^step is 5: expected a function"),
        ({"on_step": 5}, "on_step is 5: expected a function"),
        ({"on_epoch": "x"}, "on_epoch is 'x': expected a function"),
        ({"start": {"epoch": 1}}, r"start is {'epoch': 1}: expected a Progress"),
    ],
)
def test_fit_names_what_it_cannot_call_or_begin_at(package, tiny, capsys, argument, message):
    with pytest.raises(ValueError, match=message):
        package.fit(*tiny, 1, **argument)
    if "update_weights" not in argument:
        model = package.first_example.mnist_model(seed=0)
        images, labels = np.zeros((3, 784), "float32"), np.arange(3)
        with pytest.raises(ValueError, match=message):
            package.first_example.fit(model, images, labels, **argument)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.NaiveSequential(p.NaiveDense(1, 1, abs)), "layers is .*: expected a list of"),
        (lambda p: p.NaiveSequential(["a"]), "a layer is 'a': expected one that has weights"),
        (lambda p: p.NaiveSequential([p.NaiveDense]), "a layer is .*: expected one that has weigh"),
        (lambda p: p.NaiveDense(10**30, 1, abs), "input_size is 10+.* from 1 to 2147483647$"),
        (lambda p: p.BatchGenerator(iter([1]), [1]), "images is .*: expected an array"),
        (lambda p: p.BatchGenerator([1], None), "labels is None: expected an array"),
        (
            lambda p: p.first_example.glorot_uniform(None, (0, 0)),
            "a size of shape is 0: expected a",
        ),
        (
            lambda p: p.first_example.glorot_uniform(None, (3, -1)),
            "a size of shape is -1: expected",
        ),
        (
            lambda p: p.gradients.dense_gradients([[1, 2]], [[1.0]], [0.0]),
            r"x, W and b is \['int64', .*: expected all float32 or all float64",
        ),
        (
            lambda p: p.gradients.dense_gradients([[1.0]], np.ones((1, 1), "float32"), [0.0]),
            r"x, W and b is \['float64', 'float32', .*: expected all float32 or all",
        ),
    ],
)
def test_an_argument_of_another_kind_is_named(package, call, message):
    with pytest.raises(ValueError, match=message):
        call(package)


def test_layers_that_do_not_fit_are_named_and_so_are_predictions_of_another_shape(package, tiny):
    model, images, labels = tiny
    (layer,) = model.layers
    narrow, wide = package.NaiveDense(3, 2, layer.activation), package.NaiveDense(4, 2, lambda x: x)
    for call in (
        lambda model: package.fit(model, images, labels, 1),
        lambda model: package.predict(model, images),
    ):
        with pytest.raises(
            ValueError, match=r"layers.1.W is 'float32 of shape \(3, 2\)': expected .* layers.0.W"
        ):
            call(package.NaiveSequential([layer, narrow]))
    flat = package.NaiveDense(6, 4, lambda x: x[:, 0])
    with pytest.raises(
        ValueError, match=r"the predictions is \(30,\): expected one row for each image"
    ):
        package.predict(package.NaiveSequential([flat]), images)
    assert package.predict(package.NaiveSequential([layer, wide]), images).shape == (30,)


def test_lists_and_tensors_are_drawn_in_any_order(package, tensor):
    order = np.arange(3)[::-1]
    for images in ([[1.0], [2.0], [3.0]], tensor([[1.0], [2.0], [3.0]])):
        drawn, labels = package.BatchGenerator(images, [0, 1, 2], 2, order).next()
        assert np.asarray(drawn).tolist() == [[3.0], [2.0]]
        assert np.asarray(labels).tolist() == [2, 1]


def test_a_layer_that_stands_twice_in_a_model_is_saved_twice(package, tmp_path):
    layer = package.NaiveDense(4, 4, lambda x: x)
    package.save_weights(package.NaiveSequential([layer, layer]), tmp_path / "w.safetensors")
    two = package.NaiveSequential([package.NaiveDense(4, 4, lambda x: x) for _ in range(2)])
    package.load_weights(two, tmp_path / "w.safetensors")
    for copy in two.layers:
        assert np.array_equal(
            np.asarray(copy.W.data if hasattr(copy.W, "data") else copy.W),
            np.asarray(layer.W.data if hasattr(layer.W, "data") else layer.W),
        )


def test_whole_numbers_make_the_graph_of_the_chapter(package):
    assert package.gradients.computation_graph(2, 3, 1, 4) == package.gradients.computation_graph()


@pytest.mark.parametrize("module", ["", "first_example"])
def test_fit_refuses_where_the_framework_computes_otherwise(package, tiny, library, module):
    if module:
        model = package.first_example.mnist_model(seed=0)
        samples = np.zeros((3, 784), "float32"), np.arange(3)
        fit, arguments = package.first_example.fit, (model, *samples)
    else:
        model, fit, arguments = tiny[0], package.fit, (*tiny, 1)
    before = package.weights_sha256(model)
    if package.__name__ == "torch_port":
        places = {
            library.no_grad(): "torch computes no gradients here: train outside of torch.no_grad",
            library.inference_mode(): "torch computes no gradients here",
            library.autocast(
                "cpu"
            ): "torch rounds to another dtype here: compute outside of torch.",
            library.device("meta"): "the default device of torch is 'meta': expected cpu or cuda",
        }
        for place, message in places.items():
            with place, pytest.raises(ValueError, match=message):
                fit(*arguments)
    else:
        with pytest.raises(ValueError, match="tf builds a graph here: call this outside of"):
            library.function(lambda: fit(*arguments), autograph=False)()
    assert package.weights_sha256(model) == before


def test_predict_refuses_where_the_framework_computes_otherwise(package, tiny, library):
    model, images, labels = tiny
    if package.__name__ == "torch_port":
        with library.no_grad():
            expected = package.evaluate(model, images, labels)
        with (
            library.autocast("cpu"),
            pytest.raises(ValueError, match="torch rounds to another dty"),
        ):
            package.predict(model, images)
    else:
        expected = package.evaluate(model, images, labels)
        with pytest.raises(ValueError, match="tf builds a graph here"):
            library.function(lambda: package.evaluate(model, images, labels), autograph=False)()
    assert package.evaluate(model, images, labels) == expected


def test_a_model_that_computes_in_16_bits_is_refused(package, library):
    """Also where its weights are of 32, as the policy mixed_float16 of Keras has it."""
    images, labels = np.zeros((3, 784), "float16"), np.arange(3)
    if package.__name__ == "torch_port":
        model = package.first_example.mnist_model(seed=0).half()
    else:
        library.keras.config.set_dtype_policy("mixed_float16")
        model = package.first_example.mnist_model(seed=0)
    for call in (package.first_example.fit, package.evaluate):
        with pytest.raises(
            ValueError, match="the dtype of the model is 'float16': expected float32 or float64"
        ):
            call(model, images, labels)


def test_an_optimizer_that_holds_no_weights_of_the_model_is_refused(package, library):
    first = package.first_example
    model, images, labels = first.mnist_model(), np.zeros((3, 784), "float32"), np.arange(3)
    if package.__name__ == "torch_port":
        optimizer = package.RMSprop([library.zeros(1, requires_grad=True)])
    else:
        optimizer = package.RMSprop()  # which Keras gives its weights in the first step
    with pytest.raises(
        ValueError, match=r"optimizer is not of this model: make one by rmsprop\(mo"
    ):
        first.fit(model, images, labels, optimizer=optimizer)
