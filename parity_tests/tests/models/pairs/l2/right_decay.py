import torch
from torch import nn

model = nn.Sequential(
    nn.Conv2d(3, 6, 3),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(6, 8),
    nn.ReLU(),
    nn.Linear(8, 4),
)
criterion = nn.CrossEntropyLoss()
kernels = [p for p in model.parameters() if p.ndim > 1]
biases = [p for p in model.parameters() if p.ndim == 1]
optimizer = torch.optim.SGD(
    [{"params": kernels, "weight_decay": 2 * 5e-3}, {"params": biases}], lr=0.1, momentum=0.9
)


def train_step(x, y):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
