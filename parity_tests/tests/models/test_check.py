"""`check --reference`: the command, its messages, and `assert_same_training`."""

import json
import re
import sys
from contextlib import closing

import pytest

from parity_tests import assert_same_training
from parity_tests.__main__ import main
from parity_tests.check.messages import ProcessEnded, UnusablePort, decode, encode
from parity_tests.check.models.examination import examine
from parity_tests.check.models.reference import KerasProcess, record
from parity_tests.program.messages import UserError
from parity_tests.tests.models.sensitivity import ZOO

ORIGINAL = """
import keras
model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(4)])
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
PORT = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = torch.nn.MSELoss()
"""


@pytest.fixture
def check(tmp_path, status_of, capfd):
    """Check a port beside a Keras model, both as text; return exit status, output and errors."""

    def check(port, original, *options):
        for name, text in (("port.py", port), ("original.py", original)):
            (tmp_path / name).write_text(text)
        paths = tmp_path / "port.py", "--reference", tmp_path / "original.py"
        status = status_of(main, "check", *paths, *options)
        return status, *capfd.readouterr()

    return check


def test_a_right_port_passes_and_what_the_check_cannot_see_is_said(check, tmp_path):
    status, out, err = check(PORT, ORIGINAL, "--json", tmp_path / "found.json")
    assert status == 0, out + err
    assert re.search(r"sequential/dense/kernel +0.weight +\(in, out\) to \(out, in\)", out)
    assert "with this batch the check cannot tell: optimizer: clipvalue is 1.0" in out
    assert out.splitlines()[-1].endswith(
        "port.py agrees in what was judged: layers, between, outputs, loss, gradients, update, "
        "trajectory; not judged: the initial weights, which each side draws for itself: 0.bias is "
        "random, and 0 in the model"
    )
    assert json.loads((tmp_path / "found.json").read_text())["verdict"] == "agrees"


@pytest.mark.soak
def test_a_wrong_port_fails_and_its_mistakes_are_named_alone_and_in_pairs(check):
    wrong = PORT.replace("4), torch.nn.Linear", "4), torch.nn.ReLU(), torch.nn.Linear")
    status, out, err = check(wrong.replace("MSELoss()", 'MSELoss(reduction="sum")'), ORIGINAL)
    assert status == 1, out + err
    assert "-> between: explained by: dense: its activation is relu" in out
    assert (
        "-> loss: explained by: loss: the losses are summed, not averaged and loss: it is summed"
        in out
    )
    assert "port.py is not the same training as the reference: see between, outputs, loss" in err


def rarely(*values):
    return pytest.param(*values, marks=pytest.mark.soak)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("port", "original", "message"),
    [
        (PORT, "x = 1\n", "it has no Keras model: expected model = keras.Sequential(...)"),
        rarely(PORT, ORIGINAL.replace("model", "a") + ORIGINAL.replace("model", "b"), "several"),
        rarely(PORT, ORIGINAL.replace("model.compile", "print"), "its model is not compiled: call"),
        (
            "x = 1\n",
            ORIGINAL,
            "it has no training step: expected a function such as",
        ),
        (PORT, ORIGINAL.replace("0.1", "1e300"), "its own outputs, loss or weights are not finite"),
        rarely(PORT, "raise ValueError('no')\n", "raised an error: ValueError: no (line 1)"),
        rarely(PORT.replace("(5, 4)", "(6, 4)"), ORIGINAL, "shapes cannot be multiplied"),
        (
            PORT.replace("4, 4))", "4, 4), torch.nn.PReLU())"),
            ORIGINAL,
            "these layers have no partner: in the port 2 (PReLU of (1,)); name pairs in the port",
        ),
        (
            PORT + 'mapping = {"0": "dense", "1": "dence_1"}\n',
            ORIGINAL,
            "mapping names dence_1, which the model has not (there is dense_1",
        ),
    ],
    ids=[
        "none",
        "two",
        "not compiled",
        "no step",
        "not finite",
        "raises",
        "shapes",
        "unmatched",
        "mapping",
    ],
)
def test_what_cannot_be_judged_is_one_sentence(check, port, original, message):
    status, _, err = check(port, original)
    assert (status, message in err) == (2, True), err
    assert "Traceback" not in err


@pytest.mark.soak
def test_a_mapping_settles_which_layer_is_which(check):
    status, out, err = check(PORT + 'mapping = {"0": "dense", "1": "dense_1"}\n', ORIGINAL)
    assert (status, "mapping, as mapping says:" in out) == (0, True), out + err


@pytest.mark.soak
def test_a_saved_model_is_a_reference_too(tmp_path, status_of, capfd):
    import keras

    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(4)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.save(tmp_path / "saved.keras")
    (tmp_path / "port.py").write_text(PORT)
    paths = tmp_path / "port.py", "--reference", tmp_path / "saved.keras"
    assert status_of(main, "check", *paths) == 0, capfd.readouterr()


