"""Models whose layers share names, and attention whose projections are modules of the porter's."""

import pytest

from parity_tests.check.models.examination import examine

pytestmark = pytest.mark.soak

NESTED = """
import keras
from keras import layers

def branch(name):
    inputs = keras.Input((5,))
    x = layers.Dense(6, activation="relu", name="dense")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="out")(x), name=name)

inputs = keras.Input((5,))
left, right = branch("left")(inputs), branch("right")(inputs)
model = keras.Model(inputs, layers.Dense(2, name="head")(left * right))
model.compile(keras.optimizers.SGD(0.001, momentum=0.9), "mse")
"""
BRANCHES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
        self.right = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.left(x) * self.right(x))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)
loss = nn.MSELoss()
"""
TRANSFORMER = """
import keras
from keras import layers

inputs = keras.Input((6, 8))
x = inputs + layers.MultiHeadAttention(2, 4, name="first")(inputs, inputs)
x = x + layers.MultiHeadAttention(2, 4, name="second")(x, x)
model = keras.Model(inputs, layers.Dense(3)(x))
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
ATTENTION = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        parts = self.q(x), self.k(x), self.v(x)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Attention(2, 8), Attention(2, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = x + self.first(x)
        return self.out(x + self.second(x))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loss = nn.MSELoss()
"""
SQUARE = "self.out = nn.Linear(width, width)"
NO_BIAS = "first.key, second.key: no bias, since the port has no such weight"


@pytest.mark.parametrize(
    ("original", "port", "replace", "by", "finding"),
    [
        (NESTED, BRANCHES, "model", "model", ""),
        (NESTED, BRANCHES, "nn.ReLU", "nn.Tanh", "left.dense: its activation is tanh"),
        (TRANSFORMER, ATTENTION, "model", "model", ""),
        (TRANSFORMER, ATTENTION, " / q.shape[-1] ** 0.5", "", "the scores are not scaled"),
        (TRANSFORMER, ATTENTION, SQUARE, f"{SQUARE}\n        self.k.bias = None", NO_BIAS),
    ],
)
def test_layers_of_one_name_are_judged_apart(original, port, replace, by, finding, tmp_path):
    for name, text in (("port.py", port.replace(replace, by, 1)), ("original.py", original)):
        (tmp_path / name).write_text(text)
    verdicts = examine(tmp_path / "port.py", tmp_path / "original.py", "float64")
    assert [finding in str(found) for found in verdicts.findings] == [True] * bool(finding)
    assert bool(verdicts.failed) == bool(finding)
