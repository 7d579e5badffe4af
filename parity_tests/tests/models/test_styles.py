"""What a stranger wrote in ways of theirs, on either side: right ports pass, wrong ones fail."""

import pytest

from parity_tests.tests.models.conftest import left_of

pytestmark = pytest.mark.soak

SGD = "optimizer = torch.optim.SGD(model.parameters(), 0.1)\n"
PLAIN = 'model.compile(keras.optimizers.SGD(0.1), "mse")\n'
DROPPED = """
model = keras.Sequential([
    keras.Input((5,)), layers.Dense(6, "relu"), layers.Dropout(0.5), layers.Dense(4),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(0.1), loss)
"""
LOGARITHMS = """
model = nn.Sequential(
    nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 4), nn.LogSoftmax(1)
)
"""
STEP = """
def train(features, target):
    model.train()
    optimizer.zero_grad()
    value = nn.functional.nll_loss(model(features), target)
    value.backward()
    optimizer.step()
    return value
"""
LIGHTNING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))

    def training_step(self, batch, index):
        x, y = batch
        return nn.functional.mse_loss(self.layers(x), y)

    def forward(self, x):
        return self.layers(x)

def fit(module, loader, epochs=1):
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(epochs):
        for index, batch in enumerate(loader):
            value = module.training_step(batch, index)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

model = Net()
"""
TANH = """
model = keras.Sequential([keras.Input((5,)), layers.Dense(4, "tanh"), layers.Dense(1)])
"""
HALVED = """
model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.2)

def train_step(x, y):
    optimizer.zero_grad()
    value = nn.functional.mse_loss(model(x), y)
    (value / 2).backward()
    for weight in model.parameters():
        weight.grad.mul_(2)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    return value
"""
SQUARE = """
class Layer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)

model = nn.Sequential(Layer(5, 5), nn.Tanh(), Layer(5, 5))
criterion_of_mine = nn.MSELoss()
"""
SQUARES = """
model = keras.Sequential([keras.Input((5,)), layers.Dense(5, "tanh"), layers.Dense(5)])
"""
ADAPTED = """
import numpy as np
samples = np.random.default_rng(1).normal(3.0, 2.0, (50, 4)).astype("float32")
normalization = layers.Normalization()
normalization.adapt(samples)
model = keras.Sequential([
    keras.Input((4,)), normalization, layers.Dense(5, activation=layers.LeakyReLU(0.2)),
    layers.Dense(1),
])
"""
STANDARDIZED = """
import numpy as np
samples = torch.tensor(np.random.default_rng(1).normal(3.0, 2.0, (50, 4)).astype("float32"))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 5), nn.Linear(5, 1)

    def forward(self, x):
        mean, std = samples.mean(0).to(x), samples.std(0, correction=0).to(x)
        x = nn.functional.leaky_relu(self.hidden((x - mean) / std), 0.2)
        return self.out(x)

