"""The models of the paper count."""

from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.main_model import MainModel
from ebomlc_dist.models.meta_device import on_meta_device

MODELS = {"resnet32": 10, "torchvision/resnet50": 1000, "torchvision/vit_b_16": 1000, "torchvision/vit_h_14": 1000}
"""Main models and their numbers of classes."""


def outlined(name: str) -> MainModel:
    """One of `MODELS`, on the meta device."""
    return on_meta_device(lambda: build_main_model(name, num_classes=MODELS[name], in_channels=3, norm="batch"))
