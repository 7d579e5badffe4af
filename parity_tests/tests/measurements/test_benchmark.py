"""The benchmark: contenders that train the same, and ratios that are taken round by round."""

import sys
from pathlib import Path

import pytest

from parity_tests.ladder.oracle import Oracle, initial_weights
from parity_tests.measurements.benchmark import Worker, check_losses, summary, table
from parity_tests.measurements.contenders import CONTENDERS, read_mnist

BATCHES = 20
QUICK = ("torch_port, fit with a log", "torch.nn, torch.optim.SGD", "tf_reference, tf.function")
TRAINED = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.soak)
    for name in CONTENDERS
    if "JAX" not in name and "products" not in name
]


@pytest.fixture
def worker(data):
    workers = []

    def start(name):
        workers.append(Worker(Path(sys.executable), name, data))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture(scope="module")
def loss(data):
    """The oracle's loss on the first thousand images, after as many batches."""
    images, labels = read_mnist(data, "train")
    oracle = Oracle("float32")
    oracle.load_weights(initial_weights(0))
    oracle.fit(images[: BATCHES * 128], labels[: BATCHES * 128], epochs=1)
    return oracle.gradients(images[:1000], labels[:1000])[0]


@pytest.mark.parametrize("name", TRAINED)
def test_a_contender_comes_to_the_same_loss(worker, loss, name):
    answer = worker(name).train(BATCHES)
    assert answer["loss"] == pytest.approx(loss, rel=1e-3)
    assert answer["seconds"] > 0
    assert answer["megabytes"] > 100


def test_a_contender_that_ends_is_reported(worker):
    with pytest.raises(ChildProcessError, match=r"nobody ended: see what `echo 1 \| "):
        worker("nobody").train(1)


def test_ratios_are_taken_within_a_round():
    rounds = [
        {"torch_port": 1.0, "other": 2.0},
        {"torch_port": 9.0, "other": 27.0},  # the machine was slow
        {"torch_port": 1.0, "other": 4.0},
    ]
    found = summary(rounds)
    assert found["other"] == {"median": 4, "least": 2, "most": 27, "ratio": 3}
    found["other"]["megabytes"] = 12
    assert "| other | 4 | 2, 27 | 3.00 | 12 |" in table(found, "a step", "ms")


@pytest.mark.parametrize("loss", [2.003, float("nan"), float("inf")])
def test_a_contender_with_another_loss_is_refused(loss):
    answers = {"torch_port": {"loss": 2.0}, "products": {}, "other": {"loss": 2.001}}
    check_losses(answers)
    with pytest.raises(ChildProcessError, match="other came to a loss of"):
        check_losses(answers | {"other": {"loss": loss}})


def test_a_loss_of_our_own_that_is_no_number_is_refused():
    with pytest.raises(ChildProcessError):
        check_losses({"torch_port": {"loss": float("nan")}, "other": {"loss": 2.0}})
