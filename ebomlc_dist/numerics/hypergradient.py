"""The one-step hypergradient, by three ways to one directional derivative.

Let the lower objective be bilinear in coefficients c(α) and per-sample terms s(w):

    G(w, α) = mean_i ⟨c_i(α), s_i(w)⟩

soft labels: c_i = g_α(h(x_i), ỹ_i) and s_i = −log softmax f_w(x_i), both (K,); sample weights: c_i = v_α(i) and
s_i = CE(f_w(x_i), ỹ_i), both scalar. With a look-ahead w' = w − η∇_wG(w, α) and v = ∇_wF(w'):

    ∇_αF(w'(α)) = −η∇_α⟨∇_wG(w, α), v⟩ = −η mean_i ⟨ṡ_i, ∇_αc_i(α)⟩,   ṡ_i = (∂s_i/∂w) v

ṡ, the slopes of the terms along v, is one number for each coefficient; what is left is one backward pass through the
small meta model. v has to be reduced over the ranks before its slopes are taken, and the meta gradient after that. The
slopes:

- ``double_backward``: ∇_wG with its graph kept, ⟨∇_wG, v⟩ differentiated with respect to c. The classic way; exact.
- ``forward_mode``: a forward pass that carries the derivative along v. Exact.
- ``finite_difference``: a forward pass without gradients at w + εv, against the terms at w:
  (s(w + εv) − s(w))/ε, with an error of first order in ε. In half precision s(w) is rounded too coarsely for that, and
  the two sides (s(w + εv) − s(w − εv))/2ε with a longer ε are taken, with an error of second order.

Forward units, with a backward at 2: 4, 3, 1 (2 in half precision). All passes go through `Network.at`: running
statistics do not move. A difference is taken between two passes, so it wants a main model that draws nothing at random.
"""

import warnings
from collections.abc import Callable
from threading import Lock
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ebomlc_dist.numerics.network import Gradient, Network, gradients

HypergradientMode = Literal["double_backward", "forward_mode", "finite_difference"]
Terms = Callable[[Tensor], Tensor]

ONE_SIDED_LENGTH = 0.01
CENTRAL_LENGTH = 0.1

# Forward-mode levels are one stack for the whole process.
_FORWARD_LEVEL = Lock()

with warnings.catch_warnings():
    # On first use torch compiles some derivatives with a function of its own that it calls deprecated: torch 2.10 and
    # 2.11 by a DeprecationWarning, others by a FutureWarning.
    for deprecated in (DeprecationWarning, FutureWarning):
        warnings.simplefilter("ignore", deprecated)
    with forward_ad.dual_level():
        forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


class Hypergradient:
    """The way of one step from ∇_wG(w, α) and v to the slopes of the terms.

    Args:
        mode: how the slopes are taken.
        main: the main model.
        coefficients: c(α), (n, …), as the meta model gave them.

    Attributes:
        coefficients: their values, with which the lower objective is to be formed.
    """

    def __init__(self, mode: HypergradientMode, main: Network, coefficients: Tensor) -> None:
        self.mode = mode
        self.main = main
        self.coefficients = coefficients.detach().requires_grad_(mode == "double_backward")
        self._gradient: Tensor | None = None
        self._keep = False

    def lower_gradient(self, lower_sum: Tensor, keep_graph: bool = False) -> Gradient:
        """∇_w of this rank's lower sum, (P,), by one backward pass; ``keep_graph``: its graph is used once more."""
        if self.mode != "double_backward":
            return gradients(lower_sum, [self.main], retain_graph=keep_graph)[0]
        scale = 1.0 if self.main.loss_scale is None else self.main.loss_scale.value
        pieces = torch.autograd.grad(lower_sum * scale, self.main.leaves(), create_graph=True, materialize_grads=True)
        self._keep = keep_graph
        self._gradient = self.main.flattened(dict(zip(self.main.shapes, pieces, strict=True))) / scale
        return self._gradient.detach()

    def slopes(self, terms: Terms, here: Tensor, vector: Tensor) -> Tensor:
        """ṡ, (n, …), without a gradient.

        Args:
            terms: (P,) → s (n, …), the terms at other parameters of the main model.
            here: s(w), (n, …).
            vector: v (P,), the same on every rank.
        """
        # The slopes are linear in v: a unit vector keeps half precision within its range.
        length = self.main.norm(vector)
        unit = vector / torch.where(length > 0, length, 1.0)
        if self._gradient is not None:
            (slopes,) = torch.autograd.grad(torch.dot(self._gradient, unit), self.coefficients, retain_graph=self._keep)
        elif self.mode == "forward_mode":
            slopes = forward_slopes(terms, self.main.vector.detach(), unit)
        elif self.main.autocast is None:
            slopes = one_sided_slopes(terms, self.main.vector.detach(), unit, ONE_SIDED_LENGTH, here)
        else:
            slopes = central_slopes(terms, self.main.vector.detach(), unit, CENTRAL_LENGTH)
        return slopes * length


def takes_channels_last(backward_twice: bool, device: torch.device, autocast: torch.dtype | None = None) -> bool:
    """Whether passes are best where images and weights of convolutions are channels-last.

    On a CPU, normalisation's double backward sums over channels-last tensors at a fraction of the speed: a step in
    ``double_backward`` takes a fifth longer in that layout, every other one a fifth less. In fp16 the sums of such
    weights are rounded more coarsely there.
    """
    return device.type != "cpu" or not (backward_twice or autocast == torch.float16)


def in_layout(mode: HypergradientMode, images: Tensor) -> Tensor:
    """``images`` (n, C, H, W), channels-last, as the pass that ``mode`` goes back through is fastest."""
    return images if takes_channels_last(mode == "double_backward", images.device) else images.contiguous()


@torch.no_grad()
def forward_slopes(terms: Terms, point: Tensor, direction: Tensor) -> Tensor:
    """The derivative of ``terms`` at ``point`` (P,) along ``direction`` (P,), by one forward-mode pass."""
    with _FORWARD_LEVEL, forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(terms(forward_ad.make_dual(point, direction))).tangent
        assert tangent is not None
        return tangent


@torch.no_grad()
def one_sided_slopes(terms: Terms, point: Tensor, direction: Tensor, length: float, here: Tensor) -> Tensor:
    """(s(point + length·direction) − here) / length, with ``here`` the terms at ``point``."""
    return (terms(point + length * direction) - here) / length


@torch.no_grad()
def central_slopes(terms: Terms, point: Tensor, direction: Tensor, length: float) -> Tensor:
    """(s(point + length·direction) − s(point − length·direction)) / (2·length)."""
    return (terms(point + length * direction) - terms(point - length * direction)) / (2 * length)
