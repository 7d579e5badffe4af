import torch
import torch.nn as nn
import torch.nn.functional as F


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, padding=1)
        self.bottom = nn.Conv2d(4, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, 3, stride=2)
        self.mask = nn.Conv2d(14, 1, 1)

    def forward(self, x):
        down = F.relu(self.down(x))
        x = F.elu(self.bottom(F.max_pool2d(down, 2)))
        up = F.relu(self.up(x)[:, :, :8, :8])
        wide = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.mask(torch.cat([down, up, wide], dim=1))


unet = UNet()
sgd = torch.optim.SGD(unet.parameters(), lr=0.3)


def train_step(x, y):
    sgd.zero_grad()
    loss = F.binary_cross_entropy_with_logits(unet(x), y)
    loss.backward()
    sgd.step()
    return loss.item()
