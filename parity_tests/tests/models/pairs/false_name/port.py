import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(7, 6),
    nn.BatchNorm1d(6, eps=1e-3),
    nn.ReLU(),
    nn.Linear(6, 5),
    nn.BatchNorm1d(5, eps=1e-3),
    nn.ReLU(),
    nn.Linear(5, 1),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.99)
criterion = nn.MSELoss()
