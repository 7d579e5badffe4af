"""A run that diverges ends with an error, whether its loss is not finite or its weights stick."""

import itertools
import json
import re

import numpy as np
import pytest


def still(gradients, weights):
    """Change no weight."""


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


def test_an_epoch_that_changes_no_weight_ends_training_if_it_is_worse_than_a_guess(package, tiny):
    model, images, labels = tiny
    with pytest.raises(package.DivergenceError, match="epoch 0 changed no weight, at an average"):
        package.fit(model, images, (labels + 1) % 4, 3, update_weights=still)


def test_an_epoch_that_changes_no_weight_is_no_error_once_the_loss_is_low(package, tiny):
    model, images, _ = tiny
    labels = package.predict(model, images)
    package.fit(model, images, labels, 3, update_weights=still)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("1e3", r"epoch 1 changed no weight, .*, where a guess has 2\.30 \(learning rate 1000\)"),
        ("1e39", r"the loss is nan at epoch 0, batch 1 \(learning rate 1e\+39\)"),
    ],
)
def test_the_command_line_names_the_rate_exits_with_1_and_keeps_the_log(
    command, package, tmp_path, rate, message
):
    log, saved = tmp_path / "run.jsonl", tmp_path / "w.safetensors"
    options = ["--batch-size", 6000, "--learning-rate", rate, "--log", log, "--save-weights", saved]
    status, out, err = command("train", *options)
    assert status == 1
    assert re.fullmatch(rf"{package.__name__}: {message}", err.strip().splitlines()[-1])
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
def test_an_only_step_at_too_large_a_rate_saves_no_weights(
    command, package, tmp_path, rate, options
):
    saved = tmp_path / "w.safetensors"
    options += ["--epochs", 1, "--batch-size", 60000, "--save-weights", saved]
    status, out, err = command("train", "--learning-rate", rate, *options)
    assert (status, "accuracy" in out) == (1, False)
    assert f"{package.__name__}: layers.0.W holds a number that is not finite, in epoch 0" in err
    assert list(tmp_path.iterdir()) == []


def test_the_first_example_ends_with_the_same_error(command, package):
    status, _, err = command("train", "--example", "first", "--learning-rate", "1e39")
    assert status == 1
    assert f"{package.__name__}: the loss is nan at epoch 0, batch 1" in err
