import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Chomp(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[:, :, : -self.size].contiguous()


class Block(nn.Module):
    def __init__(self, inputs, outputs, dilation):
        super().__init__()
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, 2, dilation=dilation, padding=dilation))
        self.conv2 = weight_norm(
            nn.Conv1d(outputs, outputs, 2, dilation=dilation, padding=dilation)
        )
        self.chomp = Chomp(dilation)
        self.match = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.chomp(self.conv1(x)))
        y = torch.relu(self.chomp(self.conv2(y)))
        return torch.relu(self.match(x) + y)


class TCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(3, 8, 1), Block(8, 8, 2), Block(8, 8, 4))
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.blocks(x.transpose(1, 2))[:, :, -1])


model = TCN()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
criterion = nn.MSELoss()


def train_step(x, y):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
