"""Ports of which one layer holds several of the model: packed projections, recurrent levels."""

import pytest

from parity_tests.tests.models.conftest import left_of

pytestmark = pytest.mark.soak

END = """
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
"""
OF_KERAS = """
x = inputs = keras.Input((10, 16))
for _ in range(2):
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(4, 4)(y, y)])
model = keras.Model(inputs, layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(x)))
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
OF_ITS_OWN = """
class Attention(layers.Layer):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (layers.Dense(16) for _ in "qkv")
        self.combine = layers.Dense(16)

    def heads(self, x):
        return keras.ops.transpose(keras.ops.reshape(x, (-1, 10, 4, 4)), (0, 2, 1, 3))

    def call(self, x):
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        scores = keras.ops.softmax(q @ keras.ops.swapaxes(k, -1, -2) / 2)
        y = keras.ops.transpose(scores @ v, (0, 2, 1, 3))
        return self.combine(keras.ops.reshape(y, (-1, 10, 16)))

x = inputs = keras.Input((10, 16))
for _ in range(2):
    x = x + Attention()(layers.LayerNormalization(epsilon=1e-6)(x))
model = keras.Model(inputs, layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(x)))
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
PACKED = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16, 1e-6)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        qkv = self.qkv(self.norm(x)).reshape(-1, 10, 3, 4, 4).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.proj(y.transpose(1, 2).flatten(2))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks, self.head = nn.Sequential(Attention(), Attention()), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.blocks(x).mean(1))

model = Net()
"""
LEVELS = """
model = keras.Sequential([
    keras.Input((12,), dtype="int32"), layers.Embedding(30, 8),
    layers.LSTM(6, return_sequences=True), layers.Dropout(0.3),
    layers.LSTM(6, return_sequences=True), layers.Dropout(0.3), layers.LSTM(6),
    layers.Dense(4, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
ONE_LSTM = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(30, 8), nn.Linear(6, 4)
        self.lstm = nn.LSTM(8, 6, num_layers=3, dropout=0.3, batch_first=True)
        for name, weight in self.lstm.named_parameters():
            weight.requires_grad_("bias_hh" not in name)

    def forward(self, x):
        return self.out(self.lstm(self.words(x))[1][0][-1])

model = Net()
"""
BOTH_WAYS = """
model = keras.Sequential([
    keras.Input((12, 5)), layers.Bidirectional(layers.GRU(6, return_sequences=True)),
    layers.Dropout(0.2), layers.Bidirectional(layers.GRU(6, return_sequences=True)),
    layers.Dense(4, activation="softmax"),
])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
"""
ONE_GRU = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(5, 6, 2, bidirectional=True, dropout=0.2), nn.Linear(12, 4)

    def forward(self, x):
        return self.out(self.gru(x.transpose(0, 1))[0]).permute(1, 2, 0)

model = Net()
"""
PAIRS = {
    "attention of Keras's": (OF_KERAS, PACKED + END),
    "attention of its own": (OF_ITS_OWN, PACKED + END),
    "three levels": (LEVELS, ONE_LSTM + END),
    "two levels in both directions": (BOTH_WAYS, ONE_GRU + END),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_that_holds_several_layers_in_one_passes(examined, name):
    verdicts = examined(*PAIRS[name])
    assert (verdicts.failed, verdicts.not_judged, left_of(verdicts)) == ([], {}, [])
    assert verdicts.usable


@pytest.mark.parametrize(
    ("name", "replace", "by", "rung", "finding"),
    [
        (
            "attention of Keras's",
            "nn.Linear(16, 48)",
            "nn.Linear(16, 48, bias=False)",
            "layers",
            "value: no bias, since the port has no such weight",
        ),
        (
            "attention of Keras's",
            "attention(q, k, v)",
            "attention(q, k, v, scale=0.25)",
            "between",
            "the scores are scaled by the whole width",
        ),
        ("attention of its own", "q, k, v = qkv", "k, q, v = qkv", "between", "unexplained"),
        ("three levels", "dropout=0.3", "dropout=0.2", "noise", "dropout 0.2 of 576 numbers"),
        ("three levels", "[1][0][-1]", "[1][0][0]", "between", "unexplained"),
    ],
)
def test_a_wrong_port_that_holds_several_layers_in_one_fails(
    examined, name, replace, by, rung, finding
):
    verdicts = examined(*PAIRS[name], replace, by)
    assert verdicts.failed[0] == rung
    assert finding in " ".join(map(str, verdicts.findings))
