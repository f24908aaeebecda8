"""Random numbers as a function of integer keys: the same for a sample whatever the rank that holds it.

A key is hashed with a counter (SplitMix64, Steele, Lea & Flood 2014), so that there is no state, no generator and no
host: a step that draws can be captured, skipped and resumed. Integers wrap around at 2⁶⁴, which is what is wanted.
"""

import math

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
# One attempt of `gamma` fails with a probability below 0.05 for every shape, eight in a row with one below 4e-11.
GAMMA_ATTEMPTS = 8
SMALLEST = 2.0**-54


def keys_of(key: Tensor, places: Tensor) -> Tensor:
    """(n,) int64 keys, one for each of (n,) int64 ``places`` under a 0-dim ``key``."""
    return _mix(key + _mix(places))


def uniform(keys: Tensor, count: int, stream: int) -> Tensor:
    """(…, count) float64 in 0…1, both excluded. ``keys``: (…) int64; other ``stream`` numbers are independent."""
    counters = torch.arange(count, dtype=torch.int64, device=keys.device) + (stream << 32)
    bits = _mix(keys.unsqueeze(-1) + _mix(counters))
    return (_shift(bits, 11).double() + 0.5) * 2.0**-53


def normal(keys: Tensor, count: int, stream: int) -> Tensor:
    """(…, count) float64 standard normal (Box & Muller 1958)."""
    radius = (-2.0 * uniform(keys, count, 2 * stream).log()).sqrt()
    return radius * (2.0 * math.pi * uniform(keys, count, 2 * stream + 1)).cos()


def gamma(shape: Tensor, keys: Tensor, stream: int) -> Tensor:
    """(…) float64 draws of Gamma(shape, 1), shape > 0 (Marsaglia & Tsang 2000), without a gradient.

    ``shape``, ``keys``: (…). A fixed number of attempts takes the place of a loop; shapes below 1 are drawn at
    shape + 1 and scaled by u^(1/shape).
    """
    shape = shape.detach().double()
    boosted = torch.where(shape < 1, shape + 1, shape)
    depth = (boosted - 1.0 / 3.0).unsqueeze(-1)
    noise = normal(keys, GAMMA_ATTEMPTS, 2 * stream)
    cube = (1.0 + noise / (9.0 * depth).sqrt()) ** 3
    # The normal draws have used streams 4·stream and 4·stream + 1.
    accept = uniform(keys, GAMMA_ATTEMPTS + 1, 4 * stream + 2)
    log_cube = cube.clamp_min(SMALLEST).log()
    good = (cube > 0) & (accept[..., :-1].log() < 0.5 * noise.square() + depth * (1.0 - cube + log_cube))
    # The first good attempt; where there is none, the mode of the distribution.
    first = good.to(torch.uint8).argmax(dim=-1, keepdim=True)
    drawn = torch.where(good.any(dim=-1), (depth * cube).gather(-1, first).squeeze(-1), (boosted - 1).clamp_min(0.1))
    scale = torch.where(shape < 1, (accept[..., -1].log() / shape.clamp_min(SMALLEST)).exp(), 1.0)
    return drawn * scale


def beta(a: Tensor, b: Tensor, keys: Tensor, stream: int) -> Tensor:
    """(…) draws of Beta(a, b), in the dtype of ``a``, with the implicit gradient in a and b (Figurnov et al. 2018)."""
    first, second = gamma(a, keys, 2 * stream), gamma(b, keys, 2 * stream + 1)
    share = first / (first + second).clamp_min(torch.finfo(torch.float64).tiny)
    return _BetaDraw.apply(a, b, share.to(a.dtype))


def permutation(key: Tensor, size: int, stream: int) -> Tensor:
    """(size,) int64, the numbers 0…size−1 in an order drawn from a 0-dim ``key``."""
    return uniform(key, size, stream).argsort(stable=True)


class _BetaDraw(torch.autograd.Function):
    """A drawn share with the derivatives that its distribution function implies."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, a: Tensor, b: Tensor, share: Tensor) -> Tensor:
        context.save_for_backward(a, b, share)
        return share.clone()

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, share = context.saved_tensors  # type: ignore[attr-defined]
        limits = torch.finfo(share.dtype)
        x = share.clamp(limits.tiny, 1 - limits.eps)
        both = torch.stack([x, 1 - x], dim=-1)
        shapes = torch.stack([a, b], dim=-1)
        total = (a + b).unsqueeze(-1).expand_as(shapes)
        # torch's derivative of each share with respect to its own shape; the shares add up to one.
        own = torch._dirichlet_grad(both, shapes, total) * (1 - both)
        return gradient * own[..., 0], -gradient * own[..., 1], None


def _mix(values: Tensor) -> Tensor:
    values = values + _GOLDEN
    values = (values ^ _shift(values, 30)) * _FIRST
    values = (values ^ _shift(values, 27)) * _SECOND
    return values ^ _shift(values, 31)


def _shift(values: Tensor, places: int) -> Tensor:
    """Shift to the right as if the 64 bits had no sign."""
    return (values >> places) & ((1 << (64 - places)) - 1)
