"""The first example of the port alone, without TensorFlow: the model, its training, its files."""

import math

import numpy as np
import pytest
import safetensors.torch
import torch

import torch_port
from parity_tests.ladder.oracle import Oracle, RMSprop
from parity_tests.model_files import load_model, save_model
from parity_tests.program.ranks import shared
from parity_tests.tests.packages.test_port import copied, equal
from torch_port import first_example, ranks
from torch_port.training import DivergenceError, Progress
from torch_port.weights import named_weights


class Killed(Exception):  # noqa: N818 (what ends a training from outside)
    pass


def tiny(dtype="float64"):
    """Return a network of 6 inputs, 5 hidden units and 4 classes, 20 images and their labels."""
    torch_port.use_dtype(dtype)
    torch.manual_seed(0)
    model = first_example.Sequential(
        first_example.Dense(6, 5), torch.nn.ReLU(), first_example.Dense(5, 4)
    )
    rng = np.random.default_rng(0)
    return model, rng.uniform(0, 1, (20, 6)).astype(dtype), rng.integers(0, 4, 20)


def arrays(model):
    return {name: w.detach().numpy() for name, w in named_weights(model).items()}


def weights_of(model):
    return [w for layer in model.layers for w in layer.weights]


def test_a_layer_starts_as_keras_starts_it_and_shows_its_kernel_as_keras_does():
    layer = first_example.Dense(300, 100)
    kernel, bias = layer.weights
    limit = math.sqrt(6 / 400)
    assert (tuple(kernel.shape), tuple(bias.shape)) == ((300, 100), (100,))
    assert 0.99 * limit < kernel.abs().max() <= limit
    assert not bias.any()
    kernel.data[2, 1] = 7
    assert layer.weight[1, 2] == 7
    assert bias is layer.bias


def test_the_model_is_784_pixels_512_relu_units_and_10_logits():
    model = first_example.mnist_model()
    assert [tuple(w.shape) for w in weights_of(model)] == [(784, 512), (512,), (512, 10), (10,)]
    assert model.layers == [model[0], model[2]]
    x = torch.rand(3, 784)
    first, last = (layer.weights for layer in model.layers)
    hidden = (x @ first[0] + first[1]).clamp(min=0)
    assert torch.allclose(model(x), hidden @ last[0] + last[1], atol=1e-6)
    assert not torch.equal(model[0].weight, first_example.mnist_model()[0].weight)


def test_a_seed_lets_numpy_draw_the_kernels_in_the_order_of_the_layers():
    model, rng = first_example.mnist_model(3), np.random.default_rng(3)
    for layer in model.layers:
        kernel, bias = layer.weights
        limit = math.sqrt(6 / (kernel.shape[0] + kernel.shape[1]))
        expected = rng.uniform(-limit, limit, kernel.shape).astype("float32")
        np.testing.assert_array_equal(kernel.detach().numpy(), expected, strict=True)
        assert not bias.any()
    for seed in (-1, 1.5):
        with pytest.raises(ValueError, match=f"^seed is {seed}: expected a whole number of at"):
            first_example.mnist_model(seed)


def test_the_optimizer_has_the_constants_of_keras_and_the_rate_that_it_is_given():
    model, *_ = tiny()
    for given, rate in (({}, 1e-3), ({"learning_rate": 0.5}, 0.5)):
        (group,) = first_example.rmsprop(model, **given).param_groups
        assert (group["lr"], group["rho"], group["eps"]) == (rate, 0.9, 1e-7)
        assert [id(w) for w in group["params"]] == [id(w) for w in model.parameters()]
    with pytest.raises(ValueError, match=r"^learning_rate is 0: expected a finite number above 0"):
        first_example.rmsprop(model, 0)


def test_the_averages_of_rmsprop_have_the_names_and_shapes_of_the_weights_and_are_no_copies():
    model, images, labels = tiny()
    optimizer = first_example.rmsprop(model)
    before = first_example.named_velocities(model, optimizer)
    assert {name: tuple(v.shape) for name, v in before.items()} == {
        f"{name}.velocity": tuple(w.shape) for name, w in named_weights(model).items()
    }
    assert not any(v.any() for v in before.values())
    first_example.fit(model, images, labels, 1, 20, optimizer=optimizer)
    after = first_example.named_velocities(model, optimizer)
    for w, name, transposed in zip(model.parameters(), after, (True, False) * 2, strict=True):
        g = w.grad.T if transposed else w.grad
        torch.testing.assert_close(after[name], 0.1 * g**2)
        assert torch.equal(before[name], after[name])


