"""A main model under DeepSpeed's ZeRO: optimiser state, gradients and, at stage 3, parameters are spread over ranks.

DeepSpeed gathers parameters and sums gradients into partitions; its own optimiser never steps. A vector is this rank's
partition with its padding, which is zero and stays so, as its gradients are.
"""

import io
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.sharded_network import ShardedNetwork
from ebomlc_dist.numerics.flat import flatten
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Summed

BUCKET = 2**24
"""Values of a gradient that are summed at once, at stages 2 and 3."""
log = logging.getLogger(__name__)


def installed() -> bool:
    """Return whether DeepSpeed is installed."""
    return find_spec("deepspeed") is not None


def settings_of(stage: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration for a stage.

    It must not clip, nor keep parameters that a look-ahead has moved.
    """
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": False, "reduce_bucket_size": BUCKET}
    if stage == 3:
        zero |= {
            "sub_group_size": 10**12,
            "stage3_param_persistence_threshold": 0,
            "stage3_prefetch_bucket_size": 0,
            "stage3_max_reuse_distance": 0,
        }
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
    }


class ZeroModule(ShardedNetwork):
    """A network whose float32 parameters a DeepSpeed engine partitions, at ``stage`` 1, 2 or 3."""

    def __init__(
        self,
        module: nn.Module,
        communicator: Communicator,
        stage: int,
        *,
        autocast: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        super().__init__(module, communicator, autocast=autocast, loss_scale=loss_scale)
        self._stage = stage
        _hold_fixed_whole(module)
        self._held = [p for p in module.parameters() if p.requires_grad]
        self._engine = _engine(module, self._held, stage, communicator.device)
        cut = _EachCut if stage == 3 else _WholeCut
        self._cut: _Cut = cut(self._engine.optimizer, communicator)
        self.vector = nn.Parameter(self._cut.master)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        parts = self._communicator.gather(vector.detach())
        pieces = zip(self._cut.tensors(parts, self.shapes.values()), self.shapes.items(), strict=True)
        return {name: piece.view(shape) for piece, (name, shape) in pieces}

    def flattened(self, named: Mapping[str, Tensor]) -> Tensor:
        return self._cut.own([named[name].to(self.vector.device) for name in self.shapes])

    def _go_back(self, total: Tensor, retain_graph: bool) -> None:
        # DeepSpeed sums over all ranks, in a group of its own: two groups under way at once may hold each other up.
        self._communicator.settle()
        self._engine.backward(total, retain_graph=retain_graph)

    def collect(self, pieces: Sequence[Tensor | None]) -> Summed:
        optimizer = self._engine.optimizer
        part = flatten(optimizer.averaged_gradients[0]).mul_(self._communicator.world_size)
        for piece in optimizer.averaged_gradients[0]:
            # What the next pass does not reach would keep this one's.
            piece.zero_()
        optimizer.zero_grad()
        return Summed(part)

    def _put(self, vector: Tensor) -> None:
        self._cut.put(vector)

    def _pass(self, *inputs: Tensor) -> Any:
        # Stage 3 gathers within it, in DeepSpeed's group.
        if self._stage == 3:
            self._communicator.settle()
        return super()._pass(*inputs)


def _hold_fixed_whole(module: nn.Module) -> None:
    """Make buffers of the parameters that are not trained: stage 3 would cut them too."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(part, name)
                part.register_buffer(name, parameter.detach())


class _Cut(ABC):
    """Which of the parameters' numbers a rank holds.

    Attributes:
        master: (P,) float32, this rank's own.
    """

    master: Tensor

    @abstractmethod
    def put(self, vector: Tensor) -> None:
        """Let passes run at ``vector`` (P,). Collective."""

    @abstractmethod
    def tensors(self, parts: Tensor, shapes: Collection[torch.Size]) -> Sequence[Tensor]:
        """Return every rank's part (world_size, P) as one vector a parameter."""

    @abstractmethod
    def own(self, tensors: Sequence[Tensor]) -> Tensor:
        """(P,) of whole tensors, in the parameters' order."""


class _WholeCut(_Cut):
    """Stages 1 and 2: all parameters behind one another, cut into equal parts. Every rank has the whole in place."""

    def __init__(self, optimizer: Any, communicator: Communicator) -> None:
        self.master = optimizer.single_partition_of_fp32_groups[0].detach()
        self._whole = optimizer.bit16_groups_flat[0]
        self._communicator = communicator

    def put(self, vector: Tensor) -> None:
        self._communicator.gather_into(self._whole, vector)

    def tensors(self, parts: Tensor, shapes: Collection[torch.Size]) -> Sequence[Tensor]:
        sizes = [shape.numel() for shape in shapes]
        return parts.view(-1)[: sum(sizes)].split(sizes)

    def own(self, tensors: Sequence[Tensor]) -> Tensor:
        flat, whole = flatten(tensors), torch.zeros_like(self._whole)
        whole[: flat.numel()] = flat
        return whole.view(self._communicator.world_size, -1)[self._communicator.rank]


class _EachCut(_Cut):
    """Stage 3: every parameter is cut into equal parts, and gathered for a pass alone."""

    def __init__(self, optimizer: Any, communicator: Communicator) -> None:
        self.master = optimizer.fp32_partitioned_groups_flat[0].detach()
        self._in_place = optimizer.fp16_partitioned_groups_flat[0]
        self._sizes = [p.partition_numel() for p in optimizer.fp16_groups[0]]
        self._rank, self._world_size = communicator.rank, communicator.world_size

    def put(self, vector: Tensor) -> None:
        self._in_place.copy_(vector)

    def tensors(self, parts: Tensor, shapes: Collection[torch.Size]) -> Sequence[Tensor]:
        pieces = zip(parts.split(self._sizes, dim=1), shapes, strict=True)
        return [piece.reshape(-1)[: shape.numel()] for piece, shape in pieces]

    def own(self, tensors: Sequence[Tensor]) -> Tensor:
        parts = []
        for tensor, size in zip(tensors, self._sizes, strict=True):
            whole = tensor.new_zeros(self._world_size * size)
            whole[: tensor.numel()] = tensor.reshape(-1)
            parts.append(whole.view(self._world_size, size)[self._rank])
        return flatten(parts)


def _engine(module: nn.Module, parameters: list[nn.Parameter], stage: int, device: torch.device) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    # Never stepped, and without momentum: it holds nothing.
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    with redirect_stdout(io.StringIO()) as said:
        import deepspeed

        # It warns of optimisers that it does not know.
        deepspeed.utils.logger.setLevel(logging.ERROR)
        engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=settings_of(stage), dist_init_required=False
        )
    log.info("DeepSpeed %s, stage %d. %s", deepspeed.__version__, stage, said.getvalue().strip())
    return engine
