import torch
from torch import nn


class KerasRMSprop(torch.optim.Optimizer):
    def __init__(self, params, lr=0.001, rho=0.9, eps=1e-7):
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(group["rho"]).add_(p.grad**2, alpha=1 - group["rho"])
                p -= group["lr"] * p.grad / (v + group["eps"]).sqrt()


model = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.ReLU(),
    nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.Conv2d(8, 1, 3, padding=1),
)
optimizer = KerasRMSprop(model.parameters())
criterion = nn.L1Loss()
