"""EBOMLC-S: EBOMLC whose corrector is shown simulated noise on the trusted images.

Algorithm 2 shows the corrector, on a trusted image, the true label and asks for the true label: it learns to copy. Here
it is shown a label as the noisy process would have given it, and must return the true one:

    y' ~ T[y_c, ·],   F(w, α) = mean CE(ρ·f_w(x_c) + (1−ρ)·g_α(h(x_c), y'), y_c)

and everything else is `ebomlc`'s step, with δ = ξ = 1, since the corrected labels can be trusted. T is

- ``estimated``: before each epoch, by `ebomlc_dist.numerics.transition`, from the main model's predictions on the noisy
  set and on a held-out part of the trusted set, which is not trained on; blind in the first epoch;
- ``known``: given, for ablation.

Draws depend on seed, step and place in the global batch. Cost: 7 forward units, as `ebomlc`.
"""

from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import Interlude, Networks, PairedBatch, Task
from ebomlc_dist.methods.ebomlc import Ebomlc, EbomlcConfig
from ebomlc_dist.numerics.draws import keys_of, uniform
from ebomlc_dist.numerics.transition import blind_transition, draw_labels, transition_by_moments


class EbomlcSConfig(EbomlcConfig):
    """EBOMLC-S's settings."""

    name: Literal["ebomlc-s"] = "ebomlc-s"  # type: ignore[assignment]
    barrier_strength: float = Field(1.0, ge=0.0, description="δ")
    noisy_scale: float = Field(1.0, gt=0.0, le=1.0, description="ξ")
    noise_process: Literal["estimated", "known"] = Field("estimated", description="where T comes from")
    transition: tuple[tuple[float, ...], ...] | None = Field(
        None, description="T as rows, [[0.8, 0.2], [0.1, 0.9]], for noise_process known"
    )
    held_out: float = Field(0.2, gt=0.0, lt=1.0, description="share of the trusted images kept for estimating T")

    @model_validator(mode="after")
    def _matrix_is_given_where_needed(self) -> Self:
        if (self.noise_process == "known") != (self.transition is not None):
            raise ValueError("noise_process 'known' and a matrix go together (method.transition=[[…], …])")
        for row in self.transition or ():
            if len(row) != len(self.transition or ()) or min(row) < 0 or abs(sum(row) - 1) > 1e-6:
                raise ValueError("method.transition needs K rows of K numbers ≥ 0, each row with the sum 1")
        return self


class EbomlcS(Ebomlc):
    """The step of EBOMLC with simulated labels. See the module's docstring.

    Attributes:
        memory: ``transition``: T (K, K) float64, ``T[true, noisy]``.
    """

    Config: ClassVar = EbomlcSConfig
    config: EbomlcSConfig

    def __init__(self, config: EbomlcSConfig) -> None:
        super().__init__(config)
        held_out = config.held_out if config.noise_process == "estimated" else 0.0
        self.streams = replace(self.streams, held_out=held_out)

    def allocate(self, networks: Networks, task: Task) -> None:
        start = blind_transition(task.num_classes, networks["main"].vector.device)
        if self.config.transition is not None:
            if len(self.config.transition) != task.num_classes:
                raise InputError(
                    f"method.transition has {len(self.config.transition)} rows and there are {task.num_classes} classes"
                )
            start.copy_(torch.tensor(self.config.transition, dtype=torch.float64))
        self.memory = {"transition": start}

    def begin_epoch(self, networks: Networks, interlude: Interlude) -> None:
        if self.config.noise_process == "known" or self.epoch == 0:
            return
        transition = self.memory["transition"]
        classes = torch.arange(len(transition), device=transition.device)

        def counted(images: Tensor, labels: Tensor) -> Tensor:
            """(n, K, K): a one at [label, prediction]."""
            predicted = networks["main"](images)[0].argmax(dim=1)
            rows, columns = ((values[:, None] == classes).double() for values in (labels, predicted))
            return rows[:, :, None] * columns[:, None, :]

        joint = interlude.sum_noisy(counted).t()
        confusion = interlude.sum_held_out(counted)
        transition.copy_(transition_by_moments(joint, confusion))

    def shown_labels(self, batch: PairedBatch) -> Tensor:
        assert batch.clean is not None
        assert batch.key is not None
        labels = batch.clean.labels
        places = batch.clean.offset + torch.arange(len(labels), device=labels.device)
        numbers = uniform(keys_of(batch.key, places), 1, 0)[:, 0]
        return draw_labels(labels, self.memory["transition"], numbers)
