import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(4, 12, 1, bias=False),
            nn.BatchNorm2d(12, eps=1e-3, momentum=0.1),
            nn.ReLU6(),
            nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12, eps=1e-3, momentum=0.1),
            nn.ReLU6(),
            nn.Conv2d(12, 8, 1, bias=False),
        )
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        return torch.sigmoid(self.classifier(self.features(x).mean((2, 3))))


model = Block()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
bce = nn.BCELoss()


def step(x, y):
    optimizer.zero_grad()
    loss = bce(model(x), y)
    loss.backward()
    norm = torch.stack([w.grad.norm() for w in model.parameters()]).norm()
    for w in model.parameters():
        w.grad *= 0.05 / norm.clamp(min=0.05)
    optimizer.step()
    return loss.item(), float(norm)
