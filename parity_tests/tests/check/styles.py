"""One small network in the styles in which people write ports: right ones, and wrong ones."""

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(784, 32)
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        return torch.softmax(self.last(torch.relu(self.first(x))), dim=1)
"""

LOSS = """
def crossentropy(p, y):
    p = torch.where(p < 1e-7, 1e-7, p)
    p = torch.where(p > 1 - 1e-7, 1 - 1e-7, p)
    return -torch.log(p / p.sum(dim=1, keepdim=True))[torch.arange(len(y)), y].mean()
"""

MADE = """
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
"""

STEP = """
def train_step(x, y):
    loss = crossentropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss)
"""

OWN = NET + LOSS + MADE + STEP

SCRATCH = """
import torch

class Layer:
    def __init__(self, inputs, outputs, function):
        self.kernel = (torch.rand(inputs, outputs) / 10).requires_grad_()
        self.bias = torch.zeros(1, outputs, requires_grad=True)
        self.function = function

    def __call__(self, x):
        return self.function(x @ self.kernel + self.bias)

class Network:
    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""

BY_HAND = """
def train_on_batch(images, labels):
    loss = crossentropy(network.forward(images), labels)
    loss.backward()
    with torch.no_grad():
        for layer in network.layers:
            for weight in (layer.kernel, layer.bias):
                weight -= 0.001 * weight.grad
                weight.grad.zero_()
    return loss, 0.5
"""

NETWORK = """
network = Network(
    Layer(784, 32, torch.relu), Layer(32, 10, lambda z: torch.softmax(z, -1))
)
"""

LOOSE = """
import torch

weights = [torch.rand(784, 32) / 10, torch.zeros(32), torch.rand(32, 10) / 10, torch.zeros(10)]
weights = {f"w{i}": w.requires_grad_() for i, w in enumerate(weights)}

def predict(weights, x):
    hidden = torch.relu(x @ weights["w0"] + weights["w1"])
    return torch.softmax(hidden @ weights["w2"] + weights["w3"], dim=1)

def step(weights, x, y):
    loss = crossentropy(predict(weights, x), y)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    for (name, weight), gradient in zip(weights.items(), gradients):
        weights[name] = (weight - 0.001 * gradient).detach().requires_grad_()
    return loss
"""

LOOP = """
def train(loader, model, loss_fn, optimizer):
    for pixels, digits in loader:
        loss_fn(model(pixels.flatten(1)), digits).backward()
        optimizer.step()
        optimizer.zero_grad()
"""

REBOUND = """
import torch

k = (torch.rand(784, 32) / 10).requires_grad_()
c = torch.zeros(32, requires_grad=True)
v = (torch.rand(32, 10) / 10).requires_grad_()
d = torch.zeros(10, requires_grad=True)

def predict(x):
    return torch.softmax(torch.relu(x @ k + c) @ v + d, dim=1)

def train_batch(x, y):
    global k, c, v, d
    loss = crossentropy(predict(x), y)
    gradients = torch.autograd.grad(loss, (k, c, v, d))
    moved = [w - 0.001 * g for w, g in zip((k, c, v, d), gradients)]
    k, c, v, d = [w.detach().requires_grad_() for w in moved]
    return loss

def fit(x, y, epochs, batch_size):
    for _ in range(epochs):
        for start in range(0, len(x), batch_size):
            train_batch(x[start : start + batch_size], y[start : start + batch_size])
"""

RUNNER = """
class Runner:
    def __init__(self):
        self.net = Net()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.001)

    def train_step(self, x, y):
        probabilities = self.net(x)
        loss = crossentropy(probabilities, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return (probabilities.argmax(1) == y).double().mean()

runner = Runner()
"""

MAIN = """
def main():
    model = Net()
    opt = torch.optim.SGD(model.parameters(), lr=0.001)
    for epoch in range(10):
        train_step(model, opt, torch.rand(128, 784), torch.randint(0, 10, (128,)))

if __name__ == "__main__":
    main()
"""

