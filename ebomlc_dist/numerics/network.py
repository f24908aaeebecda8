"""A network as the rules see it: parameters as one vector, passes at it or elsewhere, gradients, inner products.

Where the parameters are spread over ranks, a vector holds this rank's part of them. Sums, scalings and differences of
such parts are the parts of sums, scalings and differences; what asks for the whole vector, inner products and norms,
goes through the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ebomlc_dist.numerics.loss_scale import LossScale


@dataclass(frozen=True)
class Summed:
    """This rank's part of a gradient that is summed over the ranks already: a reducer divides it and no more."""

    part: Tensor


Gradient = Tensor | Summed
"""A gradient as a backward pass leaves it: this rank's sum, or its part of all ranks' sum."""


Dots = Callable[..., tuple[Tensor, ...]]
"""Pairs of (P,) vectors → the inner product of each, 0-dim float64."""


def whole_dots(*pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """The inner product of each pair of whole (P,) vectors, 0-dim float64."""
    return torch.stack([torch.dot(first, second) for first, second in pairs]).double().unbind()


class Network(ABC):
    """A network held as one parameter vector and one vector of running statistics.

    Attributes:
        module: the network itself.
        vector: (P,) the parameters, or this rank's part of them.
        statistics: (B,) its floating-point buffers, this rank's own.
        shapes: name of a trainable parameter → its whole shape, in the vector's order.
        autocast: dtype of the forward passes, or None for the parameters' own.
        loss_scale: multiplies an objective before its backward pass and is divided out of the float32 gradients.
        whole: whether ``vector`` is all of the parameters on every rank.
    """

    module: nn.Module
    vector: nn.Parameter
    statistics: Tensor
    shapes: Mapping[str, torch.Size]
    autocast: torch.dtype | None
    loss_scale: LossScale | None
    whole: bool

    def run(self, forward: Callable[..., Any], *inputs: Tensor) -> Any:
        """What ``forward`` gives under autocast, its tensors in the parameters' dtype; the last input says where."""
        device = inputs[-1].device.type
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            return widen(forward(*inputs), self.vector.dtype)

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> Any:
        """The module's output under autocast. Tensors it returns have the parameters' dtype."""

    @abstractmethod
    def at(self, vector: Tensor, *inputs: Tensor, moves_statistics: bool = False) -> Any:
        """The output with ``vector`` (P,) in place of the parameters.

        Running statistics are read by nobody and written to a copy, so that a look-ahead leaves no trace;
        ``moves_statistics`` has them written as by a pass at the parameters themselves.
        """

    @abstractmethod
    def gradient_at(self, objective_sum: Tensor, vector: Tensor) -> Gradient:
        """The gradient (P,) of a scalar with respect to the ``vector`` that the last `at` passes were given."""

    @abstractmethod
    def dots(self, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The inner product of each pair of (P,) vectors, over all of the parameters. 0-dim float64."""

    @abstractmethod
    def norm(self, vector: Tensor) -> Tensor:
        """The 2-norm of a (P,) vector, over all of the parameters. 0-dim, of the vector's dtype."""

    @abstractmethod
    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """A (P,) vector as whole tensors under the parameters' names. Collective where the network is not whole."""

    @abstractmethod
    def flattened(self, named: Mapping[str, Tensor]) -> Tensor:
        """(P,), the inverse of `named`: what of whole tensors belongs into this rank's vector."""

    @abstractmethod
    def leaves(self) -> Sequence[Tensor]:
        """What autograd differentiates with respect to, where `whole`."""

    def place(self, vector: Tensor) -> None:  # noqa: B027  # a whole network's graph holds the parameters itself
        """Make ready to go back through a pass that was made at ``vector`` (P,)."""

    def backward(self, total: Tensor, retain_graph: bool) -> None:
        """One backward pass whose hooks leave gradients of a network that is not whole."""
        total.backward(retain_graph=retain_graph)

    @abstractmethod
    def collect(self, pieces: Sequence[Tensor | None]) -> Gradient:
        """One gradient (P,) of what a backward pass left: a piece for each leaf, None for a zero."""

    def state(self) -> dict[str, Tensor]:
        """Whole parameters and buffers under the module's own names. Collective where the network is not whole."""
        parameters = self.named(self.vector.detach())
        own = self.module.state_dict()
        return {name: parameters[name] if name in parameters else tensor.detach() for name, tensor in own.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy `state` in."""
        with torch.no_grad():
            self.vector.copy_(self.flattened(state))
            for name, tensor in self.module.state_dict().items():
                if name not in self.shapes:
                    tensor.copy_(state[name])


def widen(outputs: Any, dtype: torch.dtype) -> Any:
    """A tensor, or a tuple of them, in ``dtype``."""
    if isinstance(outputs, Tensor):
        return outputs.to(dtype)
    return tuple(output.to(dtype) for output in outputs)


def gradients(
    objective_sum: Tensor, networks: Sequence[Network], *, along: Tensor | None = None, retain_graph: bool = False
) -> list[Gradient]:
    """The gradient of a scalar with respect to each network's parameters, as (P,) vectors, by one backward pass.

    A parameter the objective does not depend on gets zeros.

    Args:
        objective_sum: the scalar; with ``along`` any tensor, and the scalar is the sum of its product with that.
        networks: those whose gradients are wanted; all of them whole with ``along``.
        along: factors of the objective's shape, without a graph. They begin the backward pass.
        retain_graph: whether the graph is used once more.
    """
    scale = next((n.loss_scale for n in networks if n.loss_scale is not None), None)
    total = scaled(objective_sum, scale)
    leaves = [leaf for network in networks for leaf in network.leaves()]
    if all(network.whole for network in networks):
        pieces: list[Tensor | None] = list(
            torch.autograd.grad(total, leaves, grad_outputs=along, retain_graph=retain_graph, allow_unused=True)
        )
    else:
        assert along is None
        for network in networks:
            network.place(network.vector)
        spread = next(network for network in networks if not network.whole)
        pieces = by_hooks(total, leaves, spread.backward, retain_graph)
    found, start = [], 0
    for network in networks:
        size = len(network.leaves())
        found.append(unscaled(network.collect(pieces[start : start + size]), scale))
        start += size
    return found


def by_hooks(
    total: Tensor, leaves: Sequence[Tensor], backward: Callable[[Tensor, bool], None], retain_graph: bool = False
) -> list[Tensor | None]:
    """Gradients of leaves whose parts are put together, and whose gradients are spread, by hooks of a backward pass."""
    for leaf in leaves:
        leaf.grad = None
    backward(total, retain_graph)
    pieces = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return pieces


def scaled(objective_sum: Tensor, scale: LossScale | None) -> Tensor:
    """What a backward pass begins with: an objective times ``scale``."""
    return objective_sum if scale is None else objective_sum * scale.value


def unscaled(gradient: Gradient, scale: LossScale | None) -> Gradient:
    """The gradient of an objective that was multiplied by ``scale``, without it."""
    if scale is None:
        return gradient
    return Summed(gradient.part / scale.value) if isinstance(gradient, Summed) else gradient / scale.value
