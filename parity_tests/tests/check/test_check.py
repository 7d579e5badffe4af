"""A user's port in a file of its own: what `check` says of right ones, wrong ones, others."""

import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from parity_tests.__main__ import main
from parity_tests.page.render import embedded_data
from parity_tests.tests.check.sources import (
    BACKWARD,
    BATCHED,
    BOOK,
    BY_HAND,
    BY_OPTIMIZER,
    LOADS,
    LOGITS,
    MODULE,
    REBOUND,
    WITHOUT_AUTOGRAD,
)
from parity_tests.tests.check.styles import NET


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("source", "dtype"),
    [
        *product([BOOK, MODULE, BACKWARD, BY_HAND], ["float32", "float64"]),
        (WITHOUT_AUTOGRAD, "float64"),
    ],
)
def test_a_right_port_passes_however_it_takes_its_gradients(check, source, dtype):
    status, out, _ = check(source, dtype=dtype)
    assert "FAIL" not in out
    assert status == 0
    for rung in ("gradients", "trajectory"):
        assert f"{rung:15} pass" in out


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.soak)])
def test_a_right_port_passes_a_whole_epoch(check, dtype):
    status, out, _ = check(BOOK, dtype=dtype, epochs=1)
    assert (status, "ten epochs      pass" in out) == (0, True), out


@pytest.mark.sampled(4)
@pytest.mark.parametrize("source", [BY_OPTIMIZER, REBOUND, LOADS, BATCHED])
def test_a_right_port_passes_however_it_is_written(check, source):
    status, out, _ = check(source)
    assert "FAIL" not in out
    assert status == 0


def test_the_port_of_this_project_passes_as_anybody_s(check):
    status, out, _ = check("from torch_port import *\nfrom torch_port import load_mnist")
    assert (status, len(re.findall(r" pass( \(.*\))?$", out, re.MULTILINE))) == (0, 7), out
    assert "is the same training as the reference" in out


def test_gradients_that_nobody_sees_are_taken_from_what_a_step_does(check):
    status, out, _ = check(WITHOUT_AUTOGRAD)
    assert (status, "gradients       pass" in out) == (0, True), out
    assert "update (its gradients are not seen, and are judged with the update)" in out
    status, out, err = check(WITHOUT_AUTOGRAD.replace("g * 1e-3", "g * 1e-2"))
    assert (status, "it is 10 times what it should be" in out) == (1, True), out + err
    status, out, _ = check(WITHOUT_AUTOGRAD, dtype="float32")
    assert "gradients       not judged: its gradients are not seen, and float32 rounds" in out
    assert status == 2


def test_layers_of_another_kind_are_judged_as_a_whole(check):
    source = MODULE.replace(
        "        self.out =", "        self.layers = [self.hidden, nn.ReLU()]\n        self.out ="
    )
    status, out, _ = check(source)
    assert status == 0
    assert "layer outputs   pass" in out


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("source", "rung", "names"),
    [
        (
            MODULE.replace("    optimizer.zero_grad()\n", "")
            + "\ndef fit(model, images, labels, epochs, batch_size):\n"
            "    for start in range(0, len(images) // batch_size * batch_size, batch_size):\n"
            "        batch = slice(start, start + batch_size)\n"
            "        training_step(model, images[batch], labels[batch])\n",
            "gradients",
            ["zero_grad forgotten", "last batch dropped"],
        ),
        (
            BOOK.replace("torch.log(clipped)", "predictions").replace(
                "range(0, len(images), batch_size)", "range(0, len(images) - 99, batch_size)"
            ),
            "gradients",
            ["softmax twice", "last batch dropped"],
        ),
        (
            LOGITS.replace("model(images)", "torch.softmax(model(images), dim=-1)").replace(
                "lr=1e-3", "lr=1e-3, momentum=0.9"
            ),
            "gradients",
            ["softmax twice", "momentum"],
        ),
    ],
)  # fmt: skip
def test_two_mistakes_are_named_one_after_the_other(check, source, rung, names):
    status, out, _ = check(source)
    assert status == 1
    found = re.findall(r"^-> .*?: explained by: (.*?) \(", out, re.MULTILINE)
    assert found == names, out


def test_a_port_that_asks_for_float32_is_judged_in_the_dtype_of_the_option(check):
    source = MODULE.replace("return loss.item()", "return loss.detach().float()")
    for dtype in ("float64", "float32"):
        status, out, _ = check(source, dtype=dtype)
        assert (status, f"trained by training_step, in {dtype}" in out) == (0, True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BOOK.replace("* 0.1)", "* 0.1 - 0.05)"), "layers.0.W starts from -0.05 to 0.05"),
        (BOOK.replace("torch.zeros(", "0.1 + torch.zeros("), "layers.0.b starts from 0.1 to 0.1"),
    ],
)
def test_weights_that_start_elsewhere_are_seen(check, source, message):
    source = source.replace("0.1 + torch.zeros(output_size, requires_grad=True)",
                            "torch.full((output_size,), 0.1, requires_grad=True)")  # fmt: skip
    status, out, _ = check(source)
    assert status == 1
    assert f"initial weights FAIL {message}" in out


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("source", "rung", "name"),
    [
        (BOOK.replace("+ self.b", "+ 0 * self.b"), "layer outputs", "no bias"),
        (BOOK.replace("torch.log(clipped)", "predictions"), "gradients", "softmax twice"),
        (
            BOOK.replace("labels)\n\ndef update", 'labels, reduction="sum")\n\ndef update'),
            "gradients",
            "summed loss",
        ),
        (BOOK.replace("g * 1e-3", "g * 1e-2"), "one update", "rate of 1e-2"),
        (MODULE.replace("    optimizer.zero_grad()\n", ""), "gradients", "zero_grad forgotten"),
        (MODULE.replace("lr=1e-3", "lr=1e-3, momentum=0.9"), "one update", "momentum"),
        (LOGITS, "gradients", "loss of the logits"),
        (
            BOOK.replace("range(0, len(images), batch_size)", "range(0, len(images) - 99, 100)"),
            "loop",
            "last batch dropped",
        ),
    ],
)
def test_a_wrong_port_fails_and_its_mistake_is_named(check, source, rung, name):
    status, out, err = check(source)
    assert status == 1
    failed = [line for line in out.splitlines() if " FAIL " in line]
    assert failed[0].startswith(rung)
    assert f"-> {rung}: explained by: {name} (" in out
    assert "is not the same training as the reference" in err


