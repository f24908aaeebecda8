"""EBOMLC-S: EBOMLC whose corrector is shown noisy labels on the trusted images.

Algorithm 2 shows the corrector, on a trusted image, the true label and asks for the true label: it learns to copy. Here
it is shown a label y' as the noisy process would have given it, and must return the true one:

    F(w, α) = mean ρ·CE(f_w(x_c), y_c) + (1−ρ)·CE(g_α(h(x_c), y'), y_c)

Losses are mixed, not probabilities as in eq. (9), so that a trusted image weighs as much in the main model's gradient
where the corrector is right already (`mixture_kind` has both). And on noisy images the given label keeps a weight, as
the corrector may be worth less than it, where trusted images are few, or noise is rare:

    G(w, α) = mean softCE(f_w(x_n), κ·g_α(h(x_n), ỹ) + (1−κ)·e_ỹ)

Everything else is `ebomlc`'s step. Where y' comes from:

- ``observed``: the label that the image had in the noisy set before it was checked; drawn, as for ``counted``, where
  that is unknown;
- ``counted``: y' ~ T[y_c, ·], T from the counts of observed pairs, drawn anew at each step;
- ``estimated``: y' ~ T[y_c, ·], T found from the main model's predictions on the noisy set and on a held-out part of
  the trusted set, before epochs 1, 2, 4, 8, … counted from 0, and before the last one for which that part is held out;
  blind in epoch 0. After half of the epochs T is kept, and that part is trained on as well (`held_out_until`);
- ``known``: y' ~ T[y_c, ·], T given, for ablation;
- ``auto``: ``counted`` where the old label of every trusted image is known, else ``estimated``.

Draws depend on seed, step and place in the global batch. ρ, δ, ξ and κ follow from what noisy labels are worth
(`ebomlc_dist.numerics.trust`): with ``settings`` ``given``, the default, ρ, δ and ξ by how many of the given labels are
right, T's diagonal; with ``corrected`` by the corrector's answers on the held-out part, from the second epoch on; κ by
both. ``fixed`` takes δ = ξ = κ = 1, ρ = 0.2, or what is set. Cost: 7 forward units, as `ebomlc`.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal, Self, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import Interlude, Networks, PairedBatch, Task
from ebomlc_dist.methods.ebomlc import Ebomlc, EbomlcConfig, StepSettings
from ebomlc_dist.numerics.draws import keys_of, uniform
from ebomlc_dist.numerics.losses import MixtureKind
from ebomlc_dist.numerics.one_hot import in_own_row, one_hot
from ebomlc_dist.numerics.transition import (
    blind_transition,
    draw_labels,
    transition_by_counts,
    transition_by_mean_softmax,
    transition_by_moments,
)
from ebomlc_dist.numerics.transition_posterior import MOST_CLASSES, transition_by_posterior
from ebomlc_dist.numerics.trust import corrected_share, information_share, lead, settings_for

Followed = Literal["mixture", "barrier_strength", "noisy_scale", "corrected_share"]
log = logging.getLogger(__name__)


class EbomlcSConfig(EbomlcConfig):
    """EBOMLC-S's settings."""

    name: Literal["ebomlc-s"] = "ebomlc-s"  # type: ignore[assignment]
    mixture_kind: MixtureKind = Field(
        "loss", description="what ρ mixes: losses, probabilities, logits, or as the released code does"
    )
    barrier_strength: float = Field(1.0, ge=0.0, description="δ")
    noisy_scale: float = Field(1.0, gt=0.0, le=1.0, description="ξ")
    corrected_share: float = Field(
        1.0, ge=0.0, le=1.0, description="κ, weight of the corrected label beside the given one in G"
    )
    noise_process: Literal["auto", "observed", "counted", "estimated", "known"] = Field(
        "auto", description="where the labels shown on trusted images come from"
    )
    estimate: Literal["posterior", "moments", "mean_softmax"] = Field(
        "posterior", description="how T is estimated; moments also above 100 classes; the last is GLC's"
    )
    transition: tuple[tuple[float, ...], ...] | None = Field(
        None, description="T as rows, [[0.8, 0.2], [0.1, 0.9]], for noise_process known"
    )
    held_out: float = Field(0.2, gt=0.0, lt=1.0, description="share of the trusted images kept for measuring")
    held_out_until: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None, description="share of the epochs after which they are trained on too; unset: 0.5, with --audit 1"
    )
    settings: Literal["fixed", "corrected", "given"] = Field(
        "given", description="follow from how far the corrected labels, or the given ones, can be trusted"
    )
    followed: tuple[Followed, ...] = Field(
        get_args(Followed), description="which settings follow from that; the others are fixed"
    )

    @model_validator(mode="after")
    def _matrix_is_given_where_needed(self) -> Self:
        if (self.noise_process == "known") != (self.transition is not None):
            raise ValueError("noise_process 'known' and a matrix go together (method.transition=[[…], …])")
        for row in self.transition or ():
            if len(row) != len(self.transition or ()) or min(row) < 0 or abs(sum(row) - 1) > 1e-6:
                raise ValueError("method.transition needs K rows of K numbers ≥ 0, each row with the sum 1")
        return self


