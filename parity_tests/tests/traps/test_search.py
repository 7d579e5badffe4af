"""The search for mistakes, by the numbers that each leaves: what is tried, and what is chosen."""

import math

import numpy as np
import pytest

from parity_tests.ladder.rungs import LADDER
from parity_tests.traps import diagnosis
from parity_tests.traps.diagnosis import Echo, LadderSearch
from parity_tests.traps.residual import Residual
from parity_tests.traps.trap import Trap


class MistakenOracle:
    pass


def trap(name, rung="gradients", oracle=MistakenOracle):
    return Trap(name, "a mistake", "a source", rung, lambda: None, oracle)


A, B, C, D = (trap(name) for name in "ABCD")


def left(residual, place="W", passed=0, **more):
    return Residual(residual=residual, place=place, passed=passed, **more)


class Measured(LadderSearch):
    """A search whose measures are given, by the names of the mistakes; else all differs."""

    def __init__(self, given, **options):
        super().__init__(lambda: None, {}, "float64", {}, **options)
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "asked", [])

    def measure(self, rung, mistakes, whole=False):
        names = "".join(of.name for of in mistakes)
        self.asked.append((rung, names, whole))
        judged, truths = np.array([2.0]), {"W": np.array([1.0])}
        of_none = left(0.9, judged=judged, truths=truths)
        return self.given.get((rung, names), self.given.get(names, of_none))

    def _estimated(self, rung):
        return [D] if rung == "one update" else []


def test_nothing_is_tried_where_nothing_differs():
    search = Measured({"": left(0.0, "")})
    assert search.find("gradients", (), [A, B]) is None
    assert search.asked == [("gradients", "", True)]


def test_a_port_that_raises_is_not_explained():
    search = Measured({"": left(math.inf, "it raised", raised=True)})
    found = search.find("gradients", (), [A])
    assert (found.rung, found.mistakes, found.place) == ("gradients", (), "it raised")
    assert (found.residual, found.next_best, found.raised) == (math.inf, math.inf, True)
    assert len(search.asked) == 1


def test_the_one_mistake_that_leaves_nothing_explains_and_the_next_best_is_kept():
    search = Measured({"A": left(0.5), "B": left(1e-16, ""), "C": left(0.3)})
    found = search.find("gradients", (), [A, B, C])
    assert (found.mistakes, found.alternatives) == ((B,), ())
    assert (found.residual, found.next_best, found.place) == (1e-16, 0.3, "W")
    assert found.raised is False
    assert [names for _, names, _ in search.asked] == ["", "A", "B", "C"]
    assert [whole for *_, whole in search.asked] == [True, False, False, False]


def test_the_port_as_it_is_may_be_the_next_best():
    found = Measured({"A": left(2.0), "B": left(0.0, "")}).find("gradients", (), [A, B])
    assert found.next_best == 0.9


def test_of_several_that_explain_the_one_that_leaves_least_is_named_first():
    given = {"A": left(1e-10, ""), "B": left(1e-16, ""), "C": left(1e-11, "")}
    found = Measured(given).find("gradients", (), [A, B, C])
    assert (found.mistakes, found.alternatives) == ((B,), (A, C))
    assert found.next_best == 1e-11


def test_mistakes_that_were_found_before_stay_made():
    search = Measured({"A": left(0.9), "AB": left(0.0, "")})
    found = search.find("gradients", (A,), [B])
    assert found.mistakes == (B,)
    assert search.asked == [("gradients", "A", True), ("gradients", "AB", False)]


def test_estimated_constants_are_tried_last_and_only_where_no_known_mistake_explains():
    search = Measured({"D": left(0.0, "")})
    found = search.find("one update", (), [A])
    assert found.mistakes == (D,)
    assert [of[:2] for of in search.asked] == [("one update", names) for names in ("", "A", "D")]
    search = Measured({"A": left(0.0, ""), "D": left(0.0, "")})
    assert search.find("one update", (), [A]).mistakes == (A,)
    assert [names for _, names, _ in search.asked] == ["", "A"]


def test_two_mistakes_are_tried_together_until_two_explain():
    search = Measured({"A": left(0.5), "B": left(0.6), "C": left(0.7), "CA": left(1e-14, "")})
    found = search.find("gradients", (), [A, B, C])
    assert (found.mistakes, found.residual, found.next_best) == ((C, A), 1e-14, 0.5)
    pairs = [("gradients", names) for names in ("AB", "BA", "AC", "CA")]
    assert [of[:2] for of in search.asked][4:] == pairs


def test_an_order_of_two_that_does_not_explain_is_no_next_best():
    search = Measured({"A": left(0.5), "B": left(0.6), "AB": left(0.01), "BA": left(0.0, "")})
    assert search.find("gradients", (), [A, B]).next_best == 0.5


