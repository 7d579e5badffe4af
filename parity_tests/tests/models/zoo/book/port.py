import torch
import torch.nn.functional as F
from torch import nn


class NaiveDense(nn.Module):
    def __init__(self, input_size, output_size, activation):
        super().__init__()
        self.activation = activation
        self.W = nn.Parameter(torch.rand(input_size, output_size) * 1e-1)
        self.b = nn.Parameter(torch.zeros(output_size))

    def forward(self, inputs):
        return self.activation(inputs @ self.W + self.b)


def softmax(x):
    return torch.softmax(x, dim=-1)


model = nn.Sequential(NaiveDense(784, 512, torch.relu), NaiveDense(512, 10, softmax))


def one_training_step(model, images_batch, labels_batch):
    predictions = model(images_batch)
    average_loss = F.nll_loss(torch.log(predictions), labels_batch)
    gradients = torch.autograd.grad(average_loss, list(model.parameters()))
    with torch.no_grad():
        for g, w in zip(gradients, model.parameters()):
            w -= g * 1e-3
    return average_loss
