"""The port alone, without TensorFlow: defaults, bounds, and where a training goes on."""

import hashlib
import math
from functools import partial

import numpy as np
import pytest
import torch

import torch_port
from parity_tests.ladder import oracle
from torch_port import training


def tiny(dtype="float32", seed=0):
    """Return a softmax layer of 6 inputs and 4 classes, 30 images and their labels."""
    rng = np.random.default_rng(seed)
    softmax = torch_port.mnist_model().layers[1].activation
    layer = torch_port.NaiveDense(6, 4, softmax, rng=rng, dtype=dtype)
    images = rng.uniform(0, 1, (30, 6)).astype(dtype)
    return torch_port.NaiveSequential([layer]), images, rng.integers(0, 4, 30)


def copied(model):
    return [w.detach().clone() for w in model.weights]


def equal(some, others):
    return all(torch.equal(w, v) for w, v in zip(some, others, strict=True))


def test_a_layer_is_in_float32_unless_told_and_draws_its_kernel_below_a_tenth():
    layer = torch_port.NaiveDense(100, 1, torch.relu)
    assert {w.dtype for w in layer.weights} == {torch.float32}
    assert all(w.requires_grad for w in layer.weights)
    W, b = layer.weights
    assert (tuple(W.shape), tuple(b.shape), b.item()) == ((100, 1), (1,), 0)
    assert 0 <= W.min() < 0.02 < 0.08 < W.max() < 0.1
    assert torch_port.NaiveDense(1, 1, torch.relu, dtype="float64").W.dtype == torch.float64


def test_layers_draw_from_the_generator_that_they_are_given_or_another_each():
    of_seed = [
        torch_port.NaiveDense(3, 2, torch.relu, rng=np.random.default_rng(5)).W for _ in range(2)
    ]
    assert torch.equal(*of_seed)
    first, second = (torch_port.NaiveDense(3, 2, torch.relu).W for _ in range(2))
    assert not torch.equal(first, second)


def test_the_model_of_the_book_maps_784_pixels_to_probabilities_of_10_classes():
    model = torch_port.mnist_model(0)
    assert [tuple(w.shape) for w in model.weights] == [(784, 512), (512,), (512, 10), (10,)]
    assert {w.dtype for w in model.weights} == {torch.float32}
    assert torch.allclose(model(torch.rand(3, 784)).sum(dim=1), torch.ones(3))
    stacked = model.layers[1].activation(torch.zeros(2, 3, 4))  # the last axis, not the second
    assert torch.equal(stacked, torch.full((2, 3, 4), 0.25))
    assert not torch.equal(torch_port.mnist_model().weights[0], torch_port.mnist_model().weights[0])


def test_an_update_by_hand_and_by_sgd_takes_a_thousandth_of_the_gradient_unless_told():
    for make, rate in (
        (lambda: torch_port.update_weights, 1e-3),
        (lambda: partial(torch_port.update_weights, learning_rate=0.5), 0.5),
        (lambda: torch_port.SGD(), 1e-3),
        (lambda: torch_port.SGD(0.5), 0.5),
    ):
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        make()([torch.tensor([4.0, -4.0])], [w])
        assert torch.allclose(w, torch.tensor([1 - 4 * rate, 2 + 4 * rate]), rtol=1e-7)
        assert w.grad is None


def test_sgd_keeps_its_rate_in_the_default_dtype():
    assert torch_port.SGD(0.1).learning_rate == float(np.float32(0.1))


def test_sgd_updates_one_model_again_and_again_and_wants_a_gradient_for_each_weight():
    sgd, w = torch_port.SGD(1.0), torch.tensor([0.0], requires_grad=True)
    for _ in range(3):
        sgd([torch.ones(1)], [w])
    assert w.item() == -3
    for rule in (sgd, torch_port.update_weights):
        with pytest.raises(ValueError, match="zip"):
            rule([], [w])


