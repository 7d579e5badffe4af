"""Which form inputs have, which samples a batch holds, and whether targets are the same."""

import numpy as np
import pytest

from parity_tests.check.keras.caught import found_by_shape
from parity_tests.check.keras.inputs import looked_up
from parity_tests.check.models.asking import _forms
from parity_tests.check.models.data import _mean_the_same
from parity_tests.check.models.forms import FORMS, forms_of, given, taken

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(4, 5, 6, 3))
VIDEOS = RNG.normal(size=(4, 2, 5, 6, 3))
GREY = RNG.normal(size=(4, 5, 6, 1))
ROWS = RNG.normal(size=(4, 5, 6))


@pytest.mark.parametrize(
    ("form", "array", "shape"),
    [
        ("as it is", PICTURES, (4, 5, 6, 3)),
        ("channels first", PICTURES, (4, 3, 5, 6)),
        ("channels first", ROWS, (4, 5, 6)),
        ("channels first in sequences", ROWS, (4, 6, 5)),
        ("channels first in frames", VIDEOS, (4, 2, 3, 5, 6)),
        ("flattened", PICTURES, (4, 90)),
        ("with an axis of one channel", ROWS, (4, 1, 5, 6)),
        ("without the axis of one channel", GREY, (4, 5, 6)),
    ],
)
def test_what_a_port_takes_is_taken_back(form, array, shape):
    of_port = given(form, array)
    assert of_port.shape == shape
    back = taken(form, of_port, array.shape[1:])
    assert np.array_equal(back, array)


def test_what_does_not_fit_is_not_taken():
    assert taken("channels first", PICTURES, (5, 6, 3)) is None
    assert taken("flattened", RNG.normal(size=(4, 91)), (5, 6, 3)) is None
    assert taken("with an axis of one channel", RNG.normal(size=(4, 30)), (5, 6)) is None
    assert taken("in another shape", GREY, (30,)).shape == (4, 30)


def test_the_likeliest_forms_come_first_and_a_layout_leaves_one():
    assert forms_of([(28, 28, 1)], None)[:2] == ["channels first", "as it is"]
    assert forms_of([(9, 4)], None)[:2] == ["as it is", "channels first in sequences"]
    assert forms_of([(4,)], None) == ["as it is", "in another shape"]
    assert forms_of([(28, 28, 1)], "NHWC") == ["as it is"]
    assert set(forms_of([(2, 28, 28, 1)], None)) <= set(FORMS)


DATA = RNG.normal(size=(50, 6))


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 0.0), (255.0, 0.0), (3.2, -0.4)])
def test_samples_are_recognized_whatever_their_scale(factor, offset):
    places = np.array([3, 17, 4])
    found, scale, moved = looked_up([factor * DATA[places] + offset], [DATA])
    assert found.tolist() == places.tolist()
    assert (scale, moved) == pytest.approx((factor, offset))


def test_samples_of_something_else_are_not_recognized():
    assert looked_up([RNG.normal(size=(3, 6))], [DATA])[0] is None
    assert looked_up([RNG.normal(size=(3, 5))], [DATA])[0] is None
    assert looked_up([np.zeros((2, 6))], [DATA])[0] is None


CLASSES = np.array([0, 2, 1])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (CLASSES, CLASSES, True),
        (CLASSES, np.eye(3)[CLASSES], True),
        (CLASSES[:, None], CLASSES.astype(float), True),
        (CLASSES, (CLASSES + 1) % 3, False),
        (np.eye(3)[CLASSES], np.eye(3)[(CLASSES + 1) % 3], False),
        (CLASSES, np.zeros(4), None),
    ],
)
def test_targets_are_the_same_in_whichever_form(one, other, same):
    assert _mean_the_same(one, other) is same


def test_a_step_is_given_targets_in_the_model_s_form_first():
    forms = [[(a.shape, a.dtype.kind) for a in form] for form in _forms([CLASSES])]
    assert forms[0] == [((3,), "i")]
    assert [((3, 1), "i")] in forms
    assert [((3,), "f")] in forms
    one_hot = list(_forms([np.eye(3)[CLASSES]]))
    assert any(np.array_equal(form[0], CLASSES) for form in one_hot)


def test_arrays_of_a_file_are_found_by_the_shapes_that_its_model_takes():
    import keras

    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    targets, others = RNG.normal(size=50), RNG.normal(size=(7, 6))
    names = {"others": others, "samples": DATA, "_hidden": targets, "numbers": targets}
    found = found_by_shape(names, model)
    assert np.array_equal(found.batches[0][0], DATA[:32])
    assert np.array_equal(found.batches[0][1], targets[:32])
    assert found_by_shape({"samples": DATA, "numbers": targets[:9]}, model) is None