OPTIONS = """
import argparse

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.001)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Net().to(device)
    opt = torch.optim.SGD(model.parameters(), lr=args.lr)
    for epoch in range(10):
        train_step(args, model, opt, torch.rand(128, 784), torch.randint(0, 10, (128,)))

if __name__ == "__main__":
    main()
"""

BUILT = """
def build():
    model = Net()
    return model, torch.optim.SGD(model.last.parameters(), lr=0.001)

def run(batches):
    model, opt = build()
    for x, y in batches:
        train_step(model, opt, x, y)
"""

PASSED = STEP.replace("train_step(x, y)", "train_step(model, opt, x, y)")
PASSED = PASSED.replace("optimizer", "opt").replace("net(", "model(")

RIGHT = {
    "an instance under another name": OWN,
    "an instance in a list": OWN.replace("net =", "nets =").replace("Net()\n", "[Net()]\n")
    .replace("net.", "nets[0].").replace("net(x", "nets[0](x"),
    "an instance made by a main program": NET + LOSS + PASSED + MAIN,
    "a model made with options": NET + LOSS + PASSED.replace("(model,", "(args, model,") + OPTIONS,
    "an instance under the main guard": NET + LOSS + STEP
    + "\nif __name__ == '__main__':\n    net = Net()\n"
    "    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)\n"
    "    train_step(torch.rand(128, 784), torch.randint(0, 10, (128,)))\n",
    "a class, and no instance": NET + LOSS + STEP.replace("x, y):", "model, x, y):\n"
    "    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)").replace("net(x", "model(x"),
    "the last layer first": OWN.replace("self.first = nn.Linear(784, 32)", "pass").replace(
        "self.last = nn.Linear(32, 10)",
        "self.last = nn.Linear(32, 10)\n        self.first = nn.Linear(784, 32)"),
    "pictures of one channel": OWN.replace("self.first(x)", "self.first(x.view(-1, 784))")
    .replace("        return", "        assert x.shape[1:] == (1, 28, 28)\n        return"),
    "images of bytes": OWN.replace("(x, y):", "(x, y):\n    x = x / 255", 1)
    .replace("def crossentropy(x, y):\n    x = x / 255", "def crossentropy(p, y):"),
    "logits, and softmax in the step": OWN.replace(
        "torch.softmax(self.last(torch.relu(self.first(x))), dim=1)",
        "self.last(torch.relu(self.first(x)))").replace("net(x)", "net(x).softmax(1)"),
    "logarithms of probabilities": OWN.replace("torch.softmax", "torch.log_softmax")
    .replace("net(x)", "net(x).exp()"),
    "what needs float32": OWN.replace("self.first(x)", "self.first(x.float())"),
    "from scratch, without names of the book": SCRATCH + LOSS + NETWORK + BY_HAND,
    "tensors in a dict": LOSS + LOOSE,
    "tensors that a step rebinds": LOSS + REBOUND,
    "a model in an object, and accuracy returned": NET + LOSS + RUNNER,
    "layers that keep what they computed": SCRATCH.replace(
        "return self.function(x @ self.kernel + self.bias)",
        "self.x, self.z = x, x @ self.kernel + self.bias\n        return self.function(self.z)")
    + LOSS + NETWORK + BY_HAND,
    "a loop of one epoch": NET + LOSS + MADE + LOOP.replace("optimizer):", "optimizer, epoch):")
    + "\nloss_fn = crossentropy\n",
    "a loop over a loader": NET + LOSS + MADE + LOOP + "\nloss_fn = crossentropy\n",
    "a method of a class": NET + LOSS + MADE + "\nclass Trainer:\n"
    + STEP.strip().replace("(x, y):", "(self, batch):\n    x, y = batch", 1).replace("\n", "\n    ")
    .replace("def", "    def", 1) + "\n\ntrainer = Trainer()\n",
    "options of a command line": "import sys\nassert len(sys.argv) == 1\n" + OWN,
    "calls of a notebook": OWN + "\nget_ipython().run_line_magic('matplotlib', 'inline')\n",
    "a compiled model": OWN.replace("Net()\n", "torch.compile(Net())\n"),
    "what prints": OWN.replace("    return float", "    print('loss', loss)\n    return float"),
    "no loss returned": OWN.replace("    return float(loss)\n", ""),
    "training when it is run": OWN + "\nfor _ in range(3):\n"
    "    train_step(torch.rand(9, 784), torch.arange(9))\n",
}  # fmt: skip
"""By what is unusual: ports that pass."""

