"""Norms applied to whole networks."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ebomlc_dist.errors import InputError
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.norm import apply_norm, check_norm, num_groups

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Sequential(nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24))
    )


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_batch_keeps_torchs_running_statistics_without_the_counter() -> None:
    reference = small_network()
    model = copy.deepcopy(reference)
    apply_norm(model, "batch")
    start = batch_norms(model)[0].running_mean.clone()
    for _ in range(3):
        images = torch.randn(4, 1, 8, 8)
        assert torch.equal(model(images), reference(images))
    for ours, torchs in zip(batch_norms(model), batch_norms(reference), strict=True):
        assert torch.equal(ours.running_mean, torchs.running_mean)
        assert torch.equal(ours.running_var, torchs.running_var)
        assert torchs.num_batches_tracked == 3
        assert ours.num_batches_tracked is None
    assert not torch.equal(batch_norms(model)[0].running_mean, start)
    assert not [name for name in model.state_dict() if "num_batches" in name]
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.eval()(images), reference.eval()(images))


def launches(step: Callable[[], Tensor]) -> list[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        step()
    return [event.name for event in profile.events()]


def test_batch_launches_no_counter() -> None:
    model = small_network()
    images = torch.randn(4, 1, 8, 8)
    assert launches(lambda: model(images)).count("aten::add_") == 2
    apply_norm(model, "batch")
    assert launches(lambda: model(images)).count("aten::add_") == 0


def test_a_cumulative_average_keeps_its_counter() -> None:
    model = nn.Sequential(nn.BatchNorm2d(8, momentum=None))
    apply_norm(model, "batch")
    model(torch.randn(2, 8, 4, 4))
    assert model[0].num_batches_tracked == 1


@pytest.mark.parametrize("name", ["resnet8", "digits-cnn", "torchvision/mobilenet_v3_small"])
def test_group_replaces_every_batch_norm(name: str) -> None:
    def built(norm: str) -> nn.Module:
        torch.manual_seed(0)
        return build_main_model(name, num_classes=10, in_channels=3, norm=norm)

    batch, group = built("batch"), built("group")
    groups = [m for m in group.modules() if isinstance(m, nn.GroupNorm)]
    assert not batch_norms(group)
    assert [(g.num_channels, g.eps) for g in groups] == [(b.num_features, b.eps) for b in batch_norms(batch)]
    assert not list(group.buffers())
    for (name_b, parameter_b), (name_g, parameter_g) in zip(
        batch.named_parameters(), group.named_parameters(), strict=True
    ):
        assert name_b == name_g
        assert torch.equal(parameter_b, parameter_g)


def test_group_lets_no_sample_see_another() -> None:
    def first_alone_and_in_company(norm: str) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        model = build_main_model("digits-cnn", num_classes=10, in_channels=1, norm=norm).double()
        images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
        return model(images[:2])[0], model(images)[0][:2]

    alone, company = first_alone_and_in_company("group")
    assert torch.allclose(alone, company, rtol=1e-12)
    alone, company = first_alone_and_in_company("batch")
    assert not torch.allclose(alone, company, rtol=1e-3)


def test_group_numbers_divide_and_leave_eight_channels() -> None:
    assert {c: num_groups(c) for c in (1, 3, 8, 16, 24, 58, 64, 88, 512, 2208)} == {
        1: 1, 3: 1, 8: 1, 16: 2, 24: 3, 58: 2, 64: 8, 88: 11, 512: 32, 2208: 32,
    }  # fmt: skip
    for channels in range(1, 300):
        groups = num_groups(channels)
        assert channels % groups == 0
        assert groups == 1 or channels // groups >= 8


def test_sync_converts_and_is_refused_on_a_cpu() -> None:
    model = build_main_model("resnet8", num_classes=10, in_channels=3, norm="sync")
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) == 7
    assert not batch_norms(model)
    check_norm("sync", CUDA)
    with pytest.raises(InputError, match=r"'sync' needs an accelerator.*--norm group"):
        check_norm("sync", CPU)


def test_norms_by_name() -> None:
    for norm in ("batch", "group"):
        check_norm(norm, CPU)
    with pytest.raises(InputError, match=r"unknown norm 'bach' \(did you mean 'batch'\?\)"):
        check_norm("bach", CPU)
    with pytest.raises(InputError, match="unknown norm 'layer'"):
        build_main_model("resnet8", num_classes=10, in_channels=3, norm="layer")
