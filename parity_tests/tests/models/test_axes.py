"""Where a port has its axes, and how its layers are cut: each right port passes."""

import pytest

from parity_tests.tests.models.conftest import left_of

pytestmark = pytest.mark.soak

PICTURES = """
model = keras.Sequential([
    keras.Input((10, 10, 3)), layers.Conv2D(8, 3), layers.LayerNormalization(),
    layers.Activation("relu"), layers.Conv2D(6, 3, activation="relu"), POOLED, layers.Softmax(),
])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
POOL_FIRST = "layers.GlobalAveragePooling2D(), layers.Dense(4)"
POOL_LAST = "layers.Dense(4), layers.GlobalAveragePooling2D()"
END = """
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
"""
NORMALIZED = """
model = nn.Sequential(
    nn.Conv2d(3, 8, 3), Norm(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
)
"""
OF_TORCH = """
class Norm(nn.LayerNorm):
    def __init__(self, channels):
        super().__init__(channels, 1e-3)

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
"""
OF_ITS_OWN = """
class Norm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
        x = (x - mean) / (variance + 1e-3).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]
"""
TOKENS = """
x = inputs = keras.Input((12,), dtype="int32")
x = layers.Embedding(50, 16)(x)
x = layers.LSTM(16, return_sequences=True)(x)
x = layers.LayerNormalization()(x)
x = layers.LayerNormalization()(layers.add([x, layers.MultiHeadAttention(2, 8)(x, x)]))
x = layers.Dense(10, activation="relu")(x)
model = keras.Model(inputs, layers.Dense(5, activation="softmax")(x))
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
TIME_FIRST = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.lstm = nn.Embedding(50, 16), nn.LSTM(16, 16)
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.before, self.after = nn.LayerNorm(16, 1e-3), nn.LayerNorm(16, 1e-3)
        self.attention = nn.MultiheadAttention(16, 2)
        self.hidden, self.out = nn.Linear(16, 10), nn.Linear(10, 5)

    def forward(self, x):
        x = self.before(self.lstm(self.words(x.t()))[0])
        x = self.after(x + self.attention(x, x, x, need_weights=False)[0])
        return self.out(self.hidden(x).relu()).permute(1, 2, 0)

model = Net()
"""
SEQUENCES = """
model = keras.Sequential([
    keras.Input((20, 3)), layers.Conv1D(8, 3, padding="same", activation="relu"),
    layers.LSTM(6, return_sequences=True), layers.Dense(4, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
CHANNELS_FIRST = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(3, 8, 3, padding=1), nn.LSTM(8, 6, batch_first=True)
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.out = nn.Linear(6, 4)

    def forward(self, x):
        return self.out(self.lstm(self.conv(x).relu().mT)[0])RETURNED

model = Net()
"""
FLAT = """
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def criterion(outputs, labels):
    return nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten())
"""
SEPARABLE = """
model = keras.Sequential([
    keras.Input((9, 9, 3)), layers.SeparableConv2D(8, 3, activation="relu", depth_multiplier=2),
    layers.SeparableConv2D(6, 3, use_bias=False), layers.GlobalAveragePooling2D(),
    layers.Dense(4, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
TWO_CONVOLUTIONS = """
model = nn.Sequential(
    nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.Conv2d(6, 8, 1), nn.ReLU(),
    nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 6, 1, bias=False),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
)
"""
PLAIN, POOLED = (PICTURES.replace("POOLED", layers) for layers in (POOL_FIRST, POOL_LAST))
SAME, MOVED = (CHANNELS_FIRST.replace("RETURNED", end) for end in ("", ".mT"))
PAIRS = {
    "a layer of PyTorch's that is given the channels first": (PLAIN, OF_TORCH + NORMALIZED + END),
    "a layer of its own that is given them first": (PLAIN, OF_ITS_OWN + NORMALIZED + END),
    "time first": (TOKENS, TIME_FIRST + END),
    "sequences with the channels first": (SEQUENCES, MOVED + END),
    "sequences that are returned as Keras does": (SEQUENCES, SAME + FLAT),
    "separable convolutions": (SEPARABLE, TWO_CONVOLUTIONS + END),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_passes_wherever_its_axes_are(examined, name):
    verdicts = examined(*PAIRS[name])
    assert (verdicts.failed, verdicts.not_judged, left_of(verdicts)) == ([], {}, [])
    assert verdicts.usable


@pytest.mark.parametrize(
    ("name", "replace", "by", "rung"),
    [
        ("a layer of its own that is given them first", "1e-3", "1e-5", "layers"),
        ("time first", "nn.LayerNorm(16, 1e-3)\n", "nn.LayerNorm(16)\n", "layers"),
        ("time first", "nn.MultiheadAttention(16, 2)", "nn.MultiheadAttention(16, 4)", "layers"),
        ("sequences with the channels first", ".relu()", ".tanh()", "between"),
        ("separable convolutions", "nn.ReLU(),\n    nn.Conv2d(8, 8", "nn.Conv2d(8, 8", "between"),
    ],
)
def test_a_wrong_port_fails_wherever_its_axes_are(examined, name, replace, by, rung):
    assert examined(*PAIRS[name], replace, by).failed[0] == rung


def test_a_recurrent_layer_that_is_given_the_batch_for_the_time_fails(examined):
    port = (SAME + FLAT).replace(", batch_first=True", "")
    assert examined(SEQUENCES, port).failed[0] == "between"


def test_a_last_layer_before_the_pooling_is_the_same_and_not_judged_within(examined):
    verdicts = examined(POOLED, OF_TORCH + NORMALIZED + END)
    assert (verdicts.failed, verdicts.findings, verdicts.usable) == ([], [], True)
    assert list(verdicts.not_judged) == ["between"]
    assert "all that follows agrees" in verdicts.not_judged["between"]


def test_a_difference_within_that_a_mistake_explains_fails_although_all_that_follows_agrees(
    examined,
):
    layer = "layers.Conv2D(1, 3, activation='relu'), layers.Conv2D(1, 1, kernel_initializer='ones')"
    original = f"""
model = keras.Sequential([
    keras.Input((8, 8, 1)), {layer}, layers.GlobalMaxPooling2D(),
    layers.Dense(3, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
    port = """
model = nn.Sequential(
    nn.Conv2d(1, 1, 3), nn.LeakyReLU(), nn.Conv2d(1, 1, 1),
    nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1, 3),
)
"""
    verdicts = examined(original, port + END)
    assert verdicts.failed == ["between"]
    assert "conv2d: its activation is leaky relu of slope 0.01" in str(verdicts.findings[0])
