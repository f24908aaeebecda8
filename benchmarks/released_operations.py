"""A timing-only re-creation of the operations of the released research code. It trains nothing and reproduces nothing.

Written from counts alone: forward units, operator launches and the habits behind them, as measured on that code with a
ResNet-32 on 100 noisy and 100 clean images (half of which join the lower objective):

| step   | forward units | launches |
|--------|---------------|----------|
| EBOMLC | 10.5          | 3258     |
| MLC    | 16.5          | 9547     |

The habits: ``create_graph`` on every gradient, a loop over the parameters for every vector operation, a copy of the
model's state each step, BatchNorm's ``num_batches_tracked``, optimisers without a fused or foreach kernel, images in
PyTorch's default layout. The mathematics is left out where it costs nothing. ``test_bars`` holds the units to the table
and lets the launches not exceed it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.label_corrector import LabelCorrector

UNITS = {"ebomlc": 10.5, "mlc": 16.5}
LAUNCHES = {"ebomlc": 3258, "mlc": 9547}
RATE, MOMENTUM, DECAY, STRENGTH = 0.1, 0.9, 5e-4, 0.25


class ReleasedOperations:
    """One model, its corrector, and fixed batches.

    Args:
        images: (B, 3, H, W), noisy ones; as many clean ones are drawn beside them.
    """

    def __init__(self, batch_size: int = 100) -> None:
        self.main = build_main_model("resnet32", num_classes=10, in_channels=3, norm="batch").train()
        for module in self.main.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = torch.tensor(0)
        self.meta = LabelCorrector(10, 64, dropout=0.3, batch_norm=True).train()
        self.weights = list(self.main.parameters())
        self.corrector = list(self.meta.parameters())
        self.sgd = torch.optim.SGD(self.weights, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, foreach=False)
        self.adam = torch.optim.Adam(self.corrector, lr=3e-4, foreach=False)
        self.velocity = [torch.zeros_like(weight) for weight in self.weights]
        half = batch_size // 2
        labels = torch.arange(batch_size) % 10
        self.noisy, self.noisy_labels = torch.randn(batch_size, 3, 32, 32), labels
        clean = torch.randn(batch_size, 3, 32, 32)
        self.upper, self.upper_labels = clean[:half], labels[:half]
        self.lower_clean, self.lower_labels = clean[half:], labels[half:]

    def ebomlc(self) -> None:
        """Upper gradient, lower gradient, lower gradient at w', inner products, both optimisers."""
        logits, features = self.main(self.upper)
        mixed = 0.2 * logits + 0.8 * self.meta(features.detach(), self.upper_labels).softmax(dim=1)
        upper = self._gradient(functional.cross_entropy(mixed, self.upper_labels), [*self.weights, *self.corrector])
        lower = self._gradient(self._lower(), [*self.weights, *self.corrector])
        self._copy()
        entered = self._as_step(upper)
        self._move(self._as_step(lower))
        ahead = self._gradient(self._lower(), [*self.weights, *self.corrector])
        gap = [here - there for here, there in zip(lower, ahead, strict=True)]
        square = sum(_dot(part, part) for part in gap)
        product = sum(_dot(one, other) for one, other in zip(gap, entered, strict=False))
        beta = torch.clamp((STRENGTH * square - product) / (square + 1e-8), min=0.0)
        directions = [one + 0.5 * beta * other for one, other in zip(upper, gap, strict=True)]
        self._apply(directions)

    def mlc(self) -> None:
        """Lower gradient, upper gradient at w', a double backward, and the lower gradient once more."""
        state = self._copy()
        lower = torch.autograd.grad(self._lower(), self.weights, create_graph=True)
        before = [weight.data.clone() for weight in self.weights]
        self._move(self._as_step([part.detach() for part in lower]))
        logits, _ = self.main(self.upper)
        upper = self._gradient(functional.cross_entropy(logits, self.upper_labels), self.weights)
        # The graph of the lower gradient was made at w: it is gone through with w in place again.
        with torch.no_grad():
            for weight, old in zip(self.weights, before, strict=True):
                weight.data.copy_(old)
        meta = [-RATE * part for part in torch.autograd.grad(lower, self.corrector, grad_outputs=upper)]
        self.main.load_state_dict(state)
        main = torch.autograd.grad(self._lower(), self.weights)
        self._apply([*main, *meta])

    def _lower(self) -> Tensor:
        """Soft cross entropy of the noisy images and plain cross entropy of the other clean half, in one pass."""
        logits, features = self.main(torch.cat([self.noisy, self.lower_clean]))
        size = len(self.noisy)
        soft_labels = self.meta(features[:size].detach(), self.noisy_labels).softmax(dim=1)
        noisy = -(soft_labels * logits[:size].log_softmax(dim=1)).sum(dim=1).mean()
        return noisy + functional.cross_entropy(logits[size:], self.lower_labels)

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.main.state_dict().items()}

    def _gradient(self, objective: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        pieces = torch.autograd.grad(objective, parameters, create_graph=True)
        return [piece.detach() for piece in pieces]

    @torch.no_grad()
    def _as_step(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """−η(g + λw + μm), parameter by parameter."""
        triples = zip(self.weights, self.velocity, gradient, strict=False)
        return [part.add(weight, alpha=DECAY).add(past, alpha=MOMENTUM).mul(-RATE) for weight, past, part in triples]

    @torch.no_grad()
    def _move(self, steps: Sequence[Tensor]) -> None:
        for weight, step in zip(self.weights, steps, strict=True):
            weight.data.add_(step)

    def _apply(self, directions: Sequence[Tensor]) -> None:
        for parameter, direction in zip([*self.weights, *self.corrector], directions, strict=True):
            parameter.grad = direction
        self.sgd.step()
        self.adam.step()


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return torch.dot(one.reshape(-1), other.reshape(-1))


def released_steps() -> dict[str, Callable[[], None]]:
    """Name → one step, each on a model of its own."""
    return {name: getattr(ReleasedOperations(), name) for name in UNITS}