def test_what_nothing_explains_is_described():
    found = Measured({"B": left(0.5)}).find("gradients", (), [A])
    assert (found.mistakes, found.place, found.raised) == ((), "W", False)
    assert math.isnan(found.residual)
    assert found.relations[0] == "it is 2 times what it should be"
    found = Measured({"A": left(0.5)}).find("gradients", (), [A])
    assert found.next_best == 0.5


def test_pairs_begin_with_a_mistake_that_explains_more_comparisons_than_none_does():
    found = {(A,): left(0.1, passed=3), (B,): left(0.2, passed=4), (C,): left(0.3, passed=5)}
    pairs = ["".join(t.name for t in pair) for pair in diagnosis._pairs([A, B, C], found, 4)]
    assert pairs == ["CA", "AC", "CB", "BC", "AB", "BA"]
    pairs = ["".join(t.name for t in pair) for pair in diagnosis._pairs([C, B, A], found, 9)]
    assert pairs == ["AB", "BA", "AC", "CA", "BC", "CB"]


def test_at_most_eight_mistakes_of_each_kind_are_paired():
    many = [trap(str(i)) for i in range(10)]
    found = {(of,): left(float(i)) for i, of in enumerate(many)}
    pairs = {frozenset(pair) for pair in diagnosis._pairs(many, found, 0)}
    assert pairs == {frozenset(p) for p in diagnosis.combinations(many[:8], 2)}
    found = {(of,): left(1.0, passed=i) for i, of in enumerate(many)}
    first = [one for one, _ in list(diagnosis._pairs(many, found, -1))[::2]]
    assert {of.name for of in first[: 9 + 8 + 7 + 6 + 5 + 4 + 3 + 2]} == set("98765432")


def test_the_rungs_are_explained_in_turn_up_to_one_that_stays_unexplained(monkeypatch):
    update = trap("U", "one update")
    monkeypatch.setattr(diagnosis, "CATALOGUE", [A, B, update])
    search = Measured(
        {
            ("loss", ""): left(0.0, ""),
            ("gradients", "A"): left(0.0, ""),
            ("one update", "AU"): left(0.0, ""),
        }
    )
    found = search.explain(("loss", "gradients", "one update", "trajectory", "first example"))
    assert [(of.rung, of.mistakes) for of in found] == [
        ("gradients", (A,)),
        ("one update", (update,)),
        ("trajectory", ()),
    ]
    assert ("one update", "AU", False) in search.asked
    assert ("trajectory", "AU", True) in search.asked
    assert not any(rung == "first example" for rung, *_ in search.asked)


def test_the_mistakes_of_a_rung_and_of_those_before_it_that_cannot_be_judged_are_tried(monkeypatch):
    first, later = trap("first", "data"), trap("later", "first example")
    drawn, of_loop = trap("drawn", oracle=None), trap("loop", "trajectory")
    softmax = trap("no softmax", "first example")
    monkeypatch.setattr(diagnosis, "CATALOGUE", [first, A, later, drawn, of_loop, softmax])
    search = Measured({})
    assert search._candidates("gradients", LADDER) == [A]
    assert search._candidates("gradients", LADDER[1:]) == [first, A]
    assert search._candidates("trajectory", LADDER) == [of_loop]
    assert search._candidates("loop", LADDER) == [of_loop]
    search = Measured({}, logits=True)
    assert search._candidates("gradients", LADDER) == [A, softmax]


class Answering:
    """Stands for an oracle: it counts how often it is asked."""

    scales = {"W": 2.0}  # noqa: RUF012 (read only)

    def __init__(self):
        self.asked = 0
        for method in diagnosis.ANSWERING:
            setattr(self, method, self.answer(method))

    def answer(self, method):
        def answered(*arguments):
            self.asked += 1
            return method, arguments

        return answered


def test_an_echo_repeats_the_latest_answer_to_the_same_question():
    oracle = Answering()
    echo = Echo(oracle)
    assert echo.scales is oracle.scales
    assert echo.load_weights({"W": np.ones(1)}) is None
    for method in diagnosis.ANSWERING:
        given = np.ones(2), np.zeros(3)
        answer = getattr(oracle, method)(*given)
        assert answer == (method, given)
        assert getattr(echo, method)(*given) is answer
        assert getattr(echo, method)(np.ones(2), np.zeros(3)) is answer
        with pytest.raises(AssertionError, match=method):
            getattr(echo, method)(np.ones(2), np.ones(3))
        with pytest.raises(ValueError, match="zip"):
            getattr(echo, method)(np.ones(2))
    assert oracle.asked == len(diagnosis.ANSWERING) == 8


def rung_of(*compared):
    """Return a ladder of one rung, "gradients", which makes some comparisons."""

    def ladder(judge, make_hypothesis, make_port, images, labels, make_oracle):
        def climb():
            hypothesis, port = make_hypothesis(), make_port()
            assert make_oracle("any")._hypothesis is hypothesis
            for ask in compared:
                ask(judge, hypothesis, port, images, labels)

        return {"gradients": climb}

    return ladder


class FakePort:
    def weights(self):
        return {"W": np.array([2.0])}


