"""Answers that are remembered: asked once, in the same order, and never the answer to another."""

import numpy as np
import pytest

from parity_tests.ladder.remembered import Remembered, digest


class Counter:
    """Counts what it is asked; its third step raises."""

    def __init__(self, made):
        made.append(self)
        self.steps = 0

    def step(self, x):
        self.steps += 1
        if self.steps == 3:
            raise ValueError("no third step")
        return self.steps * x


@pytest.fixture
def make():
    made, answers = [], {}
    return made, lambda: Remembered("port", "float64", lambda: Counter(made), answers)


def test_an_implementation_is_asked_once(make):
    made, remembered = make
    for _ in range(3):
        one = remembered()
        assert [one.step(5.0), one.step(5.0)] == [5, 10]
    assert len(made) == 1


def test_another_question_is_asked_after_all_that_came_before(make):
    made, remembered = make
    first = remembered()
    first.step(5.0)
    second = remembered()
    second.step(5.0)
    assert second.step(7.0) == 14
    assert [one.steps for one in made] == [1, 2]


def test_a_question_that_raises_has_no_answer_later_either(make):
    _, remembered = make
    for _ in range(3):
        one = remembered()
        one.step(1.0)
        one.step(1.0)
        with pytest.raises(ValueError, match="no third step"):
            one.step(1.0)


def test_a_hash_tells_arrays_apart_by_name_dtype_shape_and_content():
    array = np.arange(6.0)
    others = [
        ({"a": array},),
        ({"b": array},),
        ({"a": array.astype("float32")},),
        ({"a": array.reshape(2, 3)},),
        ({"a": array + 1},),
    ]
    assert len({digest(arguments) for arguments in others}) == 5
