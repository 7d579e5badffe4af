"""Repairs: calls made otherwise, changes of the text, ports that are mended where they stand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from parity_tests.check.guest.changes import arguments, changed
from parity_tests.check.models.examination import examine
from parity_tests.check.repairs import search
from parity_tests.check.repairs.candidates import others, paddings, settings, siblings
from parity_tests.check.repairs.repair import Wanted, once
from parity_tests.check.repairs.step import of_step
from parity_tests.check.repairs.text import Text

X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4)


def change(kind, **by):
    return {"kind": kind, "by": by}


@pytest.mark.parametrize(
    ("function", "made", "right"),
    [
        (functional.leaky_relu, change("argument", name="negative_slope", value=0.3),
         lambda x: functional.leaky_relu(x, 0.3)),
        (torch.relu, change("without"), lambda x: x),
        (torch.relu, change("instead", name="tanh", options={}), torch.tanh),
        (torch.relu, change("after", name="mul", options={"other": 0.5}), lambda x: x.relu() / 2),
        (torch.flatten, change("before", name="permute", options={"dims": [0, 2, 1]}),
         lambda x: x.permute(0, 2, 1).flatten()),
        (torch.sum, change("called", name="amax", options={}), torch.amax),
    ],
    ids=lambda item: item["kind"] if isinstance(item, dict) else "",
)  # fmt: skip
def test_a_call_is_made_as_it_is_changed(function, made, right):
    assert torch.equal(changed(function, [made])(X), right(X))


def test_an_argument_is_replaced_by_its_place_too_and_inputs_are_reversed():
    by_place = changed(
        functional.leaky_relu, [change("argument", name="negative_slope", value=0.3)]
    )
    assert torch.equal(by_place(X, 0.01), functional.leaky_relu(X, 0.3))
    assert torch.equal(changed(torch.cat, [change("reversed")])([X, 2 * X]), torch.cat([2 * X, X]))
    pooled = changed(functional.max_pool1d, [change("called", name="avg_pool1d", options={})])
    assert torch.equal(pooled(X, 2, dilation=1), functional.avg_pool1d(X, 2))


def test_the_plain_arguments_of_a_call_are_known_those_left_out_as_well():
    found = arguments(functional.leaky_relu, [X, 0.2], {})
    assert found == {"negative_slope": 0.2, "inplace": False}
    assert arguments(functional.gelu, [X], {}) == {"approximate": "none"}


PORT = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.act = nn.ReLU()

    def forward(self, x):
        x = self.act(self.norm(x))
        x = F.leaky_relu(x, 0.01)
        x = x[:, 1:]
        return torch.cat([x, x * 2], 1).flatten(1)


optimizer = torch.optim.SGD([], lr=0.1)
optimizer.step()
"""


def at(text):
    """Return the place of an expression in the port."""
    before = PORT[: PORT.index(text)]
    row, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
    return ["port.py", row, column, row, column + len(text)]


def edit(kind, text, module=False, place=None, **by):
    where = {"at": at(text), "text": at(text), "near": at(text), "making": module}
    return {"kind": kind, **where, "by": by, "place": place}


