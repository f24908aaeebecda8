"""A module as one vector."""

import pytest
import torch
from torch import nn

from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.testing.problem import SmallNet
from tests.support.vectors import joined


def net(seed: int = 0) -> FlatNetwork:
    torch.manual_seed(seed)
    return FlatNetwork(SmallNet(batch_norm=True).double())


def images() -> torch.Tensor:
    return torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_flattening_keeps_the_function_and_the_round_trip() -> None:
    torch.manual_seed(0)
    # Convolution weights lie as a flat network's do: torch sums in another order for another one.
    plain = SmallNet(batch_norm=True).double().to(memory_format=torch.channels_last)
    flat = net()
    assert torch.equal(plain(images())[0], flat(images())[0])
    named = dict(plain.named_parameters())
    for name, view in flat.named(flat.vector).items():
        assert torch.equal(view, named[name])


def test_moving_the_vector_moves_the_module() -> None:
    flat = net()
    with torch.no_grad():
        flat.vector.mul_(2.0)
    assert torch.equal(flat.module.head.weight, flat.named(flat.vector)["head.weight"])
    assert torch.equal(flat.module.head.weight, 2 * net().module.head.weight)


def test_gradient_is_torchs_own() -> None:
    flat = net()
    (vector,) = gradients(flat(images())[0].square().sum(), [flat])
    torch.manual_seed(0)
    plain = SmallNet(batch_norm=True).double().to(memory_format=torch.channels_last)
    plain(images())[0].square().sum().backward()
    assert torch.equal(vector, joined(flat, [p.grad for p in plain.parameters()]))


def test_look_ahead_reads_other_parameters_and_leaves_no_trace() -> None:
    flat = net()
    statistics, vector = flat.statistics.clone(), flat.vector.detach().clone()
    other = flat.vector.detach() + 0.1
    ahead = flat.at(other, images())[0]
    assert torch.equal(flat.statistics, statistics)
    assert torch.equal(flat.vector, vector)
    with torch.no_grad():
        flat.vector.copy_(other)
    assert torch.equal(flat(images())[0], ahead)
    assert not torch.equal(flat.statistics, statistics)


def test_a_look_ahead_may_move_statistics_as_a_pass_there_does() -> None:
    ahead, there = net(), net()
    other = ahead.vector.detach() + 0.1
    outputs = ahead.at(other, images(), moves_statistics=True)[0]
    with torch.no_grad():
        there.vector.copy_(other)
    assert torch.equal(outputs, there(images())[0])
    assert torch.equal(ahead.statistics, there.statistics)
    assert not torch.equal(ahead.statistics, net().statistics)


def test_gradient_at_another_point() -> None:
    flat = net()
    point = (flat.vector.detach() + 0.1).requires_grad_()
    got = flat.gradient_at(flat.at(point, images())[0].square().sum(), point)
    with torch.no_grad():
        flat.vector.copy_(point)
    (expected,) = gradients(flat(images())[0].square().sum(), [flat])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_loss_scale_is_divided_out_of_the_gradients() -> None:
    torch.manual_seed(0)
    scaled = FlatNetwork(SmallNet(batch_norm=True).double(), loss_scale=LossScale(torch.device("cpu")))
    (got,) = gradients(scaled(images())[0].square().sum(), [scaled])
    plain = net()
    (expected,) = gradients(plain(images())[0].square().sum(), [plain])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("bad", [True, False])
def test_loss_scale_halves_after_a_bad_step_only(bad: bool) -> None:
    scale = LossScale(torch.device("cpu"), initial=8.0, growth_interval=2)
    scale.update(torch.tensor(bad))
    assert float(scale.value) == (4.0 if bad else 8.0)
    scale.update(torch.tensor(False))
    assert float(scale.value) == (4.0 if bad else 16.0)


def test_parameters_an_objective_does_not_reach_get_zeros() -> None:
    first, second = net(0), net(1)
    vectors = gradients(first(images())[0].sum(), [first, second])
    assert vectors[0].abs().sum() > 0
    assert torch.equal(vectors[1], torch.zeros_like(second.vector))


def test_a_plain_linear_layer_has_no_statistics() -> None:
    assert FlatNetwork(nn.Linear(2, 3)).statistics.numel() == 0