model = Net()
loss_function = nn.MSELoss()
"""
BY_NAME = """
x = inputs = keras.Input((6,))
outputs = {"kind": layers.Dense(3, "softmax")(x), "box": layers.Dense(4, "sigmoid")(x)}
model = keras.Model(inputs, outputs)
losses = {"kind": "sparse_categorical_crossentropy", "box": "mse"}
model.compile(keras.optimizers.SGD(0.1), losses)
"""
BY_PLACE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.kind, self.box = nn.Linear(6, 3), nn.Linear(6, 4)

    def forward(self, x):
        return self.kind(x), self.box(x).sigmoid()

model = Net()
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def train_step(x, kinds, boxes):
    optimizer.zero_grad()
    kind, box = model(x)
    value = nn.functional.cross_entropy(kind, kinds) + nn.functional.mse_loss(box, boxes)
    value.backward()
    optimizer.step()
    return value
"""
BRANCHES = """
def conv(x, filters, size):
    x = layers.Conv2D(filters, size, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))

inputs = keras.Input((6, 6, 3))
parts = [conv(inputs, 3, 1), conv(conv(inputs, 3, 1), 4, 3), conv(inputs, 2, 1)]
x = layers.GlobalAveragePooling2D()(layers.Concatenate()(parts))
model = keras.Model(inputs, layers.Dense(1)(x))
"""
INCEPTION = """
def conv(inputs, outputs, size):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs, 1e-3, 0.01), nn.ReLU(),
    )

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.three = conv(3, 3, 1), nn.Sequential(conv(3, 3, 1), conv(3, 4, 3))
        self.last, self.out = conv(3, 2, 1), nn.Linear(9, 1)

    def forward(self, x):
        x = torch.cat([self.one(x), self.three(x), self.last(x)], 1)
        return self.out(x.mean((2, 3)))

model = Net()
loss = nn.MSELoss()
"""
SLOPES = """
model = keras.Sequential([
    keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.PReLU(shared_axes=[1, 2]),
    layers.GroupNormalization(-1), layers.Flatten(), layers.Dense(5), layers.PReLU(),
    layers.Dense(1),
])
"""
LEARNED = """
from dataclasses import dataclass

@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor = None

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.PReLU(5)
        self.norm = nn.InstanceNorm2d(4, 1e-3, affine=True)
        self.hidden, self.out = nn.Linear(64, 5), nn.Linear(5, 1)

    def forward(self, x):
        x = self.norm(self.first(self.conv(x))).permute(0, 2, 3, 1).flatten(1)
        return Output(self.out(self.second(self.hidden(x))))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def train_step(x, y):
    optimizer.zero_grad()
    value = nn.functional.mse_loss(model(x).logits, y)
    value.backward()
    optimizer.step()
    return value
"""
STATES = """
x = inputs = keras.Input((7, 3))
x, *states = layers.LSTM(4, return_sequences=True, return_state=True)(x)
x = layers.LSTM(4)(x, initial_state=states)
model = keras.Model(inputs, layers.Dense(1)(x))
"""
HANDED_ON = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.LSTM(n, 4, batch_first=True) for n in (3, 4))
        self.first.bias_hh_l0.requires_grad_(False)
        self.second.bias_hh_l0.requires_grad_(False)
        self.out = nn.Linear(4, 1)

    def forward(self, x):
        x, states = self.first(x)
        return self.out(self.second(x, states)[0][:, -1])

model = Net()
loss = nn.MSELoss()
"""
PAIRS = {
    "a step called train, and logarithms for logits": (DROPPED, LOGARITHMS + SGD + STEP),
    "a step that only returns the loss": (TANH + PLAIN, LIGHTNING),
    "a loss of which a share is differentiated": (TANH + PLAIN, HALVED),
    "square weights of its own": (SQUARES + PLAIN, SQUARE + SGD),
    "rounded statistics of the data": (ADAPTED + PLAIN, STANDARDIZED + SGD),
    "outputs by name and by place": (BY_NAME, BY_PLACE),
    "branches that Keras calls in another order": (BRANCHES + PLAIN, INCEPTION + SGD),
    "learned slopes, and a dataclass": (SLOPES + PLAIN, LEARNED),
    "states that are handed on": (STATES + PLAIN, HANDED_ON + SGD),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_passes_in_any_style(examined, name):
    verdicts = examined(*PAIRS[name])
    assert (verdicts.failed, verdicts.not_judged, left_of(verdicts)) == ([], {}, [])
    assert verdicts.usable


TRAINED = "a step called train, and logarithms for logits"


@pytest.mark.parametrize(
    ("name", "replace", "by", "finding"),
    [
        (TRAINED, "model.train()", "model.eval()", "none in the port, 0.5 in the model, in the tr"),
        (
            TRAINED,
            "model(features)",
            "model(nn.functional.dropout(features, 0.2))",
            "dropout 0.2, 0.5 in the port, 0.5 in the model, in the training step",
        ),
        (TRAINED, "nll_loss(", "cross_entropy(2 * ", "unexplained"),
        ("a loss of which a share is differentiated", "mul_(2)", "mul_(3)", "it is 1.5 times"),
        ("square weights of its own", "nn.Tanh()", "nn.ReLU()", "its activation is relu"),
        ("rounded statistics of the data", "std(0, correction=0)", "std(0)", "unexplained"),
        ("outputs by name and by place", "box(x).sigmoid()", "box(x)", "unexplained"),
        ("branches that Keras calls in another order", "1e-3", "1e-5", "epsilon is 1e-05"),
        ("states that are handed on", "(x, states)", "(x)", "unexplained"),
    ],
)
def test_a_wrong_port_fails_in_any_style(examined, name, replace, by, finding):
    verdicts = examined(*PAIRS[name], replace, by)
    assert verdicts.failed
    assert finding in " ".join(map(str, verdicts.findings))