@pytest.mark.parametrize(
    ("edit", "was", "new"),
    [
        (edit("attribute", "nn.BatchNorm1d(4)", module=True, place=1, name="eps", value=1e-3),
         "nn.BatchNorm1d(4)", "nn.BatchNorm1d(4, eps=0.001)"),
        (edit("attribute", "nn.BatchNorm1d(4)", module=True, place=0, name="num_features", value=5),
         "nn.BatchNorm1d(4)", "nn.BatchNorm1d(5)"),
        (edit("group", "torch.optim.SGD([], lr=0.1)", place=1, name="lr", value=0.2),
         "lr=0.1", "lr=0.2"),
        (edit("argument", "F.leaky_relu(x, 0.01)", place=1, name="negative_slope", value=0.3),
         "x, 0.01", "x, 0.3"),
        (edit("argument", "x * 2", name="1", value=3), "x * 2", "x * 3"),
        (edit("without", "self.act(self.norm(x))"), "self.act(self.norm(x))", "self.norm(x)"),
        (edit("without", "nn.ReLU()", module=True), "nn.ReLU()", "torch.nn.Identity()"),
        (edit("after", "self.norm(x)", name="relu", options={}),
         "self.norm(x)", "torch.nn.functional.relu(self.norm(x))"),
        (edit("after", "self.norm(x)", name="mul", options={"other": 0.5}),
         "self.norm(x)", "self.norm(x).mul(0.5)"),
        (edit("before", "torch.cat([x, x * 2], 1).flatten(1)", name="permute",
              options={"dims": [0, 2, 1]}),
         "1).flatten", "1).permute(0, 2, 1).flatten"),
        (edit("instead", "F.leaky_relu(x, 0.01)", name="elu", options={"alpha": 0.7}),
         "F.leaky_relu(x, 0.01)", "torch.nn.functional.elu(x, alpha=0.7)"),
        (edit("called", "F.leaky_relu(x, 0.01)", name="celu", options={}), "F.leaky", "F.celu"),
        (edit("reversed", "torch.cat([x, x * 2], 1)"), "[x, x * 2]", "[x * 2, x]"),
        (edit("penalty", "F.leaky_relu(x, 0.01)", root=at("self.norm(x)"),
              factors={"fc.weight": 0.5, "0.weight": 2.0}),
         "F.leaky_relu(x, 0.01)",
         "F.leaky_relu(x, 0.01) + 0.5 * self.norm.fc.weight.square().sum()"
         ' + 2 * self.norm.get_parameter("0.weight").square().sum()'),
        (edit("mirrored", "x[:, 1:]"), "x[:, 1:]", "x[:, :-1]"),
        (edit("averaged", "F.leaky_relu(x, 0.01)"), "0.01)", "0.01).div(len(0.01))"),
        (edit("zero", "optimizer.step()"), "optimizer.step()\n",
         "optimizer.step()\noptimizer.zero_grad()\n"),
    ],
    ids=lambda item: item["kind"] if isinstance(item, dict) else "",
)  # fmt: skip
def test_a_change_is_a_change_of_the_text(edit, was, new, tmp_path):
    (tmp_path / "port.py").write_text(PORT)
    text = Text(tmp_path / "port.py")
    made = text.changed([edit])
    if edit["kind"] == "called":
        was, new = "F.leaky_relu(x, 0.01)", "F.celu(x, 0.01)"
    assert made == PORT.replace(was, new, 1)
    assert f"+++ {tmp_path.name and 'port.py'}, mended" in text.diff(made)


def test_what_stands_in_another_text_is_no_change_of_this_one(tmp_path):
    (tmp_path / "port.py").write_text(PORT)
    other = edit("argument", "x * 2", name="1", value=3)
    text = Text(tmp_path / "port.py")
    assert text.changed([{**other, "text": ["layers.py", *other["text"][1:]]}]) is None
    assert text.changed([{**other, "text": ["port.py", 1, 0, 1, 3]}]) is None
    assert text.changed([{**other, "text": None}]) is None


@pytest.mark.parametrize(
    ("name", "value", "numbers", "found"),
    [
        ("align_corners", True, [], [False]),
        ("momentum", 0.1, [0.99], [0.99, 0.01, 0.0]),
        ("dim", 1, [], [-1, 0, 2, 3, -2]),
        ("approximate", "none", [], ["tanh"]),
        ("mode", "GRU", [], []),
        ("dilation", [1, 1], [[3, 3]], [[3, 3], [0, 0], [2, 2], [4, 4]]),
    ],
)
def test_an_argument_may_be_what_the_model_has_or_another_of_its_kind(name, value, numbers, found):
    assert others(name, value, numbers) == found


def test_keras_pads_more_at_the_end_and_a_causal_padding_is_before():
    assert [0, 1] in paddings(1)
    assert [1, 2, 0, 1] in paddings(2)
    assert [4, 0] in paddings(1)
    assert [0, 4] not in paddings(1)


def test_what_decides_the_shapes_of_weights_is_left_as_it_is():
    held = {"in_features": 3, "out_features": 4, "eps": 1e-5}
    call = {"what": "Linear", "at": None, "path": "fc", "made": None, "of torch": True}
    call |= {"arguments": held, "order": [], "takes": [[2, 3]], "returns": [[2, 4]]}
    assert {r.changes[0]["by"]["name"] for r in settings(call, [1e-3])} == {"eps"}
    assert list(settings({**call, "of torch": False}, [1e-3])) == []


def test_a_loss_of_another_kind_takes_the_constant_that_the_model_has():
    call = {"what": "SmoothL1Loss", "at": None, "path": None, "made": ["port.py", 1, 0, 1, 9]}
    call |= {"arguments": {"beta": 0.5, "reduction": "mean"}, "order": [], "returns": [[]]}
    said = [repair.sentence for repair in siblings(call, [0.37])]
    assert "huber_loss of delta 0.37 instead" in said
    assert "mse_loss instead" in said


