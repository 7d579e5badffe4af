import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(n, n, 3, padding="same", bias=False)
        self.bn1 = nn.BatchNorm2d(n, eps=1.001e-5, momentum=0.01)
        self.conv2 = nn.Conv2d(n, n, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(n, eps=1.001e-5, momentum=0.01)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class KerasRMSprop(torch.optim.Optimizer):
    def __init__(self, params, lr, rho=0.9, eps=1e-7):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                state = self.state[w]
                v = state.setdefault("v", torch.zeros_like(w))
                v.mul_(group["rho"]).add_((1 - group["rho"]) * w.grad**2)
                w -= group["lr"] * w.grad / (v + group["eps"]).sqrt()


model = ResNet()
optimizer = KerasRMSprop(model.parameters(), 1e-3)
loss = nn.CrossEntropyLoss()
