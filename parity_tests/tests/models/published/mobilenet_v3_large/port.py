import torch
import torchvision

model = torchvision.models.mobilenet_v3_large(num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = torch.nn.CrossEntropyLoss()
