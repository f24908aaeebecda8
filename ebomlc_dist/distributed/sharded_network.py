"""A main model that is spread over the ranks: what its forms have in common.

A (P,) vector is this rank's part, so an optimiser over it holds this rank's part of its state. Before each pass, and
before each way back through one, the point it belongs to is copied into place: the parameters themselves stay in their
vector, and no look-ahead moves a bit of them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.numerics.flat import as_one, statistics_of
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Gradient, Network, by_hooks, scaled, unscaled


class ShardedNetwork(Network):
    """A network of which every rank holds a part.

    Args:
        module: the network, with the same bits on every rank; it is changed in place.
        communicator: all ranks.
        autocast: dtype of the forward passes, or None for the parameters' own.
        loss_scale: multiplies an objective before its backward pass and is divided out of the gradients.
    """

    whole = False
    _held: list[nn.Parameter]
    """The trainable parameters as the module has them once it is spread."""

    def __init__(
        self,
        module: nn.Module,
        communicator: Communicator,
        *,
        autocast: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        self.module = module
        self.autocast = autocast
        self.loss_scale = loss_scale
        self.statistics = as_one(statistics_of(module), next(module.parameters()))
        self.shapes = {name: p.shape for name, p in module.named_parameters() if p.requires_grad}
        self._communicator = communicator
        self._placed: tuple[Tensor, int] | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        self.place(self.vector)
        return self._pass(*inputs)

    def at(self, vector: Tensor, *inputs: Tensor, moves_statistics: bool = False) -> Any:
        self.place(vector)
        before = self.statistics.clone()
        outputs = self._pass(*inputs)
        if not moves_statistics:
            self.statistics.copy_(before)
        return outputs

    def gradient_at(self, objective_sum: Tensor, vector: Tensor) -> Gradient:
        self.place(vector)
        pieces = by_hooks(scaled(objective_sum, self.loss_scale), self.leaves(), self.backward)
        return unscaled(self.collect(pieces), self.loss_scale)

    def dots(self, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        parts = [torch.dot(first.double(), second.double()) for first, second in pairs]
        return self._communicator.sum(torch.stack(parts)).unbind()

    def norm(self, vector: Tensor) -> Tensor:
        (square,) = self.dots((vector, vector))
        return square.sqrt().to(vector.dtype)

    def backward(self, total: Tensor, retain_graph: bool) -> None:
        with self._communicator.waiting():
            self._go_back(total, retain_graph)

    def leaves(self) -> Sequence[Tensor]:
        return self._held

    def place(self, vector: Tensor) -> None:
        # Held, so that no other vector can be at its address; the version counts what was written to it.
        if self._placed is not None and self._placed[0] is vector and self._placed[1] == vector._version:
            return
        with torch.no_grad():
            self._put(vector.detach())
        self._placed = (vector, vector._version)

    @abstractmethod
    def _put(self, vector: Tensor) -> None:
        """Copy ``vector`` (P,) to where passes take parameters from. May be collective."""

    def _go_back(self, total: Tensor, retain_graph: bool) -> None:
        total.backward(retain_graph=retain_graph)

    def _pass(self, *inputs: Tensor) -> Any:
        # Ranks meet within it wherever parameters are gathered.
        with self._communicator.waiting():
            return self.run(self.module, *inputs)