def test_an_optimizer_of_another_model_or_of_a_part_of_this_one_is_refused():
    model, images, labels = tiny()
    some = torch_port.RMSprop(list(model.parameters())[:3])
    for optimizer, message in (
        (first_example.rmsprop(tiny()[0]), "^the optimizer is not of this model: make one"),
        (some, "^the optimizer is not of this model"),
        ("adam", "^optimizer is 'adam': expected one as rmsprop makes it"),
    ):
        with pytest.raises(ValueError, match=message):
            first_example.fit(model, images, labels, optimizer=optimizer)
    groups = [{"params": [w]} for w in model.parameters()]
    first_example.fit(model, images, labels, 1, optimizer=torch.optim.SGD(groups, 0.1))


@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_a_training_is_that_of_the_oracle(shuffle_seed, capsys):
    model, images, labels = tiny()
    oracle = Oracle("float64", RMSprop(0.01), on_logits=True)
    oracle.load_weights(arrays(model))
    rng, steps, ended, expected = np.random.default_rng(5), [], [], []
    history = first_example.fit(
        *(model, images, labels, 2, 8),
        learning_rate=0.01,
        shuffle_seed=shuffle_seed,
        on_step=lambda *step: steps.append(step),
        on_epoch=ended.append,
    )
    lines = []
    for epoch in range(2):
        order = np.arange(20) if shuffle_seed is None else rng.permutation(20)
        total = right = 0
        for batch, of in enumerate((order[:8], order[8:16], order[16:])):
            right += (oracle.predict(images[of]) == labels[of]).sum()
            loss = oracle.step(images[of], labels[of])[0]
            total += loss * len(of)
            expected.append((epoch, batch, pytest.approx(loss, rel=1e-13)))
        assert history["loss"][epoch] == pytest.approx(total / 20, rel=1e-13)
        assert history["accuracy"][epoch] == right / 20
        lines += [f"Epoch {epoch}", f"loss: {total / 20:.4f}, accuracy: {right / 20:.4f}"]
    assert steps == expected
    assert all(type(loss) is float for *_, loss in steps)
    assert (ended, history.keys()) == ([0, 1], {"loss", "accuracy"})
    assert capsys.readouterr().out.splitlines() == lines
    for name, w in oracle.weights().items():
        np.testing.assert_allclose(arrays(model)[name], w, rtol=1e-12, atol=1e-14)


