"""Structure of the residual networks, held against the paper."""

import pytest
import torch
from torch import nn

from ebomlc_dist.models.main_model import start_head_as_released
from ebomlc_dist.models.resnet_cifar import Block, resnet, resnet20, resnet32


@pytest.mark.parametrize("depth", [8, 20, 32, 44, 56])
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    model = resnet(depth, num_classes=10, in_channels=3)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


@pytest.mark.parametrize("depth", [2, 18, 33])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="6n"):
        resnet(depth, num_classes=10, in_channels=3)


@pytest.mark.parametrize("size", [8, 9, 32])
def test_shortcut_has_no_parameters_and_keeps_every_second_pixel(size: int) -> None:
    block = Block(16, 32, stride=2).eval()
    assert {name.split(".")[0] for name, _ in block.named_parameters()} == {"conv1", "norm1", "conv2", "norm2"}
    # With the residual branch silent, the block is relu(shortcut).
    nn.init.zeros_(block.norm2.weight)
    images = torch.rand(2, 16, size, size)
    output = block(images)
    assert output.shape == (2, 32, (size + 1) // 2, (size + 1) // 2)
    assert torch.equal(output[:, 8:24], images[:, :, ::2, ::2])
    assert not output[:, :8].any()
    assert not output[:, 24:].any()


def test_shortcut_is_the_identity_where_the_shape_stays() -> None:
    block = Block(16, 16, stride=1).eval()
    nn.init.zeros_(block.norm2.weight)
    images = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(images), images)
    nn.init.ones_(block.norm2.weight)
    assert not torch.equal(block(images), images)


def test_map_sizes_and_widths_of_the_stages() -> None:
    model, shapes = resnet20(10, 3), []
    for module in model.modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    model(torch.zeros(2, 3, 32, 32))
    assert shapes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3


def test_initial_scale_is_that_of_he() -> None:
    torch.manual_seed(0)
    weights = [m.weight for m in resnet32(10, 3).modules() if isinstance(m, nn.Conv2d)]
    ratios = [w.std().item() / (2 / w[0].numel()) ** 0.5 for w in weights]
    assert all(0.9 < ratio < 1.1 for ratio in ratios)


def test_any_channels_and_any_size_from_eight_on() -> None:
    for channels, size in [(1, 8), (4, 17), (3, 64)]:
        logits, features = resnet(8, num_classes=7, in_channels=channels)(torch.zeros(2, channels, size, size))
        assert logits.shape == (2, 7)
        assert features.shape == (2, 64)


def test_the_released_head_starts_wider_and_with_biases() -> None:
    torch.manual_seed(0)
    model = resnet(8, 500, 3)
    body = [p.detach().clone() for p in model.body.parameters()]
    assert not model.head.bias.detach().any()
    assert float(model.head.weight.detach().std()) == pytest.approx((1 / 64) ** 0.5, rel=0.03)
    start_head_as_released(model)
    assert float(model.head.weight.detach().std()) == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    assert 0.95 / 8 < float(model.head.bias.detach().abs().max()) <= 1 / 8
    assert all(torch.equal(p, q) for p, q in zip(model.body.parameters(), body, strict=True))
