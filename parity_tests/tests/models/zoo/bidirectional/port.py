import torch
from torch import nn


class BiLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, bidirectional=True, batch_first=True)
        for name, weight in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                weight.requires_grad_(False)
        self.hidden = nn.Linear(12, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        x, _ = self.lstm(x)
        x = torch.relu(self.hidden(x))
        return self.out(x.amax(dim=1))


model = BiLSTM()
optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.05)
loss_fn = nn.MSELoss()
