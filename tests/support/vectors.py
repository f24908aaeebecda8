"""Vectors of a network beside tensors of its parameters: the one place of the tests that joins or parts them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ebomlc_dist.numerics.network import Network


def joined(network: Network, tensors: Sequence[Tensor]) -> Tensor:
    """(P,): a tensor for each parameter, where the network has it in its vector."""
    return network.flattened(dict(zip(network.shapes, tensors, strict=True)))


def in_order(network: Network, vector: Tensor) -> Tensor:
    """The values of a vector (P,) parameter by parameter, each as it is indexed: whatever the network's layout."""
    return torch.cat([piece.detach().reshape(-1) for piece in network.named(vector).values()])