def by_oracle(rule, w, gradients):
    w, found = w.astype("float64"), []
    for g in gradients:
        rule("w", w, g)
        found.append(w.copy())
    return found


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize(
    "options", [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-3}, {"rho": 1.0, "lr": 0}]
)
def test_rmsprop_is_that_of_the_oracle(foreach, options):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(5), rng.standard_normal((4, 5))
    w = torch.tensor(start, requires_grad=True)
    optimizer = torch_port.RMSprop([w], foreach=foreach, **options)
    names = {"lr": "learning_rate", "eps": "epsilon", "rho": "rho"}
    rule = oracle.RMSprop(**{names[name]: value for name, value in options.items()})
    for g, expected in zip(gradients, by_oracle(rule, start, gradients), strict=True):
        w.grad = torch.tensor(g)
        assert optimizer.step() is None
        np.testing.assert_allclose(w.detach().numpy(), expected, rtol=1e-14)


def test_rmsprop_takes_an_epsilon_of_0_and_no_rate_that_is_infinite():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = torch_port.RMSprop([w], lr=1.0, rho=0, eps=0)
    w.grad = torch.tensor([3.0])
    optimizer.step()
    assert w.item() == 0
    for options in ({"lr": math.inf}, {"eps": math.inf}, {"rho": -0.1}):
        with pytest.raises(ValueError, match="expected a"):
            torch_port.RMSprop([w], **options)
    for options in ({}, {"lr": 2.0}):
        group = torch_port.RMSprop([w], **options).param_groups[0]
        assert (group["rho"], group["eps"], group["foreach"]) == (0.9, 1e-7, None)
        assert group["lr"] == options.get("lr", 1e-3)


def test_rmsprop_updates_some_weights_of_a_group_and_computes_gradients_in_a_closure():
    for foreach in (False, True):
        w, frozen = (torch.tensor([2.0], requires_grad=True) for _ in range(2))
        optimizer = torch_port.RMSprop([frozen, w], lr=1.0, rho=0.0, eps=0.0, foreach=foreach)

        def closure(optimizer=optimizer, w=w):
            optimizer.zero_grad()
            loss = (w**2).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 4
        assert (w.item(), frozen.item()) == (1, 2)
        assert list(optimizer.state) == [w]


def test_rmsprop_picks_one_call_for_all_weights_only_on_cuda(monkeypatch):
    w = torch.tensor([1.0], requires_grad=True)
    w.grad = torch.ones(1)
    for foreach, called in ((None, False), (False, False), (True, True)):
        calls = []
        optimizer = torch_port.RMSprop([w], foreach=foreach)
        monkeypatch.setattr(optimizer, "_update_all", lambda *of, calls=calls: calls.append(of))
        optimizer.step()
        assert bool(calls) == called


def test_labels_and_images_become_tensors_whatever_holds_them():
    images, labels = training.as_tensors([[1.0]], np.array([3], "uint8"))
    assert (images.dtype, labels.dtype, labels.tolist()) == (torch.float64, torch.int64, [3])
    for kept in (torch.tensor([True]), torch.tensor([0.5]), torch.tensor([1j])):
        assert training.as_tensors([[1.0]], kept)[1] is kept
    given = torch.tensor([[1.0]]), torch.tensor([3])
    assert all(a is b for a, b in zip(training.as_tensors(*given), given, strict=True))


def test_progress_begins_at_0_and_goes_on_to_the_next_epoch():
    at = training.Progress()
    assert (at.epoch, at.batch, at.total_loss, at.samples) == (0, 0, 0.0, 0)
    assert (at.matches, at.initial_sha256) == (0, "")
    at = training.Progress(2, 3, 4.0, 5, 6, "x")
    at.end_epoch()
    assert at == training.Progress(3)