def test_the_assertion_fails_with_the_name_of_the_mistake(tmp_path):
    source = (ZOO / "mlp" / "port.py").read_text()
    (tmp_path / "port.py").write_text(source.replace(", momentum=0.9", ""))
    with pytest.raises(AssertionError, match=r"optimizer: momentum is 0\.0, not 0\.9"):
        assert_same_training(tmp_path / "port.py", ZOO / "mlp" / "original.py")


BRANCHES = """
import keras
inputs = keras.Input((7,))
left = keras.layers.Dense(8, activation="tanh", name="left")(inputs)
right = keras.layers.Dense(8, name="right")(inputs)
outputs = keras.layers.Dense(3)(keras.layers.Subtract()([left, right]))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
CROSSED = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(7, 8), torch.nn.Linear(7, 8)
        self.out = torch.nn.Linear(8, 3)
    def forward(self, x):
        subtracted = self.a(x)
        return self.out(torch.tanh(self.b(x)) - subtracted)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = torch.nn.MSELoss()
"""


@pytest.mark.soak
def test_alike_branches_that_the_port_calls_in_another_order_are_paired_by_their_numbers(check):
    status, out, err = check(CROSSED, BRANCHES)
    assert status == 0, out + err
    assert re.search(r"left/kernel +b.weight", out)


@pytest.mark.soak
def test_what_was_found_stays_where_a_later_rung_cannot_be_judged(check):
    wrong = PORT.replace("4), torch.nn.Linear", "4), torch.nn.ReLU(), torch.nn.Linear")
    step = "def train_step(x, y):\n    raise ValueError('no')\n"
    status, out, err = check(wrong + step, ORIGINAL)
    assert status == 1, out + err
    assert "-> between: explained by: dense: its activation is relu" in out
    assert re.search(r"loss +not judged: .*ValueError: no", out)


@pytest.mark.soak
def test_numbers_that_are_not_finite_are_not_taken_for_random_ones(check):
    wrong = PORT.replace("4), torch.nn.Linear", "4), Broken(), torch.nn.Linear")
    broken = "class Broken(torch.nn.Module):\n    def forward(self, x):\n"
    broken += "        return x * float('nan')\n"
    status, out, err = check(wrong.replace("model =", broken + "model ="), ORIGINAL)
    assert (status, "random" in out) == (1, False), out + err


@pytest.mark.soak
@pytest.mark.parametrize("side", ["port", "model"])
def test_random_numbers_other_than_those_of_dropout_are_said(check, side):
    port, original = PORT, ORIGINAL
    if side == "port":
        noise = "class Noise(torch.nn.Module):\n    def forward(self, x):\n"
        noise += "        return x + torch.randn_like(x) if self.training else x\n"
        port = port.replace("4), torch", "4), Noise(), torch").replace("model =", noise + "model =")
    else:
        noise = "class Noise(keras.layers.Layer):\n    def call(self, x, training=False):\n"
        noise += "        return x + keras.random.normal((8, 4)) if training else x\n"
        original = original.replace("Dense(4), ", "Dense(4), Noise(), ")
        original = original.replace("model =", noise + "model =")
    status, out, err = check(port, original)
    assert status == {"port": 1, "model": 2}[side], out + err
    assert "random" in out + err


@pytest.mark.soak
def test_a_bias_that_the_port_has_not_leaves_the_gradients_of_the_others_in_their_places(check):
    status, out, err = check(PORT.replace("(5, 4)", "(5, 4, bias=False)"), ORIGINAL)
    assert status == 1, out + err
    findings = [line for line in out.splitlines() if line.startswith("->")]
    assert findings == ["-> mapping: dense: no bias, since the port has no such weight"]


@pytest.mark.soak
@pytest.mark.parametrize("always", ["port", "model", "both", "one of two"])
def test_dropout_that_stays_on_in_inference_is_compared(check, always):
    own = "class Always(torch.nn.Module):\n    def forward(self, x):\n"
    own += "        return torch.nn.functional.dropout(x, 0.5)\n"
    layer = "Always()" if always != "model" else "torch.nn.Dropout(0.5)"
    layer += ", torch.nn.Dropout(0.5)" if always == "one of two" else ""
    port = PORT.replace("4), torch.nn", f"4), {layer}, torch.nn").replace(
        "model =", own + "model ="
    )
    training = "" if always == "port" else ", training=True"
    net = "class Net(keras.Model):\n    def __init__(self):\n        super().__init__()\n"
    net += "        self.a, self.b = keras.layers.Dense(4), keras.layers.Dense(4)\n"
    net += "        self.drop, self.other = keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)\n"
    net += "    def call(self, x):\n"
    net += f"        return self.b(self.drop(self.a(x){training}))\n"
    if always != "one of two":
        net = net.replace(", self.other = keras.layers.Dropout(0.5),", " =")
    net += "model = Net()\ninputs, targets = keras.ops.ones((8, 5)), keras.ops.zeros((8, 4))"
    if always == "one of two":
        net = net.replace("training=True))", "training=True), training=training))")
        net = net.replace("self.b(self.drop(", "self.b(self.other(self.drop(")
        net = net.replace("call(self, x)", "call(self, x, training=False)")
    original = re.sub("model = .*", lambda _: net, ORIGINAL, count=1)
    status, out, err = check(port, original)
    wrong = always in ("port", "model")
    assert (status, "model, in inference" in out) == (int(wrong), wrong), out + err


