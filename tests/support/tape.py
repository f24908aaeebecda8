"""A CUDA graph's behaviour on a CPU: operators are recorded with their memory and their numbers, and done again.

As with a real one, no Python runs in a replay: a number that Python has changed since, or a tensor that it has put in
another's place, does not reach the replayed step. What a replay leaves in memory of its own is spoilt before the next.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_iter, tree_map_only

T = TypeVar("T")


class Tape(TorchDispatchMode):
    """Records operators (a `Graph` of the engine).

    Attributes:
        read: tensors that operators read or wrote and that none of them had made, by storage.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor | None]]] = []
        self._made: dict[int, Tensor] = {}
        self.read: dict[int, Tensor] = {}
        self.warm_ups = 0

    def warm_up(self, work: Callable[[], object]) -> None:
        self.warm_ups += 1
        work()

    def capture(self, work: Callable[[], T]) -> T:
        with self:
            return work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # The same memory, out of autograd's sight: recorded is what happens beneath it.
        args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.data, (args, kwargs))
        given = {_storage(t): t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        self.read |= {key: tensor for key, tensor in given.items() if key not in self._made}
        result = func(*args, **kwargs)
        if func.is_view:
            return result
        flat = [value for value in tree_flatten(result)[0] if isinstance(value, Tensor)]
        # Forward-mode derivatives of what does not depend on the parameters have no memory.
        made = [None if _storage(value) in given or value._is_zerotensor() else value.data for value in flat]
        self._calls.append((func, args, kwargs, made))
        self._made |= {_storage(value): value for value in made if value is not None}
        return result

    def close(self) -> None:
        self._calls, self._made = [], {}

    @torch.no_grad()
    def replay(self) -> None:
        for tensor in self._made.values():
            _spoil(tensor)
        for func, args, kwargs, made in self._calls:
            result = func(*args, **kwargs)
            flat = [value for value in tree_flatten(result)[0] if isinstance(value, Tensor)]
            for own, again in zip(made, flat, strict=True):
                if own is not None:
                    own.copy_(again)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _spoil(tensor: Tensor) -> None:
    if tensor.dtype.is_floating_point:
        tensor.fill_(torch.nan)
    elif tensor.dtype == torch.bool:
        tensor.logical_not_()
    else:
        tensor.zero_()
