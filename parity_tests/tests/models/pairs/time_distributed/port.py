import torch
from torch import nn


class TimeDistributed(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        n, t = x.shape[:2]
        y = self.module(x.reshape(n * t, *x.shape[2:]))
        return y.reshape(t, n, *y.shape[1:]).transpose(0, 1)


class Video(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = TimeDistributed(
            nn.Sequential(
                nn.Conv2d(3, 4, 3),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(4, 6, 3),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
        )
        self.lstm = nn.LSTM(6, 7, batch_first=True)
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.fc = nn.Linear(7, 3)

    def forward(self, x):  # (n, t, h, w, c)
        x = x.permute(0, 1, 4, 2, 3)
        x, _ = self.lstm(self.cnn(x))
        return self.fc(x[:, -1])


model = Video()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()


def train_step(frames, labels):
    optimizer.zero_grad()
    loss = criterion(model(frames), labels)
    loss.backward()
    optimizer.step()
    return loss.item()
