"""Files of a Keras model and its port as their owners run them: with data, loops and mistakes."""

import pytest

from parity_tests import assert_same_training
from parity_tests.check.messages import UnusablePort
from parity_tests.check.models.examination import examine

DATA = """
import numpy as np
rng = np.random.default_rng(1)
features = rng.normal(size=(96, 6)).astype("float32")
kinds = rng.integers(0, 3, 96)
"""
MODEL = """
import keras
net = keras.Sequential([
    keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.2),
    keras.layers.Dense(3, activation="softmax"),
])
"""
COMPILED = """
net.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
"""
FIT = COMPILED + "net.fit(features, kinds, batch_size=16, epochs=4, verbose=0)\n"
TAPE = """
import tensorflow as tf
optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
loss_of = keras.losses.SparseCategoricalCrossentropy()
for start in range(0, 96, 16):
    x, y = features[start : start + 16], kinds[start : start + 16]
    with tf.GradientTape() as tape:
        loss = loss_of(y, net(x, training=True))
    gradients = tape.gradient(loss, net.trainable_variables)
    optimizer.apply_gradients(zip(gradients, net.trainable_variables))
"""
PORT = """
import torch
from torch import nn
net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
"""
LOOP = """
from torch.utils.data import DataLoader, TensorDataset
samples = TensorDataset(torch.tensor(features), torch.tensor(kinds))
loader = DataLoader(samples, 16, shuffle=True)
for epoch in range(4):
    net.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
"""
LATER = LOOP.replace("    net.train()\n", "") + "    net.eval()\n"
DECAYED = LOOP + "    optimizer.param_groups[0]['lr'] *= 0.5\n"
FALLING = """
falling = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5 ** (epoch > 0))
"""


@pytest.fixture
def judged(tmp_path):
    """Judge a port beside a model, both as text."""

    def judged(port, original, **options):
        (tmp_path / "port.py").write_text(port)
        (tmp_path / "original.py").write_text(original)
        return examine(tmp_path / "port.py", tmp_path / "original.py", "float64", **options)

    return judged


def test_two_programs_with_data_of_their_own_are_the_same_training(judged):
    verdicts = judged(DATA + PORT + LOOP, DATA + MODEL + FIT)
    assert verdicts.failed == []
    assert {"data", "noise", "gradients", "update", "trajectory", "loop"} <= set(verdicts.judged)


def soak(*values, name):
    return pytest.param(*values, id=name, marks=pytest.mark.soak)


RIGHT = [
    soak(DATA + PORT + LOOP, DATA + MODEL + TAPE, name="a loop with a tape"),
    soak(
        DATA + PORT + LOOP,
        DATA + MODEL + COMPILED + "net.train_on_batch(features[:16], kinds[:16])\n",
        name="train_on_batch",
    ),
    soak(
        DATA + PORT + DECAYED,
        DATA + MODEL + FALLING + FIT.replace("epochs=4", "epochs=4, callbacks=[falling]"),
        name="a rate that falls in both",
    ),
    soak(
        DATA + PORT + LOOP,
        DATA.replace("kinds =", "numbers =")
        + "kinds = np.eye(3)[numbers]\n"
        + MODEL
        + FIT.replace("sparse_c", "c"),
        name="one-hot targets in the model only",
    ),
    soak(DATA + PORT + LOOP, MODEL + COMPILED, name="data in the port only"),
    soak(
        PORT + "def step(x, y):\n    optimizer.zero_grad()\n    loss = nn.functional.cross_entropy"
        "(net(x), y)\n    loss.backward()\n    optimizer.step()\n",
        DATA + MODEL + COMPILED,
        name="arrays of the model's file",
    ),
    soak(
        DATA + PORT.replace("Dropout(0.2),", "Dropout(0.2).cuda(),") + LOOP,
        DATA + MODEL + FIT,
        name="cuda",
    ),
    soak(
        DATA + PORT + LOOP,
        "batch = inputs = mapping = layout = 3\n" + DATA + MODEL + FIT,
        name="names that mean something else",
    ),
    soak(
        DATA + "mapping = {'cat': 'feline'}\nlayout = {1: 2}\n" + PORT + LOOP,
        DATA + MODEL + FIT,
        name="names that mean something else in the port",
    ),
]


