"""A module whose parameters are views of one vector.

Bilevel rules speak of vectors: inner products, projections, w − η∇G. Holding the parameters as one vector makes each of
those one operation, makes the gradient one buffer to reduce, and lets one fused kernel apply the optimiser.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.autograd import forward_ad
from torch.func import functional_call

from ebomlc_dist.numerics.loss_scale import LossScale


class FlatModule:
    """A network held as one parameter vector and one vector of running statistics.

    The wrapped module's parameters and floating-point buffers become views of `vector` and `statistics`: writing to a
    vector moves the module. Gradients are taken with `gradients`, never with ``.backward()``.

    Compiled, the passes in training mode are one function of the two vectors and the images, with static shapes. A
    pass with a forward-mode derivative runs as it is, as does any in evaluation mode; none can go backward twice.

    Attributes:
        parameters: what gradients are taken with respect to: the module's own parameters, or `vector` where compiled.

    Args:
        module: the network; its trainable parameters must share one dtype and one device.
        autocast: dtype of the forward passes, or None for the parameters' own.
        loss_scale: multiplies an objective before its backward pass and is divided out of the float32 gradients.
        compiled: whether ``torch.compile`` makes the passes; it needs a compiler for the device.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        autocast: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
        compiled: bool = False,
    ) -> None:
        self.module = module
        self.autocast = autocast
        self.loss_scale = loss_scale
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.parameters: list[nn.Parameter] = list(parameters.values())
        self.names = list(parameters)
        self.shapes = [p.shape for p in self.parameters]
        self.vector = nn.Parameter(_gather(self.parameters))
        _become_views(self.parameters, self.vector.detach())

        buffers = {name: b for name, b in module.named_buffers() if b.dtype == self.vector.dtype}
        self._buffer_shapes = {name: b.shape for name, b in buffers.items()}
        self.statistics = _gather(list(buffers.values())) if buffers else self.vector.new_zeros(0)
        _become_views(list(buffers.values()), self.statistics)
        self._compiled: Callable[..., Any] | None = None
        if compiled:
            # Two backward passes go through one graph where a method learns twice from the same forward pass.
            functorch_config.donated_buffer = False
            self._compiled = torch.compile(self._pass, fullgraph=True, dynamic=False)
            self.parameters = [self.vector]

    def __call__(self, *inputs: Tensor) -> Any:
        """The module's output under autocast. Tensors it returns have the parameters' dtype."""
        with self._autocast(inputs[0]):
            if self._compiled is not None and self.module.training:
                return self._widen(self._compiled(self.vector, self.statistics, *inputs))
            return self._widen(self.module(*inputs))

    def at(self, vector: Tensor, *inputs: Tensor) -> Any:
        """The output with ``vector`` (P,) in place of the parameters.

        Running statistics are read by nobody and written to a copy, so that a look-ahead leaves no trace.
        Differentiable in ``vector`` where that requires a gradient.
        """
        eager = self._compiled is None or not self.module.training or forward_ad.unpack_dual(vector).tangent is not None
        run = self._pass if eager else self._compiled
        assert run is not None
        with self._autocast(inputs[0]):
            return self._widen(run(vector, self.statistics.clone(), *inputs))

    def _pass(self, vector: Tensor, statistics: Tensor, *inputs: Tensor) -> Any:
        state = self.split(vector) | _split(statistics, self._buffer_shapes)
        return functional_call(self.module, state, inputs)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Views of a (P,) vector under the parameters' names and shapes."""
        return _split(vector, dict(zip(self.names, self.shapes, strict=True)))

    def _autocast(self, example: Tensor) -> torch.autocast:
        return torch.autocast(example.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def _widen(self, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            return outputs.to(self.vector.dtype)
        return tuple(output.to(self.vector.dtype) for output in outputs)


def gradients(objective_sum: Tensor, modules: Sequence[FlatModule]) -> list[Tensor]:
    """The gradient of a scalar with respect to each module's parameters, as (P,) vectors, by one backward pass.

    A parameter the objective does not depend on gets zeros.
    """
    scale = next((m.loss_scale for m in modules if m.loss_scale is not None), None)
    leaves = [p for m in modules for p in m.parameters]
    pieces = torch.autograd.grad(
        objective_sum if scale is None else objective_sum * scale.value, leaves, materialize_grads=True
    )
    vectors, start = [], 0
    for module in modules:
        vector = _gather(pieces[start : start + len(module.parameters)])
        vectors.append(vector if scale is None else vector / scale.value)
        start += len(module.parameters)
    return vectors


def gradient_at(objective_sum: Tensor, vector: Tensor, module: FlatModule) -> Tensor:
    """The gradient (P,) of a scalar with respect to the ``vector`` its `FlatModule.at` passes were given."""
    if module.loss_scale is None:
        return torch.autograd.grad(objective_sum, vector)[0]
    return torch.autograd.grad(objective_sum * module.loss_scale.value, vector)[0] / module.loss_scale.value


def _gather(tensors: Sequence[Tensor]) -> Tensor:
    # Channels-last gradients are copied into order; `reshape` would take two operators for that.
    return torch.cat([t.detach().contiguous().view(-1) for t in tensors])


def _split(vector: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    pieces = vector.split([shape.numel() for shape in shapes.values()])
    return {name: piece.view(shape) for piece, (name, shape) in zip(pieces, shapes.items(), strict=True)}


def _become_views(tensors: Sequence[Tensor], vector: Tensor) -> None:
    for tensor, piece in zip(tensors, vector.split([t.numel() for t in tensors]), strict=True):
        tensor.data = piece.view(tensor.shape)
