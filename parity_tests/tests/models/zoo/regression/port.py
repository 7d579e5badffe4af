import torch
from torch import nn

net = nn.Sequential(
    nn.Linear(13, 24), nn.SELU(), nn.Linear(24, 12), nn.Softplus(), nn.Linear(12, 1)
)


class KerasAdam(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                s = self.state[w]
                s["t"] = t = s.get("t", 0) + 1
                s["m"] = s.get("m", 0) * 0.9 + 0.1 * w.grad
                s["v"] = s.get("v", 0) * 0.999 + 0.001 * w.grad**2
                rate = group["lr"] * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
                w -= rate * s["m"] / (s["v"].sqrt() + 1e-7)


optimizer = KerasAdam(net.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8**0.5)
huber = nn.HuberLoss(delta=0.7)


def train_step(net, optimizer, x, y):
    optimizer.zero_grad()
    loss = huber(net(x), y)
    loss.backward()
    for w in net.parameters():
        w.grad *= 0.5 / w.grad.norm().clamp(min=0.5)
    optimizer.step()
    scheduler.step()
    return loss.item()
