"""Right ports that were once refused or called wrong, each by what was special about it."""

import pytest

from parity_tests.tests.models.conftest import left_of

GROUPED = """
model = keras.Sequential([
    keras.Input((6, 6, 4)),
    layers.Conv2D(8, 3, groups=2, name="grouped"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(2, name="last"),
])
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
OF_GROUPED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, groups=2)
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.grouped(x).mean(dim=(2, 3)))


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train_step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""

FROZEN = """
model = keras.Sequential([
    keras.Input((5,)),
    layers.Dense(4, name="first"),
    layers.BatchNormalization(epsilon=1e-5, name="norm", trainable=False),
    layers.Dense(2, name="last"),
])
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
OF_FROZEN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.norm.requires_grad_(False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


model = Net()
optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)


def train_step(x, y):
    model.train()
    model.norm.eval()
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""

CODING = """
model = keras.Sequential([
    keras.Input((6,)), layers.Dense(3, activation="tanh", name="code"), layers.Dense(6, name="out"),
])
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
OF_CODING = """
model = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6))


def fit(model, images, epochs=2, batch_size=4):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        for i in range(0, len(images), batch_size):
            batch = images[i : i + batch_size]
            optimizer.zero_grad()
            nn.functional.mse_loss(model(batch), batch).backward()
            optimizer.step()
"""

SEVERAL = """
import numpy as np

rng = np.random.default_rng(0)
x, kind = rng.normal(size=(24, 5)).astype("float32"), rng.integers(0, 3, 24)
box = rng.normal(size=(24, 4)).astype("float32")
inputs = keras.Input((5,))
shared = layers.Dense(8, activation="relu", name="shared")(inputs)
model = keras.Model(inputs, {
    "kind": layers.Dense(3, activation="softmax", name="kind")(shared),
    "box": layers.Dense(4, name="box")(shared),
})
model.compile(
    keras.optimizers.SGD(0.1), loss={"kind": "sparse_categorical_crossentropy", "box": "mse"},
)
model.fit(x, {"kind": kind, "box": box}, batch_size=8, epochs=2, shuffle=False)
"""
OF_SEVERAL = """
import numpy as np

rng = np.random.default_rng(0)
x, kind = rng.normal(size=(24, 5)).astype("float32"), rng.integers(0, 3, 24)
box = rng.normal(size=(24, 4)).astype("float32")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.kind, self.box = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.shared(x))
        return self.kind(x), self.box(x)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = [torch.from_numpy(array).split(8) for array in (x, kind, box)]
for _ in range(2):
    for xb, kb, bb in zip(*data):
        logits, boxes = model(xb)
        loss = nn.functional.cross_entropy(logits, kb) + nn.functional.mse_loss(boxes, bb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

SMOOTHED = """
import numpy as np

rng = np.random.default_rng(0)
x, y = rng.normal(size=(24, 5)).astype("float32"), rng.integers(0, 2, (24, 1)).astype("float32")
model = keras.Sequential([
    keras.Input((5,)), layers.Dense(4, activation="relu", name="first"),
    layers.Dense(1, activation="sigmoid", name="last"),
])
model.compile(
    keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(label_smoothing=0.1),
)
model.fit(x, y, batch_size=8, epochs=2, shuffle=False)
"""
OF_SMOOTHED = """
import numpy as np

rng = np.random.default_rng(0)
x, y = rng.normal(size=(24, 5)).astype("float32"), rng.integers(0, 2, (24, 1)).astype("float32")
model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    for xb, yb in zip(torch.from_numpy(x).split(8), torch.from_numpy(y).split(8)):
        soft = yb * 0.9 + 0.05
        loss = nn.functional.binary_cross_entropy_with_logits(model(xb), soft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""

PAIRS = {
    "TensorFlow cannot train it": (GROUPED, OF_GROUPED),
    "a part stays in inference": (FROZEN, OF_FROZEN),
    "a loop that takes no labels": (CODING, OF_CODING),
    "a loss of its own for each output": (SEVERAL, OF_SEVERAL),
    "targets that are smoothed by hand": (SMOOTHED, OF_SMOOTHED),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_agrees_whatever_is_special_about_it(examined, capsys, name):
    verdicts = examined(*PAIRS[name])
    assert verdicts.failed == [], capsys.readouterr().out
    assert {"outputs", "loss", "gradients", "update", "trajectory"} <= set(verdicts.judged)
    assert left_of(verdicts) == []