class EbomlcS(Ebomlc):
    """The step of EBOMLC with noisy labels shown. See the module's docstring.

    Attributes:
        noise_process: the configured one, ``auto`` resolved once the data are known.
        memory: all float64. ``transition``: T (K, K), ``T[true, noisy]``. ``settings``: (4,) ρ, δ, ξ, κ. ``measured``:
            (4,) of the held-out images the share that the main model classifies right, the probability that the
            corrector puts on the right label, how far its confidence exceeds its accuracy, and λ of its answers, when
            they were last held out; zeros where none is.
    """

    Config: ClassVar = EbomlcSConfig
    config: EbomlcSConfig

    def __init__(self, config: EbomlcSConfig) -> None:
        super().__init__(config)
        self.noise_process: str = config.noise_process
        self._held_out_until = 1.0
        self._estimates_now = False
        self._sizes = (2, 1, 1)

    def allocate(self, networks: Networks, task: Task) -> None:
        config, device = self.config, networks["main"].vector.device
        self.noise_process = self._chosen_process(task)
        log.info("labels shown on trusted images: %s", self.noise_process)
        # An audit reads from images that were never trained on how sure the model may be.
        self._held_out_until = config.held_out_until or (1.0 if task.audited else 0.5)
        self._sizes = (task.num_classes, task.num_noisy, task.num_clean)
        fixed = [config.mixture, config.barrier_strength, config.noisy_scale, config.corrected_share]
        self.memory = {
            "transition": self._first_transition(task).to(device),
            "settings": torch.tensor(fixed, dtype=torch.float64, device=device),
            "measured": torch.zeros(4, dtype=torch.float64, device=device),
        }
        self._follow()

    @property
    def _measures(self) -> bool:
        return self.noise_process == "estimated" or self.config.settings != "fixed"

    def enter_epoch(self, epoch: int, epochs: int) -> None:
        super().enter_epoch(epoch, epochs)
        last = min(int(self._held_out_until * epochs), epochs - 1)
        keeps = self._measures and epoch <= last
        self.streams = replace(self.streams, held_out=self.config.held_out if keeps else 0.0)
        # T changes ever more slowly; that each estimate counts the noisy set anew would be felt in a long run.
        is_due = epoch.bit_count() == 1 or epoch == last > 0
        self._estimates_now = keeps and self.noise_process == "estimated" and is_due

    def begin_epoch(self, networks: Networks, interlude: Interlude) -> None:
        if not self.streams.held_out:
            return
        if self._estimates_now:
            self._estimate(networks, interlude)
        self._measure(networks, interlude)
        self._follow()

    def shown_labels(self, batch: PairedBatch) -> Tensor:
        assert batch.clean is not None
        assert batch.key is not None
        labels, old = batch.clean.labels, batch.clean.old_labels
        places = batch.clean.offset + torch.arange(len(labels), device=labels.device)
        numbers = uniform(keys_of(batch.key, places), 1, 0)[:, 0]
        drawn = draw_labels(labels, self.memory["transition"], numbers)
        if self.noise_process != "observed":
            return drawn
        assert old is not None
        return torch.where(old >= 0, old, drawn)

    def settings(self) -> StepSettings:
        if self.config.settings == "fixed":
            return super().settings()
        return StepSettings(*self.memory["settings"][:3])

    def soft_labels(self, answers: Tensor, labels: Tensor) -> Tensor:
        share = self.memory["settings"][3].to(answers.dtype)
        return share * answers + (1 - share) * one_hot(labels, answers.shape[1], answers.dtype)

    def own_metrics(self) -> dict[str, Tensor]:
        found = {"noise_rate": 1 - self.memory["transition"].diagonal().mean()}
        if self._measures:
            names = ("held_out_accuracy", "held_out_reliability", "held_out_overconfidence", "held_out_lead")
            found |= dict(zip(names, self.memory["measured"], strict=True))
        if self.config.settings != "fixed":
            found |= dict(zip(get_args(Followed), self.memory["settings"], strict=True))
        return found

    def report(self) -> Mapping[str, str | float]:
        figures = {name: float(value) for name, value in self.own_metrics().items()}
        return {"noise_process": self.noise_process, **figures}

    def _chosen_process(self, task: Task) -> str:
        asked = self.config.noise_process
        known = 0 if task.old_labels is None else int(task.old_labels.sum())
        if asked == "auto":
            return "counted" if known and known == task.num_clean else "estimated"
        if asked in ("observed", "counted") and not known:
            raise InputError(
                f"method.noise_process={asked} needs the labels that trusted images had in the noisy set, and none is "
                "known; give a column noisy_label in --clean-csv, or method.noise_process=estimated"
            )
        return asked

    def _first_transition(self, task: Task) -> Tensor:
        given = self.config.transition
        if given is not None:
            if len(given) != task.num_classes:
                raise InputError(f"method.transition has {len(given)} rows and there are {task.num_classes} classes")
            return torch.tensor(given, dtype=torch.float64)
        if self.noise_process == "estimated":
            return blind_transition(task.num_classes)
        assert task.old_labels is not None
        return transition_by_counts(task.old_labels)

    def _estimate(self, networks: Networks, interlude: Interlude) -> None:
        """Renew T."""
        transition, way = self.memory["transition"], self.config.estimate
        soft, num_classes = way == "mean_softmax", len(transition)

        def counted(images: Tensor, labels: Tensor) -> Tensor:
            """(n, K, K): at [label, ·] the prediction, as a one in its place or as probabilities."""
            logits = networks["main"](images)[0].double()
            predicted = logits.softmax(dim=1) if soft else one_hot(logits.argmax(dim=1), num_classes, logits.dtype)
            return in_own_row(labels, predicted, num_classes)

        joint, confusion = interlude.sum_noisy(counted).t(), interlude.sum_held_out(counted)
        if way == "posterior" and num_classes <= MOST_CLASSES:
            work = partial(transition_by_posterior, joint, confusion)
            transition.copy_(interlude.once(work, like=torch.zeros_like(transition)))
        else:
            transition.copy_((transition_by_mean_softmax if soft else transition_by_moments)(joint, confusion))

    def _measure(self, networks: Networks, interlude: Interlude) -> None:
        """Renew what is known of the networks on held-out images."""
        transition, num_classes = self.memory["transition"], len(self.memory["transition"])

        def measured(images: Tensor, labels: Tensor) -> Tensor:
            """(n, 4 + K²): a one, main model right, and, over the labels that could have been shown, corrector right,
            its confidence, and its mean answer in the row of the true class."""
            logits, features = networks["main"](images)
            seen = self.features(networks, images, features)
            terms = torch.zeros(len(labels), 2 + num_classes, dtype=torch.float64, device=labels.device)
            for label in range(num_classes):
                answer = networks["meta"](seen, torch.full_like(labels, label)).double().softmax(dim=1)
                right = (answer.argmax(dim=1) == labels).double()
                figures = torch.cat([right[:, None], answer.max(dim=1).values[:, None], answer], dim=1)
                terms += transition[labels, label][:, None] * figures
            answers = in_own_row(labels, terms[:, 2:], num_classes).flatten(1)
            main_right = (logits.argmax(dim=1) == labels).double()
            return torch.cat([torch.ones_like(main_right)[:, None], main_right[:, None], terms[:, :2], answers], dim=1)

        found = interlude.sum_held_out(measured)
        (count, accuracy, right, sure), answers = found[:4], found[4:].view(num_classes, num_classes)
        shares = torch.stack([accuracy, answers.trace(), sure - right]) / count.clamp_min(1.0)
        # A class of which no image is held out leads nowhere.
        mean_answers = answers / answers.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        self.memory["measured"].copy_(torch.cat([shares, lead(mean_answers)[None]]))

    def _follow(self) -> None:
        """Renew the settings that follow from how far the given and the corrected labels can be trusted."""
        config, settings = self.config, self.memory["settings"]
        if config.settings == "fixed":
            return
        transition, measured = self.memory["transition"], self.memory["measured"]
        reliability = transition.diagonal().mean() if config.settings == "given" else measured[1]
        share = information_share(reliability, *self._sizes)
        kappa = corrected_share(measured[3], lead(transition))
        renewed = torch.cat([settings_for(share, config.mixture_kind == "loss"), kappa[None]])
        # With so few trusted images that none is held out, nothing is known of the corrector, and fixed values stand.
        is_measured = measured[1] > 0
        is_known = is_measured & (self.epoch > 0) if config.settings == "corrected" else torch.ones_like(is_measured)
        follows = torch.tensor([name in config.followed for name in get_args(Followed)], device=settings.device)
        known = torch.stack([is_known, is_known, is_known, is_measured])
        settings.copy_(torch.where(follows & known, renewed, settings))
