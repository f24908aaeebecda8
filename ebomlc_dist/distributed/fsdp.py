"""A main model whose parameters, gradients and optimiser state are spread over the ranks by torch's ``fully_shard``.

FSDP gathers a block's parameters for its pass alone, again for the way back, and sums its gradients into shards
(reduce-scatter, summed and not averaged: the reducer divides by the count of samples).
"""

import warnings
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.sharded_network import ShardedNetwork
from ebomlc_dist.models.blocks import blocks
from ebomlc_dist.numerics.flat import flatten
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Summed


class ShardedModule(ShardedNetwork):
    """A network of which every rank holds a shard of each parameter, cut along its first dimension."""

    def __init__(
        self,
        module: nn.Module,
        communicator: Communicator,
        *,
        autocast: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        super().__init__(module, communicator, autocast=autocast, loss_scale=loss_scale)
        self._mesh = _mesh_of(communicator)
        # Features are often a view of what a model pools; nothing here writes to an output.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        # What is fixed stays whole on every rank.
        fixed = {p for p in module.parameters() if not p.requires_grad}
        # The root too: left gathered, it would serve the parameters of a look-ahead to the next pass.
        for block in [*blocks(module), module]:
            fully_shard(block, mesh=self._mesh, reshard_after_forward=True, ignored_params=fixed)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        self._held = [p for p in module.parameters() if p.requires_grad]
        self.vector = nn.Parameter(flatten([_local(p) for p in self._held]))

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        pieces = vector.detach().split([_local(shard).numel() for shard in self._held])
        with self._communicator.waiting():
            return {
                name: self._whole(piece.view(_local(shard).shape), shape)
                for piece, shard, (name, shape) in zip(pieces, self._held, self.shapes.items(), strict=True)
            }

    def flattened(self, named: Mapping[str, Tensor]) -> Tensor:
        rank, size = self._mesh.get_local_rank(), self._mesh.size()
        own = []
        for name, shard in zip(self.shapes, self._held, strict=True):
            pieces = named[name].chunk(size, dim=0)
            piece = pieces[rank] if rank < len(pieces) else named[name][:0]
            own.append(piece.to(_local(shard).device))
        return flatten(own)

    def collect(self, pieces: Sequence[Tensor | None]) -> Summed:
        filled = zip(pieces, self._held, strict=True)
        return Summed(flatten([torch.zeros_like(_local(s)) if p is None else _local(p) for p, s in filled]))

    def _put(self, vector: Tensor) -> None:
        locals_ = [_local(shard) for shard in self._held]
        pieces = vector.split([local.numel() for local in locals_])
        torch._foreach_copy_(locals_, [p.view(local.shape) for p, local in zip(pieces, locals_, strict=True)])
        self._let_gathers_wait()

    def _let_gathers_wait(self) -> None:
        """Order FSDP's gathering streams behind what was just written.

        It orders them behind the current stream before a root's forward pass alone, and a backward pass gathers too.
        """
        assert isinstance(self.module, FSDPModule)
        context = self.module._get_fsdp_state()._comm_ctx
        # They come with the first forward pass, which orders them itself.
        if hasattr(context, "all_gather_stream"):
            current = context.device_handle.current_stream()
            context.all_gather_copy_in_stream.wait_stream(current)
            context.all_gather_stream.wait_stream(current)

    def _whole(self, local: Tensor, shape: torch.Size) -> Tensor:
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(
            local, self._mesh, [Shard(0)], run_check=False, shape=shape, stride=stride
        ).full_tensor()


def _mesh_of(communicator: Communicator) -> DeviceMesh:
    """Return the ranks that ``communicator`` joins, in one dimension."""
    group = communicator.group or dist.group.WORLD
    assert group is not None
    return DeviceMesh.from_group(group, communicator.device.type)


def _local(tensor: Tensor) -> Tensor:
    assert isinstance(tensor, DTensor)
    return tensor.to_local().detach()
