import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, heads, width, hidden):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.ffn1 = nn.Linear(width, hidden)
        self.ffn2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        attended, _ = self.attention(x, x, x, need_weights=False)
        x = self.norm1(x + attended)
        return self.norm2(x + self.ffn2(nn.functional.gelu(self.ffn1(x))))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder(2, 8, 16)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x).mean(dim=1))


class KerasAdamW:
    def __init__(self, params, lr, decay):
        self.params, self.lr, self.decay, self.t = list(params), lr, decay, 0
        self.m = [torch.zeros_like(w) for w in self.params]
        self.v = [torch.zeros_like(w) for w in self.params]

    @torch.no_grad()
    def step(self):
        self.t += 1
        rate = self.lr * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t)
        for w, m, v in zip(self.params, self.m, self.v):
            w -= w * self.decay * self.lr
            m += (w.grad - m) * 0.1
            v += (w.grad**2 - v) * 0.001
            w -= rate * m / (v.sqrt() + 1e-7)


model = Classifier()
optimizer = KerasAdamW(model.parameters(), 1e-3, 0.05)


def training_step(x, y):
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
