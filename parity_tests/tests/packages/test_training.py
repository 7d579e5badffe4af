"""The loop of each package: batches, shuffling, callbacks, refusals, and the two rules."""

import decimal
import fractions
import importlib

import numpy as np
import pytest
import torch


def test_batches_cover_the_data_set_in_its_order_and_the_last_one_is_partial(package):
    images, labels = np.arange(10), -np.arange(10)
    generator = package.BatchGenerator(images, labels, batch_size=4)
    batches = [generator.next() for _ in range(generator.num_batches)]
    assert [list(batch) for batch, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert all(np.array_equal(batch, -labels) for batch, labels in batches)


def test_an_epoch_of_mnist_has_469_batches_and_the_last_one_96_images(package):
    generator = package.BatchGenerator(np.zeros(60000), np.zeros(60000))
    sizes = [len(generator.next()[0]) for _ in range(generator.num_batches)]
    assert (len(sizes), set(sizes[:-1]), sizes[-1]) == (469, {128}, 96)


def test_fit_hands_its_batch_size_to_the_generator(package, tiny):
    steps = []
    package.fit(*tiny, epochs=2, batch_size=20, on_step=lambda *step: steps.append(step[:2]))
    assert steps == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_fit_prints_the_lines_of_the_book(package, tiny, capsys):
    losses = {}
    package.fit(
        *tiny,
        epochs=4,
        batch_size=1,
        on_step=lambda epoch, batch, loss: losses.update({(epoch, batch): loss}),
    )
    lines = [
        line
        for epoch in range(4)
        for line in (f"Epoch {epoch}", f"loss at batch 0: {losses[epoch, 0]:.2f}")
    ]
    assert capsys.readouterr().out.splitlines() == lines


def test_shuffling_draws_one_order_an_epoch_from_numpy(package, tiny, monkeypatch):
    drawn = []

    def one_training_step(model, images_batch, labels_batch, update_weights):
        drawn.append(np.asarray(images_batch))
        return 0.0

    training = importlib.import_module(f"{package.__name__}.training")
    monkeypatch.setattr(training, "one_training_step", one_training_step)
    model, images, labels = tiny
    package.fit(model, images, labels, epochs=2, batch_size=30, shuffle_seed=1)
    rng = np.random.default_rng(1)
    for epoch in drawn:
        assert np.array_equal(epoch, images[rng.permutation(30)])


def test_losses_reach_the_callback_as_floats_that_fall(package, tiny):
    losses = []
    sgd = package.SGD(learning_rate=0.5)
    package.fit(*tiny, epochs=20, update_weights=sgd, on_step=lambda *step: losses.append(step[2]))
    assert all(type(loss) is float for loss in losses)
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:0], y[:0], {}), "the number of images is 0: expected at least one"),
        (lambda x, y: (x, y[:-1], {}), "the number of labels is 29: expected 30, as of images"),
        (lambda x, y: (x, y + 1, {}), "a label is 4: expected classes from 0 to 3"),
        (lambda x, y: (x, y - 1, {}), "a label is -1: expected classes from 0 to 3"),
        (
            lambda x, y: (x, y[:, None], {}),
            r"labels is 'int64 of shape \(30, 1\)': expected one integer",
        ),
        (
            lambda x, y: (x, y + 0.5, {}),
            r"labels is 'float64 of shape \(30,\)': expected one integer",
        ),
        (
            lambda x, y: (x.reshape(30, 2, 3), y, {}),
            r"images is .*shape \(30, 2, 3\)': expected .*\(30, 6\)",
        ),
        (lambda x, y: (x[:, :5], y, {}), r"images is .*shape \(30, 5\)': expected .*\(30, 6\)"),
        (lambda x, y: (x.astype("float64"), y, {}), "float64 of shape .*: expected .*float32"),
        (lambda x, y: (x, y, {"epochs": 0}), "epochs is 0: expected a whole number of at least 1"),
        (
            lambda x, y: (x, y, {"batch_size": 0}),
            "batch_size is 0: expected a whole number of at least 1",
        ),
    ],
)
def test_fit_refuses_bad_data_before_it_prints(package, tiny, change, message, capsys):
    model, images, labels = tiny
    images, labels, arguments = change(images, labels)
    with pytest.raises(ValueError, match=message):
        package.fit(model, images, labels, **{"epochs": 1, **arguments})
    assert capsys.readouterr().out == ""


def test_evaluate_is_the_fraction_of_labels_predicted(package, tiny):
    model, images, _ = tiny
    labels = package.predict(model, images)
    labels[:3] += 1
    assert package.evaluate(model, images, labels) == 0.9


def test_evaluate_refuses_what_is_empty_or_of_different_lengths(package, tiny):
    model, images, labels = tiny
    with pytest.raises(ValueError, match="the number of images is 0: expected at least one"):
        package.evaluate(model, images[:0], labels[:0])
    with pytest.raises(ValueError, match="the number of labels is 1: expected 30, as of images"):
        package.evaluate(model, images, labels[:1])
    with pytest.raises(ValueError, match="expected one integer for each image"):
        package.evaluate(model, images, labels[:, None])  # which would broadcast


