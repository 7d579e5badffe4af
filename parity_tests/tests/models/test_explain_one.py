"""What explains one difference of a model's port: what is tried, what is chosen, and where else."""

import math

import numpy as np
import pytest

from parity_tests.check.messages import PortError
from parity_tests.check.models.sides import WHOLE
from parity_tests.tests.models.test_explain import compared, edit, finding, search_of

EDITS = (
    edit("d: made", "layers"),
    edit("d: output", "outputs"),
    edit("d: own", "layers"),
    edit("b: near", "between"),
    edit("a: far", "layers"),
    edit("a: own", "layers"),
    edit("d: rate", "update"),
    edit("c: rate", "update"),
    edit("loss of a: summed", "loss"),
    edit("optimizer: momentum", "update"),
    edit("b: momentum", "statistics"),
    edit("d: clipped", "gradients"),
    edit("d: epsilon", "statistics"),
)


@pytest.mark.parametrize(
    ("rung", "expected"),
    [
        ("layers", [["d: own"], ["d: output"], ["b: near"]]),
        ("between", [["d: output", "d: own", "b: near"], [], [], ["a: far", "a: own"]]),
        ("outputs", [["d: output"], ["d: own and a: own"], []]),
        ("loss", [["loss of a: summed"], ["d: own and a: own"]]),
        ("gradients", [["d: clipped", "loss of a: summed"], ["d: own and a: own"]]),
        ("statistics", [["d: epsilon"], ["d: own and a: own"]]),
        (
            "update",
            [
                ["d: rate", "d: clipped", "loss of a: summed", "optimizer: momentum"],
                ["d: own and a: own"],
            ],
        ),
        (
            "trajectory",
            [
                ["d: rate", "d: clipped", "d: epsilon", "loss of a: summed", "optimizer: momentum"],
                ["d: own and a: own"],
                ["c: rate", "b: momentum"],
            ],
        ),
    ],
)
def test_mistakes_are_tried_that_may_show_on_the_rung_those_of_the_layer_first(rung, expected):
    search = search_of(lambda rung, names: [], *EDITS)
    stages = search._candidates(rung, ["d: made"], compared(where="m/d"))
    assert [[" and ".join(names) for names in stage] for stage in stages] == expected


@pytest.mark.parametrize("rung", ["outputs", "loss", "gradients", "statistics", "trajectory"])
def test_weights_that_only_the_port_has_are_tried_first_and_all_together(rung):
    extra = [edit(f"{name}: it has a bias", "trajectory") for name in "abc"]
    search = search_of(lambda rung, names: [], *EDITS, *extra)
    first, *rest = search._candidates(rung, ["a: it has a bias"], compared(where="m/b"))
    assert first == [("b: it has a bias", "c: it has a bias")]
    assert not any("it has" in " ".join(names) for stage in rest for names in stage)


def test_a_mistake_is_tried_in_all_layers_that_lead_to_a_difference():
    edits = [edit(f"{name}: own", "between") for name in "abcdefghi"]
    search = search_of(lambda rung, names: [], *edits, units="abcdefghi")
    stages = list(search._candidates("between", [], compared(where="m/h")))
    assert stages[1:3] == [
        [("f: own", "g: own")],
        [tuple(f"{name}: own" for name in "cdefg")],
    ]


def test_a_mistake_that_several_layers_can_have_is_tried_in_all_of_them():
    names = ["the a: one", "b: one", "c: two", "a: three: x", "c: three: x"]
    names += ["b: four: x", "b: three: y"]
    alike = search_of()._alike([edit(name) for name in names])
    assert alike == [("the a: one", "b: one"), ("a: three: x", "c: three: x")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([("output of a", 0.01), ("output of b", 0.05), ("output of c", 1.0)], (0.05, True)),
        ([("output of b", 0.06)], (0.06, False)),
        ([("output of b", 0.05)], (0.05, True)),
        ([("output of a", 0.07), ("output of b", 0.01)], (0.07, False)),
        ([("output of a", 0.2), ("output of b", 0.0)], (0.2, False)),
        ([("output of a", 0.01)], (math.inf, False)),
        ([], (math.inf, False)),
    ],
)
def test_a_mistake_explains_what_it_reduces_to_a_tenth_and_to_within_the_bound(given, expected):
    search = search_of(lambda rung, names: [compared(label, difference=d) for label, d in given])
    search.bounds["layers"] = 0.1
    first = compared(difference=0.5)
    assert search.residual("layers", ["a: made"], ["b: one"], first) == expected
    assert search.ladder.asked == [("layers", ["a: made"], ["b: one"], set(), (0, 2))]
    search.ladder.asked.clear()
    search.residual("between", ["a: made"], ["b: one"], first)
    assert search.ladder.asked == [("between", ["a: made"], ["b: one"], {"b: one"}, (0, 2))]