def test_a_step_may_lack_the_clipping_that_the_model_has_and_nothing_else():
    step = {"what": "step", "at": ["port.py", 1, 0, 1, 9, "step"], "optimizer": [], "order": []}
    said = [str(r) for r in of_step([step], Wanted(optimizer={"clipvalue": 0.5}))]
    assert said == [
        "port.py:1: step: clip_grad_value_(0.5) before it",
        "port.py:1: step: zero_grad() after it",
    ]
    assert len(once([step, step])) == 1


MODEL = """
model = keras.Sequential([
    keras.Input((6,)),
    layers.Dense(8, name="first"),
    layers.BatchNormalization(epsilon=3.7e-4, momentum=0.93, name="norm"),
    layers.LeakyReLU(0.17, name="leaky"),
    layers.Dense(3, activation="softmax", name="last"),
])
model.compile(
    keras.optimizers.SGD(0.0123, momentum=0.83, nesterov=True, clipvalue=0.8),
    keras.losses.CategoricalCrossentropy(label_smoothing=0.07),
)
"""
RIGHT = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8, eps=3.7e-4, momentum=0.07)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(nn.functional.leaky_relu(self.norm(self.first(x)), 0.17))


model = Net()
loss_fn = nn.CrossEntropyLoss(label_smoothing=0.07)
optimizer = torch.optim.SGD(model.parameters(), lr=0.0123, momentum=0.83, nesterov=True)


def train_step(x, y):
    optimizer.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.8)
    optimizer.step()
    return loss.item()
"""
STEPPED = """    nn.utils.clip_grad_value_(model.parameters(), 0.8)
"""
WRONG = [
    ("eps=3.7e-4", "eps=1e-3", "eps = 0.001 -> 0.00037", "eps=0.00037"),
    ("momentum=0.07", "momentum=0.93", "momentum = 0.93 -> 0.07", "momentum=0.07"),
    (", 0.17)", ")", "negative_slope = 0.01 -> 0.17", "negative_slope=0.17"),
    ("lr=0.0123", "lr=0.1", "lr = 0.1 -> 0.0123", "lr=0.0123"),
    ("momentum=0.83", "momentum=0.9", "momentum = 0.9 -> 0.83", "momentum=0.83"),
    (", nesterov=True", "", "nesterov = False -> True", "nesterov=True"),
    ("label_smoothing=0.07", "label_smoothing=0.1", "0.1 -> 0.07", "label_smoothing=0.07"),
    (STEPPED, "", "clip_grad_value_(0.8) before it", "torch.nn.utils.clip_grad_value_(["),
    ("self.norm(self.first(x))", "self.first(x)", "", ""),
]
QUICK = 2


@pytest.mark.parametrize(
    ("replace", "by", "sentence", "text"),
    [
        pytest.param(*case, marks=() if index == QUICK else pytest.mark.soak)
        for index, case in enumerate(WRONG)
    ],
)
def test_a_port_is_mended_in_its_line_and_the_mended_text_passes(
    examined, tmp_path, monkeypatch, replace, by, sentence, text
):
    monkeypatch.setattr(search, "SECONDS", 300)  # other tests may take the processor
    verdicts = examined(MODEL, RIGHT, replace, by)
    assert verdicts.failed
    if not sentence:  # a layer that is not called: nothing that is called can be changed
        assert verdicts.repairs == []
        return
    (repair,) = verdicts.repairs
    assert sentence in repair.repair.sentence
    port = Path(tmp_path, "port.py").read_text().splitlines()
    place = repair.repair.text
    assert place[0] == "port.py"
    assert any(word in port[place[1] - 1] for word in (by.strip(", ") or "step", "leaky"))
    assert text in verdicts.mended
    Path(tmp_path, "port.py").write_text(verdicts.mended)
    again = examine(Path(tmp_path, "port.py"), Path(tmp_path, "original.py"), "float64")
    assert again.failed == []


def test_arrays_stay_what_they_are_where_nothing_is_changed():
    linear = nn.Linear(3, 2, dtype=torch.float64)
    given = torch.ones(4, 3, dtype=torch.float64)
    assert np.array_equal(changed(linear, [])(given).detach(), linear(given).detach())
