import torch
import torchvision

model = torchvision.models.resnet50(num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = torch.nn.CrossEntropyLoss()