WRONG = {
    "sigmoid": (OWN.replace("torch.relu", "torch.sigmoid"), "explained by: sigmoid ("),
    "an own rate": (OWN.replace("0.001", "0.0042"), "rate is 0.0042, expected 0.001)"),
    "two constants": (
        OWN.replace("lr=0.001", "lr=0.002, weight_decay=3e-5"),
        "is 0.002, expected 0.001; the weight decay is 3e-05, expected none)",
    ),
    "a momentum": (OWN.replace("lr=0.001", "lr=0.001, momentum=0.6"), "the momentum is 0.6, exp"),
    "a schedule": (
        OWN.replace("\ndef train_step", "\ndecay = torch.optim.lr_scheduler.ExponentialLR("
                    "optimizer, 0.97)\ndef train_step")
        .replace("    return float", "    decay.step()\n    return float"),
        "the learning rate changes from step to step: 0.001, 0.00097, 0.0009409, 0.000912673, ",
    ),
    "dropout": (
        OWN.replace("torch.relu(", "nn.functional.dropout("),
        "random numbers: explained by: dropout (dropout of 0.5 in training, expected none) (line",
    ),
    "noise": (
        OWN.replace("self.first(x)", "self.first(x + torch.randn_like(x))"),
        "random numbers: it draws random numbers",
    ),
    "the optimizer of another model": (
        OWN.replace("SGD(net.", "SGD(Net()."),
        "the optimizer holds none of the model's weights",
    ),
    "an optimizer that holds a part": (
        NET + LOSS + PASSED + BUILT, "FAIL update by SGD layers.0.W at seed 0"
    ),
    "gradients hidden and divided by 128": (
        SCRATCH + LOSS.replace(".mean()", ".sum() / 128") + NETWORK
        + BY_HAND.replace("weight.grad.zero_()", "weight.grad = None"),
        "explained by: always divided by 128",
    ),
    "no softmax, and no zero_grad": (
        OWN.replace("torch.softmax(self.last(torch.relu(self.first(x))), dim=1)",
                    "self.last(torch.relu(self.first(x)))")
        .replace("crossentropy(net(x), y)", "nn.functional.cross_entropy(net(x), y)")
        .replace("    optimizer.zero_grad()\n", ""),
        " and zero_grad forgotten (the gradients of all steps add up: zero_grad is missing)",
    ),
    "a sigmoid, and softmax over the batch": (
        OWN.replace("torch.relu", "torch.sigmoid").replace("dim=1)\n\ndef", "dim=0)\n\ndef"),
        "explained by: sigmoid (the hidden layer has a sigmoid, not relu) and softmax over the ba",
    ),
    "a loop that shuffles": (
        OWN + "\ndef fit(x, y, epochs, batch_size):\n    for _ in range(epochs):\n"
        "        for batch in torch.randperm(len(x)).split(batch_size):\n"
        "            train_step(x[batch], y[batch])\n",
        "loop: explained by: always shuffled (the samples come in another order: ",
    ),
    "nothing but a constant": (
        NET + "\nnet = Net()\n\ndef step(x, y):\n    for w in net.parameters():\n"
        "        w.data -= 1.0\n    return 0.5\n",
        "gradients: unexplained by any known mistake",
    ),
}  # fmt: skip
"""By the mistake: a port that fails, and what is said of it."""
