"""Small programs as strangers write them: each stands for a kind that was once judged wrongly."""

import pytest

PRELUDE = """
import torch
from torch import nn

class Mlp(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.inner = nn.Linear(784, width)
        self.outer = nn.Linear(width, 10)

    def forward(self, x):
        return self.outer(self.inner(x).relu()).softmax(1)

def losses_of(p, y):
    c = p.detach().clamp(1e-7, 1 - 1e-7)
    p = torch.where(p == c, p, c)
    return -torch.log(p / p.sum(1, keepdim=True))[torch.arange(len(y)), y]
"""

MADE = """
model = Mlp()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
"""

STEP = """
def train_step(x, y):
    loss = losses_of(model(x), y).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
"""

USUAL = PRELUDE + MADE + STEP

PASSED = STEP.replace("(x, y)", "(model, optimizer, x, y)", 1)

RUN = """
images, labels = torch.rand(640, 784), torch.randint(0, 10, (640,))
for xs, ys in zip(images.split(128), labels.split(128)):
    print(train_step(xs, ys).item())
"""

HUNDRED = """
    for _ in range(100):
        train_step(model, optimizer, torch.rand(128, 784), torch.randint(0, 10, (128,)))

if __name__ == "__main__":
    main()
"""

LOOSE = """
def init():
    return {
        "w1": (torch.rand(784, 32) * 0.1).requires_grad_(),
        "b1": torch.zeros(32, requires_grad=True),
        "w2": (torch.rand(32, 10) * 0.1).requires_grad_(),
        "b2": torch.zeros(10, requires_grad=True),
    }

def predict(params, x):
    h = torch.relu(x @ params["w1"] + params["b1"])
    return torch.softmax(h @ params["w2"] + params["b2"], dim=-1)

params = init()
"""

RIGHT = {
    "the class of a runner, and no instance of it": PRELUDE + """
class Runner:
    def __init__(self, net=None, lr=1e-3):
        net = net or Mlp()
        self.net = net
        self.optimizer = torch.optim.SGD(net.parameters(), lr=lr)

    def train_step(self, x, y):
        loss = losses_of(self.net(x), y).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
""",
    "a batch that is a dict": PRELUDE + MADE + STEP.replace("(x, y)", "(batch)", 1).replace(
        "model(x), y", 'model(batch["image"].flatten(1)), batch["label"]'),
    "float32, and gradients that are left in .grad": USUAL.replace("inner(x)", "inner(x.float())")
    + "\ntrain_step(torch.rand(128, 784), torch.randint(0, 10, (128,)))\n",
    "a generator of losses": PRELUDE + MADE + """
def train(loader, model, optimizer):
    for x, y in loader:
        loss = losses_of(model(x), y).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
""",
    "gradients in one function, the update in the loop": PRELUDE + """
model = Mlp()
params = list(model.parameters())

def calc_grad(xb, yb, model):
    loss = losses_of(model(xb), yb).mean()
    loss.backward()
    return loss

def train_epoch(model, dl, lr=1e-3):
    for xb, yb in dl:
        calc_grad(xb, yb, model)
        for p in params:
            p.data -= lr * p.grad
            p.grad.zero_()
""",
    "labels in a column": USUAL.replace("[torch.arange(len(y)), y]", ".gather(1, y)"),
    "a batch in four parts": PRELUDE + MADE + """
def train_step(x, y, parts=4):
    optimizer.zero_grad()
    total = 0.0
    for xs, ys in zip(x.chunk(parts), y.chunk(parts)):
        loss = losses_of(model(xs), ys).sum() / len(x)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total
""",
    "new weights that the step returns": PRELUDE + LOOSE + """
def train_step(params, x, y, lr=1e-3):
    loss = losses_of(predict(params, x), y).mean()
    grads = torch.autograd.grad(loss, list(params.values()))
    new = {k: (w - lr * g).detach().requires_grad_() for (k, w), g in zip(params.items(), grads)}
    return new, loss.item()

def fit(x, y, epochs, batch_size):
    global params
    for _ in range(epochs):
        for xs, ys in zip(x.split(batch_size), y.split(batch_size)):
            params, loss = train_step(params, xs, ys)
""",
    "a scripted model": PRELUDE + """
model = torch.jit.script(Mlp())

def training_step(model, images, labels):
    p = model(images)
    c = torch.clamp(p.detach(), 1e-7, 1 - 1e-7)
    c = torch.where(p == c, p, c)
    loss = nn.functional.cross_entropy(torch.log(c), labels.long())
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for w in model.parameters():
            w -= 1e-3 * w.grad
    return loss
""",
    "a sum that the update divides": PRELUDE + LOOSE + """
def sgd(params, lr, batch_size):
    with torch.no_grad():
        for param in params:
            param -= lr * param.grad / batch_size
            param.grad.zero_()

def train_step(X, y):
    l = losses_of(predict(params, X), y)
    l.sum().backward()
    sgd(params.values(), 1e-3, len(y))
    return float(l.detach().mean())
""",
}  # fmt: skip
"""By what is unusual: programs that are right."""

