"""A main model whose parameters, gradients and optimiser state are spread over the ranks by torch's ``fully_shard``.

A (P,) vector is this rank's shard, so an optimiser over it holds this rank's part of its state. FSDP gathers a block's
parameters for its pass alone, again for the way back, and sums its gradients into shards (reduce-scatter, summed and
not averaged: the reducer divides by the count of samples). Before each pass, and before each way back through one, the
point it belongs to is copied into the shards: the parameters themselves stay in their vector, and no look-ahead moves a
bit of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.models.blocks import blocks
from ebomlc_dist.numerics.flat import as_one, flatten, statistics_of, widen
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Gradient, Network, Summed, by_hooks, unscaled


class ShardedModule(Network):
    """A network of which every rank holds a shard of each parameter, cut along its first dimension.

    Args:
        module: the network, with the same bits on every rank; it is changed in place.
        mesh: all ranks, in one dimension.
        total: the sum over ranks of a small tensor, in place.
        autocast: dtype of the forward passes, or None for the parameters' own.
        loss_scale: multiplies an objective before its backward pass and is divided out of the gradients.
    """

    whole = False

    def __init__(
        self,
        module: nn.Module,
        mesh: DeviceMesh,
        total: Callable[[Tensor], Tensor],
        *,
        autocast: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        self.module = module
        self.autocast = autocast
        self.loss_scale = loss_scale
        self._mesh, self._total = mesh, total
        self.statistics = as_one(statistics_of(module), next(module.parameters()))
        self.shapes = {name: p.shape for name, p in module.named_parameters() if p.requires_grad}
        # The root too: left gathered, it would serve the parameters of a look-ahead to the next pass.
        for block in [*blocks(module), module]:
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        self._shards = [p for p in module.parameters() if p.requires_grad]
        self.vector = nn.Parameter(flatten([_local(p) for p in self._shards]))

    def __call__(self, *inputs: Tensor) -> Any:
        self.place(self.vector)
        return self._pass(*inputs)

    def at(self, vector: Tensor, *inputs: Tensor) -> Any:
        self.place(vector)
        before = self.statistics.clone()
        outputs = self._pass(*inputs)
        self.statistics.copy_(before)
        return outputs

    def gradient_at(self, objective_sum: Tensor, vector: Tensor) -> Gradient:
        self.place(vector)
        scale = self.loss_scale
        total = objective_sum if scale is None else objective_sum * scale.value
        return unscaled(self.collect(by_hooks(total, self._shards)), scale)

    def dots(self, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        parts = [torch.dot(first.double(), second.double()) for first, second in pairs]
        return self._total(torch.stack(parts)).unbind()

    def norm(self, vector: Tensor) -> Tensor:
        (square,) = self.dots((vector, vector))
        return square.sqrt().to(vector.dtype)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        pieces = vector.detach().split([_local(shard).numel() for shard in self._shards])
        return {
            name: self._whole(piece.view(_local(shard).shape), shape)
            for piece, shard, (name, shape) in zip(pieces, self._shards, self.shapes.items(), strict=True)
        }

    def flattened(self, named: Mapping[str, Tensor]) -> Tensor:
        rank, size = self._mesh.get_local_rank(), self._mesh.size()
        own = []
        for name, shard in zip(self.shapes, self._shards, strict=True):
            pieces = named[name].chunk(size, dim=0)
            piece = pieces[rank] if rank < len(pieces) else named[name][:0]
            own.append(piece.to(_local(shard).device))
        return flatten(own)

    def leaves(self) -> Sequence[Tensor]:
        return self._shards

    def collect(self, pieces: Sequence[Tensor | None]) -> Summed:
        filled = zip(pieces, self._shards, strict=True)
        return Summed(flatten([torch.zeros_like(_local(s)) if p is None else _local(p) for p, s in filled]))

    def place(self, vector: Tensor) -> None:
        locals_ = [_local(shard) for shard in self._shards]
        pieces = vector.detach().split([local.numel() for local in locals_])
        with torch.no_grad():
            torch._foreach_copy_(locals_, [p.view(local.shape) for p, local in zip(pieces, locals_, strict=True)])

    def _pass(self, *inputs: Tensor) -> Any:
        device = inputs[0].device.type
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            return widen(self.module(*inputs), self.vector.dtype)

    def _whole(self, local: Tensor, shape: torch.Size) -> Tensor:
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(
            local, self._mesh, [Shard(0)], run_check=False, shape=shape, stride=stride
        ).full_tensor()


def mesh_of(communicator: Communicator) -> DeviceMesh:
    """The ranks that ``communicator`` joins, in one dimension."""
    group = communicator.group or dist.group.WORLD
    assert group is not None
    return DeviceMesh.from_group(group, communicator.device.type)


def _local(tensor: Tensor) -> Tensor:
    assert isinstance(tensor, DTensor)
    return tensor.to_local().detach()
