"""Counts what collectives send."""

from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Sent(TorchDispatchMode):
    """Counts the bytes that collectives make this process send, each by a ring.

    Of N processes an all-reduce of s bytes sends 2(N−1)/N · s, an all-gather to s and a reduce-scatter of s bytes
    (N−1)/N · s each, a broadcast or a reduction to one s.

    Attributes:
        num_bytes: so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func._schema.name.removeprefix("c10d::").strip("_").removesuffix("_base")
            size = max(_bytes(argument) for argument in args)
            others = 1 - 1 / dist.get_world_size()
            self.num_bytes += size * {"allreduce": 2 * others, "allgather": others, "reduce_scatter": others}.get(
                name, 1
            )
        return func(*args, **(kwargs or {}))


def _bytes(argument: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_iter(argument) if isinstance(t, Tensor))
