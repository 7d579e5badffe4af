"""What is said of a port: what was judged, what was not and why, and whether that is enough."""

import sys

import pytest

from parity_tests.check.results import BOOK, Mistake, Observation, Verdict, Verdicts

ASPECTS = {"outputs": "layer outputs", "gradients": "gradients", "batches": "loop"}


def verdicts(**by_rung):
    """Return verdicts: on each rung a status, or "not judged: " and why."""
    of_rungs = {}
    for rung, said in by_rung.items():
        status, _, text = said.partition(": ")
        of_rungs[rung.replace("_", " ")] = Verdict(status, text)
    return Verdicts(ASPECTS, of_rungs)


def test_the_books_training_is_judged_on_these_rungs():
    assert BOOK == {
        "data": "data",
        "initial weights": "initial weights",
        "outputs": "layer outputs",
        "loss": "gradients",
        "gradients": "gradients",
        "update": "one update",
        "loop": "loop",
        "batches": "loop",
        "prediction": "layer outputs",
    }


@pytest.mark.parametrize(
    ("verdict", "printed"),
    [
        (Verdict("pass"), "pass"),
        (Verdict("pass", "(6 batches)"), "pass (6 batches)"),
        (Verdict("FAIL", "W differs"), "FAIL W differs"),
        (Verdict("not judged", "no loop"), "not judged: no loop"),
    ],
)
def test_a_verdict_is_a_status_and_what_is_added(verdict, printed):
    assert str(verdict) == printed


@pytest.mark.parametrize(
    ("observation", "sentence"),
    [
        (Observation("loop", Mistake("a", "it is b")), "loop: explained by: a (it is b)"),
        (Observation("loop", Mistake("a", "b", 7)), "loop: explained by: a (b) (line 7)"),
        (
            Observation("loop", Mistake("a", "b", 7), "c"),
            "loop: explained by: a (b) (line 7); c",
        ),
        (Observation("loop", "it draws"), "loop: it draws"),
    ],
)
def test_an_observation_is_one_sentence(observation, sentence):
    assert str(observation) == sentence


def test_verdicts_and_notes_are_kept_and_printed(capsys):
    found = Verdicts(ASPECTS)
    assert found == Verdicts(ASPECTS, {}, [], [], set(), [], [], [], {"compared": []})
    found.add("loop", "pass")
    found.say("a note")
    found.add("layer outputs", "not judged", "why")
    found.find(Observation("loop", "a sentence"))
    assert found.by_rung == {
        "loop": Verdict("pass", ""),
        "layer outputs": Verdict("not judged", "why"),
    }
    assert (found.notes, found.findings) == (["a note"], [Observation("loop", "a sentence")])
    assert capsys.readouterr().out == (
        "loop            pass\na note\nlayer outputs   not judged: why\n-> loop: a sentence\n"
    )


def test_a_rung_has_a_status_and_one_without_a_verdict_is_not_judged():
    found = verdicts(gradients="FAIL: W")
    assert (found.status("gradients"), found.status("loop")) == ("FAIL", "not judged")


def test_what_was_judged_is_what_passed_or_failed_and_was_seen():
    found = verdicts(layer_outputs="pass", gradients="FAIL: W", loop="not judged: no loop")
    assert found.judged == ["outputs", "gradients"]
    assert found.failed == ["gradients"]
    assert found.not_judged == {"batches": "no loop"}
    found.unseen.add("outputs")
    assert found.judged == ["gradients"]
    assert found.not_judged == {"outputs": "not seen", "batches": "no loop"}


def test_a_rung_without_a_verdict_is_neither_judged_nor_not():
    found = verdicts(gradients="pass")
    assert (found.judged, found.not_judged) == (["gradients"], {})


