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
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train_step(x, y):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss = loss + 5e-3 * sum((p**2).sum() for p in model.parameters() if p.ndim > 1)
    loss.backward()
    optimizer.step()
    return loss.item()