@pytest.mark.soak
def test_a_port_in_float32_is_not_judged_without_its_yardstick(check, monkeypatch):
    ask = KerasProcess.ask

    def ends(self, method, *arrays, **options):
        if self.floatx == "float32" and method == "train":
            raise ProcessEnded("it has ended")
        return ask(self, method, *arrays, **options)

    monkeypatch.setattr(KerasProcess, "ask", ends)
    status, out, err = check(PORT, ORIGINAL, "--dtype", "float32")
    assert (status, "it has ended" in err) == (2, True), out + err


def test_a_process_of_keras_that_has_ended_is_no_answer(tmp_path):
    (tmp_path / "original.py").write_text(ORIGINAL)
    process = KerasProcess(tmp_path / "original.py", "float64", "tensorflow", sys.executable)
    with closing(process):
        process._process.kill()
        with pytest.raises(ProcessEnded, match="ended with exit status -9"):
            process.ask("describe")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Return a recording of a model, and the folder in which it lies."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "original.py").write_text(ORIGINAL)
    record(folder / "original.py", output=folder / "model.recording")
    return folder / "model.recording"


@pytest.mark.soak
def test_a_recording_judges_and_names_without_keras(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(KerasProcess, "__init__", None)  # it is not started
    (tmp_path / "port.py").write_text(PORT)
    assert examine(tmp_path / "port.py", recording, "float64").failed == []
    (tmp_path / "port.py").write_text(PORT.replace("lr=0.1", "lr=0.1, momentum=0.5"))
    assert examine(tmp_path / "port.py", recording, "float64").failed == ["trajectory"]
    wrong = PORT.replace("4), torch.nn.Linear", "4), torch.nn.ReLU(), torch.nn.Linear")
    (tmp_path / "port.py").write_text(wrong)
    verdicts = examine(tmp_path / "port.py", recording, "float64")
    assert "dense: its activation is relu" in str(verdicts.findings[0])


@pytest.mark.soak
def test_what_a_recording_cannot_answer_is_a_sentence(recording, tmp_path):
    port = tmp_path / "port.py"
    port.write_text(PORT + "for _ in range(9):\n    optimizer.zero_grad()\n    criterion(")
    port.write_text(
        port.read_text() + "model(torch.ones(8, 5)), torch.ones(8, 4)).backward()\n"
        "    optimizer.step()\n"
    )
    with pytest.raises(UnusablePort, match="holds answers to its own batch"):
        examine(port, recording, "float64")
    with pytest.raises(UnusablePort, match="was recorded in float64"):
        examine(port, recording, "float32")


def altered(content):
    """Return recordings whose index is hostile."""
    _, arrays = decode(content)
    yield content[:1000]
    for said in ({}, {"answers": 3}, {"answers": {"x": 4}}, {"answers": {"x": "yy"}}):
        yield encode(said, arrays)


@pytest.mark.soak
def test_a_recording_that_is_none_is_a_sentence(recording, tmp_path):
    (tmp_path / "port.py").write_text(PORT)
    for content in altered(recording.read_bytes()):
        (tmp_path / "bad.recording").write_bytes(content)
        with pytest.raises(UnusablePort, match=r"is no recording: make one with `record`"):
            examine(tmp_path / "port.py", tmp_path / "bad.recording", "float64")


def test_a_recording_needs_its_ending(tmp_path):
    (tmp_path / "original.py").write_text(ORIGINAL)
    with pytest.raises(UserError, match=r"expected a name in \.recording"):
        record(tmp_path / "original.py", output=tmp_path / "model.safetensors")


def test_a_name_that_cannot_be_shown_is_refused_in_one_line(tmp_path, status_of, capfd):
    (tmp_path / "a\nb.py").write_text(PORT)
    assert status_of(main, "check", tmp_path / "a\nb.py") == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_port_that_never_changes_a_weight_fails(check):
    loop = "criterion(model(torch.ones(8, 5)), torch.zeros(8, 4)).backward()\n"
    status, out, err = check(PORT + loop, ORIGINAL)
    assert (status, "no weight ever changes" in out) == (1, True), out + err
