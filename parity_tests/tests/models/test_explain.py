"""The search for the mistakes of a model's port: what is tried, in which order, what is chosen."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from parity_tests.check.compared import Compared
from parity_tests.check.messages import PortError
from parity_tests.check.models.asking import STEPS
from parity_tests.check.models.explain import ModelSearch, cannot_tell, grouped
from parity_tests.check.models.sides import WHOLE
from parity_tests.traps.finding import Finding


def compared(label="output of b", where="m/b", difference=1.0, bound=1e-6, own=0.0, **arrays):
    of_one = {"port": np.ones(1), "truth": np.ones(1), **arrays}
    return Compared(label, where, difference, bound, own, "", **of_one)


class Ladder:
    """A ladder whose answers are given by a function of the rung and the mistakes made."""

    dtype = "float64"

    def __init__(self, answer=lambda rung, names: [], units="abcde", order=None):
        self.answer, self.asked = answer, []
        self.outside, self.window = set(), WHOLE
        calls = [{"unit": f"m/{unit}"} for unit in units]
        order = order or [[unit, place] for place, unit in enumerate(units)]
        self.truth = SimpleNamespace(
            order=lambda: order, trace=lambda training: (calls if training is False else None, {})
        )

    def compared(self, rung, made, tried=()):
        self.asked.append((rung, [*made], [*tried], {*self.outside}, self.window))
        yield from self.answer(rung, [*made, *tried])


def edit(name, rung="layers", of_framework=False):
    where = name.split(": ")[0]
    return {"name": name, "where": where, "rung": rung, "of framework": of_framework}


def search_of(answer=lambda rung, names: [], *edits, judged=("layers",), **options):
    return ModelSearch(Ladder(answer, **options), edits, list(judged))


def test_mistakes_of_several_layers_are_grouped_and_of_many_three_are_named():
    names = ["a: no bias", "a: mean: of all", "b: no bias", "b: mean: of all"]
    assert grouped(names) == ("a, b: no bias", "a, b: mean: of all")
    many = [f"l{i}: tanh" for i in range(7)]
    assert grouped(many[:6]) == ("l0, l1, l2, l3, l4, l5: tanh",)
    assert grouped(many) == ("l0, l1, ..., l6 (7 layers): tanh",)
    assert grouped([]) == ()


def test_a_search_begins_with_nothing_judged_and_nothing_tried():
    search = ModelSearch(Ladder(), [])
    assert (search.judged, search.bounds, search.tried) == ([], {}, [])
    search.ladder.port = SimpleNamespace(mapping=SimpleNamespace(pairings=[]))
    assert search.explain() == []


def test_a_weight_that_the_port_lacks_is_missing_without_a_search():
    pairings = [
        SimpleNamespace(unit={"name": name}, missing=missing)
        for name, missing in (("a", ["bias"]), ("b", ["key bias"]), ("c", ["kernel", "beta"]))
    ]
    places = ("a", "b", "key", "b.key", "a.key", "c")
    edits = [edit(f"{name}: no {role}") for name in places for role in ("bias", "beta")]
    search = search_of(lambda rung, names: [] if names else [compared()], *edits)
    search.ladder.port = SimpleNamespace(mapping=SimpleNamespace(pairings=pairings))
    missing = ["a: no bias", "key: no bias", "b.key: no bias", "c: no beta"]
    assert search.missing() == missing
    assert search.explain() == []
    assert search.ladder.asked[-1][:3] == ("layers", missing, [])


@pytest.fixture
def searched():
    """Return a search in which some mistakes put a tensor right."""

    def searched(needed, *edits, **options):
        def answer(rung, names):
            for label, mistake in needed.get(rung, {}).items():
                where = f"m/{label[-1]}" if "output" in label else ""
                yield compared(label, where, 0.0 if mistake in names else 1.0)

        search = search_of(answer, *map(edit_of, edits), **options)
        search.ladder.port = SimpleNamespace(mapping=SimpleNamespace(pairings=[]))
        return search

    def edit_of(given):
        return given if isinstance(given, dict) else edit(given)

    return searched


def test_each_difference_is_explained_in_turn_and_what_was_found_stays_made(searched):
    search = searched(
        {
            "layers": {"output of a": "a: no bias", "output of b": "b: tanh"},
            "loss": {"loss": "loss: summed"},
            "gradients": {"gradient": "nobody knows"},
            "update": {"weight": "optimizer: momentum"},
        },
        *("a: no bias", "a: tanh", "b: tanh", "b: no bias"),
        edit("loss: summed", "loss"),
        edit("optimizer: momentum", "update"),
        judged=("layers", "loss", "gradients", "update"),
    )
    found = search.explain()
    assert [(of.rung, of.mistakes, of.place) for of in found] == [
        ("layers", ("a: no bias",), "output of a"),
        ("layers", ("b: tanh",), "output of b"),
        ("loss", ("loss: summed",), "loss"),
        ("gradients", (), "gradient"),
    ]
    assert search.ladder.asked[-1][1] == ["a: no bias", "b: tanh", "loss: summed"]
    assert list(search.bounds) == ["layers", "loss", "gradients"]


def test_the_bound_of_a_rung_that_fails_is_the_largest_of_those_that_mean_something():
    given = [compared(bound=b, own=o, difference=4) for b, o in ((1, 0), (3, 9e-4), (5, 1e-3))]
    search = search_of(
        lambda rung, names: given if rung == "loss" else [], judged=("layers", "loss")
    )
    search.ladder.port = SimpleNamespace(mapping=SimpleNamespace(pairings=[]))
    (found,) = search.explain()
    assert (found.rung, found.mistakes, search.bounds) == ("loss", (), {"loss": 3})
    del given[:2]
    given[0] = compared(own=1e-3)
    search.explain()
    assert search.bounds == {"loss": 0}
    assert {rung for rung, *_ in search.ladder.asked} == {"layers", "loss"}


def test_twelve_differences_of_one_rung_are_explained(searched):
    names = [f"{unit}: wrong {unit}" for unit in "abcdefghijklmn"]
    needed = {f"output of {name[0]}": name for name in names}
    search = searched(
        {"layers": {"output of z": "z: zero"}, "between": needed},
        *(edit(name) for name in ("z: zero", *names)),
        judged=("layers", "between", "outputs"),
        units="zabcdefghijklmn",
    )
    found = search.explain()
    assert [of.mistakes for of in found] == [(name,) for name in ("z: zero", *names[:12])]
    assert search.ladder.outside == {*names[:12]}


def test_what_pytorch_s_own_layers_do_is_made_without_a_finding(searched):
    needed = {
        "layers": {"output of c": "c: tanh"},
        "between": {"output of a": "a: epsilon"},
        "outputs": {"output of b": "b: tanh"},
    }
    own = edit("a: epsilon", "between", of_framework=True)
    search = searched(needed, "c: tanh", own, edit("b: tanh", "outputs"), judged=needed)
    assert [of.mistakes for of in search.explain()] == [("c: tanh",), ("b: tanh",)]
    assert search.ladder.asked[-1][1] == ["c: tanh", "a: epsilon", "b: tanh"]


def test_a_finding_is_held_against_the_later_rungs_and_then_against_other_layers(searched):
    search, asked = searched({"layers": {"output of a": "a: tanh"}}, "a: tanh"), []

    def noting(step):
        def note(rung, made, found, first):
            asked.append((step, rung, [*made], found.mistakes, first.label))
            return found

        return note

    search._furthest, search._everywhere = noting("furthest"), noting("everywhere")
    search.explain()
    of_a = ("layers", [], ("a: tanh",), "output of a")
    assert asked == [("furthest", *of_a), ("everywhere", *of_a)]


def test_what_pytorch_s_own_layers_do_is_made_where_the_rest_is_explained_with_it_only(searched):
    edits = [edit("a: epsilon", of_framework=True), edit("b: tanh")]
    needed = {"layers": {"output of a": "a: epsilon", "output of b": "b: tanh"}}
    assert [of.mistakes for of in searched(needed, *edits).explain()] == [("b: tanh",)]
    search = searched(needed, *edits)
    first, second = (compared(f"output of {unit}", f"m/{unit}") for unit in "ab")
    base, differs, finding = search._with_own("layers", ["x"], ["a: epsilon"], first)
    assert (base, differs.label) == (["x", "a: epsilon"], second.label)
    assert finding.mistakes == ("b: tanh",)
    base, differs, finding = search._with_own("layers", ["x"], [], first)
    assert (base, differs) == (["x"], first)
    assert finding.mistakes == ("a: epsilon",)
    search = searched({"layers": {"output of a": "a: epsilon", "output of b": "nobody"}}, *edits)
    base, differs, finding = search._with_own("layers", ["x"], ["a: epsilon"], first)
    assert (base, differs, finding.mistakes) == (["x"], first, ("a: epsilon",))
    search = searched({"layers": {"output of a": "a: epsilon"}}, *edits)
    assert search._with_own("layers", [], ["a: epsilon"], first)[:2] == ([], first)
    search = searched({"layers": {"output of a": "nobody"}}, *edits)
    assert search._with_own("layers", [], [], first)[2].mistakes == ()
    names = [of["name"] for of in search.tried]
    assert len(names) == len(set(names)) > 0


def test_the_mistakes_of_the_framework_are_those_of_the_rung_that_are_not_made():
    edits = [
        edit("a: one", of_framework=True),
        edit("b: two", of_framework=True),
        edit("c: three"),
        edit("d: four", "loss", of_framework=True),
    ]
    search = search_of(lambda rung, names: [], *edits)
    assert search.of_framework("layers", ["b: two"]) == ["a: one"]


def test_a_mistaken_model_is_judged_by_the_largest_bound_of_the_rung():
    search = search_of()
    search.bounds["loss"] = 0.5
    for difference, mistaken, fails in (
        (0.5, True, False),
        (0.6, True, True),
        (0.5, False, True),
        (1e-6, False, False),
        (math.nan, True, True),
    ):
        assert search._fails("loss", compared(difference=difference), mistaken) is fails
    assert search._fails("gradients", compared(difference=1e-5), True) is True
    given = [compared("right", difference=0), compared("first", difference=0.4), compared("next")]
    search.ladder.answer = lambda rung, names: given
    assert search._first("loss", []).label == "first"
    assert search._first("loss", ["a: made"]).label == "next"
    search.bounds["loss"] = 1.0
    assert search._first("loss", ["a: made"]) is None


def finding(*mistakes, alternatives=(), rung="layers"):
    return Finding(rung, mistakes, 0.0, 1.0, "output of b", alternatives=alternatives)


def test_of_several_mistakes_those_are_kept_that_the_later_rungs_leave(searched):
    needed = {
        "layers": {"output of b": "b: one"},
        "between": {"output of b": "b: two"},
        "loss": {"loss": "never"},
    }
    search = searched(needed, judged=("layers", "between", "loss"))
    asked = []

    def reached(rung, made, first):
        asked.append((rung, made, first))
        return {"b: one": 3, "b: two": 7, "b: three": 7}[made[-1]]

    first = compared()
    search._reached = reached
    several = finding("b: one", alternatives=("b: two", "b: three"))
    found = search._furthest("layers", ["a: made"], several, first)
    assert (found.mistakes, found.alternatives) == (("b: two",), ("b: three",))
    assert found.place == "output of b"
    assert asked[0] == ("layers", ["a: made", "b: one"], first)
    for one in (finding("b: one"), finding("b: one", "b: two", alternatives=("b: three",))):
        assert search._furthest("layers", [], one, first) is one


def test_how_far_a_mistake_leads_is_the_place_of_the_next_rung_that_fails(searched):
    needed = {"layers": {"output of a": "x"}, "between": {"output of b": "b: one"}}
    search = searched(needed, judged=("layers", "between", "gradients", "loss"))
    search.ladder.asked.clear()
    made = ["a: made", "c: made", "b: none"]
    assert search._reached("between", made, compared()) == 1
    ((*asked, _, outside, _),) = search.ladder.asked
    assert (asked, outside) == (["between", made], {"b: none"})
    assert search.ladder.outside == set()
    assert search._reached("between", ["a: made", "b: one"], compared()) == 8
    assert search._reached("layers", ["b: one"], compared()) == 0

    def fails(rung, names):
        raise PortError("it cannot be made")

    search.ladder.answer = fails
    assert search._reached("between", ["b: one"], compared()) == -1


def test_a_mistake_between_layers_is_made_outside_unless_the_output_as_it_is_called_differs():
    search, called = search_of(), compared("output of b, as it is called")
    search.ladder.outside = before = {"a: made"}
    with search._outside("between", ("b: one", "b: two"), compared()):
        assert search.ladder.outside == {"a: made", "b: one", "b: two"}
    for rung, first in (("layers", compared()), ("between", called)):
        with search._outside(rung, ["b: one"], first):
            assert search.ladder.outside is before
    assert search.ladder.outside is before

    def fail():
        with search._outside("between", ["b: one"], compared()):
            raise PortError("any")

    with pytest.raises(PortError):
        fail()
    assert search.ladder.outside is before


def test_calls_are_judged_from_three_before_the_first_difference_where_a_mistake_reaches_no_other():
    search = search_of(units="abcdefg")
    for tried, where, window in (
        (["f: one", "d: two: x"], "m/f", (2, 6)),
        (["b: one"], "m/f", (0, 6)),
        (["f: one", "b: one"], "m/f", (0, 6)),
        (["a: one"], "m/b", (0, 2)),
        (["e: one"], "m/e", (1, 5)),
        (["g: one"], "", (4, 8)),
    ):
        with search._narrowed(tried, compared(where=where)):
            assert search.ladder.window == window
        assert search.ladder.window == WHOLE

    def fail():
        with search._narrowed([], compared()):
            raise PortError("any")

    with pytest.raises(PortError):
        fail()
    assert search.ladder.window == WHOLE


def test_layers_are_near_a_unit_that_are_called_at_most_three_units_before_it():
    order = [["start", 0], ["a", 1], ["b", 2], ["relu", 3], ["c", 3], ["d", 4], ["late", 5]]
    search = search_of(units="abcadf", order=order)
    assert search._places("m/a") == [0, 3]
    assert search._places("") == [6]
    assert search._near("m/f") == {"relu", "c", "d", "late"}
    assert search._near("m/d") == {"b", "relu", "c", "d"}
    assert search._near("m/a") == {"start", "a", "b", "relu", "c"}


def test_mistakes_that_leave_no_trace_are_those_that_could_be_made_and_do_not_show():
    asked = []

    def ask(method, **options):
        asked.append((method, options))
        if options["edit"] == "b: tanh":
            raise PortError("it cannot be made")
        return {"shows": options["edit"] == "a: tanh"}, {}

    ladder = Ladder()
    ladder.truth.process = SimpleNamespace(ask=ask)
    edits = [edit(f"{unit}: tanh") for unit in "abcd"]
    assert cannot_tell(ladder, edits) == ("c, d: tanh",)
    assert asked == [("shows", {"edit": of["name"], "steps": STEPS}) for of in edits]
