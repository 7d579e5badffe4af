"""The sentence that says what explains a rung."""

import pytest

from parity_tests.traps.finding import Finding


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        (
            Finding("gradients", ("a", "b"), 1.23e-15, 0.0031, "W"),
            "gradients: explained by: a and b; residual 1e-15, next best 0.003",
        ),
        (
            Finding("loss", ("a",), 0.0, 1.0, "W", alternatives=("b", "c")),
            "loss: explained by: a or b or c; residual 0, next best 1",
        ),
        (Finding("loss", (), 0.0, 1.0, "it raised x", raised=True), "loss: it raised x"),
        (
            Finding("loss", (), 0.0, 0.25, "W, b", ("one", "two")),
            "loss: unexplained by any known mistake (the best leaves 0.2); first at W, b: one; two",
        ),
        (
            Finding("loss", (), 0.0, 0.25, "W"),
            "loss: unexplained by any known mistake (the best leaves 0.2); first at W: "
            "no simple relation to what it should be",
        ),
    ],
)
def test_a_finding_is_one_sentence(finding, sentence):
    assert str(finding) == sentence


def test_a_finding_has_no_relations_no_alternatives_and_raised_nothing_unless_told():
    found = Finding("loss", (), 0.0, 1.0, "W")
    assert (found.relations, found.alternatives, found.raised) == ((), (), False)