MNIST = {"training images": np.arange(200.0), "training labels": np.arange(200) + 1}


def searched(ladder, dtype="float64", **options):
    return LadderSearch(FakePort, MNIST, dtype, {"loaded": 1}, (784, 10), ladder, **options)


def test_a_measure_makes_the_mistakes_in_an_oracle_of_the_right_sizes_and_data():
    class Wrong:
        mistake = True

    seen = []

    def ask(judge, hypothesis, port, images, labels):
        seen.append((hypothesis, port.weights(), images, labels))
        assert (port.name, port.dtype, port.sizes) == ("port", "float32", (784, 10))
        of_port = np.array([1.0], "float32")
        judge("gradients", "gradient", "W", port=of_port, reference=np.array([1.0]))

    search = searched(rung_of(ask), "float32", unseen=frozenset({"loss"}))
    found = search.measure("gradients", (trap("wrong", oracle=Wrong),), whole=True)
    ((hypothesis, weights, images, labels),) = seen
    assert (hypothesis.mistake, hypothesis.dtype, hypothesis.sizes) == (True, "float32", (784, 10))
    assert hypothesis.mnist == {"loaded": 1}
    assert weights == {"W": np.array([2.0])}
    assert images is MNIST["training images"]
    assert labels is MNIST["training labels"]
    assert (found.dtype, found.whole, found.unseen) == ("float32", True, {"loss"})
    assert (found.residual, found.place, found.raised) == (0.0, "", False)
    assert not search.measure("gradients", ()).whole
    assert list(search.answers) != []


def test_a_measure_ends_at_the_first_difference():
    def differ(judge, *_):
        judge("gradients", "gradient", "W", port=np.array([1.5]), reference=np.array([1.0]))

    def never(*_):
        pytest.fail("it goes on")

    found = searched(rung_of(differ, never)).measure("gradients", ())
    assert (found.residual, found.place, found.raised) == (0.5, "gradient, W", False)


def test_a_port_that_raises_leaves_everything():
    def differ(judge, *_):
        judge("gradients", "gradient", "W", port=np.array([1.5]), reference=np.array([1.0]))

    def fail(*_):
        raise ValueError("no luck")

    found = searched(rung_of(fail)).measure("gradients", ())
    assert (found.residual, found.raised) == (math.inf, True)
    assert found.place == "it raised ValueError: no luck"
    found = searched(rung_of(differ, fail)).measure("gradients", (), whole=True)
    assert (found.residual, found.raised, found.place) == (math.inf, False, "gradient, W")


def test_numbers_out_of_range_are_no_warning_in_a_measure():
    def divide(judge, *_):
        judge(
            *("gradients", "gradient", "W"),
            port=np.array([1.0]) / np.zeros(1),
            reference=np.array([1.0]) / np.zeros(1),
        )

    assert searched(rung_of(divide)).measure("gradients", ()).place == ""


class Stepping:
    """A port of which each step adds 1 to its weight, and shows it and the batch as gradient."""

    def load_weights(self, weights):
        self.first, self.w = weights, 0.0

    def weights(self):
        return {"W": self.w}

    def step(self, images, labels):
        assert self.first["layers.0.W"].shape == (784, 10)
        self.w += 1
        return 0.5, {"W": (self.w, images.tolist(), labels.tolist())}


def test_constants_of_sgd_are_estimated_for_one_update_from_three_steps_on_the_first_batch(
    monkeypatch,
):
    asked = []
    monkeypatch.setattr(diagnosis, "estimated", lambda seen: asked.append(seen) or [A])
    search = LadderSearch(Stepping, MNIST, "float64", {}, (784, 10), rung_of())
    assert search._estimated("gradients") == []
    assert asked == []
    assert search._estimated("one update") == [A]
    batch = list(range(128)), list(range(1, 129))
    assert asked == [
        [({"W": w}, {"W": (w + 1, *batch)}, {"W": w + 1}) for w in (0.0, 1.0, 2.0)],
    ]


def test_a_search_is_that_of_the_books_network_unless_told(monkeypatch):
    search = LadderSearch(FakePort, MNIST, "float64", {})
    assert (search.sizes, search.ladder) == ((784, 512, 10), diagnosis.rungs)
    assert (search.unseen, search.logits, search.answers) == (frozenset(), False, {})
    made = []

    class Kept(LadderSearch):
        def explain(self, only):
            made.append((self, only))
            return ["found"]

    monkeypatch.setattr(diagnosis, "LadderSearch", Kept)
    assert diagnosis.explain(FakePort, MNIST, "float32", logits=True) == ["found"]
    assert diagnosis.explain(FakePort, MNIST, "float32", loaded={"x": 1}) == ["found"]
    (first, only), (second, _) = made
    assert (first.make_port, first.mnist, first.dtype) == (FakePort, MNIST, "float32")
    assert (first.logits, first.loaded, only) == (True, MNIST, LADDER)
    assert (second.logits, second.loaded) == (False, {"x": 1})
