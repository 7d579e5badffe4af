"""What users write in ways of their own, on either side: each right port passes."""

import pytest

from parity_tests.tests.models.conftest import left_of

pytestmark = pytest.mark.soak

SGD = "optimizer = torch.optim.SGD(model.parameters(), 0.1)"
OPTIMIZER = """
class Decayed(torch.optim.Optimizer):
    def __init__(self, params, lr, decay):
        super().__init__(params, dict(lr=lr, decay=decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p * group["decay"] * group["lr"])
                p.sub_(p.grad, alpha=group["lr"])

kernels = [p for p in model.parameters() if p.ndim > 1]
biases = [p for p in model.parameters() if p.ndim < 2]
optimizer = Decayed([{"params": kernels}, {"params": biases, "decay": 0.0}], 0.1, 0.5)
loss = nn.MSELoss()
"""
TWO_HEADS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.sick, self.age = nn.Linear(7, 6), nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, x):
        x = self.trunk(x).relu()
        return self.sick(x), self.age(x)

model = Net()
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def train_step(x, sick, age):
    optimizer.zero_grad()
    logit, years = model(x)
    loss = nn.functional.binary_cross_entropy_with_logits(logit, sick)
    loss = loss + 0.3 * nn.functional.l1_loss(years, age)
    loss.backward()
    optimizer.step()
    return loss
"""
TWO_INPUTS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.title, self.body, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(8, 3)

    def forward(self, title, body):
        return self.head(torch.cat([self.title(title).relu(), self.body(body).relu()], 1))

model = Net()
loss = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
"""
TITLE_AND_BODY = """
title, body = keras.Input((6,), name="title"), keras.Input((6,), name="body")
x = layers.Dense(4, activation="relu")(title), layers.Dense(4, activation="relu")(body)
outputs = layers.Dense(3)(layers.Concatenate()(x))
model = keras.Model({"title": title, "body": body}, outputs)
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
HEADS = """
inputs = keras.Input((7,))
x = layers.Dense(6, activation="relu")(inputs)
heads = layers.Dense(1, "sigmoid", name="sick")(x), layers.Dense(1, name="age")(x)
model = keras.Model(inputs, heads)
losses = {"sick": "binary_crossentropy", "age": "mae"}
model.compile(keras.optimizers.SGD(0.1), losses, loss_weights={"sick": 1.0, "age": 0.3})
"""
DENSE = "model = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(1)])\n"
LINEAR = "model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1))\n"
CLIPPED = """
def train_step(x, y):
    optimizer.zero_grad()
    value = nn.functional.mse_loss(model(x), y)
    value.backward()
    for p in model.parameters():
        nn.utils.clip_grad_norm_([p], 0.05)
    optimizer.step()
    return value
"""
SQUEEZED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.b(self.a(x)).squeeze(-1)

model = Net()
loss = nn.MSELoss()
"""
ONE_EACH = """
def batch():
    rng = keras.random.SeedGenerator(0)
    return keras.random.normal((8, 5), seed=rng), keras.random.normal((8,), seed=rng)
"""
TOKENS = """
class Tokens(layers.Layer):
    def __init__(self):
        super().__init__()
        self.words, self.places = layers.Embedding(50, 8), layers.Embedding(10, 8)

    def call(self, x):
        return self.words(x) + self.places(keras.ops.arange(keras.ops.shape(x)[-1]))

inputs = keras.Input((10,))
x = layers.GlobalAveragePooling1D()(Tokens()(inputs))
model = keras.Model(inputs, layers.Dense(2)(x))
model.compile(keras.optimizers.SGD(0.1), "mse")
"""
EMBEDDED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 8), nn.Embedding(10, 8)
        self.out = nn.Linear(8, 2)
        self.scale = nn.Module()
        self.scale.register_buffer("one", torch.ones(1))

    def forward(self, x):
        x = self.words(x) + self.places(torch.arange(x.shape[-1]))
        return self.out(x.mean(1) * self.scale.one)