def test_an_optimizer_refuses_the_weights_of_another_model(package):
    sgd = package.SGD()
    first, second = (package.NaiveDense(2, 2, lambda x: x).weights for _ in range(2))
    sgd([w * 0 for w in first], first)
    with pytest.raises(ValueError, match="SGD was given other weights before: make one SGD for"):
        sgd([w * 0 for w in second], second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: (None, y, {}),
            "the array of images is 'object of shape .*expected an array of real",
        ),
        (
            lambda x, y: (x, None, {}),
            "the array of labels is 'object of shape .*expected an array of real",
        ),
        (
            lambda x, y: ([[1.0], [1.0, 2.0]], y, {}),
            "the images cannot be read as an array: .* inhomogeneous",
        ),
        (
            lambda x, y: (x.astype(complex), y, {}),
            "images is 'complex128 of .*': expected an array of real numbers",
        ),
        (
            lambda x, y: (x, y.astype(object), {}),
            "labels is 'object of .*': expected an array of real numbers",
        ),
        (lambda x, y: (x, y > 1, {}), r"bool of shape \(30,\)': expected one integer for each"),
        (lambda x, y: (x * np.nan, y, {}), "a pixel is nan: expected a finite number"),
        (lambda x, y: (x, y, {"epochs": 1.5}), "epochs is 1.5: expected a whole number of at"),
        (lambda x, y: (x, y, {"epochs": "2"}), "epochs is '2': expected a whole number of at"),
        (lambda x, y: (x, y, {"epochs": True}), "epochs is True: expected a whole number of at"),
        (lambda x, y: (x, y, {"batch_size": np.nan}), "batch_size is nan: expected a whole number"),
        (lambda x, y: (x, y, {"shuffle_seed": -1}), "shuffle_seed is -1: expected a whole number"),
        (lambda x, y: (x, y, {"shuffle_seed": 1.5}), "shuffle_seed is 1.5: expected a whole numb"),
        (lambda x, y: (3.0, y, {}), r"images is 'float64 of shape \(\)': expected an array"),
        (lambda x, y: (x, np.array(1), {}), r"labels is 'int64 of shape \(\)': expected an array"),
        (
            lambda x, y: (x, np.ma.array(y, mask=y == y), {}),
            "the array of labels is 'masked int64 of .*: expected an array of real",
        ),
        (
            lambda x, y: (x.astype("longdouble"), y, {}),
            "expected an array of real numbers of at most 64 bits",
        ),
        (
            lambda x, y: (x, y.astype("uint64") + 2**63, {}),
            "a label is .*: expected classes from 0 to 3",
        ),
        (
            lambda x, y: (torch.tensor(x).to_sparse(), y, {}),
            "the images cannot be read as an array",
        ),
        (lambda x, y: (x, torch.tensor(y).to("meta"), {}), "the labels cannot be read as an array"),
    ],
)
def test_fit_names_an_argument_that_is_of_another_kind(package, tiny, change, message, capsys):
    model, images, labels = tiny
    images, labels, arguments = change(images, labels)
    with pytest.raises(ValueError, match=message):
        package.fit(model, images, labels, **{"epochs": 1, **arguments})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("labels_as", ["uint16", "uint64", ">i4", "int8"])
def test_numbers_are_taken_however_they_lie_in_memory(package, tiny, labels_as):
    model, images, labels = tiny
    expected = package.evaluate(model, images, labels)
    swapped, backwards = images.astype(">f4"), images[::-1].copy()[::-1]
    for same in (swapped, backwards, np.asfortranarray(images)):
        assert package.evaluate(model, same, labels.astype(labels_as)) == expected
    package.fit(model, swapped, labels.astype(labels_as).tolist(), epochs=1)


def test_a_size_of_few_bits_does_not_overflow(package):
    generator = package.BatchGenerator(np.arange(300), np.arange(300), np.uint8(200))
    assert [len(generator.next()[0]) for _ in range(generator.num_batches)] == [200, 100]


@pytest.mark.parametrize("order", [[0, 3, 1], [0, -1, 1], [0.0, 1.0, 2.0], [True] * 3])
def test_an_order_of_no_positions_is_refused(package, order):
    with pytest.raises(ValueError, match=r"order is .*: expected 3 positions of images"):
        package.BatchGenerator(np.zeros(3), np.zeros(3), order=np.array(order))


@pytest.mark.parametrize("at", [(2, 0), (0, 30), (0, -1), (np.nan, 0)])
def test_a_place_that_a_training_does_not_come_to_is_refused(package, tiny, at):
    with pytest.raises(ValueError, match=r"^start\.(epoch|batch) is .*: expected a whole number"):
        package.fit(*tiny, 1, 1, start=package.Progress(*at))


