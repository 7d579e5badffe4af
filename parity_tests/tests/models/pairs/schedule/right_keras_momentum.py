import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 2))


class KerasSGD(torch.optim.Optimizer):
    """The rate goes into the velocity, as in Keras, so a schedule does not act on the past."""

    def __init__(self, params, lr, momentum):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(group["momentum"]).sub_(p.grad, alpha=group["lr"])
                p += v


optimizer = KerasSGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + 0.05 * epoch))
criterion = nn.MSELoss()


def train_one_epoch(loader):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
