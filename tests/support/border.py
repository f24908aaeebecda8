"""The border between host and GPU, watched on a machine that has none: torch's `meta` device plays the GPU.

A meta tensor has a shape and no numbers, so a whole step runs in moments. Whatever needs a number of one, mixes it with
a tensor of the host or copies across is seen, and answered with something of the right shape. Not seen: streams,
memory, layout, kernels, precision.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ebomlc_dist.profiling.counters import WAITING

DEVICE = torch.device("meta")
_FUSED = ("aten._fused_sgd", "aten._fused_adam")


class Border(TorchDispatchMode):
    """Sees what crosses the border while it is `watching`, and lets everything go on.

    Copies between pinned memory and the device for which nobody waits are free.

    Attributes:
        watching: whether what is seen is noted.
        seen: ``wait``: the host waits for a number. ``in``, ``out``: a copy that the host waits for. ``mixed``: tensors
            of both sides in one operator. Each with the operator's name.
    """

    def __init__(self, *, watching: bool = True) -> None:
        super().__init__()
        self.watching = watching
        self.seen: list[str] = []
        self._pinned: dict[int, Tensor] = {}
        self._false: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, str(func)
        tensors = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
        here = [tensor for tensor in tensors if not tensor.is_meta]
        there = [tensor for tensor in tensors if tensor.is_meta]
        to = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
        if name.startswith("aten.is_pinned"):
            return self._is_pinned(args[0])
        if name.startswith("aten._pin_memory"):
            return self._pin(args[0].clone())
        if kwargs.get("pin_memory"):
            return self._pin(func(*args, **{**kwargs, "pin_memory": False}))
        if name.startswith(("aten._to_copy", "aten.copy_")) and (here or to == "cpu") and (there or to == DEVICE.type):
            return self._copy(name, func, args, kwargs)
        if here and (there or to == DEVICE.type):
            self._note("mixed", name)
        if not there and to != DEVICE.type:
            return func(*args, **kwargs)
        if name.startswith("aten.lift_fresh"):
            # `torch.tensor(…, device=…)` copies from memory that is not pinned.
            self._note("in", name)
        return self._there(name, func, args, kwargs)

    def _there(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator on the device gives."""
        if name.startswith(("aten.index.", "aten.index_put")) and (masks := _masks(args[1])):
            self._note("wait", f"{name} by a mask")
            if name.startswith("aten.index_put"):
                return args[0]
            first = torch.zeros(1, dtype=torch.int64, device=DEVICE)
            dims = sum(mask.dim() for mask in masks)
            return args[0].reshape(-1, *args[0].shape[dims:]).index_select(0, first)
        if any(isinstance(value, Tensor) and not value.is_meta for value in tree_iter((args, kwargs))):
            args, kwargs = _moved(args), _moved(kwargs)
        if name.startswith(WAITING):
            self._note("wait", name)
            return self._answer(name, args[0])
        if name.startswith(_FUSED):
            return None
        if name.startswith("aten._dirichlet_grad"):
            return torch.empty_like(args[0])
        result = func(*args, **kwargs)
        if name.startswith(("aten.lt", "aten.eq")):
            # An optimiser asks whether its rate is below zero, a method whether a count is zero.
            self._false[id(result)] = result
        return result

    def _answer(self, name: str, tensor: Tensor) -> Any:
        if "_local_scalar_dense" in name or "is_nonzero" in name:
            return _one(tensor.dtype, id(tensor) not in self._false)
        if name.startswith("aten.equal"):
            return True
        if name.startswith("aten.nonzero"):
            return torch.zeros((int(id(tensor) not in self._false), tensor.dim()), dtype=torch.int64, device=DEVICE)
        few = torch.zeros(1, dtype=tensor.dtype, device=DEVICE)
        return (few, few, few) if "unique" in name else few

    def _copy(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        in_place = name.startswith("aten.copy_")
        if in_place:
            target, source = args[:2]
            free = kwargs.get("non_blocking", len(args) > 2 and args[2])
            inwards, host = target.is_meta, source if target.is_meta else target
            free = free and self._is_pinned(host)
        else:
            inwards = not args[0].is_meta
            # What comes out is made here, in memory that is not pinned.
            free = inwards and kwargs.get("non_blocking", False) and self._is_pinned(args[0])
        if not free:
            self._note("in" if inwards else "out", name)
        if in_place:
            return target if inwards else target.zero_()
        if inwards:
            return func(*args, **kwargs)
        return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)

    def _note(self, kind: str, name: str) -> None:
        if self.watching:
            self.seen.append(f"{kind}: {name}")

    def _pin(self, tensor: Tensor) -> Tensor:
        self._pinned[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._pinned


def _one(dtype: torch.dtype, yes: bool) -> bool | int | float:
    if dtype == torch.bool:
        return yes
    return 1.0 if dtype.is_floating_point else 1


def _masks(indices: Sequence[Tensor | None]) -> list[Tensor]:
    return [index for index in indices if index is not None and index.dtype in (torch.bool, torch.uint8)]


def _moved(values: Any) -> Any:
    """Tensors of the host replaced by such of the device."""
    return torch.utils._pytree.tree_map_only(
        Tensor, lambda t: t if t.is_meta else torch.empty(t.shape, dtype=t.dtype, device=DEVICE), values
    )
