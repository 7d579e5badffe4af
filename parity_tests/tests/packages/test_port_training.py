"""The training of the port alone, without TensorFlow: bounds, and where it goes on."""

import math

import numpy as np
import pytest
import torch

import torch_port
from parity_tests.tests.packages.test_port import copied, equal, tiny
from torch_port import training


def test_labels_and_images_become_tensors_whatever_holds_them():
    images, labels = training.as_tensors([[1.0]], np.array([3], "uint8"))
    assert (images.dtype, labels.dtype, labels.tolist()) == (torch.float64, torch.int64, [3])
    for kept in (torch.tensor([True]), torch.tensor([0.5])):
        assert torch.equal(training.as_tensors([[1.0]], kept)[1], kept)
    given = torch.tensor([[1.0]]), torch.tensor([3])
    for found, tensor in zip(training.as_tensors(*given), given, strict=True):
        assert torch.equal(found, tensor)
        assert (found.dtype, found.data_ptr()) == (tensor.dtype, tensor.data_ptr())  # no copy
    with pytest.raises(ValueError, match=r"labels is 'complex64 of .*: expected an ar"):
        training.as_tensors([[1.0]], torch.tensor([1j]))


def test_tensors_on_a_cuda_device_stay_there(monkeypatch):
    given = torch.tensor([[1.0]]), torch.tensor([3])
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    assert all(a is b for a, b in zip(training.as_tensors(*given), given, strict=True))


def test_progress_begins_at_0_and_is_never_changed():
    at = training.Progress()
    assert (at.epoch, at.batch, at.total_loss, at.matches) == (0, 0, 0.0, 0)
    assert at == training.BEGINNING
    with pytest.raises(AttributeError):
        at.epoch = 1


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

    with pytest.raises(StopError):
        torch_port.fit(other, images, labels, 3, 8, shuffle_seed=4, on_step=stop)
    assert seen == [(0, b, float) for b in range(4)] + [(1, b, float) for b in range(2)]
    left = []
    torch_port.fit(
        *(other, images, labels, 3, 8),
        shuffle_seed=4,
        start=training.Progress(1, 2),
        on_step=lambda *step: left.append(step[:2]),
    )
    assert left == [(1, 2), (1, 3), *[(2, b) for b in range(4)]]
    assert equal(model.weights, other.weights)
    assert whole.splitlines()[0] == "Epoch 0"


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


def test_training_ends_at_the_first_loss_that_is_not_finite():
    model, images, labels = tiny()
    model.weights[0].data[0] = math.nan
    with pytest.raises(training.DivergenceError, match="the loss is nan at epoch 1, batch 2"):
        torch_port.fit(model, images, labels, 3, 8, start=training.Progress(1, 2))


def test_the_loss_of_a_guess_is_the_logarithm_of_the_number_of_classes():
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
        with pytest.raises(ValueError, match=f"a pixel is {value}: expected a finite number"):
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


def test_tensors_of_the_inference_mode_become_others_and_a_single_number_is_refused():
    with torch.inference_mode():
        images, labels = torch.ones(2, 6), torch.tensor([0, 1])
    assert not any(tensor.is_inference() for tensor in training.as_tensors(images, labels))
    with pytest.raises(ValueError, match=r"images is .* of shape \(\)': expected an array"):
        training.as_tensors(torch.tensor(1.0), [0])


def test_a_place_behind_the_last_batch_is_refused():
    model, images, labels = tiny()
    with pytest.raises(ValueError, match=r"start.batch is 4: expected a whole number .* 3"):
        torch_port.fit(model, images, labels, 1, 8, start=torch_port.Progress(0, 4))
