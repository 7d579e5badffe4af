"""Rung 11: ranks against one process, and ranks against those of the other package."""

import functools
import json
from importlib import import_module

import numpy as np
import pytest
from safetensors.numpy import load_file

from parity_tests.ladder.compare import Divergence, Judge
from parity_tests.measurements import launch
from parity_tests.tests import on_ranks

RUNG = "ranks"
PACKAGES = ["tf_reference", "torch_port"]


@functools.lru_cache
def alone(package, dtype):
    """Return what one process finds."""
    return on_ranks.trained(import_module(package), dtype)


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    """Return the folder of what some ranks have found, which are started once."""

    @functools.cache
    def run(package, size):
        folder = tmp_path_factory.mktemp(f"{package}{size}")
        module = "parity_tests.tests.on_ranks"
        processes = launch.start(package, size, module, package, folder, folder=folder)
        launch.end(processes, timeout=100)
        assert (folder / "said-0.json").exists(), (folder / "said").read_text()
        return folder

    return run


def judge_ranks(judge, found, dtype, one, exact):
    """Judge what ranks have found, given what one process finds in this dtype, and in float64."""
    assert found.keys() == one.keys()
    for name, truth in exact.items():
        of = {"ranks": found[name], "truth": truth, "yardstick": one[name]}
        if dtype == "float64":
            of = {"ranks": found[name], "one process": one[name]}
        judge(RUNG, name.split()[1], name, **of)


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.soak)])
@pytest.mark.parametrize("package", PACKAGES)
def test_ranks_train_as_one_process_does(judge, on, package, size, dtype):
    found = load_file(on(package, size) / f"{dtype}-0.safetensors")
    judge_ranks(judge, found, dtype, alone(package, dtype), alone(package, "float64"))


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.soak)])
def test_ranks_of_the_port_train_as_those_of_the_reference_do(judge, on, size, dtype):
    port, reference = (
        load_file(on(package, size) / f"{dtype}-0.safetensors") for package in PACKAGES[::-1]
    )
    judge_ranks(judge, port, dtype, reference, alone("tf_reference", "float64"))


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.soak)])
@pytest.mark.parametrize("package", PACKAGES)
def test_all_ranks_hold_the_same_bits(on, package, size, dtype):
    first, *others = (
        load_file(on(package, size) / f"{dtype}-{rank}.safetensors") for rank in range(size)
    )
    for other in others:
        for name in first:
            np.testing.assert_array_equal(first[name], other[name], strict=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_ranks_that_count_alike_whatever_their_shares_would_be_seen(on, package):
    found = load_file(on(package, 2) / "float64-0.safetensors")
    one = alone(package, "float64")
    halves = found["scratch loss"] * np.where(np.arange(6) % 3 == 2, 0.5, 1)
    with pytest.raises(Divergence, match="loss scratch loss"):
        judge_ranks(Judge(), found | {"scratch loss": halves}, "float64", one, one)


@pytest.mark.parametrize("package", PACKAGES)
def test_ranks_with_other_options_or_data_are_refused(on, package):
    said = json.loads((on(package, 2) / "said-0.json").read_text())["said"]
    wanted = ": start all ranks with the same options, data and versions"
    assert said[0] == f"the seed of rank 1: 1, but rank 0 has 0{wanted}"
    assert said[1].startswith("the data of rank 1: ")
    assert said[1].endswith(wanted)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_rank_that_is_killed_is_named_within_seconds(on, package):
    found = json.loads((on(package, 2) / "said-0.json").read_text())
    assert found["said"][2] == (
        "rank 0 has lost rank 1, which has ended, hangs for 30 s or cannot be reached"
    )
    assert found["seconds"] < 10
