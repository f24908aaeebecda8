"""torchvision's classifiers as main models. Most checks go over shapes alone, on the meta device."""

import pytest
import torch
import torchvision
from torch import nn

from ebomlc_dist.errors import InputError
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.main_model import MainModel
from ebomlc_dist.models.meta_device import check_inputs, on_meta_device
from ebomlc_dist.models.torchvision_classifier import classifier_names, torchvision_classifier
from tests.models.rows import TORCHVISION_ROWS, num_parameters


def on_meta(name: str, *, in_channels: int = 3, norm: str = "batch") -> MainModel:
    return on_meta_device(
        lambda: build_main_model(f"torchvision/{name}", num_classes=7, in_channels=in_channels, norm=norm)
    )


@pytest.mark.parametrize("name", sorted(TORCHVISION_ROWS))
def test_shapes_channels_and_buffers(name: str) -> None:
    model = on_meta(name, in_channels=1, norm="group")
    logits, features = model(torch.empty(2, 1, 224, 224, device="meta"))
    assert logits.shape == (2, 7)
    assert features.shape == (2, TORCHVISION_ROWS[name])
    assert model.feature_dim == TORCHVISION_ROWS[name]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert {key for key, _ in model.named_buffers()} <= set(model.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16", "squeezenet1_1"])
def test_nothing_is_lost_of_the_original(name: str) -> None:
    with torch.device("meta"):
        original = torchvision.models.get_model(name, weights=None, num_classes=7)
    assert num_parameters(on_meta(name)) == num_parameters(original)


def test_every_name_is_one_of_torchvisions_classifiers() -> None:
    names = classifier_names()
    assert set(TORCHVISION_ROWS) <= set(names)
    assert not [name for name in names if name.startswith(("quantized", "fcn", "fasterrcnn", "raft", "r3d"))]


def test_logits_equal_the_original_model() -> None:
    torch.manual_seed(0)
    original = torchvision.models.resnet18(num_classes=7).eval()
    torch.manual_seed(0)
    model = torchvision_classifier("resnet18", 7, 3).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images)[0], original(images))
    torch.manual_seed(1)
    assert not torch.equal(torchvision_classifier("resnet18", 7, 3).eval()(images)[0], original(images))


def test_squeezenet_is_the_original_but_for_its_last_relu() -> None:
    torch.manual_seed(0)
    original = torchvision.models.squeezenet1_1(num_classes=7).eval()
    torch.manual_seed(0)
    model = torchvision_classifier("squeezenet1_1", 7, 3).eval()
    images = torch.randn(2, 3, 64, 64)
    logits = model(images)[0]
    assert not torch.allclose(logits, original(images))
    original.classifier[2] = nn.Identity()
    assert torch.allclose(logits, original(images), atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    model = build_main_model(f"torchvision/{name}", num_classes=4, in_channels=1, norm="batch")
    logits, features = model(torch.randn(4, 1, 64, 64))
    assert torch.equal(logits, nn.functional.linear(features, model.head.weight, model.head.bias))
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.body.features[0].weight.grad.abs().sum() > 0 if name == "squeezenet1_1" else True


def test_an_adapted_first_convolution_differs_in_its_channels_alone() -> None:
    def first(in_channels: int) -> nn.Conv2d:
        return next(m for m in on_meta("convnext_tiny", in_channels=in_channels).modules() if isinstance(m, nn.Conv2d))

    grey, colour = first(1), first(3)
    assert (grey.in_channels, colour.in_channels) == (1, 3)
    for attribute in ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(grey, attribute) == getattr(colour, attribute)
    assert (grey.bias is None) == (colour.bias is None)


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 32), ("inception_v3", 32), ("alexnet", 32), ("maxvit_t", 64)])
def test_an_image_size_it_cannot_take_is_named(name: str, size: int) -> None:
    model = on_meta(name)
    check_inputs(model, name, (3, 224, 224))
    with pytest.raises(InputError, match=f"model '{name}' does not take images of 3×{size}×{size}: .*--image-size"):
        check_inputs(model, name, (3, size, size))