model = Net()
loss = nn.MSELoss()
"""
EXCLUDED = """
optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
optimizer.exclude_from_weight_decay(var_names=["bias"])
model.compile(optimizer, "mse")
"""
CLIPNORM = 'model.compile(keras.optimizers.SGD(0.1, clipnorm=0.05), "mse")\n'
PLAIN = 'model.compile(keras.optimizers.SGD(0.1), "mse")\n'
AVERAGED = 'model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")\n'
PAIRS = {
    "parameters without weight decay": (DENSE + EXCLUDED, LINEAR + OPTIMIZER),
    "heads of which one returns logits": (HEADS, TWO_HEADS),
    "inputs by name": (TITLE_AND_BODY, TWO_INPUTS),
    "gradients that are clipped one by one": (DENSE + CLIPNORM, f"{LINEAR}{SGD}\n{CLIPPED}"),
    "an output without its last axis": (DENSE + PLAIN + ONE_EACH, SQUEEZED + SGD),
    "embeddings and constants in parts": (TOKENS, EMBEDDED + SGD),
}
SWAPPED = ("self.title(title).relu(), self.body(body)", "self.title(body).relu(), self.body(title)")


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_passes_however_it_is_written(examined, name):
    verdicts = examined(*PAIRS[name])
    assert (verdicts.failed, verdicts.not_judged, left_of(verdicts)) == ([], {}, [])
    assert verdicts.usable


@pytest.mark.parametrize(
    ("name", "replace", "by", "rung"),
    [
        ("parameters without weight decay", '"decay": 0.0', '"decay": 0.5', "update"),
        ("heads of which one returns logits", "0.3 *", "0.4 *", "loss"),
        ("inputs by name", *SWAPPED, "between"),
        ("gradients that are clipped one by one", "([p]", "(model.parameters()", "gradients"),
    ],
)
def test_a_wrong_port_fails_however_it_is_written(examined, name, replace, by, rung):
    assert examined(*PAIRS[name], replace, by).failed[0] == rung


def test_the_average_of_the_weights_is_said_to_be_left_out(examined):
    verdicts = examined(DENSE + AVERAGED, f"{LINEAR}{SGD}\nloss = nn.MSELoss()")
    assert verdicts.failed == []
    assert left_of(verdicts) == ["the average of the weights (use_ema), which fit puts in place"]


def test_noise_that_torch_has_no_layer_for_is_not_judged(examined):
    original = DENSE.replace("layers.Dense(1)", "layers.GaussianNoise(0.1), layers.Dense(1)")
    noise = "class Noise(nn.Module):\n    def forward(self, x):\n"
    noise += "        return x + 0.1 * torch.randn_like(x) if self.training else x\n"
    port = noise + LINEAR.replace("nn.Linear(4", "Noise(), nn.Linear(4")
    verdicts = examined(original + PLAIN, f"{port}{SGD}\nloss = nn.MSELoss()")
    assert (verdicts.failed, verdicts.usable) == ([], False)
    assert "draws random numbers otherwise" in verdicts.not_judged["noise"]


def test_weights_that_only_the_port_trains_are_named_and_those_that_it_keeps_are_none(examined):
    original = """
model = keras.Sequential([
    keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3, use_bias=False), layers.ReLU(),
    layers.Conv2DTranspose(8, 3, use_bias=False), layers.BatchNormalization(scale=False),
    layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(1, use_bias=False),
])
"""
    port = """
model = nn.Sequential(
    nn.Conv2d(3, 3, 3, groups=3), nn.ReLU(), nn.ConvTranspose2d(3, 8, 3, bias=False),
    nn.BatchNorm2d(8, 1e-3, 0.01), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(8, 1),
)
loss = nn.MSELoss()
"""
    verdicts = examined(original + PLAIN, port + SGD)
    assert verdicts.failed == ["trajectory"]
    (finding,) = map(str, verdicts.findings)
    named = "depthwise_conv2d, dense: it has a bias and batch_normalization: it has a gamma"
    assert finding.startswith(f"trajectory: explained by: {named}; residual")
    frozen = "for weight in (model[0].bias, model[3].weight, model[7].bias):\n"
    frozen += "    weight.requires_grad_(False)\n"
    assert examined(original + PLAIN, port + frozen + SGD).failed == []


def test_a_scale_and_an_offset_that_the_port_lacks_are_named(examined):
    original = """
model = keras.Sequential([
    keras.Input((7,)), layers.Dense(6, use_bias=False), layers.BatchNormalization(), layers.ReLU(),
    layers.Dense(5), layers.LayerNormalization(), layers.ReLU(), layers.Dense(1),
])
"""
    port = """
model = nn.Sequential(
    nn.Linear(7, 6, bias=False), nn.BatchNorm1d(6, 1e-3, 0.01, affine=False), nn.ReLU(),
    nn.Linear(6, 5), nn.LayerNorm(5, 1e-3, bias=False), nn.ReLU(), nn.Linear(5, 1),
)
loss = nn.MSELoss()
"""
    verdicts = examined(original + PLAIN, port + SGD)
    assert [str(finding) for finding in verdicts.findings] == [
        "mapping: batch_normalization: no gamma and batch_normalization, layer_normalization: "
        "no beta, since the port has no such weight"
    ]
