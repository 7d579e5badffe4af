import torch
import torch.nn.functional as F
from torch import nn


class Shop(nn.Module):
    def __init__(self):
        super().__init__()
        self.read = nn.Linear(6, 8)
        self.mix = nn.Linear(10, 6)
        self.stars = nn.Linear(6, 1)
        self.sold = nn.Linear(6, 1)

    def forward(self, title, price):
        x = torch.cat([F.relu(self.read(title)), price], dim=1)
        x = F.relu(self.mix(x))
        return self.stars(x), torch.sigmoid(self.sold(x))


model = Shop()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train_step(title, price, stars, sold):
    optimizer.zero_grad()
    a, b = model(title, price)
    loss = F.mse_loss(a, stars) + 0.25 * F.binary_cross_entropy(b, sold)
    loss.backward()
    optimizer.step()
    return loss.item()