WRONG = {
    "Adam, which trains when it is run": (
        USUAL.replace("SGD", "Adam") + RUN,
        "one update: explained by: Adam (the optimizer is Adam, not SGD)",
    ),
    "a momentum, which trains when it is run": (
        USUAL.replace("lr=1e-3", "lr=1e-3, momentum=0.6") + RUN,
        "one update: explained by: SGD with other constants (the momentum is 0.6, expected none)",
    ),
    "dropout, and a model that is left in eval mode": (
        USUAL.replace("self.inner =", "self.drop = nn.Dropout(0.2)\n        self.inner =").replace(
            "self.inner(x).relu()", "self.drop(self.inner(x).relu())") + """
images, labels = torch.rand(256, 784), torch.randint(0, 10, (256,))
for epoch in range(2):
    model.train()
    for start in range(0, 256, 128):
        train_step(images[start : start + 128], labels[start : start + 128])
    model.eval()
    with torch.no_grad():
        print((model(images).argmax(1) == labels).float().mean().item())
""",
        "random numbers: explained by: dropout (dropout of 0.2 in training, expected none) (line 13"
    ),
    "another rate, in float32": (
        USUAL.replace("inner(x)", "inner(x.float())").replace("1e-3", "2e-3"),
        "SGD with other constants (the learning rate is 0.002, expected 0.001)",
    ),
    "a local rate of the name of a global one": (
        PRELUDE + "\nlearning_rate = 1e-3\n" + PASSED + """
def main():
    learning_rate = 0.01
    model = Mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
""" + HUNDRED,
        "one update: explained by: rate of 1e-2 (",
    ),
    "an optimizer that an option chooses": (
        PRELUDE + PASSED + """
def main():
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--opt", default="adam")
    parser.add_argument("--lr", type=float, default=0.01)
    args = parser.parse_args()
    model = Mlp()
    if args.opt == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
""" + HUNDRED,
        "and Adam (the optimizer is Adam, not SGD)",
    ),
    "bytes over 256, in the step": (
        USUAL.replace("    loss =", "    x = x / 256\n    loss ="),
        "data: explained by: pixels over 256 (",
    ),
    "an optimizer of its own": (
        PRELUDE + """
class Descent:
    def __init__(self, parameters, rate):
        self.parameters, self.rate = list(parameters), rate

    def step(self):
        for w in self.parameters:
            w.data -= self.rate * w.grad

    def zero_grad(self):
        for w in self.parameters:
            w.grad = None

model = Mlp()
optimizer = Descent(model.parameters(), 0.01)
""" + PASSED,
        "one update: explained by: rate of 1e-2 (",
    ),
    "nothing clipped, and layers that are registered in reverse": (
        """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)
        self.h4 = nn.Linear(64, 64)
        self.h3 = nn.Linear(64, 64)
        self.h2 = nn.Linear(64, 64)
        self.h1 = nn.Linear(784, 64)

    def forward(self, x):
        for layer in (self.h1, self.h2, self.h3, self.h4):
            x = torch.relu(layer(x))
        return torch.softmax(self.out(x), dim=-1)

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
""" + STEP.replace("losses_of(model(x), y).mean()",
                   "nn.functional.nll_loss(torch.log(model(x)), y)"),
        "gradients: explained by: nothing clipped (",
    ),
    "a loop that shuffles, with another rate": (
        PRELUDE + """
model = Mlp()

def fit(x, y, epochs=10, batch_size=128):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(batch_size):
            loss = losses_of(model(x[batch]), y[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
""",
        "loop: explained by: always shuffled (",
    ),
    "a trainer that only the main program makes": (
        PRELUDE + MADE + """
class Trainer:
    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer

    def train_step(self, x, y):
        loss = losses_of(self.model(x), y).mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

if __name__ == "__main__":
    trainer = Trainer(model, optimizer)
    for _ in range(10):
        trainer.train_step(torch.rand(128, 784), torch.randint(0, 10, (128,)))
""",
        "gradients: explained by: zero_grad forgotten (",
    ),
}  # fmt: skip
"""By the mistake: programs that are wrong, and what is said of them."""


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_program_passes_however_it_trains(check, kind):
    status, out, err = check(RIGHT[kind])
    assert (status, "FAIL" in out) == (0, False), out + err
    assert "loss, gradients, update" in out.splitlines()[-1]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_program_fails_and_its_mistake_is_named(check, kind):
    source, named = WRONG[kind]
    status, out, err = check(source)
    assert (status, named in out) == (1, True), out + err


@pytest.mark.soak
def test_a_loop_that_shuffles_does_not_hide_its_rate(check):
    _, out, _ = check(WRONG["a loop that shuffles, with another rate"][0])
    assert "-> one update: explained by: rate of 1e-2 (" in out
