"""A run that diverges ends with an error, whether its loss is not finite or its weights stick."""

import itertools
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from parity_tests.program.train import Course, Run


def poisoned(package, call):
    """Return an update rule that makes every weight NaN at one of its calls."""
    calls = itertools.count(1)

    def update(gradients, weights):
        factor = np.nan if next(calls) == call else 1.0
        package.update_weights([g * factor for g in gradients], weights)

    return update


def test_the_first_loss_that_is_not_finite_ends_training(package, tiny):
    seen = []
    with pytest.raises(package.DivergenceError, match="the loss is nan at epoch 0, batch 2"):
        package.fit(
            *tiny,
            epochs=2,
            batch_size=10,
            update_weights=poisoned(package, call=2),
            on_step=lambda *step: seen.append(step),
        )
    assert [step[:2] for step in seen] == [(0, 0), (0, 1)]


def test_the_last_update_of_an_epoch_is_checked_as_well(package, tiny):
    with pytest.raises(package.DivergenceError, match=r"layers\.0\.W holds a number .* in epoch 1"):
        package.fit(*tiny, epochs=2, batch_size=10, update_weights=poisoned(package, call=6))


STILL = "--batch-size", 6000, "--learning-rate", 1e-30


def write_trained(package, mnist, path, rate):
    """Write weights of two epochs: well trained at 0.001, and at 0.1 without gradients."""
    images, labels, _, _ = mnist("float32")
    model = package.mnist_model(0)
    package.fit(model, images, labels, 2, update_weights=package.SGD(rate))
    package.save_weights(model, path)


@pytest.mark.sampled(2)
def test_an_epoch_that_changes_no_weight_is_no_error_once_the_loss_is_low(
    command, package, mnist, tmp_path
):
    path, saved = tmp_path / "w.safetensors", tmp_path / "saved.safetensors"
    write_trained(package, mnist, path, 0.001)
    still = *STILL, "--initial-weights", path, "--save-weights", saved
    status, out, err = command("train", *still, "--epochs", 2)
    assert (status, "accuracy: 0." in out) == (0, True), err
    assert saved.read_bytes() == path.read_bytes()


@pytest.mark.sampled(2)
def test_the_average_loss_of_an_epoch_counts_the_batches_before_an_interruption(
    command, package, mnist, tmp_path
):
    path, folder = tmp_path / "w.safetensors", tmp_path / "checkpoints"
    write_trained(package, mnist, path, 0.1)
    stuck = *STILL, "--initial-weights", path, "--checkpoint-steps", 1
    message = r"naive-parity: epoch 0 changed no weight, at an average loss of \d+\.\d\d, .*"
    status, _, whole = command("train", *stuck, "--checkpoint", folder)
    assert status == 1
    assert re.search(message, whole)
    assert [path.stem for path in sorted(folder.glob("0*"))] == [
        "0000000-0000008",
        "0000000-0000009",
    ]
    status, _, rest = command("train", *stuck, "--resume", folder)
    assert status == 1
    assert re.search(message, rest)[0] == re.search(message, whole)[0]


@pytest.mark.parametrize(
    ("loss", "stuck"), [(math.log(10), False), (math.nextafter(math.log(10), 9), True)]
)
def test_an_epoch_that_changes_no_weight_ends_training_if_it_is_worse_than_a_guess(
    package, tiny, loss, stuck
):
    model, *_ = tiny
    run, saved = Run.__new__(Run), []
    sha256 = package.weights_sha256(model)
    run.twin = SimpleNamespace(weights=package.weights, training=package.training)
    run.model, run.train_set, run.save = model, ([0], [0]), lambda: saved.append(run.course.epoch)
    run.course = Course(3, 1, loss, initial_sha256=sha256)
    if stuck:
        with pytest.raises(
            package.DivergenceError, match=r"epoch 3 changed no .* a guess has 2\.30"
        ):
            run.on_epoch(3)
        return
    run.on_epoch(3)
    assert run.course == Course(4, initial_sha256=sha256)
    run.course = Course(4, 1, 99.0, initial_sha256="that of other weights")
    run.on_epoch(4)
    assert saved == [4, 5]


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("1e3", r"epoch 1 changed no weight, .*, where a guess has 2\.30 \(learning rate 1000\)"),
        ("1e39", r"the loss is nan at epoch 0, batch 1 \(learning rate 1e\+39\)"),
    ],
)
def test_the_command_line_names_the_rate_exits_with_1_and_keeps_the_log(
    command, tmp_path, rate, message
):
    log, saved = tmp_path / "run.jsonl", tmp_path / "w.safetensors"
    options = ["--batch-size", 6000, "--learning-rate", rate, "--log", log, "--save-weights", saved]
    status, out, err = command("train", *options)
    assert status == 1
    assert re.fullmatch(f"naive-parity: {message}", err.strip().splitlines()[-1])
    assert "Traceback" not in err
    assert "accuracy" not in out
    assert not saved.exists()
    _, *steps = map(json.loads, log.read_text().splitlines())
    expected = [(0, 0)] if rate == "1e39" else [(e, b) for e in range(2) for b in range(10)]
    assert [(step["epoch"], step["batch"]) for step in steps] == expected
    assert np.isfinite([step["loss"] for step in steps]).all()


@pytest.mark.parametrize(
    ("rate", "options"), [("1e308", []), ("1e39", ["--example", "first"])], ids=["scratch", "first"]
)
def test_an_only_step_at_too_large_a_rate_saves_no_weights(command, tmp_path, rate, options):
    saved = tmp_path / "w.safetensors"
    options = [*options, "--epochs", 1, "--batch-size", 60000, "--save-weights", saved]
    status, out, err = command("train", "--learning-rate", rate, *options)
    assert (status, "accuracy" in out) == (1, False)
    assert "naive-parity: layers.0.W holds a number that is not finite, in epoch 0" in err
    assert list(tmp_path.iterdir()) == []


def test_the_first_example_ends_with_the_same_error(command):
    status, _, err = command("train", "--example", "first", "--learning-rate", "1e39")
    assert status == 1
    assert "naive-parity: the loss is nan at epoch 0, batch 1" in err
