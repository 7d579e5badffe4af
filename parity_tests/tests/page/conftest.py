"""A made-up run and made-up checks, whose numbers the pages must show."""

from dataclasses import asdict

import numpy as np
import pytest

from parity_tests.ladder.compare import Record
from parity_tests.ladder.rungs import RUNGS
from parity_tests.page.parity import parity_page
from parity_tests.page.series import Series, trained

HOSTILE = "</script><img src=x onerror=alert(1)>|`$\\alpha$ @all *x* \"'&"
STEPS = 938
TRAP = {
    "rung": "gradients",
    "message": "gradient layers.0.W at seed 0, batch of 128 (float64): 3 of 4 elements differ\n"
    "  worst at [0, 1]: port 1.0, reference 2.0",
}


class Trained:
    """Stands for a trained model: some weights, and probabilities for 20 images."""

    def __init__(self, weights, probabilities):
        self.kept, self.probabilities = weights, probabilities

    def weights(self):
        return self.kept

    def predict(self, images):
        return self.probabilities.argmax(axis=1)

    def layer_output(self, index, inputs):
        return self.probabilities


@pytest.fixture(scope="session")
def initial():
    return {"layers.0.W": np.random.default_rng(0).uniform(0, 0.1, (784, 12))}


@pytest.fixture(scope="session")
def pair(initial):
    """A reference and a port that have learned nearly the same."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(10), 20)
    learned = {"layers.0.W": initial["layers.0.W"] + rng.normal(0, 1e-3, (784, 12))}
    nearly = {"layers.0.W": learned["layers.0.W"] * (1 + 1e-6)}
    return Trained(learned, probabilities), Trained(nearly, probabilities * (1 + 1e-9))


@pytest.fixture(scope="session")
def series():
    """Two epochs of a training in which the port is a little off."""
    kept = Series()
    for epoch in range(2):
        for batch in range(STEPS // 2):
            record = Record("ten epochs", "gradient", "float32", "layers.0.W")
            off = 1e-6 * (1 + batch % 7)
            kept(record, np.array([off]), off, 2e-5, 0.5, {"port": 0, "oracle": 0})
        losses = 4 / (1 + np.arange(STEPS // 2) / 50 + epoch)
        record = Record("ten epochs", "loss", "float32", "free running")
        arrays = {"port": losses, "oracle": losses, "reference": losses}
        kept(record, np.full(STEPS // 2, 1e-7), 1e-7, 1e-6, 1.0, arrays)
        record = Record("ten epochs", "weights", "float32", "layers.0.W")
        kept(record, np.array([1e-8]), 1e-8, 1e-6, 1.0, {"port": 0})
    return kept


@pytest.fixture(scope="session")
def run(series, pair, initial):
    """What a run leaves, as the tests collect it."""
    rng = np.random.default_rng(2)
    images, labels = rng.uniform(0, 1, (20, 784)), rng.integers(0, 10, 20)
    rows = [("data", "pixels", "float32"), ("initial weights", "initial weights", "float64")]
    rows += [(rung, "loss", "float32") for rung in RUNGS[2:]]
    return {
        "passed": 123,
        "failures": [],
        "diagnosis": None,
        "records": [
            asdict(Record(*row, "a tensor", 1_000_001, 2.5e-7 * index, 30.0 / index if index else
                          float("inf"), 7.0))
            for index, row in enumerate(rows)
        ],
        "series": {"float32": series.as_json()},
        "trained": trained(*pair, initial, images, labels),
        "machine": {"cpu": "A CPU", "cores": 3, "python": "3.11.0", "torch": "2.14.1"},
        "command": "python -m pytest --page page.html",
        "commit": "0123456789ab",
        "date": "2026-01-02 03:04 UTC",
    }  # fmt: skip


@pytest.fixture(scope="session")
def failing_run(run):
    """The same with two failures on two rungs."""
    failures = [{"test": "tests/test_x.py::test_gradients", **TRAP}]
    failures += [{"test": "tests/test_y.py", "rung": "trajectory", "message": HOSTILE}]
    cause = "gradients: explained by: softmax twice (of probabilities); residual 1e-15"
    diagnosis = {"first": {"test": "", **TRAP}, "causes": [cause]}
    return run | {"failures": failures, "diagnosis": diagnosis}


@pytest.fixture(scope="session")
def failing_check():
    """What is known of a port that differs, with a hostile name."""
    return {
        "port": HOSTILE,
        "notes": ["judged: model (3-2), trained by step, in float64"],
        "verdict": "differs",
        "rungs": {
            "layers": {"status": "pass", "text": "(2 tensors, worst 1e-16 of 1e-7)"},
            "gradients": {"status": "FAIL", "text": "gradient of fc1 at [0, 1]\n  worst at "
                          f"[0, 1]: port {HOSTILE}"},
            "statistics": {"status": "not judged", "text": "nothing to compare"},
        },
        "findings": ["gradients: explained by: dense_1: its activation is relu; residual 3e-16"],
        "cannot tell": ["dense_2: its kernel is transposed"],
        "conclusion": f"{HOSTILE} is not the same training as its model: see gradients",
        "compared": [
            {"label": "output of dense", "rung": "layers", "difference": 1e-16, "bound": 1e-7},
            {"label": f"gradient of {HOSTILE}", "rung": "gradients", "difference": 0.5,
             "bound": 1e-7},
            {"label": "gradient of bias", "rung": "gradients", "difference": float("inf"),
             "bound": 0.0},
        ],
        "mapping": [{"model": "dense/kernel", "port": HOSTILE, "transform": "turned"}],
        "hypotheses": [{"name": "dense: no bias", "residual": 0.4},
                       {"name": "dense_1: its activation is relu", "residual": 3e-16}],
        "command": "naive-parity check port.py --reference original.py",
    }  # fmt: skip


@pytest.fixture(scope="session")
def html(run):
    """The page of a run that passed."""
    return parity_page(run)


@pytest.fixture(scope="session")
def failing_html(failing_run):
    """The page of a run that failed."""
    return parity_page(failing_run)
