"""Soft bootstrapping: Reed et al. 2015, "Training Deep Neural Networks on Noisy Labels with Bootstrapping".

L(w) = mean −Σ_k (γ·ỹ_k + (1−γ)·p_k) log p_k,   p = softmax(f_w(x)) as a constant in the target
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ebomlc_dist.methods.contract import Method, MethodConfig, Networks, PairedBatch, Reducer, Rules, StepResult
from ebomlc_dist.numerics.losses import soft_cross_entropy
from ebomlc_dist.numerics.network import gradients


class BootstrapConfig(MethodConfig):
    """Settings of soft bootstrapping."""

    trust: Annotated[float, Field(ge=0.0, le=1.0, description="γ, share of the given label in the target")] = 0.95


class Bootstrap(Method):
    """Cross entropy against a mixture of the given label and the model's own prediction."""

    Config: ClassVar[type[MethodConfig]] = BootstrapConfig
    paper: ClassVar[str] = "Reed et al. 2015, Training Deep Neural Networks on Noisy Labels with Bootstrapping"
    noisy_units: ClassVar[float] = 3

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        main, noisy = networks["main"], batch.noisy
        logits, features = main(noisy.images)
        target = self.corrected_probabilities(networks, logits.detach(), features, noisy.labels)
        loss_sum = noisy.sum(soft_cross_entropy(logits.log_softmax(dim=1), target))
        sums = [*gradients(loss_sum, [main]), loss_sum.detach()]
        direction, loss = reducer.mean_of_sums(sums, noisy.count).wait()
        return StepResult(directions={"main": direction}, metrics={"lower": loss}, corrected=target.argmax(dim=1))

    def corrected_probabilities(self, networks: Networks, logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        classes = torch.arange(logits.shape[1], device=labels.device)
        given = (labels[:, None] == classes).to(logits.dtype)
        return self.config.trust * given + (1 - self.config.trust) * logits.softmax(dim=1)
