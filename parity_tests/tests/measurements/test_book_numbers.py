"""The book's printed run, and today's, against what the same training gives over many seeds."""

import json
from pathlib import Path

import numpy as np
import pytest

from parity_tests import measurements
from parity_tests.measurements import book_numbers

RESULTS = Path(measurements.__file__).parent / "results"

PRINTED = np.full((len(book_numbers.PRINTED), 5), np.nan)
for row, found in zip(PRINTED, book_numbers.PRINTED, strict=True):
    row[: len(found)] = found
ROUNDING = 0.005  # of two printed decimals


@pytest.fixture(scope="module")
def table():
    return json.loads((RESULTS / "book_numbers.json").read_text())


def distances(losses, table):
    """Return how many standard deviations over the seeds each loss lies from their mean."""
    mean, std = (np.array(table["losses"][name])[: len(losses)] for name in ("mean", "std"))
    return np.maximum(np.abs(losses - mean) - ROUNDING, 0) / std


def test_the_table_is_of_at_least_80_seeds(table):
    assert table["seeds"] >= 80
    assert np.shape(table["losses"]["mean"]) == (10, 5)
    for statistics in (table["losses"], table["accuracy"]):
        least, mean, most = (np.array(statistics[name]) for name in ("min", "mean", "max"))
        assert ((least <= mean) & (mean <= most)).all()


def test_the_table_holds_what_the_book_prints(table):
    assert table["printed"]["losses"] == book_numbers.PRINTED


def test_the_printed_run_of_the_book_lies_within_four_standard_deviations(table):
    assert np.nanmax(distances(PRINTED, table)) < 4
    accuracy = table["accuracy"]
    distance = abs(book_numbers.PRINTED_ACCURACY - accuracy["mean"]) - ROUNDING
    assert distance < 4 * accuracy["std"]


def test_no_printed_loss_lies_outside_the_range_of_the_seeds(table):
    least, most = (np.array(table["losses"][name])[: len(PRINTED)] for name in ("min", "max"))
    outside = (least - ROUNDING > PRINTED) | (most + ROUNDING < PRINTED)
    assert outside.sum() == 0


def first_epoch(package, mnist, update_weights):
    """Return the losses that a run of a seed outside the table prints in its first epoch."""
    images, labels, _, _ = mnist("float32")
    losses = []
    package.fit(
        package.mnist_model(seed=1000),
        images,
        labels,
        epochs=1,
        update_weights=update_weights,
        on_step=lambda epoch, batch, loss: losses.append(loss),
    )
    return np.array([losses[::100]])


def test_a_run_of_today_lies_within_four_standard_deviations(table, package, mnist):
    assert distances(first_epoch(package, mnist, package.update_weights), table).max() < 4


@pytest.mark.parametrize("factor", [0.25, 4])
def test_a_run_with_another_learning_rate_does_not(table, package, mnist, factor):
    sgd = package.SGD(learning_rate=1e-3 * factor)
    assert distances(first_epoch(package, mnist, sgd), table).max() > 4