def test_a_mistake_that_cannot_be_made_explains_nothing():
    def fails(rung, names):
        raise PortError("it cannot be made")

    search = search_of(fails)
    assert search.residual("layers", [], ["b: one"], compared()) == (math.inf, False)
    assert (search.ladder.outside, search.ladder.window) == (set(), WHOLE)


def finds(left, *stages, first=None, dtype="float64"):
    """Find what explains a difference, given what some mistakes leave and which are tried."""
    search, asked = search_of(), []
    search.ladder.dtype = dtype
    first = first or compared(difference=0.9)

    def residual(rung, made, names, of):
        assert (rung, made, of) == ("loss", ["m: made"], first)
        asked.append("".join(name[0] for name in names))
        return left.get(asked[-1], (2.0, False))

    def candidates(rung, made, of):
        assert (rung, made, of) == ("loss", ["m: made"], first)
        yield from ([tuple(f"{layer}: x" for layer in of) for of in stage] for stage in stages)

    search.residual, search._candidates = residual, candidates
    search.tried.append("before")
    return search.find("loss", ["m: made"], first), asked, search.tried


def test_the_stages_of_candidates_are_tried_up_to_one_that_explains():
    left = {"a": (0.5, False), "b": (1e-9, True), "c": (0.0, True)}
    found, asked, kept = finds(left, ["a"], ["b", "de"], ["c"])
    assert (found.rung, found.mistakes, found.alternatives) == ("loss", ("b: x",), ())
    assert (found.residual, found.next_best, found.place) == (1e-9, 0.5, "output of b")
    assert found.relations == ()
    assert asked == ["a", "b", "de"]
    assert kept == [
        "before",
        {"rung": "loss", "name": "a: x", "residual": 0.5},
        {"rung": "loss", "name": "b: x", "residual": 1e-9},
        {"rung": "loss", "name": "d, e: x", "residual": 2.0},
    ]


def test_the_difference_itself_may_be_the_next_best_of_a_model():
    found, *_ = finds({"a": (1e-9, True)}, ["a", "b"])
    assert found.next_best == 0.9


def test_the_six_mistakes_that_alone_leave_least_are_tried_in_pairs():
    left = {of: (1 - place / 10, False) for place, of in enumerate("abcdefg")}
    found, asked, _ = finds({**left, "cb": (1e-10, True), "hi": (0.0, False)}, ["hi", *"abcdefg"])
    assert found.mistakes == ("c: x", "b: x")
    assert (found.residual, found.next_best) == (1e-10, 0.0)
    pairs = ["gf", "ge", "gd", "gc", "gb", "fe", "fd", "fc", "fb", "ed", "ec", "eb", "dc", "db"]
    assert asked[8:] == [*pairs, "cb"]
    found, asked, _ = finds({"ba": (1e-10, True)}, ["b", "a", "c"])
    assert (found.mistakes, asked) == (("b: x", "a: x"), ["b", "a", "c", "ba"])


@pytest.mark.parametrize(
    ("dtype", "least", "other", "as_good"),
    [
        ("float64", 1e-9, 0.9e-8, True),
        ("float64", 1e-9, 1.1 * 2**-23, False),
        ("float64", 1e-9, 0.9 * 2**-23, True),
        ("float32", 1e-9, 0.9 * 2**-19, True),
        ("float64", 1e-4, 0.9e-3, True),
        ("float64", 1e-4, 1.1e-3, False),
        ("float64", 1e-13, 0.9e-12, True),
        ("float64", 1e-12, 0.9e-11, True),
        ("float64", 1e-12, 1.1e-11, False),
        ("float64", 1e-14, 2e-12, False),
        ("float64", 0.0, 1e-12, True),
    ],
)
def test_what_leaves_about_as_little_as_the_best_is_an_alternative(dtype, least, other, as_good):
    left = {"a": (other, True), "b": (least, True), "cd": (other, True), "e": (0.5, False)}
    found, *_ = finds(left, ["a", "b", "cd", "e"], dtype=dtype)
    assert found.mistakes == ("b: x",)
    assert found.alternatives == (("a: x", "c: x", "d: x") if as_good else ())
    assert found.next_best == 0.5