@pytest.mark.parametrize(("port", "original"), RIGHT)
def test_a_right_program_passes(judged, port, original):
    verdicts = judged(port, original)
    assert (verdicts.failed, verdicts.usable) == ([], True)


WRONG = [
    (DATA + PORT + LATER, DATA + MODEL + FIT, "no training mode"),
    soak(
        DATA + PORT + LOOP.replace("(features)", "(features / 255)"),
        DATA + MODEL + FIT,
        "another scale (inputs are 0.00392157 times the model's, plus",
        name="scale",
    ),
    soak(
        DATA + PORT + LOOP.replace("samples, 16", "samples, 24"),
        DATA + MODEL + FIT,
        "another batch size (batches of 24, where the model has 16)",
        name="batch size",
    ),
    soak(
        DATA + PORT + LOOP.replace("(kinds)", "((kinds + 1) % 3)"),
        DATA + MODEL + FIT,
        "other targets",
        name="targets",
    ),
    soak(
        DATA + PORT + DECAYED,
        DATA + MODEL + FIT,
        "in step 7 the learning rate is 0.5 times the first, and 1 times in the model",
        name="schedule",
    ),
    soak(
        DATA
        + PORT.replace("nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), ", "").replace("8,", "6,")
        + LOOP,
        DATA + MODEL + FIT,
        "layers: the network is another",
        name="layer",
    ),
    soak(
        DATA + PORT + LOOP.replace("optimizer.zero_grad()", "pass"),
        DATA + MODEL + FIT,
        "trajectory",
        name="gradients that add up",
    ),
]


@pytest.mark.parametrize(("port", "original", "said"), WRONG)
def test_a_wrong_program_fails_and_what_was_seen_is_said(judged, port, original, said):
    verdicts = judged(port, original)
    assert verdicts.failed
    assert any(said in str(finding) for finding in verdicts.findings), verdicts.findings


REFUSED = {
    "the wrong way round": (MODEL, PORT, "port.py is of Keras: the file of the PyTorch port comes"),
    "no Keras": (PORT, PORT, "original.py is of Torch: the file of the PyTorch port comes first"),
    "own loss": (
        DATA + PORT + LOOP,
        DATA + MODEL + TAPE.replace("loss_of(y,", "tf.reduce_mean(y[:, None] *"),
        "its own loop computes a loss that is no keras.losses object",
    ),
    "own penalty": (
        DATA + PORT + LOOP,
        DATA + MODEL + TAPE.replace("training=True))", "training=True)) * 2"),
        "its own loop takes gradients of",
    ),
    "mixed": (
        DATA + PORT + LOOP,
        "import keras\nkeras.mixed_precision.set_global_policy('mixed_float16')\n"
        + DATA
        + MODEL
        + FIT,
        "it computes in mixed_float16",
    ),
    "labels": (
        DATA + PORT + LOOP,
        DATA + MODEL + FIT.replace(", kinds", ", kinds + 1"),
        "its labels are from 0 to 3: expected 0 to 2",
    ),
    "no samples": (
        DATA + PORT + LOOP,
        DATA + MODEL + FIT.replace("features, kinds", "features[:0], kinds[:0]"),
        "no samples",
    ),
    "text": (
        DATA + PORT + LOOP,
        DATA + MODEL + FIT.replace(", kinds", ", kinds.astype(str)"),
        "its targets are of dtype <U",
    ),
    "bfloat16": (
        DATA + PORT + "net.bfloat16()\n" + LOOP.replace("net(x)", "net(x.bfloat16())"),
        DATA + MODEL + FIT,
        "is of torch.bfloat16: expected a dense tensor of float32 or float64",
    ),
    "meta": (
        PORT.replace("8, 3))", "8, 3)).to('meta')") + "criterion = nn.CrossEntropyLoss()\n",
        DATA + MODEL + FIT,
        "is on the device meta",
    ),
    "several modules": (
        DATA
        + PORT.replace("net =", "head, net = nn.Linear(3, 3),")
        + LOOP.replace("net(x)", "head(net(x))"),
        DATA + MODEL + FIT,
        "a step trains several modules",
    ),
}


