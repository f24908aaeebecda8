"""Where weights of convolutions lie in a network's vector, and that nothing but speed knows of it."""

import pytest
import torch
from torch import nn

from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.memory_layout import Layout
from ebomlc_dist.numerics.network import gradients

SHAPES = [torch.Size(s) for s in ((3, 2, 5, 4), (7,), (4, 6), (2, 3, 1, 1), (), (2, 3, 4))]


def tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_splitting_undoes_joining_whatever_the_memory_format(
    channels_last: bool, memory_format: torch.memory_format
) -> None:
    layout, given = Layout(SHAPES, channels_last), tensors()
    given[0] = given[0].contiguous(memory_format=memory_format)
    vector = layout.join(given)
    for piece, tensor in zip(layout.split(vector), given, strict=True):
        assert torch.equal(piece, tensor)
        assert piece.untyped_storage().data_ptr() == vector.untyped_storage().data_ptr()


def test_a_weight_lies_outputs_height_width_inputs() -> None:
    given = tensors()
    vector = Layout(SHAPES, channels_last=True).join(given)
    number = given[0].numel()
    assert torch.equal(vector[:number].view(3, 5, 4, 2), given[0].permute(0, 2, 3, 1))
    assert not torch.equal(vector[:number], given[0].reshape(-1))
    assert torch.equal(vector[number:], Layout(SHAPES, channels_last=False).join(given)[number:])


def test_a_network_sees_its_weights_as_its_images_lie_and_gives_gradients_alike() -> None:
    torch.manual_seed(0)
    network = FlatNetwork(nn.Conv2d(3, 4, 3))
    assert network.module.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.named(network.vector)["weight"].is_contiguous(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    (found,) = gradients(network(images).square().sum(), [network])
    plain = nn.Conv2d(3, 4, 3)
    plain.load_state_dict(network.state())
    plain(images).square().sum().backward()
    assert plain.weight.is_contiguous()
    assert plain.weight.grad is not None
    torch.testing.assert_close(network.named(found)["weight"], plain.weight.grad)
    torch.testing.assert_close(network.named(found)["bias"], plain.bias.grad)


def test_a_state_is_the_same_in_both_orders() -> None:
    torch.manual_seed(0)
    one, other = (FlatNetwork(nn.Conv2d(3, 4, 3), channels_last=last) for last in (False, True))
    assert not torch.equal(one.vector, other.vector)
    other.load(one.state())
    for name, tensor in one.state().items():
        assert torch.equal(other.state()[name], tensor)
    assert not torch.equal(one.vector, other.vector)
    torch.testing.assert_close(one.vector.norm(), other.vector.norm())
