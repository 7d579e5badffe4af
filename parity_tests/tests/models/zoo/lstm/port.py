import torch
from torch import nn


class Sentiment(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(60, 8)
        self.lstm = nn.LSTM(8, 10, batch_first=True)
        self.lstm.bias_hh_l0.requires_grad_(False)  # Keras has one bias
        self.out = nn.Linear(10, 1)

    def forward(self, tokens):
        outputs, _ = self.lstm(self.embedding(tokens))
        return torch.sigmoid(self.out(outputs[:, -1]))


class KerasAdam(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-7):
        super().__init__(
            [p for p in params if p.requires_grad], {"lr": lr, "betas": betas, "eps": eps}
        )

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for w in group["params"]:
                state = self.state[w]
                m = state.setdefault("m", torch.zeros_like(w))
                v = state.setdefault("v", torch.zeros_like(w))
                t = state["t"] = state.get("t", 0) + 1
                m.lerp_(w.grad, 1 - b1)
                v.lerp_(w.grad**2, 1 - b2)
                rate = group["lr"] * (1 - b2**t) ** 0.5 / (1 - b1**t)
                w -= rate * m / (v.sqrt() + group["eps"])


model = Sentiment()
optimizer = KerasAdam(model.parameters(), lr=1e-2)
criterion = nn.BCELoss()


def train_step(tokens, labels):
    optimizer.zero_grad()
    loss = criterion(model(tokens), labels)
    loss.backward()
    optimizer.step()
    return loss.item()
