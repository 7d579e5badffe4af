"""Anybody's port, in a file of its own: what `check` says of right ones, wrong ones, others."""

import functools
import json
import re
import sys

import numpy as np
import pytest

from parity_tests.__main__ import main
from parity_tests.ports.recording import record

BOOK = """
import math
import torch

class NaiveDense:
    def __init__(self, input_size, output_size, activation):
        self.activation = activation
        self.W = (torch.rand(input_size, output_size) * 0.1).requires_grad_()
        self.b = torch.zeros(output_size, requires_grad=True)

    def __call__(self, inputs):
        return self.activation(torch.matmul(inputs, self.W) + self.b)

class NaiveSequential:
    def __init__(self, layers):
        self.layers = layers

    def __call__(self, inputs):
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs

    @property
    def weights(self):
        return [weight for layer in self.layers for weight in (layer.W, layer.b)]

def loss_of(labels, predictions):
    clipped = torch.where(predictions < 1e-7, 1e-7, predictions)
    clipped = torch.where(clipped > 1 - 1e-7, 1 - 1e-7, clipped)
    return torch.nn.functional.cross_entropy(torch.log(clipped), labels)

def update_weights(gradients, weights):
    with torch.no_grad():
        for g, w in zip(gradients, weights):
            w -= g * 1e-3

def one_training_step(model, images_batch, labels_batch):
    average_loss = loss_of(labels_batch, model(images_batch))
    gradients = torch.autograd.grad(average_loss, model.weights)
    update_weights(gradients, model.weights)
    return average_loss

def fit(model, images, labels, epochs, batch_size=128):
    for epoch in range(epochs):
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            print(float(one_training_step(model, images[batch], labels[batch])))
"""

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 512)
        self.out = nn.Linear(512, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

def training_step(model, images, labels):
    p = torch.softmax(model(images), dim=-1)
    p = torch.where(p < 1e-7, 1e-7, p)
    p = torch.where(p > 1 - 1e-7, 1 - 1e-7, p)
    loss = nn.functional.nll_loss(torch.log_softmax(torch.log(p), dim=-1), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
"""

BACKWARD = BOOK.replace(
    """    gradients = torch.autograd.grad(average_loss, model.weights)
    update_weights(gradients, model.weights)
""",
    """    for w in model.weights:
        w.grad = None
    average_loss.backward()
    update_weights([w.grad for w in model.weights], model.weights)
""",
)

BY_HAND = MODULE.replace("optimizer.step()", "step_by_hand(model)").replace(
    "def training_step",
    """@torch.no_grad()
def step_by_hand(model):
    for w in model.parameters():
        w -= w.grad * 1e-3

def training_step""",
)

WITHOUT_AUTOGRAD = (
    BOOK.replace("* 0.1).requires_grad_()", "* 0.1)").replace(", requires_grad=True", "")
).replace(
    """    average_loss = loss_of(labels_batch, model(images_batch))
    gradients = torch.autograd.grad(average_loss, model.weights)
""",
    """    first, last = model.layers
    h = first(images_batch)
    p = last(h)
    average_loss = loss_of(labels_batch, p)
    q = torch.where(p < 1e-7, 1e-7, p)
    q = torch.where(q > 1 - 1e-7, 1 - 1e-7, q)
    dq = (q / q.sum(1, keepdim=True) - torch.eye(10)[labels_batch]) / q / len(p)
    dp = torch.where((p < 1e-7) | (p > 1 - 1e-7), 0, dq)
    dz2 = p * (dp - (dp * p).sum(1, keepdim=True))
    dz1 = torch.where(h > 0, dz2 @ last.W.T, 0)
    gradients = [images_batch.T @ dz1, dz1.sum(0), h.T @ dz2, dz2.sum(0)]
""",
)

BY_OPTIMIZER = BOOK.replace(
    """    with torch.no_grad():
        for g, w in zip(gradients, weights):
            w -= g * 1e-3
""",
    """    for g, w in zip(gradients, weights):
        w.grad = g
    optimizer = torch.optim.SGD(weights, lr=1e-3)
    optimizer.step()
    optimizer.zero_grad()
""",
)

REBOUND = (
    BOOK.replace(
        """    with torch.no_grad():
        for g, w in zip(gradients, weights):
            w -= g * 1e-3
""",
        """    pass

def rebind(gradients, model):
    new = [(w - g * 1e-3).detach().requires_grad_() for g, w in zip(gradients, model.weights)]
    (model.layers[0].W, model.layers[0].b, model.layers[1].W, model.layers[1].b) = new
""",
    )
    .replace("    update_weights(gradients, model.weights)", "    rebind(gradients, model)")
    .replace("update_weights", "unused")
)

LOADS = (
    BOOK
    + """
import numpy as np
from pathlib import Path

def load_mnist(folder):
    def read(part, kind, offset):
        path = Path(folder, "MNIST", "raw", f"{part}-{kind}-ubyte")
        return np.fromfile(path, np.uint8, offset=offset)

    return tuple(
        (
            read(part, "images-idx3", 16).reshape(-1, 784).astype("float32") / 255,
            read(part, "labels-idx1", 8).astype("int64"),
        )
        for part in ("train", "t10k")
    )
"""
)

BATCHED = (
    BOOK.split("def fit")[0]
    + """
class BatchGenerator:
    def __init__(self, images, labels, batch_size=128):
        self.index = 0
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.num_batches = math.ceil(len(images) / batch_size)

    def next(self):
        batch = slice(self.index, self.index + self.batch_size)
        self.index += self.batch_size
        return self.images[batch], self.labels[batch]
"""
)

LOGITS = MODULE.split("    p = torch.softmax")[0] + (
    """    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
"""
)


@pytest.fixture(scope="module")
def recording(data, tmp_path_factory):
    """A recording of the reference in each dtype, without whole epochs."""

    @functools.cache
    def recording(dtype):
        folder = tmp_path_factory.mktemp(dtype)
        record(folder, data=data, dtype=dtype, epochs=0)
        return folder

    return recording


@pytest.fixture
def check(data, tmp_path, status_of, capfd, recording):
    """Write a port to a file and check it; return exit status, output and errors."""

    def check(source, *options, dtype="float64", epochs=0):
        path = tmp_path / "port.py"
        path.write_text(source)
        # A recording answers as the reference does, and faster; it has no whole epochs.
        of_reference = ("--dtype", dtype) if epochs else ("--recording", recording(dtype))
        options = "--data", data, "--epochs", epochs, *of_reference, *options
        status = status_of(main, "check", path, *options)
        return status, *capfd.readouterr()

    return check


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", [BOOK, MODULE, BACKWARD, BY_HAND, WITHOUT_AUTOGRAD])
def test_a_right_port_passes_however_it_takes_its_gradients(check, source, dtype):
    status, out, _ = check(source, dtype=dtype)
    assert "FAIL" not in out
    assert status == 0
    for rung in ("gradients", "trajectory"):
        assert f"{rung:15} pass" in out


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.soak)])
def test_a_right_port_passes_a_whole_epoch_beside_tensorflow(check, dtype):
    status, out, _ = check(BOOK, dtype=dtype, epochs=1)
    assert (status, "ten epochs      pass" in out) == (0, True), out


@pytest.mark.parametrize("source", [BY_OPTIMIZER, REBOUND, LOADS, BATCHED])
def test_a_right_port_passes_however_it_is_written(check, source):
    status, out, _ = check(source)
    assert "FAIL" not in out
    assert status == 0


def test_the_port_of_this_project_passes_as_anybody_s(check):
    status, out, _ = check("from torch_port import *\nfrom torch_port import load_mnist")
    assert (status, out.count(" pass\n")) == (0, 6), out


def test_gradients_that_nobody_sees_are_not_judged_but_what_comes_of_them_is(check):
    hidden = WITHOUT_AUTOGRAD.replace("update_weights", "change")
    wrong = hidden.replace("g * 1e-3", "g * 1e-2")
    for source, epochs, expected in ((hidden, 0, 0), (wrong, 1, 1)):
        status, out, _ = check(source, dtype="float32", epochs=epochs)
        assert "gradients       not judged: its gradients pass neither through autograd" in out
        assert status == expected


def test_layers_of_another_kind_are_not_called_one_by_one(check):
    source = MODULE.replace(
        "        self.out =", "        self.layers = [self.hidden, nn.ReLU()]\n        self.out ="
    )
    status, out, _ = check(source)
    assert status == 0
    assert "layer outputs   not judged: the file has no NaiveSequential of two layers" in out


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
            ["zero_grad forgotten"],
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


def test_a_loss_in_another_dtype_is_unexplained_and_described(check):
    source = MODULE.replace("return loss.item()", "return loss.detach().float()")
    status, out, _ = check(source)
    assert status == 1
    assert "its dtype is float32, and should be float64" in out


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
        (MODULE.replace("lr=1e-3", "lr=1e-3, momentum=0.9"), "trajectory", "momentum"),
        (LOGITS, "gradients", "loss of the logits"),
        (
            BOOK.replace("range(0, len(images), batch_size)", "range(0, len(images) - 99, 100)"),
            "trajectory",
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
        "ten epochs      FAIL loss of each batch at the end of fit (float32): shape (468,)" in out
    )
    assert "-> ten epochs: all rungs before it passed" in out


STEP = "    average_loss = loss_of"


@pytest.mark.parametrize(
    ("source", "status", "message"),
    [
        ("while True: pass", 2, "did not come back from its import within 4 s"),
        (
            BOOK.replace(STEP, "    while True: pass\n" + STEP),
            1,
            "did not come back from gradients",
        ),
        (BOOK.replace(STEP, "    raise KeyError('x')\n" + STEP), 1, "KeyError: 'x' (line 38)"),
        (
            BOOK.replace(STEP, "    import os; os._exit(4)\n" + STEP),
            1,
            "ended its process in gradients, with exit status 4",
        ),
        (
            MODULE.replace("return loss.item()", "return None"),
            1,
            "training_step returned NoneType: expected the average loss",
        ),
        (
            MODULE.replace("return loss.item()", "return loss * float('nan')"),
            1,
            "a number that is not finite is equal to none",
        ),
        (
            BOOK.replace("print(float(one_training_step(", "print(float(step(")
            + "\nstep = one_training_step\n",
            1,
            "fit never called one_training_step: its losses cannot be seen",
        ),
        ("raise RuntimeError('no luck')", 2, "RuntimeError: no luck (line 1)"),
        ("def f(:", 2, "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", 2, "ended its process in its import, with exit status 3"),
        ("import torch", 2, "there is no function one_training_step or training_step"),
        ("def one_training_step(): pass", 2, "there is no model: expected NaiveDense"),
        (MODULE.replace("512", "511"), 2, "layers.0.W has shape (511, 784): expected (784, 512)"),
    ],
)
def test_what_cannot_answer_gets_a_readable_verdict(check, source, status, message):
    found, out, err = check(source, "--limit", "4")
    assert found == status
    assert message in out + err
    assert "Traceback" not in out + err


def test_a_file_that_is_not_there_and_a_limit_of_0_are_refused(check, tmp_path, status_of):
    for limit in ("0", "inf", "nan"):
        assert check(BOOK, "--limit", limit)[0] == 2
    assert status_of(main, "check", tmp_path / "no.py") == 2


@pytest.fixture
def no_tensorflow(monkeypatch):
    """Hide TensorFlow from this process; that of the port imports none in any case."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "tf_reference.framework", None)


def test_a_recording_stands_in_for_tensorflow(check, recording, no_tensorflow):
    status, out, err = check(BOOK, "--recording", recording("float32"))
    assert (status, out.count("pass\n")) == (0, 5), err
    wrong = BOOK.replace("g * 1e-3", "g * 1e-2")
    status, out, _ = check(wrong, "--recording", recording("float32"))
    assert status == 1
    assert "explained by: rate of 1e-2" in out


@pytest.mark.soak
def test_a_recording_of_a_whole_epoch_stands_in_for_tensorflow(check, data, tmp_path, request):
    record(tmp_path / "recording", data=data, dtype="float32", epochs=1)
    request.getfixturevalue("no_tensorflow")
    status, out, err = check(BOOK, "--recording", tmp_path / "recording", epochs=1)
    assert (status, out.count("pass\n")) == (0, 6), err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("recording.json", lambda b: b.replace(b'"format": 2', b'"format": 1'), "is of format 1"),
        ("recording.json", lambda b: b[:100], "is not the index of a recording"),
        ("recording.json", lambda b: b"\xff" + b, "is not the index of a recording"),
        ("recording.json", lambda b: b'{"format": 2}', "is not the index of a recording"),
        ("answers.safetensors", lambda b: b[:-1], "is truncated or altered"),
        ("answers.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "is truncated or altered"),
        ("answers.safetensors", None, "is missing"),
        (
            "recording.json",
            lambda b: b.replace(b'"gradients ', b'"guesses '),
            "is not the index of a recording",
        ),
        (
            "recording.json",
            lambda b: json.dumps(json.loads(b) | {"answers": {}}).encode(),
            "the recording was made by another ladder",
        ),
    ],
)
def test_a_recording_that_is_not_whole_is_refused(
    check, recording, tmp_path, name, change, message
):
    folder = tmp_path / "recording"
    folder.mkdir()
    for path in trace.iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
        elif change is not None:
            (folder / name).write_bytes(change(path.read_bytes()))
    status, _, err = check(BOOK, "--recording", str(folder))
    assert status == 2
    assert message in err


def test_a_recording_can_be_read_with_numpy_alone(recording):
    folder = recording("float32")
    content = (folder / "answers.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    index = json.loads((folder / "recording.json").read_text())
    first = next(key for key in index["answers"] if key.startswith("gradients"))
    entry = header[f"{first}/layers.1.b"]
    start, end = entry["data_offsets"]
    gradient = np.frombuffer(content[8 + length + start : 8 + length + end], "float32")
    assert gradient.shape == tuple(entry["shape"]) == (10,)
    assert abs(gradient.sum()) < 1e-6