@pytest.mark.soak
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_judged_is_a_sentence(judged, kind):
    port, original, said = REFUSED[kind]
    with pytest.raises(UnusablePort, match=said.replace("(", r"\(").replace("[", r"\[")):
        judged(port, original)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no model", "Keras cannot load it: it is damaged; save the model once more")],
)
@pytest.mark.parametrize("name", ["saved.keras", "saved.h5"])
def test_a_saved_model_that_is_damaged_is_a_sentence(tmp_path, content, said, name):
    (tmp_path / "port.py").write_text(DATA + PORT + LOOP)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusablePort, match=said):
        examine(tmp_path / "port.py", tmp_path / name, "float64")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((None, "original.py"), TypeError, "port is a NoneType: expected the path of a file"),
        (("port.py", 3), TypeError, "reference is a int: expected the path of a file"),
        (("port.py", "o.py", "float16"), ValueError, "dtype is 'float16': expected 'float32' or"),
    ],
)
def test_the_assertion_names_the_argument_that_is_wrong(arguments, error, said):
    with pytest.raises(error, match=said):
        assert_same_training(*arguments)


EQUAL = """
import keras
from keras import layers
x = inputs = keras.Input((5,))
for activation in ("tanh", "relu", "sigmoid", "elu", None):
    x = layers.Dense(5, activation=activation)(x)
model = keras.Model(inputs, x)
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
SHUFFLED = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.e, self.a, self.d, self.b = (nn.Linear(5, 5) for _ in range(5))
    def forward(self, x):
        x = torch.sigmoid(self.c(torch.relu(self.b(torch.tanh(self.a(x))))))
        return self.e(nn.functional.elu(self.d(x)))
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.MSELoss()
"""


@pytest.mark.soak
def test_equal_layers_in_another_order_than_they_are_called_are_paired_rightly(judged):
    assert judged(SHUFFLED, EQUAL).failed == []


@pytest.mark.soak
def test_a_model_in_the_old_format_is_a_reference_and_one_with_a_layer_of_its_own_is_a_sentence(
    tmp_path,
):
    import keras

    class Mine(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    layers = [keras.Input((5,)), keras.layers.Dense(4)]
    for name, others in (("old.h5", []), ("own.keras", [Mine()])):
        model = keras.Sequential([*layers, *others])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.save(tmp_path / name)
    (tmp_path / "port.py").write_text(
        "import torch\nmodel = torch.nn.Linear(5, 4)\ncriterion = torch.nn.MSELoss()\n"
        "optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
    )
    assert examine(tmp_path / "port.py", tmp_path / "old.h5", "float64").failed == []
    with pytest.raises(UnusablePort, match="a layer of a class Mine of its own"):
        examine(tmp_path / "port.py", tmp_path / "own.keras", "float64")


SCRIPTED = """
import torch
from torch import nn
model = torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
def step(x, y):
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= 0.1 * weight.grad
"""


@pytest.mark.soak
def test_a_scripted_model_with_an_update_by_hand_is_judged_by_what_can_be_seen(judged):
    plain = MODEL.replace("keras.layers.Dropout(0.2),", "") + COMPILED.replace(", momentum=0.9", "")
    verdicts = judged(SCRIPTED, plain)
    assert verdicts.failed == []
    assert {"outputs", "loss", "gradients", "update"} <= set(verdicts.judged)
    assert "layers" not in verdicts.judged