def test_five_epochs_in_batches_of_128_at_a_thousandth_are_trained_unless_told(capsys):
    model, images, labels = tiny()
    other = tiny()[0]
    images, labels = np.tile(images, (7, 1)), np.tile(labels, 7)
    steps = []
    first_example.fit(model, images, labels, on_step=lambda *step: steps.append(step[:2]))
    assert steps == [(epoch, batch) for epoch in range(5) for batch in range(2)]
    first_example.fit(other, images, labels, 5, 128, learning_rate=1e-3)
    assert equal(model.parameters(), other.parameters())
    assert capsys.readouterr().out.count("Epoch") == 10


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights():
    model, images, labels = tiny()
    other = tiny()[0]
    whole = first_example.fit(model, images, labels, 3, 8, shuffle_seed=4)
    optimizer, losses, matches, left = first_example.rmsprop(other), [], [], []

    def end(epoch, batch, loss):
        if (epoch, batch) == (1, 1):
            raise Killed

    def step(*arguments):
        loss, accuracy = first_example.one_training_step(*arguments)
        losses.append(float(loss) * 8)
        matches.append(round(float(accuracy) * 8))
        return loss, accuracy

    options = {"shuffle_seed": 4, "optimizer": optimizer}
    with pytest.raises(Killed):
        first_example.fit(other, images, labels, 3, 8, step=step, on_step=end, **options)
    assert len(losses) == 5  # of which the last two are those of the second epoch
    start = Progress(1, 2, sum(losses[3:]), sum(matches[3:]))
    history = first_example.fit(
        *(other, images, labels, 3, 8),
        start=start,
        on_step=lambda *step: left.append(step[:2]),
        **options,
    )
    assert left == [(1, 2), *[(2, batch) for batch in range(3)]]
    assert history == {name: values[1:] for name, values in whole.items()}
    assert equal(model.parameters(), other.parameters())
    assert start == Progress(1, 2, sum(losses[3:]), sum(matches[3:]))
    for at, message in (
        (Progress(0, 3), "^start.batch is 3: expected a whole number from 0 to 2"),
        (Progress(2), "^start.epoch is 2: expected a whole number from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            first_example.fit(other, images, labels, 1, 8, start=at)


def test_each_rank_takes_its_share_and_all_average_their_gradients_losses_and_accuracies():
    model, images, labels = tiny()
    other, averaged = tiny()[0], []

    def all_reduce(flat):  # as if another rank had the same numbers
        averaged.append(flat.numel())
        flat *= 2

    halves = np.r_[0:4, 8:12]
    expected = first_example.fit(other, images[halves], labels[halves], 1, 4)
    group, optimizer, sizes = ranks.Ranks(0, 2, all_reduce), first_example.rmsprop(model), []
    group.average_gradients(optimizer)

    def step(model, images_batch, labels_batch, optimizer):
        sizes.append(len(images_batch))
        return first_example.one_training_step(model, images_batch, labels_batch, optimizer)

    history = first_example.fit(
        *(model, images[:16], labels[:16], 1, 8), optimizer=optimizer, step=shared(step, group)
    )
    assert averaged == [6 * 5 + 5 + 5 * 4 + 4, 2] * 2
    assert sizes == [4, 4]
    assert history == expected
    assert equal(model.parameters(), other.parameters())


def test_what_cannot_be_trained_on_is_refused_before_anything_is_printed(capsys):
    model, images, labels = tiny()
    for arguments, message in (
        ((None, images, labels), "^model is None: expected the first example's"),
        ((model, images, labels + 4), "^a label is .*: expected classes from 0 to 3"),
        ((model, images[:, :5], labels), r"^the array of images is .*: expected .* \(20, 6\)"),
        ((model, images, labels, 0), "^epochs is 0: expected"),
        ((model, images, labels, 1, 0), "^batch_size is 0: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            first_example.fit(*arguments)
    with pytest.raises(ValueError, match=r"^shuffle_seed is -1: expected"):
        first_example.fit(model, images, labels, shuffle_seed=-1)
    assert capsys.readouterr().out == ""


def test_a_loss_or_a_weight_that_is_not_finite_ends_the_training():
    model, images, labels = tiny()
    model[2].bias.data[0] = math.nan
    with pytest.raises(DivergenceError, match=r"^the loss is nan at epoch 1, batch 2$"):
        first_example.fit(model, images, labels, 3, 8, start=Progress(1, 2))
    model, images, labels = tiny()

    def spoil(epoch, batch, loss):
        model[0].bias.data[0] = math.inf if (epoch, batch) == (1, 2) else 0

    with pytest.raises(DivergenceError, match=r"^layers.0.b holds .* in epoch 1$"):
        first_example.fit(model, images, labels, 3, 8, on_step=spoil)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_is_read_from_its_file_in_the_dtype_that_it_has(dtype, tmp_path):
    torch_port.use_dtype(dtype)
    model, path = first_example.mnist_model(seed=1), tmp_path / "model.safetensors"
    save_model(model, path)
    assert safetensors.torch.load_file(path).keys() == model.state_dict().keys()
    torch_port.use_dtype({"float32": "float64", "float64": "float32"}[dtype])
    read = load_model(path)
    assert equal(read.parameters(), model.parameters())
    assert {w.dtype for w in copied(model.layers[0])} == {getattr(torch, dtype)}
    assert torch.get_default_dtype() == getattr(torch, dtype)


def test_files_that_are_no_model_are_refused(tmp_path):
    model = first_example.mnist_model(seed=0)
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="expected the file of a trained model"):
        load_model(path)
    torch_port.save_weights(model, path)
    of_model = f"^{path} is not a file of the first example's model: "
    with pytest.raises(ValueError, match=f"{of_model}it was written by `train --save-weights`"):
        load_model(path)
    path.write_bytes(safetensors.torch.save({"0.bias": torch.zeros(2)}, {"by": "hand"}))
    with pytest.raises(ValueError, match=f"{of_model}{path} holds .* as 0.bias: exp"):
        load_model(path)


def test_a_kernel_may_have_one_input_and_one_output():
    kernel = first_example.glorot_uniform(np.random.default_rng(0), (1, 1))
    assert (kernel.shape, abs(kernel.item()) <= 3**0.5) == ((1, 1), True)
