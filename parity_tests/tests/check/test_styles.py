"""Styles of ports: right ones pass however they are written, and wrong ones get a name."""

import json

import pytest

from parity_tests.tests.check.styles import LOOP, LOSS, MADE, NET, OWN, RIGHT, WRONG


@pytest.mark.sampled(4)
@pytest.mark.parametrize("style", RIGHT)
def test_a_right_port_passes_however_it_is_written(check, style):
    status, out, err = check(RIGHT[style])
    assert (status, "FAIL" in out) == (0, False), out + err
    assert "agrees in what was judged: " in out
    for aspect in ("outputs, loss, gradients, update", "prediction"):
        assert aspect in out


@pytest.mark.sampled(3)
@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_port_fails_and_the_cause_is_named(check, mistake):
    source, expected = WRONG[mistake]
    status, out, err = check(source)
    assert (status, expected in out) == (1, True), out + err


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("style", "note"),
    [
        ("an instance under another name", "judged: net (784-32-10), trained by train_step, in fl"),
        ("a class, and no instance", "no instance of the model was found: it is built here"),
        ("pictures of one channel", "with images (n, 1, 28, 28), from 0 to 1"),
        ("images of bytes", "with images (n, 784), from 0 to 255"),
        ("a loop over a loader", "trained by train, in float64"),
        ("a model in an object, and accuracy returned", "judged: runner.net (784-32-10), trained"),
        ("an instance made by a main program", "as it trains when it is run, in float64, with b"),
        ("what needs float32", "trained by train_step, in float64"),
        ("a loop of one epoch", "batches (the loop takes them as they are given)"),
    ],
)
def test_what_was_chosen_is_said(check, style, note):
    _, out, _ = check(RIGHT[style])
    assert note in out


def test_a_model_that_returns_logits_is_said_to(check):
    _, out, _ = check(WRONG["no softmax, and no zero_grad"][0])
    assert "its model returns logits: its softmax is missing, or belongs to the loss" in out


def test_a_port_that_only_float32_runs_is_judged_in_it_and_this_is_said(check):
    source = OWN.replace("self.first(x)", "self.first(torch.frombuffer("
                         "x.numpy().tobytes(), dtype=torch.float).view(-1, 784))")  # fmt: skip
    status, out, err = check(source)
    assert (status, "judged in float32, since in float64 " in out) == (0, True), out + err


def test_a_loop_that_brings_its_own_data_is_not_judged(check):
    loop = "\ndef train():\n    for x, y in []:\n        train_step(x, y)\n"
    status, out, _ = check(OWN + loop)
    assert status == 0
    assert "loop            not judged: train brings its own data, which are not MNIST's" in out
    assert "loop (train brings its own data, which are not MNIST's)" in out.splitlines()[-1]


def test_a_step_that_only_returns_the_loss_is_not_judged(check):
    status, _, err = check(
        NET + LOSS + MADE + "\ndef train_step(x, y):\n    return (y * 0).sum()\n"
    )
    assert status == 2
    assert "train_step takes no gradients by autograd, and changes no weight that could" in err


def test_a_loop_that_sets_its_own_epochs_is_not_judged_and_one_of_other_batches_is_wrong(check):
    loop = "\ndef fit(x, y, batch_size):\n    for _ in range(3):\n        train_step(x, y)\n"
    _, out, _ = check(OWN + loop)
    assert "loop            not judged: fit sets its own number of epochs" in out
    own = "\ndef fit(x, y, epochs):\n    for a, b in zip(x.split(64), y.split(64)):\n"
    status, out, _ = check(OWN + own + "        train_step(a, b)\n")
    assert (status, "explained by: batch size (a batch has 64 samples, expected 128)" in out) == (
        1,
        True,
    ), out


def test_a_network_of_three_layers_is_judged_by_a_reference_of_its_shapes(check):
    deep = OWN.replace("self.last =", "self.middle = nn.Linear(32, 32)\n        self.last =")
    deep = deep.replace("self.last(torch", "self.last(torch.relu(self.middle(torch")
    deep = deep.replace("self.first(x))), dim", "self.first(x))))), dim")
    status, out, err = check(deep)
    assert (status, "(784-32-32-10)" in out) == (0, True), out + err
    status, out, _ = check(deep.replace("relu(self.middle", "tanh(self.middle"))
    assert (status, "unexplained by any known mistake" in out) == (1, True)


def test_a_file_that_cannot_be_judged_is_not_called_wrong(check):
    unseen = "\nnet = Net()\n\ndef train_step(x, y):\n    net(x).sum().backward()\n    1 / 0\n"
    status, out, err = check(NET + unseen)
    assert status == 2
    assert "raised an error in train_step: ZeroDivisionError" in err
    assert "not the same training" not in out + err


def test_a_step_whose_batch_of_one_raises_is_not_judged(check):
    status, out, err = check(OWN.replace("(x, y):", "(x, y):\n    assert len(x) > 1", 2))
    assert (status, "FAIL" in out) == (2, False)
    assert "raised an error in train_step: AssertionError" in err


def test_the_model_and_the_step_can_be_named(check):
    source = OWN.replace("def train_step", "def improve") + "\nother = Net()\n"
    source += "\ndef step():\n    raise ValueError('not this one')\n"
    status, out, err = check(source, "--step", "improve", "--model", "net")
    assert (status, "judged: net (784-32-10), trained by improve" in out) == (0, True), err
    status, _, err = check(source, "--step", "improv")
    assert (status, "has no function improv (there is improve)" in err) == (2, True)
    status, _, err = check(source, "--step", "improve", "--model", "nett")
    assert (status, "it has no model nett (there is net, Net)" in err) == (2, True), err


def test_a_notebook_is_read_without_its_magics(check, tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# A network"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install torch\n", NET]},
        {"cell_type": "code", "source": ["%%bash\n", "rm -rf /\n"]},
        {"cell_type": "code", "source": LOSS + MADE + LOOP + "loss_fn = crossentropy"},
    ]
    status, out, err = check(json.dumps({"cells": cells}), name="port.ipynb")
    assert (status, "agrees in what was judged" in out) == (0, True), err
    status, _, err = check("{}", name="port.ipynb")
    assert (status, "port.ipynb is not a notebook" in err) == (2, True)


def test_a_file_is_run_once(check, tmp_path):
    counts = f"\nwith open({str(tmp_path / 'runs')!r}, 'a') as file:\n    file.write('x')\n"
    for source in (OWN, WRONG["two constants"][0]):
        check(source + counts)
    assert (tmp_path / "runs").read_text() == "xx"


def test_the_result_is_written_as_json(check, tmp_path):
    path = tmp_path / "result.json"
    check(WRONG["sigmoid"][0], "--json", path)
    result = json.loads(path.read_text())
    assert result["verdict"] == "differs"
    rung = result["rungs"]["layer outputs"]
    assert rung["status"] == "FAIL"
    assert rung["text"].startswith("layer output layers.0 at seed 0, batch of 128")
    assert result["rungs"]["loop"] == {
        "status": "not judged",
        "text": "the file has no loop such as fit",
    }
    assert result["findings"][0].startswith("layer outputs: explained by: sigmoid (")
    assert "loop" in result["not judged"]


def test_a_file_that_is_not_utf_8_is_refused_and_one_that_says_so_is_read(check):
    latin = b"# gr\xfc\xdfe\n" + OWN.encode()
    status, _, err = check(latin)
    assert (status, "it is not UTF-8" in err) == (2, True)
    assert check(b"# coding: latin-1\n" + latin)[0] == 0
