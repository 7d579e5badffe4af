"""What is said of a port: what was judged, what was not and why, and whether that is enough."""

import sys

import pytest

from parity_tests.ports.verdicts import BOOK, Finding, Verdicts

ASPECTS = {"outputs": "layer outputs", "gradients": "gradients", "batches": "loop"}


def verdicts(**by_rung):
    return Verdicts(ASPECTS, {rung.replace("_", " "): said for rung, said in by_rung.items()})


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


def test_verdicts_and_notes_are_kept_and_printed(capsys):
    found = Verdicts(ASPECTS)
    assert found == Verdicts(ASPECTS, {}, [], [], set(), [], [], [], {"compared": []})
    found.add("loop", "pass")
    found.say("a note")
    assert (found.by_rung, found.notes) == ({"loop": "pass"}, ["a note"])
    assert capsys.readouterr().out == "loop            pass\na note\n"


def test_what_was_judged_is_what_passed_or_failed_and_was_seen():
    found = verdicts(layer_outputs="pass", gradients="FAIL W", loop="not judged: no loop")
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
    found = Verdicts({aspect: "rung"}, {"rung": "pass"})
    assert found.usable == (aspect != "outputs")
    found.errors.append("no answer")
    assert not found.usable


def test_the_conclusion_names_what_failed_before_all_else():
    found = verdicts(layer_outputs="FAIL x", gradients="FAIL y", loop="not judged: z")
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
    found.by_rung["loop"] = "not judged: z"
    assert found.conclusion("mine.py") == (
        "mine.py agrees in what was judged: outputs, gradients; not judged: batches (z), a part"
    )


def test_a_file_of_the_verdicts_has_all_that_was_found():
    found = verdicts(layer_outputs="pass", gradients="pass", loop="not judged: z")
    found.notes, found.findings = ["a note"], ["a finding"]
    found.parts, found.cannot_tell, found.shown = ["a part"], ["a mistake"], {"compared": [1]}
    assert found.as_json() == {
        "verdict": "agrees",
        "notes": ["a note"],
        "rungs": {"layer outputs": "pass", "gradients": "pass", "loop": "not judged: z"},
        "findings": ["a finding"],
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
    said.add("layers", "FAIL output of a/long-er/name-of-one/layer\n  worst at [0, 0]")
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
