"""What keeps the tests alike in any order, and what shows how long they will take."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from parity_tests.tests.conftest import seed_every_generator
from parity_tests.tests.evidence import diagnosed, failures, properties
from parity_tests.tests.progress import seconds_left
from parity_tests.traps.catalogue import CATALOGUE
from tf_reference.framework import tf


def draws():
    """Return a number of every generator, of which none is given a seed."""
    return (
        random.random(),  # noqa: S311 (no cryptography)
        np.random.random(),  # noqa: NPY002 (other libraries may draw from it)
        np.random.default_rng().random(),
        torch.rand(1).item(),
        float(tf.random.uniform(())),
        float(tf.keras.initializers.GlorotUniform()((1, 1))[0, 0]),
    )


def test_every_generator_draws_the_same_in_each_test():
    seed_every_generator()
    first = draws()
    assert all(a != b for a, b in zip(first, draws(), strict=True))
    seed_every_generator()
    assert draws() == first


def test_a_generator_keeps_the_seed_that_it_is_given():
    expected = [0.5118216247002567, 0.9504636963259353]
    assert np.random.default_rng(1).random(2).tolist() == pytest.approx(expected, rel=1e-15)


def test_the_time_left_is_what_the_tests_took_before_at_the_speed_of_this_run():
    expected = {"a": 10.0, "b": 20.0, "c": 30.0}
    assert seconds_left("bc", expected, {"a": 20.0}, workers=2) == pytest.approx(50)


def test_the_time_left_of_tests_without_a_past_is_the_median_of_ten_or_more():
    taken = {str(number): 2.0 for number in range(10)}
    assert seconds_left("ab", {}, taken, workers=1) == pytest.approx(4)
    del taken["0"]
    assert seconds_left("ab", {}, taken, workers=1) is None


def report_of(test, when="call", **properties):
    """Return what pytest reports of a test."""
    found = [(name.replace("_", " "), value) for name, value in properties.items()]
    return SimpleNamespace(nodeid=test, when=when, longrepr="E  boom", user_properties=found)


def test_failures_are_told_in_the_order_of_the_ladder_and_others_last():
    reports = [
        report_of("c", failure={"rung": "", "message": "ValueError: x"}),
        report_of("b", failure={"rung": "trajectory", "message": "weights"}),
        report_of("a", failure={"rung": "data", "message": "pixels"}),
    ]
    found = failures({"failed": reports, "error": [report_of("d")]})
    assert [(one["test"], one["message"]) for one in found] == [
        ("a", "pixels"), ("b", "weights"), ("c", "ValueError: x"), ("d", "E  boom"),
    ]  # fmt: skip


def test_what_tests_record_is_taken_from_whichever_process_once():
    reports = [report_of("a", record=1), report_of("a", "teardown", record=1)]
    stats = {"passed": reports, "failed": [report_of("b", "teardown", record=2, series=3)]}
    assert list(properties(stats, "record")) == [1, 2]
    assert list(properties(stats, "series")) == [3]


def test_a_planted_mistake_fails_the_ladder_and_the_page_names_it_as_the_cause(data):
    (trap,) = [trap for trap in CATALOGUE if trap.name == "summed loss"]
    with trap.plant():
        found = diagnosed([], data)
    assert found["first"]["rung"] == trap.rung
    assert "layers.0.W" in found["first"]["message"]
    assert f"explained by: {trap.name}" in found["causes"][0]
