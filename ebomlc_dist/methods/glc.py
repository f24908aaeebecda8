"""GLC: gold loss correction (Hendrycks et al. 2018, "Using Trusted Data to Train Deep Networks on Labels Corrupted by
Severe Noise").

Two stages, each over all epochs of the run:

1.  CE on the noisy labels. Then, with p = softmax f_w(x) in evaluation mode on images that are not augmented,

        Ĉ[i, j] = mean of p_j(x) over the trusted images of class i          estimate of P(noisy label j | true label i)

2.  From the same initial parameters, on trusted and noisy images together, in the proportion of the two sets:

        ℓ(x, y) = −log p_y(x) on trusted images,   ℓ(x, ỹ) = −log Σ_i p_i(x) Ĉ[i, ỹ] on noisy ones

Ĉ is formed from totals and counts over all ranks. A corrected label is the posterior P(i | x, ỹ) ∝ p_i(x) Ĉ[i, ỹ].
Cost: 3 forward units a step in each stage.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import (
    DatasetReducer,
    Method,
    MethodConfig,
    Networks,
    PairedBatch,
    Reducer,
    Rules,
    StepResult,
    Streams,
    Task,
)
from ebomlc_dist.numerics.losses import cross_entropy, forward_corrected
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.numerics.one_hot import in_own_row


class GlcConfig(MethodConfig):
    """No settings of its own."""

    own_frame: ClassVar[Mapping[str, Any]] = {
        "train.epochs": 75,
        "train.global_noisy_batch_size": 128,
        "optim.nesterov": True,
        "optim.schedule": "cosine",
    }
    name: Literal["glc"] = "glc"


class Glc(Method):
    """The two stages of GLC. See the module's equations.

    Attributes:
        state: ``transition``: Ĉ (K, K), the identity until it is estimated.
    """

    Config: ClassVar = GlcConfig
    stages = 2
    main_optimizers = ("sgd", "adam")

    def allocate(self, networks: Networks, task: Task) -> None:
        vector = networks["main"].vector
        self.state = {"transition": torch.eye(task.num_classes, dtype=vector.dtype, device=vector.device)}

    def enter_epoch(self, epoch: int, epochs: int) -> None:
        super().enter_epoch(epoch, epochs)
        self.streams = Streams(noisy_images="union" if epoch >= epochs else "noisy")

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:
        if self.epoch != self.epochs:
            return
        transition = self.state["transition"]

        def outer(images: Tensor, labels: Tensor) -> Tensor:
            """(n, K, K + 1): the sample's probabilities, and a one, in the row of its class."""
            probabilities = networks["main"](images)[0].softmax(dim=1)
            counted = torch.cat([probabilities, torch.ones_like(probabilities[:, :1])], dim=1)
            return in_own_row(labels, counted, len(transition))

        totals = interlude.sum_clean(outer)
        counts = totals[:, -1:]
        if empty := (counts[:, 0] == 0).nonzero().flatten().tolist():
            raise InputError(f"GLC needs trusted images of every class and there are none of class {empty[0]}")
        transition.copy_(totals[:, :-1] / counts)
        interlude.restart("main")

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        main, noisy = networks["main"], batch.noisy
        logits, _ = main(noisy.images)
        losses = cross_entropy(logits, noisy.labels)
        corrected: Tensor | None = None
        if noisy.trusted is not None:
            transition = self.state["transition"]
            noisy_losses = forward_corrected(logits.log_softmax(dim=1), noisy.labels, transition)
            losses = torch.where(noisy.trusted, losses, noisy_losses)
            corrected = self._posterior(logits.detach(), noisy.labels).argmax(dim=1)
        loss_sum = noisy.sum(losses)
        direction, loss = reducer.mean_of_sums([*gradients(loss_sum, [main]), loss_sum.detach()], noisy.count).wait()
        return StepResult(
            directions={"main": direction},
            metrics={"lower": loss, "lower_main_norm": main.norm(direction)},
            corrected=corrected,
        )

    def corrected_probabilities(self, networks: Networks, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        return self._posterior(logits, labels)

    def _posterior(self, logits: Tensor, labels: Tensor) -> Tensor:
        """P(i | x, ỹ) ∝ p_i(x) Ĉ[i, ỹ], (n, K)."""
        likelihood = self.state["transition"].t()[labels].to(logits.dtype)
        return (logits.log_softmax(dim=1) + likelihood.log()).softmax(dim=1)
