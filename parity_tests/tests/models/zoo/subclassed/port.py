import torch
from torch import nn


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(12, 5)
        self.norm = nn.LayerNorm(5, eps=1e-3)
        self.decoder = nn.Linear(5, 12)

    def forward(self, x):
        return self.decoder(self.norm(nn.functional.silu(self.encoder(x))))


class KerasAdagrad(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                total = self.state[w].setdefault("total", torch.full_like(w, 0.1))
                total += w.grad**2
                w -= group["lr"] * w.grad / (total + 1e-7).sqrt()


autoencoder = Autoencoder()
optimizer = KerasAdagrad(autoencoder.parameters(), lr=0.05)


def training_step(x, y):
    optimizer.zero_grad()
    loss = (autoencoder(x) - x).square().mean()
    loss.backward()
    optimizer.step()
    return loss
