"""Ports as people write them, right and wrong, for the tests of `check`."""

BOOK = """
import math
import torch

class NaiveDense:
    def __init__(self, input_size, output_size, activation):
        self.activation = activation
        self.W = (torch.rand(input_size, output_size) * 0.1).requires_grad_()
        self.b = torch.zeros(output_size, requires_grad=True)

    def __call__(self, inputs):
        return self.activation(torch.matmul(inputs, self.W) + self.b)

class NaiveSequential:
    def __init__(self, layers):
        self.layers = layers

    def __call__(self, inputs):
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs

    @property
    def weights(self):
        return [weight for layer in self.layers for weight in (layer.W, layer.b)]

def loss_of(labels, predictions):
    clipped = torch.where(predictions < 1e-7, 1e-7, predictions)
    clipped = torch.where(clipped > 1 - 1e-7, 1 - 1e-7, clipped)
    return torch.nn.functional.cross_entropy(torch.log(clipped), labels)

def update_weights(gradients, weights):
    with torch.no_grad():
        for g, w in zip(gradients, weights):
            w -= g * 1e-3

def one_training_step(model, images_batch, labels_batch):
    average_loss = loss_of(labels_batch, model(images_batch))
    gradients = torch.autograd.grad(average_loss, model.weights)
    update_weights(gradients, model.weights)
    return average_loss

def fit(model, images, labels, epochs, batch_size=128):
    for epoch in range(epochs):
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            print(float(one_training_step(model, images[batch], labels[batch])))
"""

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 32)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

def training_step(model, images, labels):
    p = torch.softmax(model(images), dim=-1)
    p = torch.where(p < 1e-7, 1e-7, p)
    p = torch.where(p > 1 - 1e-7, 1 - 1e-7, p)
    loss = nn.functional.nll_loss(torch.log_softmax(torch.log(p), dim=-1), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
"""

BACKWARD = BOOK.replace(
    """    gradients = torch.autograd.grad(average_loss, model.weights)
    update_weights(gradients, model.weights)
""",
    """    for w in model.weights:
        w.grad = None
    average_loss.backward()
    update_weights([w.grad for w in model.weights], model.weights)
""",
)

BY_HAND = MODULE.replace("optimizer.step()", "step_by_hand(model)").replace(
    "def training_step",
    """@torch.no_grad()
def step_by_hand(model):
    for w in model.parameters():
        w -= w.grad * 1e-3

def training_step""",
)

WITHOUT_AUTOGRAD = (
    BOOK.replace("* 0.1).requires_grad_()", "* 0.1)").replace(", requires_grad=True", "")
).replace(
    """    average_loss = loss_of(labels_batch, model(images_batch))
    gradients = torch.autograd.grad(average_loss, model.weights)
""",
    """    first, last = model.layers
    h = first(images_batch)
    p = last(h)
    average_loss = loss_of(labels_batch, p)
    q = torch.where(p < 1e-7, 1e-7, p)
    q = torch.where(q > 1 - 1e-7, 1 - 1e-7, q)
    dq = (q / q.sum(1, keepdim=True) - torch.eye(10)[labels_batch]) / q / len(p)
    dp = torch.where((p < 1e-7) | (p > 1 - 1e-7), 0, dq)
    dz2 = p * (dp - (dp * p).sum(1, keepdim=True))
    dz1 = torch.where(h > 0, dz2 @ last.W.T, 0)
    gradients = [images_batch.T @ dz1, dz1.sum(0), h.T @ dz2, dz2.sum(0)]
""",
)

BY_OPTIMIZER = BOOK.replace(
    """    with torch.no_grad():
        for g, w in zip(gradients, weights):
            w -= g * 1e-3
""",
    """    for g, w in zip(gradients, weights):
        w.grad = g
    optimizer = torch.optim.SGD(weights, lr=1e-3)
    optimizer.step()
    optimizer.zero_grad()
""",
)

REBOUND = (
    BOOK.replace(
        """    with torch.no_grad():
        for g, w in zip(gradients, weights):
            w -= g * 1e-3
""",
        """    pass

def rebind(gradients, model):
    new = [(w - g * 1e-3).detach().requires_grad_() for g, w in zip(gradients, model.weights)]
    (model.layers[0].W, model.layers[0].b, model.layers[1].W, model.layers[1].b) = new
""",
    )
    .replace("    update_weights(gradients, model.weights)", "    rebind(gradients, model)")
    .replace("update_weights", "unused")
)

LOADS = (
    BOOK
    + """
import numpy as np
from pathlib import Path

def load_mnist(folder):
    def read(part, kind, offset):
        path = Path(folder, "MNIST", "raw", f"{part}-{kind}-ubyte")
        return np.fromfile(path, np.uint8, offset=offset)

    return tuple(
        (
            read(part, "images-idx3", 16).reshape(-1, 784).astype("float32") / 255,
            read(part, "labels-idx1", 8).astype("int64"),
        )
        for part in ("train", "t10k")
    )
"""
)

BATCHED = (
    BOOK.split("def fit")[0]
    + """
class BatchGenerator:
    def __init__(self, images, labels, batch_size=128):
        self.index = 0
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.num_batches = math.ceil(len(images) / batch_size)

    def next(self):
        batch = slice(self.index, self.index + self.batch_size)
        self.index += self.batch_size
        return self.images[batch], self.labels[batch]
"""
)

LOGITS = MODULE.split("    p = torch.softmax")[0] + (
    """    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
"""
)