def test_layers_are_kept_from_whatever_yields_them(package, tiny):
    model, images, _ = tiny
    again = package.NaiveSequential(layer for layer in model.layers)
    for _ in range(2):
        assert np.array_equal(package.predict(again, images), package.predict(model, images))


def test_a_rate_of_any_type_is_that_number(package, tiny):
    _, images, labels = tiny
    found = set()
    for rate in (0.5, decimal.Decimal("0.5"), fractions.Fraction(1, 2), np.float64(0.5)):
        rng = np.random.default_rng(0)
        layer = package.NaiveDense(images.shape[1], 10, lambda x: x * x, rng=rng)
        model = package.NaiveSequential([layer])
        package.fit(model, images, labels, 1, 30, update_weights=package.SGD(rate))
        found.add(package.weights_sha256(model))
    assert len(found) == 1


def test_a_model_or_an_optimizer_that_is_not_meant_is_named(package, tiny, tmp_path):
    model, images, labels = tiny
    first = package.first_example
    theirs = first.mnist_model(seed=0)
    batch = np.zeros((3, 784), "float32"), labels[:3]
    other = first.rmsprop(first.mnist_model())
    for call, message in (
        (lambda: package.fit(None, images, labels, 1), "model is None: expected a NaiveSequential"),
        (lambda: package.fit(theirs, *batch, 1), "expected a NaiveSequential"),
        (lambda: package.fit(package.NaiveSequential([]), images, labels, 1), "that has layers"),
        (lambda: package.save_weights(None, tmp_path / "w"), "the model is None: expected one"),
        (lambda: first.fit(model, images, labels), "expected the first example's"),
        (lambda: first.fit(theirs, *batch, optimizer="adam"), "optimizer is 'adam': expected one"),
        (lambda: first.fit(theirs, *batch, optimizer=other), "the optimizer is not of this model"),
        (lambda: package.NaiveDense(1, 1, "relu"), "activation is 'relu': expected a function"),
        (lambda: package.NaiveDense(1, 1, abs, rng=5), "rng is 5: expected a generator of NumPy's"),
        (lambda: package.use_dtype("float16"), "dtype is 'float16': expected float32 or float64"),
        (lambda: package.use_device("tpu"), "device is 'tpu': expected cpu or cuda"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_path_that_names_no_file_is_refused_as_python_refuses_it(package, tiny, tmp_path):
    model, *_ = tiny
    before = package.weights_sha256(model)
    for call in (package.save_weights, package.load_weights):
        with pytest.raises(TypeError, match="not NoneType"):
            call(model, None)
    for path in ("a\0b", "\ud800", tmp_path):
        with pytest.raises(FileNotFoundError, match="expected a safetensors file"):
            package.load_weights(model, path)
    assert package.weights_sha256(model) == before


def test_images_that_are_not_finite_are_not_evaluated(package, tiny):
    model, images, labels = tiny
    images[3, 2] = np.inf
    with pytest.raises(ValueError, match="a pixel is inf: expected a finite number"):
        package.evaluate(model, images, labels)
    with pytest.raises(ValueError, match="a pixel is inf: expected a finite number"):
        package.predict(model, images)


@pytest.mark.parametrize("rate", [0, -1e-3, np.nan, np.inf, "1e-3", None, 10**400])
def test_a_learning_rate_that_is_no_finite_number_above_0_is_refused(package, rate):
    for call in (
        lambda: package.update_weights([], [], learning_rate=rate),
        lambda: package.SGD(rate),
        lambda: package.first_example.rmsprop(None, rate),
    ):
        with pytest.raises(ValueError, match=r"learning_rate is .*: expected a finite number"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: p.NaiveDense(0, 3, abs),
            "input_size is 0: expected a whole number from 1 to 21",
        ),
        (lambda p: p.NaiveDense(3, 2.0, abs), "output_size is 2.0: expected a whole number from"),
        (
            lambda p: p.NaiveDense(3, 2, abs, dtype="float16"),
            "dtype is 'float16': expected float32",
        ),
        (lambda p: p.mnist_model(seed=-1), "seed is -1: expected a whole number of at least 0"),
        (lambda p: p.mnist_model(seed=1.5), "seed is 1.5: expected a whole number of at least 0"),
        (lambda p: p.first_example.mnist_model(seed="1"), "seed is '1': expected a whole number"),
        (
            lambda p: p.load_mnist(dtype="float16"),
            "dtype is 'float16': expected float32 or float64",
        ),
        (
            lambda p: p.BatchGenerator([1, 2], [1, 2], 1, [0]),
            "order is .*: expected 2 positions of images",
        ),
    ],
)
def test_an_argument_out_of_its_range_is_named(package, call, message):
    with pytest.raises(ValueError, match=message):
        call(package)


def test_a_generator_whose_batches_are_all_drawn_says_so(package):
    generator = package.BatchGenerator(np.arange(3), np.arange(3), batch_size=2)
    generator.next()
    generator.next()
    with pytest.raises(IndexError, match="all 2 batches were drawn: make another generator"):
        generator.next()
