"""Dropout of every kind: its rate, how many numbers it draws, and its place, on both sides."""

import pytest

from parity_tests.check.models.examination import examine
from parity_tests.tests.models.conftest import left_of

pytestmark = pytest.mark.soak

ORIGINAL = """
import keras
from keras import layers

inputs = keras.Input((6, 8))
drop = layers.Dropout(0.25)
x = drop(layers.Dense(8, activation="relu")(inputs))
x = drop(layers.Dense(8)(x))
attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
left = layers.SpatialDropout1D(0.2)(attended)
right = layers.Dropout(0.4)(x)
x = layers.LSTM(5, dropout=0.3, use_bias=False)(left + right)
x = layers.AlphaDropout(0.15)(x)
model = keras.Model(inputs, layers.Dense(3)(x))
model.compile("sgd", "mse")
"""
PORT = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.drop, self.alpha = nn.Dropout(0.25), nn.AlphaDropout(0.15)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.lstm = nn.LSTM(8, 5, bias=False, batch_first=True)
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        x = self.drop(torch.relu(self.a(x)))
        x = self.drop(self.b(x))
        attended = self.attention(x, x, x, need_weights=True)[0]
        left = F.dropout1d(attended.transpose(1, 2), 0.2, self.training).transpose(1, 2)
        right = F.dropout(x, 0.4, self.training)
        x = left + right
        x = x * F.dropout(torch.ones_like(x[:, :1]), 0.3, self.training)
        return self.out(self.alpha(self.lstm(x)[0][:, -1]))

model = Net()
loss = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), 0.01)
"""
LEFT = "        left = F.dropout1d(attended.transpose(1, 2), 0.2, self.training).transpose(1, 2)\n"
RIGHT = "        right = F.dropout(x, 0.4, self.training)\n"


@pytest.fixture
def examined(tmp_path):
    """Return the verdicts on a port beside the model."""

    def examined(port):
        for name, text in (("port.py", port), ("original.py", ORIGINAL)):
            (tmp_path / name).write_text(text)
        return examine(tmp_path / "port.py", tmp_path / "original.py", "float64")

    return examined


@pytest.mark.parametrize("need_weights", [True, False])
def test_every_kind_of_dropout_passes(examined, need_weights):
    verdicts = examined(PORT.replace("need_weights=True", f"need_weights={need_weights}"))
    assert (list(verdicts.failed), left_of(verdicts)) == ([], [])
    assert "noise" in verdicts.judged


def test_branches_may_be_computed_in_another_order(examined):
    verdicts = examined(PORT.replace(LEFT + RIGHT, RIGHT + LEFT))
    assert (list(verdicts.failed), left_of(verdicts)) == ([], [])


def test_dropout_in_another_place_fails(examined):
    right = "self.drop(torch.relu(self.a(x)))"
    assert right in PORT
    verdicts = examined(PORT.replace(right, "torch.relu(self.a(self.drop(x)))"))
    assert list(verdicts.failed) == ["noise"]
    assert "dropout is in another place" in str(verdicts.findings[0])


@pytest.mark.parametrize(
    ("replace", "by", "port", "model"),
    [
        ("self.drop(self.b(x))", "self.b(x)", "none", "0.25 of 384 numbers"),
        ("dropout=0.1", "dropout=0.2", "0.2 of 576 numbers", "0.1 of 576 numbers"),
        (LEFT, LEFT.replace("1d", ""), "0.2 of 384 numbers", "0.2 of 64 numbers"),
        ("x[:, :1]", "x", "0.3 of 384 numbers", "0.3 of 64 numbers"),
        ("nn.AlphaD", "nn.D", "0.15 of 40 numbers", "alpha dropout 0.15 of 40 numbers"),
    ],
)
def test_dropout_of_another_rate_kind_or_number_fails(examined, replace, by, port, model):
    assert replace in PORT
    verdicts = examined(PORT.replace(replace, by))
    assert list(verdicts.failed) == ["noise"]
    found = f"noise: dropout {port} in the port, {model} in the model, in training"
    assert [str(of) for of in verdicts.findings] == [found]