def test_batches_that_the_loop_is_given_are_not_judged():
    found = verdicts(loop="pass")
    found.unseen.add("batches")
    assert found.not_judged == {"batches": "the loop takes them as they are given"}
    found = verdicts(loop="not judged: why")
    found.unseen.add("batches")
    assert found.not_judged == {"batches": "why"}


@pytest.mark.parametrize("aspect", ["loss", "gradients", "update", "outputs"])
def test_one_of_loss_gradients_and_update_must_be_judged(aspect):
    found = Verdicts({aspect: "rung"}, {"rung": Verdict("pass")})
    assert found.usable == (aspect != "outputs")
    found.errors.append("no answer")
    assert not found.usable


def test_the_conclusion_names_what_failed_before_all_else():
    found = verdicts(layer_outputs="FAIL: x", gradients="FAIL: y", loop="not judged: z")
    found.errors += ["an error"]
    assert found.conclusion("mine.py") == (
        "mine.py is not the same training as the reference: see layer outputs, gradients"
    )


def test_the_conclusion_says_why_a_port_could_not_be_judged():
    found = verdicts(gradients="pass")
    found.errors += ["an error", "another"]
    assert found.conclusion("mine.py") == "mine.py could not be judged: an error"
    found = verdicts(layer_outputs="pass", gradients="not judged: no step", loop="not judged: z")
    found.parts.append("a part")
    assert found.conclusion("mine.py") == (
        "mine.py could not be judged: gradients (no step); batches (z); a part"
    )


def test_the_conclusion_of_a_port_that_agrees_says_what_is_left():
    found = verdicts(layer_outputs="pass", gradients="pass", loop="pass")
    assert found.conclusion("mine.py") == "mine.py is the same training as the reference"
    found.cannot_tell.append("a mistake")
    agrees = "mine.py agrees in what was judged: outputs, gradients, batches"
    assert found.conclusion("mine.py") == agrees
    found.parts.append("a part")
    assert found.conclusion("mine.py") == f"{agrees}; not judged: a part"
    found.by_rung["loop"] = Verdict("not judged", "z")
    assert found.conclusion("mine.py") == (
        "mine.py agrees in what was judged: outputs, gradients; not judged: batches (z), a part"
    )


def test_a_file_of_the_verdicts_has_all_that_was_found():
    found = verdicts(layer_outputs="pass", gradients="pass", loop="not judged: z")
    found.notes, found.findings = ["a note"], [Observation("loop", "a finding")]
    found.parts, found.cannot_tell, found.shown = ["a part"], ["a mistake"], {"compared": [1]}
    assert found.as_json() == {
        "verdict": "agrees",
        "notes": ["a note"],
        "rungs": {
            "layer outputs": {"status": "pass", "text": ""},
            "gradients": {"status": "pass", "text": ""},
            "loop": {"status": "not judged", "text": "z"},
        },
        "findings": ["loop: a finding"],
        "repairs": [],
        "diff": "",
        "judged": ["outputs", "gradients"],
        "not judged": {"batches": "z"},
        "parts not judged": ["a part"],
        "cannot tell": ["a mistake"],
        "compared": [1],
    }
    assert verdicts(gradients="FAIL").as_json()["verdict"] == "differs"
    assert verdicts(layer_outputs="pass").as_json()["verdict"] == "not judged"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_fits_a_terminal_and_stays_whole_in_a_pipe(capsys, monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    said = Verdicts({})
    said.add("layers", "FAIL", "output of a/long-er/name-of-one/layer\n  worst at [0, 0]")
    said.say("judged in float64, beside a Keras model")
    whole = [
        "layers          FAIL output of a/long-er/name-of-one/layer",
        "  worst at [0, 0]",
        "judged in float64, beside a Keras model",
    ]
    wrapped = [
        "layers          FAIL output of",
        "                a/long-er/name-of-one/layer",
        "  worst at [0, 0]",
        "judged in float64, beside a",
        "  Keras model",
    ]
    assert capsys.readouterr().out.splitlines() == (wrapped if terminal else whole)
