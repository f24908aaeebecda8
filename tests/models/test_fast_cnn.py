"""The fast network: what its first layer does to images, how it starts, and its widths."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ebomlc_dist.errors import InputError
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.fast_cnn import LEAST_VARIANCE, FastCnn, Stage, Whitening, fast_cnn
from ebomlc_dist.models.hub import load_model, save_model


def correlated_images(number: int = 64) -> Tensor:
    """Smooth images whose channels go together, as photographs' do."""
    torch.manual_seed(0)
    rough = torch.randn(number, 3, 16, 16)
    smooth = nn.functional.avg_pool2d(rough, 3, stride=1, padding=1)
    return smooth + smooth.mean(dim=1, keepdim=True)


def covariance(maps: Tensor) -> Tensor:
    values = maps.detach().movedim(1, 3).flatten(0, 2).double()
    return values.T @ values / len(values)


def test_the_first_layer_whitens_the_patches_of_training_images() -> None:
    images, layer = correlated_images(), Whitening(3)
    before = covariance(layer(images)[:, :12])
    layer.fit(images)
    found = covariance(layer(images)[:, :12])
    # A direction of variance λ comes out with λ / (λ + ε).
    assert torch.allclose(found - found.diagonal().diag(), torch.zeros(12, 12, dtype=torch.float64), atol=1e-4)
    assert bool((found.diagonal() <= 1 + 1e-4).all())
    assert found.diagonal()[0] == pytest.approx(1, abs=10 * LEAST_VARIANCE)
    assert float((before - before.diagonal().diag()).abs().max()) > 1e-2


def test_both_signs_of_a_filter_are_there_and_neither_is_the_librarys_choice() -> None:
    layer = Whitening(3)
    layer.fit(correlated_images())
    first, second = layer.weight.split(12)
    assert torch.equal(first, -second)
    largest = first.flatten(1).gather(1, first.flatten(1).abs().argmax(dim=1, keepdim=True))
    assert bool((largest > 0).all())


def test_filters_stay_and_their_bias_learns() -> None:
    model = fast_cnn(10, 3)
    model(torch.randn(4, 3, 32, 32))[0].sum().backward()
    assert isinstance(model, FastCnn)
    assert model.body.whitening.weight.grad is None
    assert model.body.whitening.bias.grad is not None
    # Normalisation shifts and does not scale.
    assert not any(
        "norm" in name and name.endswith("weight") for name, p in model.named_parameters() if p.requires_grad
    )


def test_convolutions_start_as_the_identity_on_as_many_channels_as_come_in() -> None:
    stage = Stage(4, 6).eval()
    maps = torch.randn(2, 4, 5, 5)
    assert torch.equal(stage.conv1(maps)[:, :4], maps)
    assert not torch.equal(stage.conv1(maps)[:, 4:], torch.zeros(2, 2, 5, 5))


def test_group_normalisation_has_no_scale_of_its_own_either() -> None:
    model = build_main_model("fast-cnn", num_classes=4, in_channels=1, norm="group", widths=(16, 16))
    groups = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert len(groups) == 4
    assert not any(group.weight.requires_grad for group in groups)
    model.eval()
    images = torch.randn(3, 1, 16, 16)
    assert torch.allclose(model(images)[0][:1], model(images[:1])[0], atol=1e-5)


def test_widths_are_an_option_and_come_back_from_a_folder(tmp_path: Path) -> None:
    model = build_main_model("fast-cnn", num_classes=4, in_channels=1, norm="batch", widths=(8, 12))
    assert model.feature_dim == 12
    config = {
        "model_type": "ebomlc-main",
        "name": "fast-cnn",
        "num_classes": 4,
        "in_channels": 1,
        "norm": "batch",
        "widths": (8, 12),
        "preprocessing": {"mean": [0.5], "std": [0.2], "image_size": [16, 16], "max_side": None},
        "class_names": ["a", "b", "c", "d"],
    }
    save_model(tmp_path, model, config, "card")
    again, _ = load_model(tmp_path)
    images = torch.randn(2, 1, 16, 16)
    assert torch.equal(again(images)[0], model.eval()(images)[0])


def test_an_option_that_a_model_does_not_have_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"model 'resnet8' has no option model\.widths; leave it out, or take fast-cnn"
    ):
        build_main_model("resnet8", num_classes=10, in_channels=3, norm="batch", widths=(8, 8))