def test_a_generator_takes_128_samples_in_the_order_that_it_is_given():
    images = np.arange(300)
    generator = torch_port.BatchGenerator(images, images)
    assert [generator.batch_size, generator.num_batches, generator.index] == [128, 3, 0]
    assert [len(generator.next()[0]) for _ in range(3)] == [128, 128, 44]
    generator = torch_port.BatchGenerator([1], [1], batch_size=1)
    assert (generator.num_batches, generator.next()) == (1, ([1], [1]))
    generator = torch_port.BatchGenerator(images, -images, 128, images[::-1])
    first, labels = generator.next()
    whole = torch_port.BatchGenerator([1, 2], [1, 2], 2)
    whole.next()
    with pytest.raises(IndexError, match="all 1 batches were drawn"):
        whole.next()
    assert first.tolist() == (-labels).tolist() == list(range(299, 171, -1))


def test_a_step_returns_the_loss_before_it_as_a_number_without_a_graph():
    model, images, labels = tiny()
    images, labels = training.as_tensors(images, labels)
    before, kept = copied(model), []
    loss = torch_port.one_training_step(model, images, labels, lambda *of: kept.append(of))
    assert not loss.requires_grad
    assert equal(before, model.weights)
    ((gradients, weights),) = kept
    assert weights == model.weights
    again = torch_port.one_training_step(model, images, labels)
    assert torch.equal(loss, again)
    for w, g, v in zip(before, gradients, model.weights, strict=True):
        assert torch.equal(v, w - g * 1e-3)


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(capsys):
    model, images, labels = tiny()
    ended, seen = [], []
    torch_port.fit(model, images, labels, 3, 8, shuffle_seed=4, on_epoch=ended.append)
    assert ended == [0, 1, 2]
    whole = capsys.readouterr().out
    other, *_ = tiny()

    class StopError(Exception):
        pass

    def stop(epoch, batch, loss):
        seen.append((epoch, batch, type(loss)))
        if (epoch, batch) == (1, 1):
            raise StopError

    at = training.Progress()
    with pytest.raises(StopError):
        torch_port.fit(other, images, labels, 3, 8, shuffle_seed=4, on_step=stop, progress=at)
    assert (at.epoch, at.batch) == (1, 2)
    assert seen == [(0, b, float) for b in range(4)] + [(1, b, float) for b in range(2)]
    started = at.initial_sha256
    assert len(started) == len(hashlib.sha256().hexdigest())
    left = []
    torch_port.fit(
        *(other, images, labels, 3, 8),
        shuffle_seed=4,
        progress=at,
        on_step=lambda *step: left.append(step[:2]),
    )
    assert left == [(1, 2), (1, 3), *[(2, b) for b in range(4)]]
    assert equal(model.weights, other.weights)
    assert at == training.Progress(3)
    assert whole.splitlines()[0] == "Epoch 0"


def test_the_average_loss_of_an_epoch_counts_the_batches_before_an_interruption():
    model, images, labels = tiny()
    at = training.Progress(0, 2, 100.0, initial_sha256=torch_port.weights.weights_sha256(model))
    seen = []
    with pytest.raises(training.DivergenceError, match=r"average loss of (\d+\.\d+)") as error:
        torch_port.fit(
            *(model, images, labels, 1, 8),
            progress=at,
            update_weights=lambda gradients, weights: None,
            on_step=lambda *step: seen.append(step[2]),
        )
    average = (100 + sum(seen)) / 4
    assert str(error.value) == (
        f"epoch 0 changed no weight, at an average loss of {average:.2f}, where a guess has 1.39"
    )


def test_the_loss_of_every_hundredth_batch_is_printed(capsys):
    model, *_ = tiny()
    images, labels = np.zeros((201, 6), "float32"), np.zeros(201, int)
    losses = []
    torch_port.fit(
        model, images, labels, 1, batch_size=1, on_step=lambda *step: losses.append(step[2])
    )
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 0",
        *(f"loss at batch {batch}: {losses[batch]:.2f}" for batch in (0, 100, 200)),
    ]


