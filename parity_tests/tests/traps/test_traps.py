"""The catalogue: each trap fails on its rung and leaves no trace; the matrix of what sees it."""

import pytest

import torch_port
from parity_tests.ladder.adapters import Port
from parity_tests.ladder.rungs import LADDER
from parity_tests.traps.catalogue import CATALOGUE
from parity_tests.traps.sensitivity import caught, judged, table

TRAPS = {trap.name: trap for trap in CATALOGUE}


def test_the_catalogue_has_thirty_traps_or_more_on_every_rung_each_with_its_own_name():
    assert len(TRAPS) == len(CATALOGUE) >= 30
    assert {trap.rung for trap in CATALOGUE} == set(LADDER)
    assert all(trap.mistake and trap.source for trap in CATALOGUE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_port_as_it_is_climbs_every_rung(sets, dtype, data):
    assert caught(None, sets(dtype), dtype, data) is None


def test_the_port_as_its_command_line_settles_it_climbs_every_rung(sets, data):
    torch_port.use_device("cpu")
    assert caught(None, sets("float32"), "float32", data) is None


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_fails_first_on_its_rung(sets, data, name):
    trap = TRAPS[name]
    divergence = caught(trap, sets(trap.dtype), trap.dtype, data)
    assert divergence is not None
    assert (divergence.rung, divergence.excess > 1) == (trap.rung, True), str(divergence)


def test_the_matrix_says_what_accuracy_alone_would_have_passed():
    clean = {"scratch": [0.81, 0.82, 0.83], "first example": [0.97, 0.98], "rung": None}
    rows = [
        judged({"name": name, "rung": "loss", "excess": 5.0, "accuracies": accuracies}, clean)
        for name, accuracies in (
            ("softmax twice", [0.71, 0.72]),
            ("not renormalised", [0.81, 0.822]),
            ("epsilon added", [float("nan"), 0.8]),
        )
    ]
    assert [row["silent"] for row in rows] == [False, True, False]
    assert [row["caught"] for row in rows] == [True] * 3
    assert rows[2]["change"] is None
    lines = table({"traps": rows, "clean": clean}).splitlines()
    assert lines[1].split() == ["softmax", "twice", "loss", "5", "-0.1000", "yes"]
    assert "1 of 3 would have passed by accuracy alone" in lines


def test_planting_leaves_the_port_as_it_was():
    before = Port().training.one_training_step
    for trap in CATALOGUE:
        with trap.plant():
            pass
    assert Port().training.one_training_step is before
