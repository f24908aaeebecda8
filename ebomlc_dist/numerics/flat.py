"""A network whose parameters are views of one vector, all of it on every rank.

Bilevel rules speak of vectors: inner products, projections, w − η∇G. Holding the parameters as one vector makes each of
those one operation, makes the gradient one buffer to reduce, and lets one fused kernel apply the optimiser.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.autograd import forward_ad
from torch.func import functional_call

from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.memory_layout import Layout
from ebomlc_dist.numerics.network import Network, scaled, whole_dots


class FlatNetwork(Network):
    """A network held as one parameter vector and one vector of running statistics.

    The wrapped module's parameters and floating-point buffers become views of `vector` and `statistics`: writing to a
    vector moves the module. Gradients are taken with `network.gradients`, never with ``.backward()``.

    Compiled, the passes in training mode are one function of the two vectors and the images, with static shapes. A
    pass with a forward-mode derivative runs as it is, as does any in evaluation mode; none can go backward twice.

    Attributes:
        parameters: what gradients are taken with respect to: the module's own parameters, or `vector` where compiled.

    Args:
        module: the network; its trainable parameters must share one dtype and one device.
        autocast: dtype of the forward passes, or None for the parameters' own.
        loss_scale: multiplies an objective before its backward pass and is divided out of the float32 gradients.
        compiled: whether ``torch.compile`` makes the passes; it needs a compiler for the device.
        channels_last: whether weights of convolutions lie as images do, see `ebomlc_dist.numerics.memory_layout`.
    """

    whole = True

    def __init__(
        self,
        module: nn.Module,
        *,
        autocast: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
        compiled: bool = False,
        channels_last: bool = True,
    ) -> None:
        self.module = module
        self.autocast = autocast
        self.loss_scale = loss_scale
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.parameters: list[nn.Parameter] = list(parameters.values())
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self._layout = Layout(list(self.shapes.values()), channels_last)
        self.vector = nn.Parameter(self._layout.join([p.detach() for p in self.parameters]))
        for parameter, view in zip(self.parameters, self._layout.split(self.vector.detach()), strict=True):
            parameter.data = view
        buffers = statistics_of(module)
        self._buffers = Layout([b.shape for b in buffers.values()], channels_last=False)
        self._buffer_names = list(buffers)
        self.statistics = as_one(buffers, self.vector)
        self._compiled: Callable[..., Any] | None = None
        if compiled:
            # Two backward passes go through one graph where a method learns twice from the same forward pass.
            functorch_config.donated_buffer = False
            # The run's precision is a choice of its own; Inductor asks for another one.
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores for float32 matrix multiplication")
            self._compiled = torch.compile(self._pass, fullgraph=True, dynamic=False)
            self.parameters = [self.vector]

    def __call__(self, *inputs: Tensor) -> Any:
        if self._compiled is not None and self.module.training:
            return self.run(self._compiled, self.vector, self.statistics, *inputs)
        return self.run(self.module, *inputs)

    def at(self, vector: Tensor, *inputs: Tensor, moves_statistics: bool = False) -> Any:
        """See `Network`; differentiable in ``vector`` where that requires a gradient."""
        eager = self._compiled is None or not self.module.training or forward_ad.unpack_dual(vector).tangent is not None
        forward = self._pass if eager else self._compiled
        assert forward is not None
        statistics = self.statistics if moves_statistics else self.statistics.clone()
        return self.run(forward, vector, statistics, *inputs)

    def gradient_at(self, objective_sum: Tensor, vector: Tensor) -> Tensor:
        scale = self.loss_scale
        (gradient,) = torch.autograd.grad(scaled(objective_sum, scale), vector)
        return gradient if scale is None else gradient / scale.value

    # The function itself, by which `gram` knows that products of another whole network may join in.
    dots = staticmethod(whole_dots)

    def norm(self, vector: Tensor) -> Tensor:
        return torch.linalg.vector_norm(vector)

    def leaves(self) -> Sequence[Tensor]:
        return self.parameters

    def collect(self, pieces: Sequence[Tensor | None]) -> Tensor:
        filled = [
            torch.zeros_like(p) if g is None else g.detach() for g, p in zip(pieces, self.parameters, strict=True)
        ]
        return filled[0] if self._compiled is not None else self._layout.join(filled)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.shapes, self._layout.split(vector), strict=True))

    def flattened(self, named: Mapping[str, Tensor]) -> Tensor:
        return self._layout.join([named[name] for name in self.shapes])

    def _pass(self, vector: Tensor, statistics: Tensor, *inputs: Tensor) -> Any:
        buffers = dict(zip(self._buffer_names, self._buffers.split(statistics), strict=True))
        state = self.named(vector) | buffers
        return functional_call(self.module, state, inputs)


def statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that hold statistics: those of the parameters' dtype."""
    dtype = next(module.parameters()).dtype
    return {name: buffer for name, buffer in module.named_buffers() if buffer.dtype == dtype}


def as_one(buffers: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """One vector, of which ``buffers`` become views; empty, as ``like`` otherwise, where there are none."""
    if not buffers:
        return like.detach().new_zeros(0)
    layout = Layout([buffer.shape for buffer in buffers.values()], channels_last=False)
    vector = layout.join(list(buffers.values()))
    for buffer, view in zip(buffers.values(), layout.split(vector), strict=True):
        buffer.data = view
    return vector


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors behind one another, each as it is without regard to its memory format, as one vector without a graph."""
    return torch.cat([t.detach().contiguous().view(-1) for t in tensors])