def test_a_report_is_a_page_and_a_block_for_a_pull_request(check, tmp_path):
    status, *_ = check(BOOK.replace("g * 1e-3", "g * 1e-2"), "--report", tmp_path / "report.html")
    assert status == 1
    page, markdown = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    for words in ("one update", "explained by", "naive-parity check", "layers.0.W"):
        assert words in page
        assert words in markdown
    compared = embedded_data(tmp_path / "report.html")["compared"]
    wrong = [one["rung"] for one in compared if one["difference"] > one["bound"]]
    assert wrong[0] == "one update"


def test_a_report_that_cannot_be_written_is_refused_before_the_port_is_run(check, tmp_path):
    status, out, err = check("raise SystemExit('it ran')", "--report", tmp_path / "no" / "x.html")
    assert status == 2
    assert "cannot be written" in err
    assert "judged" not in out + err


def test_a_mistake_that_nobody_knows_is_unexplained(check):
    status, out, _ = check(BOOK.replace("g * 1e-3", "g.sign() * 1e-3"))
    assert status == 1
    assert "-> one update: unexplained by any known mistake" in out


def test_a_mistake_that_only_a_whole_training_shows_is_seen(check):
    status, out, _ = check(
        BOOK.replace(
            "    for epoch", "    images, labels = images[:59_900], labels[:59_900]\n    for epoch"
        ),
        dtype="float32",
        epochs=1,
    )
    assert status == 1
    assert "trajectory      pass" in out
    assert (
        "ten epochs      FAIL loss of each batch at the end of 1 epochs (float32): shape (468,)"
        in out
    )
    assert "-> ten epochs: all rungs before it passed" in out


STEP = "    average_loss = loss_of"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("source", "status", "message"),
    [
        ("def fit(): x.backward()\nwhile True: pass", 2, "took more than 4 s when it was run"),
        (BOOK.replace(STEP, "    while True: pass\n" + STEP), 2, "s in one_training_step: does it"),
        (
            BOOK.replace(STEP, "    raise KeyError('x')\n" + STEP),
            2,
            "raised an error in one_training_step: KeyError: 'x' (line 38)",
        ),
        (
            BOOK.replace(STEP, "    import os; os._exit(4)\n" + STEP),
            2,
            "ended its process in one_training_step, with status 4",
        ),
        (MODULE.replace("labels)\n    opt", "labels) * float('nan')\n    opt"), 1, "not finite"),
        ("raise RuntimeError('no luck')\n" + BOOK, 2, "RuntimeError: no luck (line 1)"),
        ("def f(:", 2, "port.py is not Python: invalid syntax (line 1)"),
        ("x = 1\n%matplotlib inline", 2, "not Python: a notebook's magic (line 2); leave the"),
        ("import sys; sys.exit(3)\n" + BOOK, 2, "it exits with status 3 (line 1)"),
        ("import torch", 2, "has no training step: expected a function such as training_step("),
        ("def trainig_step(): pass", 2, "(there is trainig_step); name another with --step"),
        ("def training_step(m, x, y): pass", 2, "it has no model: expected a variable such as"),
        (NET + "def train_step(m, x, y):\n    m(x).sum().backward()\na = Net()\nb = Net()",
         2, "it has several models: a, b; name the one that is trained with --model"),
        (MODULE.replace("Linear(784, 32)", "Conv2d(1, 8, 3)"), 2, "an error in training_step: "),
        (MODULE.replace("784, 32)", "784, 32, bias=False)"), 2, "expected a kernel and a bias"),
        (MODULE.replace("images, labels)", "images, labels, level)"), 2, "an argument level"),
    ],
)  # fmt: skip
def test_what_cannot_answer_gets_a_readable_verdict(check, source, status, message):
    found, out, err = check(source, "--limit", "4")
    assert found == status
    assert message in out + err
    assert "Traceback" not in out + err


@pytest.mark.soak
def test_a_folder_with_a_module_of_python_s_own_name_does_no_harm(tmp_path, data):
    (tmp_path / "port.py").write_text(BOOK)
    (tmp_path / "random.py").write_text("raise RuntimeError('not this one')")
    command = shutil.which("naive-parity", path=Path(sys.executable).parent)
    options = ["--data", data.absolute(), "--epochs", "0", "--dtype", "float32"]
    found = subprocess.run(
        [command, "check", "port.py", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, "trajectory      pass" in found.stdout) == (0, True), found.stderr


def test_a_folder_is_no_port(tmp_path, status_of, capsys):
    assert status_of(main, "check", tmp_path) == 2
    assert "is a folder: expected a Python file" in capsys.readouterr().err


def test_a_file_that_is_not_there_and_a_limit_of_0_are_refused(check, tmp_path, status_of):
    for limit in ("0", "inf", "nan"):
        assert check(BOOK, "--limit", limit)[0] == 2
    assert status_of(main, "check", tmp_path / "no.py") == 2
