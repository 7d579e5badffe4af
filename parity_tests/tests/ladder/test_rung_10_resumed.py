"""Rung 10: a training that one package begins and the other ends, from its checkpoint."""

from importlib import import_module

import pytest

from parity_tests.ladder.adapters import Port, Reference
from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.ladder.resumed import Resumed
from parity_tests.ladder.training import fit
from parity_tests.program.checkpoints import Checkpoints

both_loops = pytest.mark.parametrize("first_example", [False, True], ids=["scratch", "first"])
both_ways = pytest.mark.parametrize(
    ("begins", "ends"), [(Port, Reference), (Reference, Port)], ids=["to tf", "to torch"]
)


def judge_resumed(judge, begins, ends, mnist, dtype, first_example):
    """Judge an interrupted training beside the reference's, which is not interrupted."""
    images, labels = (array[:250] for array in mnist(dtype)[:2])
    resumed = Resumed(begins(dtype=dtype), ends(dtype=dtype))
    fit(
        judge,
        "resumed",
        Reference(dtype=dtype),
        resumed,
        images,
        labels,
        epochs=3,
        first_example=first_example,
    )


@both_loops
@both_ways
def test_a_training_that_goes_on_in_the_other_package_is_the_same_training(
    judge, begins, ends, mnist, dtype, first_example
):
    judge_resumed(judge, begins, ends, mnist, dtype, first_example)


@both_ways
def test_a_state_of_the_optimizer_that_is_lost_is_seen(begins, ends, mnist, dtype, monkeypatch):
    module = import_module(f"{ends.package_name}.weights")
    assign = module.assign
    monkeypatch.setattr(
        module,
        "assign",
        lambda tensors, values: assign(
            {name: w for name, w in tensors.items() if "velocity" not in name}, values
        ),
    )
    with pytest.raises(Divergence, match="loss of each batch"):
        judge_resumed(Judge(), begins, ends, mnist, dtype, first_example=True)


@both_ways
def test_a_batch_that_is_trained_twice_is_seen(begins, ends, mnist, dtype, monkeypatch):
    save = Checkpoints.save
    monkeypatch.setattr(
        Checkpoints,
        "save",
        lambda self, tensors, at, log: save(self, tensors, at | {"batch": at["batch"] - 1}, log),
    )
    with pytest.raises(Divergence, match="loss of each batch"):
        judge_resumed(Judge(), begins, ends, mnist, dtype, first_example=False)