def test_what_nothing_explains_is_described_by_a_simple_relation():
    arrays = {"port": np.array([2.0, 4.0], "float32"), "truth": np.array([1.0, 2.0])}
    found, *_ = finds({"a": (0.5, False)}, ["a"], first=compared(difference=0.9, **arrays))
    assert (found.rung, found.mistakes, found.place) == ("loss", (), "output of b")
    assert math.isnan(found.residual)
    assert (found.next_best, found.alternatives) == (0.5, ())
    assert found.relations == ("it is 2 times what it should be",)
    arrays["truth"] = np.ones((2, 2))
    found, *_ = finds({}, [], first=compared(difference=math.inf, **arrays))
    assert (found.relations, found.next_best) == ((), math.inf)
    arrays["truth"] = np.array([2.0, 1.0])
    arrays["port"] = np.array([1.0, 2.0])
    found, *_ = finds({}, [], first=compared(**arrays))
    assert found.relations == ("its numbers are the right ones in another order",)


def test_the_units_that_are_judged_and_that_differ_are_named():
    given = [compared(where="m/a"), compared(where="m/b", difference=0.0), compared(where="c")]
    search = search_of(lambda rung, names: given if names == ["a: made"] else [])
    assert search._wrong("layers", ["a: made"]) == ({"a", "b", "c"}, {"a", "c"})
    search.bounds["layers"] = 1.0
    assert search._wrong("layers", ["a: made"]) == ({"a", "b", "c"}, set())
    assert search._wrong("layers", []) == (set(), set())


def everywhere(needed, found=None, rung="layers"):
    """Make a mistake in all layers that it puts right, given what each layer needs."""

    def answer(of, names):
        for unit, name in needed.items():
            right = name in ("", *names)
            yield compared(f"output of {unit}", f"m/the {unit}", 0.0 if right else 1.0)

    search = search_of(answer, *map(edit, (M, A, B, C, D, E, "the d: only")))
    found = found or finding(A, alternatives=(D,), rung=rung)
    return found, search._everywhere(rung, [M], found, compared()), search


M, A, B, C = (f"the {unit}: tanh: x" for unit in "mabc")
D, E = (f"the {unit}: no bias" for unit in "de")


@pytest.mark.parametrize(
    ("needed", "mistakes"),
    [
        ({"a": A, "b": B, "c": "", "e": "nobody"}, (A, B)),
        ({"a": A, "b": B, "e": "nobody"}, (A, B, C)),
        ({"a": "nobody", "b": "nobody", "e": "nobody"}, (A,)),
        ({"a": A, "b": "nobody", "c": C}, (A, C)),
    ],
)
def test_a_mistake_of_one_layer_is_made_in_all_that_it_puts_right(needed, mistakes):
    _, found, search = everywhere(needed)
    assert (found.mistakes, found.alternatives, found.place) == (mistakes, (), "output of b")
    assert [of[:2] for of in search.ladder.asked] == [
        ("layers", [M, A]),
        ("layers", [M]),
        ("layers", [M, A, B, C]),
    ]


def test_two_layers_that_can_have_a_mistake_are_enough():
    _, found, _ = everywhere({"d": D, "e": E}, finding(D))
    assert found.mistakes == (D, E)


def test_between_layers_a_mistake_is_made_in_all_or_in_one():
    _, found, search = everywhere({"a": A, "b": B, "c": ""}, rung="between")
    assert (found.mistakes, found.alternatives) == ((A, B, C), ())
    assert [of[3] for of in search.ladder.asked] == [set(), set(), {A, B, C}]
    given, found, _ = everywhere({"a": A, "b": B, "e": "nobody"}, rung="between")
    assert found is given


@pytest.mark.parametrize(
    ("needed", "given"),
    [
        ({"a": A, "b": ""}, finding(A)),
        ({"a": A, "b": B}, finding("the d: only")),
        ({"a": A, "b": B}, finding(A, D)),
    ],
)
def test_a_mistake_that_explains_all_or_that_no_other_layer_can_have_stays_alone(needed, given):
    _, found, _ = everywhere(needed, given)
    assert found is given
