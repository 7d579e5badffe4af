"""The judge in detail: bounds to the last unit, what is kept, and each word of a verdict."""

import math
from pathlib import Path

import numpy as np
import pytest

from parity_tests.ladder import compare, report
from parity_tests.ladder.compare import Divergence, Judge, Record, judge_tensors
from parity_tests.ladder.tolerance import TABLE

PLACE = ("gradients", "gradient", "layers.0.W")
UNIT = {"float32": 2.0**-23, "float64": 2.0**-52}


def arrays(dtype, port=(1.0, 0.5), oracle=(1.0, 0.5), reference=(1.0, 0.5)):
    """Return three arrays, of which only the oracle's is in float64."""
    return {
        "port": np.array(port, dtype),
        "oracle": np.array(oracle),
        "reference": np.array(reference, dtype),
    }


def pair(dtype, port, truth):
    return {"port": np.array(port, dtype), "reference": np.array(truth, dtype)}


def diverges(*place, **options):
    """Return the divergence that a new judge raises."""
    with pytest.raises(Divergence) as divergence:
        Judge()(*place, **options)
    assert (divergence.value.rung, divergence.value.quantity) == place[:2]
    return divergence.value


def test_the_readme_shows_the_table_of_the_tolerances():
    text = Path(compare.__file__).with_name("README.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.count(" | ") == 3]
    shown = {
        (quantity, dtype): cell
        for quantities, *cells, _ in rows
        for quantity in quantities.split(", ")
        for dtype, cell in zip(("float32", "float64"), cells, strict=True)
    }
    for quantity, by_dtype in TABLE.items():
        for dtype, tolerance in by_dtype.items():
            assert shown[quantity, dtype.replace("int", "float")] == report._bound(tolerance)
            assert tolerance.ulps >= 0
            assert tolerance.own_ulps == 2048


def test_the_unit_in_the_last_place_is_that_of_the_dtype_that_is_judged():
    for dtype, units in (("float32", 4), ("float64", 4096)):
        exact = 1 + units * UNIT[dtype]
        Judge()(*PLACE, **arrays(dtype, port=(exact, 0.5)))
        diverges(*PLACE, **arrays(dtype, port=(exact + UNIT[dtype], 0.5)))


def test_a_bound_is_exact_and_grows_with_the_square_root_of_a_batch_beyond_128():
    for samples, units in ((1, 8), (128, 8), (512, 16)):
        place = "layer outputs", "softmax", "p"
        truth, unit = [1.0, 0.5], UNIT["float64"]
        found = pair("float64", [1 + units * unit, 0.5], truth)
        Judge()(*place, samples=samples, **found)
        found = pair("float64", [1 + (units + 1) * unit, 0.5], truth)
        diverges(*place, samples=samples, **found)


def test_the_yardsticks_error_counts_for_its_tensor_and_window_only():
    judge = Judge()
    judge(*PLACE, window="epoch 0", **arrays("float32", reference=(1.0001, 0.5)))
    wrong = arrays("float32", port=(1.0001, 0.5))
    judge(*PLACE, window="epoch 0", **wrong)
    for place, window in ((PLACE, "epoch 1"), ((*PLACE[:2], "b"), "epoch 0")):
        with pytest.raises(Divergence):
            judge(*place, window=window, **wrong)


def test_a_yardstick_may_be_2048_units_off_and_no_more():
    judge, unit = Judge(), UNIT["float32"]
    judge(*PLACE, **arrays("float32", reference=(1 + 2048 * unit, 0.5)))
    (record,) = judge.records.values()
    assert record.own_ulps == 2048
    found = diverges(*PLACE, step="step 3", **arrays("float32", reference=(1 + 2049 * unit, 0.5)))
    assert str(found) == (
        "gradient layers.0.W at step 3 (float32): "
        "reference is 2.05e+03 units in the last place off, expected at most 2048 in float32"
    )


def test_where_the_truth_is_0_nothing_else_passes():
    Judge()(*PLACE, **arrays("float32", [0, 0], [0, 0], [0, 0]))
    diverges(*PLACE, **arrays("float32", [0, 1e-3], [0, 0], [0, 0]))


def test_each_tensor_has_a_record_that_adds_up_its_comparisons():
    judge = Judge()
    for port in (1 + UNIT["float32"], 1.0, 1 - UNIT["float32"]):
        judge(*PLACE, **arrays("float32", port=(port, 0.5)))
    judge(*PLACE[:2], "b", **arrays("float32"))
    assert judge.records == {
        (*PLACE[:2], "float32", "layers.0.W"): Record(
            *PLACE[:2], "float32", "layers.0.W", 6, UNIT["float32"], 4.0
        ),
        (*PLACE[:2], "float32", "b"): Record(*PLACE[:2], "float32", "b", 2, 0.0, math.inf, 0.0),
    }


def test_an_error_is_relative_to_the_scale_of_its_tensor_also_below_1():
    judge = Judge()
    off = 0.5 + UNIT["float64"] / 2
    judge("one update", "update by SGD", "b", **pair("float64", [off], [0.5]))
    (record,) = judge.records.values()
    assert (record.error, record.headroom) == (UNIT["float64"], 1)


def test_where_arithmetic_is_elementwise_the_least_headroom_counts():
    judge = Judge()
    truth = np.array([1.0, 2.0**-20], "float32")
    found = {"port": np.nextafter(truth, np.float32(2)), "reference": truth}
    judge("one update", "update by SGD", "b", **found)
    (record,) = judge.records.values()
    assert record.headroom == 1


def test_a_difference_next_to_nothing_overflows_no_headroom():
    judge = Judge()
    for quantity in ("log", "softmax"):
        found = pair("float64", [1.0, 5e-324], [1.0, 0.0])
        judge("layer outputs", quantity, "x", scale=np.array([4.0, 4.0]), **found)
    assert {record.headroom for record in judge.records.values()} == {math.inf}


def test_where_nothing_may_differ_equal_elements_leave_no_headroom_to_the_others():
    judge = Judge()
    found = pair("float32", [1.0, 2.0], [1.0, 3.0])
    with pytest.raises(Divergence) as divergence:
        judge("one update", "update by hand", "b", scale=np.ones(2), **found)
    assert divergence.value.excess == math.inf
    (record,) = judge.records.values()
    assert record.headroom == 0


def test_empty_arrays_are_equal_and_have_no_scale():
    seen = []
    judge = Judge(watch=lambda *found: seen.append(found))
    for quantity in ("gradient", "update by SGD"):
        judge("one update", quantity, "b", **arrays("float32", (), (), ()))
    assert [(record.numbers, largest, scale) for record, _, largest, _, scale, _ in seen] == [
        (0, 0.0, 0.0)
    ] * 2


def test_a_watch_is_told_all_of_a_comparison():
    seen = []
    judge = Judge(watch=lambda *found: seen.append(found))
    given = arrays("float64", port=(1.0, 0.5 + 2.0**-50))
    judge(*PLACE, **given)
    ((record, difference, largest, bound, scale, named),) = seen
    assert record is judge.records[(*PLACE[:2], "float64", PLACE[2])]
    assert (difference.tolist(), largest, scale) == ([0, 2.0**-50], 2.0**-50, 1.0)
    assert (float(bound), named) == (4096 * UNIT["float64"], given)


def test_a_verdict_says_how_many_bounds_the_difference_is():
    found = diverges(*PLACE, **arrays("float64", port=(1 + 8192 * UNIT["float64"], 0.5)))
    assert found.excess == 2
    assert diverges(*PLACE, **arrays("float64", port=(math.nan, 0.5))).excess == math.inf
    assert diverges("data", "pixels", "x", **pair("float32", [1], [2])).excess == math.inf


def test_large_numbers_of_opposite_sign_have_a_finite_difference():
    found = diverges("one update", "update by SGD", "b", **pair("float32", [3e38], [-3e38]))
    assert "difference 6e+38" in str(found)


def test_a_verdict_without_a_step_or_a_yardstick_has_no_words_for_them():
    found = diverges("data", "labels", "test labels", **pair("int64", [3, 1], [4, 1]))
    assert str(found) == (
        "labels test labels (int64): 1 of 2 elements differ\n"
        "  worst at [0]: port 3, reference 4\n"
        "  difference 1, bound 0 = 0 units in the last place (0 each)"
    )


def test_a_verdict_counts_what_is_beyond_its_own_bound_and_shows_the_furthest():
    unit = UNIT["float32"]
    truth = [1024.0, 1.0, 2.0]
    port = [1024 + 2 * 1024 * unit, 1 + 2000 * unit, 2 + 2 * unit]
    found = diverges("one update", "update by SGD", "b", **pair("float32", port, truth))
    first, second, *_ = str(found).splitlines()
    assert first == "update by SGD b (float32): 2 of 3 elements differ"
    assert second == f"  worst at [1]: port {1 + 2000 * unit!r}, reference 1.0"


def test_a_number_that_is_not_finite_is_counted_and_shown():
    finite = (1.0, 0.5, 0.25)
    found = diverges(*PLACE, **arrays("float32", (1.0, math.nan, 0.25), finite, finite))
    assert str(found) == (
        "gradient layers.0.W (float32): 1 of 3 elements differ\n"
        "  worst at [1]: port nan, oracle 0.5, reference 0.5\n"
        "  a number that is not finite is equal to none"
    )


def test_another_shape_or_dtype_is_said_with_its_place():
    found = diverges(*PLACE, step="step 1", **arrays("float32", port=(1.0,)))
    assert str(found) == (
        "gradient layers.0.W at step 1 (float32): shape (1,) in port, (2,) in oracle"
    )
    found = diverges(*PLACE, **arrays("float32") | {"port": np.ones(2)})
    assert str(found) == (
        "gradient layers.0.W (float32): dtype float64 in port, float32 in reference"
    )


def test_the_summary_is_one_line_for_each_quantity_below_the_name_of_its_rung():
    records = [
        Record("one update", "update by SGD", "float64", "W", 1234, 0.0, math.inf, 0.0),
        Record("gradients", "gradient", "float32", "W", 10, 1.5e-5, 2.9, 316.4),
        Record("gradients", "gradient", "float32", "b", 2, 2.4e-5, 31.0, 3.0),
        Record("gradients", "loss", "float64", "average", 5, 1e-16, 77.0, 0.0),
    ]
    assert report.ladder(records).splitlines() == [
        "                      dtype         numbers   worst   own headroom  bound",
        "gradients",
        "  gradient            float32            12 2.4e-05   316      2.9  10 x + 4 ulp",
        "  loss                float64             5 1.0e-16     0     77.0  4096 ulp",
        "one update",
        "  update by SGD       float64         1,234 0.0e+00     0    equal  1 ulp each",
    ]
    first, *_ = report.rows(records)
    assert (first.bound, first.reason) == ("10 x + 4 ulp", TABLE["gradient"]["float32"].reason)


class Asked:
    """A judge that only notes what it is asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, *place, **options):
        self.calls.append((place, options))


@pytest.mark.parametrize("scales", [None, {"W": 3.0, "b": 4.0}])
def test_tensors_are_judged_by_the_oracle_in_float32_and_the_oracle_as_well_in_float64(scales):
    for dtype in ("float32", "float64"):
        of = [{name: np.full(2, value, dtype) for name in "Wb"} for value in (1, 2, 3)]
        asked = Asked()
        judge_tensors(asked, *PLACE[:2], *of, step="step 1", scales=scales)
        port, reference, oracle = of
        expected = []
        for name in "Wb":
            options = {"step": "step 1", "window": "step 1", "samples": 128}
            options |= {"scale": scales[name] if scales else 0.0}
            named = {"port": port[name], "oracle": oracle[name], "reference": reference[name]}
            if dtype == "float32":
                expected.append(((*PLACE[:2], name), options | named))
            else:
                others = {k: named[k] for k in ("port", "reference")}
                expected.append(((*PLACE[:2], name), options | others))
                others = {k: named[k] for k in ("oracle", "reference")}
                expected.append(((*PLACE[:2], f"{name} of the oracle"), options | others))
        assert asked.calls == expected
        assert [list(found) for _, found in asked.calls] == [list(found) for _, found in expected]


def test_tensors_are_judged_in_the_window_and_for_the_samples_that_are_given():
    asked = Asked()
    of = [{"W": np.zeros(1, "float32")}] * 3
    judge_tensors(asked, *PLACE[:2], *of, step="step 1", window="epoch 0", samples=512)
    ((_, options),) = asked.calls
    assert (options["window"], options["samples"]) == ("epoch 0", 512)


def test_tensors_of_other_names_diverge_on_their_rung():
    of = [{"W": 0}, {"W": 0}, {"b": 0}]
    for found in (of, of[::-1]):
        with pytest.raises(Divergence) as divergence:
            judge_tensors(Asked(), *PLACE[:2], *found, step="the end")
        assert (divergence.value.rung, divergence.value.quantity) == PLACE[:2]
