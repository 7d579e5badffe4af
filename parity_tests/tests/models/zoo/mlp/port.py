import torch
from torch import nn


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 32)
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(32, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        x = self.dropout(torch.relu(self.fc1(x)))
        x = torch.tanh(self.fc2(x))
        return self.out(x)


model = MLP()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train_step(x, y):
    model.train()
    optimizer.zero_grad()
    loss = criterion(model(x), y) + 1e-2 * model.fc1.weight.square().sum()
    loss.backward()
    optimizer.step()
    return loss.item()
