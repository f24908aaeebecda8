"""The small model learns clean digits in a blink."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from ebomlc_dist.models import build_main_model


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_reaches_97_per_cent_on_held_out_digits(norm: str) -> None:
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    images = images.float().view(-1, 1, 8, 8)
    images = (images - images.mean()) / images.std()
    order = torch.randperm(len(images))
    train, test = order[:-360], order[-360:]
    model = build_main_model("digits-cnn", num_classes=10, in_channels=1, norm=norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def accuracy() -> float:
        model.eval()
        with torch.no_grad():
            return (model(images[test])[0].argmax(1) == labels[test]).float().mean().item()

    assert accuracy() < 0.3
    for epoch in range(8):
        model.train()
        optimizer.param_groups[0]["lr"] = 0.1 if epoch < 6 else 0.01
        for batch in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            cross_entropy(model(images[batch])[0], labels[batch]).backward()
            optimizer.step()
    assert accuracy() >= 0.97
