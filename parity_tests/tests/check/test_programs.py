"""Programs that train when they are run: what is seen of their data, their loop and their rate."""

import json

import pytest

from parity_tests.tests.check.styles import LOSS, NET

READ = """
import numpy as np
raw = {raw!r} + "/train-"
x = np.fromfile(raw + "images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 784)[:1280]
x = torch.from_numpy(x.astype("float32") / 255)
y = torch.from_numpy(np.fromfile(raw + "labels-idx1-ubyte", np.uint8, offset=8)[:1280]).long()
"""

TRAIN = """
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
for epoch in range(2):
    for start in range(0, len(x), 128):
        loss = crossentropy(model(x[start : start + 128]), y[start : start + 128])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

DRAWN = "\nx, y = torch.rand(1280, 784), torch.randint(0, 10, (1280,))\n"


@pytest.fixture
def program(data):
    """A program that trains on MNIST when it is run."""
    return NET + LOSS + READ.format(raw=str(data.absolute() / "MNIST" / "raw")) + TRAIN


def test_a_right_program_on_mnist_agrees_in_its_data_too(check, program):
    status, out, err = check(
        program.replace("[:1280]", "[:60_000]").replace("range(2)", "range(1)")
    )
    assert (status, "FAIL" in out) == (0, False), out + err
    assert "data            pass (images and labels of MNIST, from 0 to 1)" in out
    assert "loop            pass (469 batches of MNIST in its order)" in out


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("/ 255", "/ 256", "data: explained by: pixels over 256 ("),
        ("/ 255", "/ 127.5 - 1", "data: in its batches"),
        ('[:1280]).long()', '[1:1281]).long()', "data: explained by: labels shifted (each image"),
        ("        optimizer.zero_grad()\n", "", "gradients: explained by: zero_grad forgotten ("),
        ("lr=0.001", "lr=0.01", "one update: explained by: rate of 1e-2 ("),
        ("start + 128", "start + 64", "loop: explained by: batch size (a batch has 64 samples"),
    ],
)  # fmt: skip
def test_what_a_program_on_mnist_does_otherwise_is_named(check, program, right, wrong, expected):
    status, out, err = check(program.replace(right, wrong))
    said = expected in out or "data            FAIL in its batches pixels are from -1 to 1" in out
    assert (status, said) == (1, True), out + err


def test_a_rate_that_changes_after_the_steps_that_are_judged_is_seen(check):
    decay = "\nlater = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)\nfor epoch"
    source = NET + LOSS + DRAWN + TRAIN.replace("\nfor epoch", decay) + "    later.step()\n"
    status, out, err = check(source)
    assert status == 1
    assert "schedule (the learning rate is 0.0007 from step 11 on, expected 0.001)" in out, (
        out + err
    )


def test_kernels_that_are_transposed_in_each_product_are_known(check):
    source = """
import torch
v = (torch.rand(32, 784) / 10).requires_grad_()
w = (torch.rand(10, 32) / 10).requires_grad_()
a, b = torch.zeros(32, requires_grad=True), torch.zeros(10, requires_grad=True)

def net(x):
    return torch.softmax(torch.relu(x @ v.t() + a) @ w.T + b, dim=1)
"""
    loop = TRAIN.replace("Net()", "net").replace("model.parameters()", "[v, w, a, b]")
    status, out, err = check(source + LOSS + DRAWN + loop)
    assert (status, "layer outputs   pass" in out) == (0, True), out + err


def test_a_relu_on_logits_that_only_the_loss_takes_is_seen_and_named(check):
    net = NET.replace("torch.softmax(self.last(torch.relu(self.first(x))), dim=1)",
                      "torch.relu(self.last(torch.relu(self.first(x))))")  # fmt: skip
    loss = "\ncrossentropy = nn.functional.cross_entropy\n"
    status, out, _ = check(net + loss + DRAWN + TRAIN)
    assert (status, "-> layer outputs: explained by: relu before softmax (" in out) == (1, True), (
        out
    )


def test_a_function_that_makes_what_it_trains_is_waited_for_in_its_call(check):
    body = TRAIN.replace("\n", "\n    ")
    status, out, err = check(NET + LOSS + "\ndef fit(x, y):" + body.replace("range(2)", "range(1)"))
    assert (status, "trained by fit" in out) == (0, True), out + err


@pytest.mark.soak
def test_what_torch_func_transforms_is_judged_by_its_update(check):
    source = (
        NET
        + """
from torch.func import functional_call, grad, vmap
model = Net()

def loss(params, x, y):
    p = functional_call(model, params, (x[None],))
    return -torch.log(p[0]).gather(0, y[None]).sum()

def train_step(x, y):
    params = dict(model.named_parameters())
    found = vmap(grad(loss), (None, 0, 0))({k: p.detach() for k, p in params.items()}, x, y)
    with torch.no_grad():
        for name, p in params.items():
            p -= 1e-3 * found[name].mean(0)
"""
    )
    status, out, err = check(source)
    assert status == 1, out + err  # its loss clips nothing
    assert "its gradients are not seen, and are judged with the update" in out
    assert "nothing clipped (" in out, out


def test_a_line_of_a_notebook_that_goes_on_with_a_percent_sign_is_no_magic(check):
    cell = (NET + LOSS + DRAWN + TRAIN + "print('%d'\n% epoch)\n").splitlines(keepends=True)
    cells = [{"cell_type": "code", "source": ["%matplotlib inline\n", *cell]}]
    status, out, err = check(json.dumps({"cells": cells}), name="port.ipynb")
    assert status == 0, out + err


def test_what_would_stop_a_program_is_answered_or_said(check):
    asks = "\nname = input('your name? ')\nimport sys\nprint(sys.argv[1:])\n"
    assert check(NET + LOSS + asks + DRAWN + TRAIN)[0] == 0
    parser = (
        "\nimport argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()"
    )
    status, _, err = check(NET + LOSS + parser + DRAWN + TRAIN)
    assert (status, "the following arguments are required: data (line" in err) == (2, True), err


def test_loaders_with_workers_load_where_it_is_seen(check):
    data = "torch.utils.data.TensorDataset(x, y), 128, num_workers=2"
    loop = TRAIN.replace("start in range(0, len(x), 128)", "a, b in loader")
    loop = loop.replace("model(x[start : start + 128]), y[start : start + 128]", "model(a), b")
    loader = f"\nloader = torch.utils.data.DataLoader({data})\n"
    status, out, err = check(NET + LOSS + DRAWN + loader + loop)
    assert (status, "with batches of 128" in out) == (0, True), out + err


def test_a_file_in_a_folder_that_was_lent_is_a_copy(check, tmp_path, monkeypatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "weights.txt").write_text("as it was")
    monkeypatch.chdir(tmp_path)
    writes = "\nfolder = 'saved'\nopen('saved/weights.txt', 'w').write('changed')\n"
    assert check(NET + LOSS + writes + DRAWN + TRAIN)[0] == 0
    assert (tmp_path / "saved" / "weights.txt").read_text() == "as it was"