def test_fit_takes_batches_of_128_and_the_update_by_hand_unless_told():
    model, *_ = tiny()
    images, labels = np.zeros((129, 6), "float32"), np.zeros(129, int)
    before, steps = copied(model), []
    torch_port.fit(model, images, labels, 1, on_step=lambda *step: steps.append(step[:2]))
    assert steps == [(0, 0), (0, 1)]
    assert not torch.equal(before[1], model.weights[1])


def test_the_loss_of_a_guess_is_that_of_the_classes_of_the_last_layer():
    relu, softmax = (layer.activation for layer in torch_port.mnist_model().layers)
    model = torch_port.NaiveSequential(
        [torch_port.NaiveDense(6, 5, relu), torch_port.NaiveDense(5, 4, softmax)]
    )
    model.weights[3].data[0] = 50
    images = np.zeros((2, 6), "float32")
    with pytest.raises(training.DivergenceError, match=r"where a guess has 1\.39"):
        torch_port.fit(model, images, [1, 1], 1, update_weights=lambda gradients, weights: None)


def test_training_ends_at_the_first_loss_that_is_not_finite():
    model, images, labels = tiny()
    model.weights[0].data[0] = math.nan
    with pytest.raises(training.DivergenceError, match="the loss is nan at epoch 1, batch 2"):
        torch_port.fit(model, images, labels, 3, 8, progress=training.Progress(1, 2))


def test_an_epoch_without_change_is_no_error_at_the_loss_of_a_guess():
    model, images, labels = tiny("float64")
    for w in model.weights:
        w.data.zero_()  # each class is as probable as the others
    losses = []
    torch_port.fit(
        *(model, images, labels, 1),
        update_weights=lambda gradients, weights: None,
        on_step=lambda *step: losses.append(step[2]),
    )
    assert losses == [math.log(4)]


def test_a_weight_that_the_last_update_made_infinite_is_named_with_the_epoch():
    model, images, labels = tiny()
    with pytest.raises(training.DivergenceError, match=r"layers.0.W holds .* in epoch 0"):
        torch_port.fit(
            *(model, images, labels, 1),
            update_weights=lambda gradients, weights: weights[0].data.fill_(math.inf),
        )


def test_labels_at_both_ends_and_single_images_are_taken():
    model, images, _ = tiny()
    for label in (0, 3):
        torch_port.fit(model, images[:1], [label], 1, 1)
    for label in (-1, 4):
        with pytest.raises(ValueError, match=f"a label is {label}: expected classes from 0 to 3"):
            torch_port.fit(model, images[:2], [1, label], 1)
    assert torch_port.predict(model, images[:0]).shape == (0,)


def test_a_pixel_that_is_infinite_at_either_end_is_refused():
    model, images, labels = tiny()
    for value in (math.inf, -math.inf):
        images[3, 2] = value
        with pytest.raises(ValueError, match="a pixel of the images is not finite"):
            torch_port.fit(model, images, labels, 1)


def test_a_loss_or_a_weight_that_is_not_finite_is_named():
    with pytest.raises(training.DivergenceError, match="the loss is nan at epoch 3, batch 4"):
        training.check_finite(torch.tensor(math.nan), 3, 4)
    model, *_ = tiny()
    training.check_weights(model, 0)
    model.weights[1].data[2] = math.inf
    with pytest.raises(training.DivergenceError, match=r"layers.0.b holds .* in epoch 5"):
        training.check_weights(model, 5)


def test_the_lowest_of_several_most_probable_classes_is_predicted():
    model, images, _ = tiny()
    for w in model.weights:
        w.data.zero_()
    found = torch_port.predict(model, images)
    assert (found.tolist(), found.dtype) == ([0] * 30, np.int64)
    assert torch_port.evaluate(model, images, [0] * 15 + [1] * 15) == 0.5
