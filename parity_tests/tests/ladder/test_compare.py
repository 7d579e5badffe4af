"""The judge: what it refuses, what it says, and the rule of the tolerance table."""

import numpy as np
import pytest

from parity_tests.ladder import report
from parity_tests.ladder.compare import Divergence, Judge, Record, judge_tensors
from parity_tests.ladder.rungs import RUNGS
from parity_tests.ladder.tolerance import MULTIPLE, TABLE

TRUTH = np.array([[1.0, -2.0], [0.5, 0.25]])
PLACE = ("gradients", "gradient", "layers.0.W")


def gradients(wrong=0.0, own=1e-6):
    """Return a port off by `wrong` and a reference off by `own`, in one element of float32."""
    port, reference = TRUTH.copy(), TRUTH.copy()
    port[0, 1] += wrong
    reference[1, 1] += own
    arrays = {"port": port, "oracle": TRUTH.copy(), "reference": reference}
    return {name: a if name == "oracle" else a.astype("float32") for name, a in arrays.items()}


def test_a_port_within_a_multiple_of_the_references_own_error_passes():
    judge = Judge()
    judge(*PLACE, **gradients(wrong=8e-6))
    (record,) = judge.records.values()
    assert record.numbers == 4
    assert record.error == pytest.approx(8e-6 / 2, rel=0.05)
    assert 1 < record.headroom < 1.6


def test_a_port_beyond_the_bound_is_named_with_its_worst_element():
    with pytest.raises(Divergence) as divergence:
        Judge()(*PLACE, step="epoch 0, batch 7", **gradients(wrong=1e-4))
    lines = str(divergence.value).splitlines()
    assert (divergence.value.rung, divergence.value.quantity) == PLACE[:2]
    assert lines[0] == ("gradient layers.0.W at epoch 0, batch 7 (float32): 1 of 4 elements differ")
    assert lines[1].startswith("  worst at [0, 1]: port -1.9998")
    assert lines[1].endswith("oracle -2.0, reference -2.0")
    assert "bound 1.11e-05 = 10 x 1.01e-06, reference's own error, + 4 units" in lines[2]
    assert lines[3] == "  a multiple of 97.8 would have passed"


def test_the_references_largest_error_so_far_is_the_yardstick():
    judge = Judge()
    judge(*PLACE, **gradients(own=1e-4))
    judge(*PLACE, **gradients(wrong=1e-4, own=0))
    with pytest.raises(Divergence):
        Judge()(*PLACE, **gradients(wrong=1e-4, own=0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [["port"], ["reference"], ["port", "oracle", "reference"]])
def test_a_number_that_is_not_finite_differs_wherever_it_stands(value, where):
    arrays = gradients()
    for name in where:
        arrays[name][1, 0] = value
    with pytest.raises(Divergence, match="not finite"):
        Judge()(*PLACE, **arrays)


def test_an_infinite_reference_does_not_widen_the_bound():
    judge = Judge()
    arrays = gradients(wrong=1e-4)
    arrays["reference"][1, 0] = np.inf
    with pytest.raises(Divergence):
        judge(*PLACE, **arrays)


def test_a_reference_that_is_not_0_where_the_truth_is_judges_nothing():
    for wrong in (7, np.nan):
        arrays = {name: np.zeros(3, "float32") for name in ("port", "oracle", "reference")}
        arrays["reference"][0] = wrong
        with pytest.raises(Divergence):
            Judge()(*PLACE, **arrays)


def test_a_failure_counts_in_the_summary():
    judge = Judge()
    for wrong in (1e-4, np.inf):
        with pytest.raises(Divergence):
            judge(*PLACE, **gradients(wrong=wrong))
        (record,) = judge.records.values()
        assert record.headroom < 1


def test_a_tensor_that_only_one_has_is_seen():
    found = [{"W": TRUTH}, {"W": TRUTH}, {"W": TRUTH, "b": TRUTH}]
    with pytest.raises(Divergence, match=r"tensors \['W'\] in port"):
        judge_tensors(Judge(), *PLACE[:2], *found, step="the end")


def test_another_shape_fails_first_though_it_would_broadcast():
    arrays = gradients()
    arrays["port"] = arrays["port"][:1]
    with pytest.raises(Divergence, match=r"shape \(1, 2\) in port, \(2, 2\) in oracle"):
        Judge()(*PLACE, **arrays)


def test_another_dtype_fails_though_the_numbers_are_equal():
    arrays = gradients() | {"port": TRUTH}
    with pytest.raises(Divergence, match="dtype float64 in port, float32 in reference"):
        Judge()(*PLACE, **arrays)


def test_where_arithmetic_is_elementwise_each_element_has_its_own_unit():
    truth = np.array([1.0, 1e-6], "float32")
    port = truth + np.array([0, 1e-12], "float32")
    row = "update by SGD"
    Judge()("one update", row, "b", port=np.nextafter(truth, np.float32(2)), reference=truth)
    with pytest.raises(Divergence, match="1 of 2 elements"):
        Judge()("one update", row, "b", port=port, reference=truth)


def test_every_row_of_the_table_gives_a_reason_and_one_multiple_serves_all():
    rows = [tolerance for by_dtype in TABLE.values() for tolerance in by_dtype.values()]
    assert all(tolerance.reason for tolerance in rows)
    assert {tolerance.multiple for tolerance in rows} == {0, MULTIPLE}
    assert MULTIPLE <= 10


def test_the_summary_fits_80_columns_whatever_the_row():
    records = [
        Record(rung, quantity, dtype, "tensor", 10**10 - 1, 1.5e-10, 1e4, 2047.0)
        for rung in RUNGS
        for quantity, by_dtype in TABLE.items()
        for dtype in by_dtype
    ]
    assert max(map(len, report.ladder(records).splitlines())) <= 80


def test_the_summary_adds_up_the_tensors_of_a_quantity():
    judge = Judge()
    judge(*PLACE, **gradients(wrong=8e-6))
    judge(*PLACE[:2], "layers.1.W", **gradients())
    head, rung, line = report.ladder(judge.records.values()).splitlines()
    assert head.split()[:3] == ["dtype", "numbers", "worst"]
    assert rung == "gradients"
    assert line.split()[:4] == ["gradient", "float32", "8", "4.0e-06"]
