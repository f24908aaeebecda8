"""EBOMLC-S: EBOMLC whose corrector is shown noisy labels on the trusted images.

Algorithm 2 shows the corrector, on a trusted image, the true label and asks for the true label: it learns to copy. Here
it is shown a label y' as the noisy process would have given it, and must return the true one:

    F(w, α) = mean ρ·CE(f_w(x_c), y_c) + (1−ρ)·CE(g_α(h(x_c), y'), y_c)

Losses are mixed, not probabilities as in eq. (9), so that a trusted image weighs as much in the main model's gradient
where the corrector is right already (`mixture_kind` has both). And on noisy images three readings of the given label ỹ
share the target: the corrector's answer, the main model's own posterior, and the label itself:

    G(w, α) = mean softCE(f_w(x_n), κ_c·g_α(h(x_n), ỹ) + κ_p·p(· | x_n, ỹ) + (1 − κ_c − κ_p)·e_ỹ)
    p(y | x, ỹ) ∝ softmax f_w(x)_y · T[y, ỹ], held constant

Everything else is `ebomlc`'s step. Where y' comes from:

- ``observed``: the label that the image had in the noisy set before it was checked; drawn, as for ``counted``, where
  that is unknown;
- ``counted``: y' ~ T[y_c, ·], T from the counts of observed pairs, drawn anew at each step;
- ``estimated``: y' ~ T[y_c, ·], T found from the main model's predictions on the noisy set and on a held-out part of
  the trusted set, before epochs 1, 2, 4, 8, … counted from 0, and before the last one for which that part is held out;
  blind in epoch 0. After half of the epochs T is kept, and that part is trained on as well (`held_out_until`);
- ``known``: y' ~ T[y_c, ·], T given, for ablation;
- ``auto``: ``counted`` where the old label of every trusted image is known, else ``estimated``.

A choice by ``auto`` for ``counted`` is taken back where the pairs are cleaner than the model's estimate beyond chance:
trusted images that were kept because their label was right are no sample of the noise (`ebomlc_dist.noise.pairs`).

Draws depend on seed, step and place in the global batch. With ``settings`` ``measured``, the default, κ_c and κ_p are
those under which the three readings together give the true labels of the held-out images the highest likelihood
(`ebomlc_dist.numerics.stacking`), measured before each epoch in which images are held out; until something is measured
both are 0. Trusted and noisy batches weigh alike, ρ = δ = 1/2, or, where no image is held out, each image does,
ρ = 1 − δ = n_c / (n_c + n_n); ξ = 1. ``given`` and ``corrected`` are rules of thumb
without a held-out measurement of what they gain (`ebomlc_dist.noise.reliability`); ``fixed`` takes δ = ξ = κ_c = 1,
ρ = 0.2, or what is set. Cost: 7 forward units, as `ebomlc`.
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
from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Interlude, Networks, PairedBatch, Task
from ebomlc_dist.methods.ebomlc import Ebomlc, EbomlcConfig, StepSettings
from ebomlc_dist.methods.readings import corrector_figures, prediction_counts, readings_of_true_labels
from ebomlc_dist.noise.moments import (
    blind_transition,
    draw_labels,
    transition_by_counts,
    transition_by_mean_softmax,
    transition_by_moments,
)
from ebomlc_dist.noise.pairs import too_clean
from ebomlc_dist.noise.posterior import MOST_CLASSES, NoisePosterior, above_chance, noise_posterior
from ebomlc_dist.noise.reliability import corrected_share, information_share, lead, settings_for
from ebomlc_dist.numerics.draws import keys_of, uniform
from ebomlc_dist.numerics.losses import MixtureKind
from ebomlc_dist.numerics.one_hot import one_hot
from ebomlc_dist.numerics.stacking import stacking_weights

Followed = Literal["mixture", "barrier_strength", "noisy_scale", "corrected_share"]
LEAST_PROBABILITY = 1e-6
"""Of a given label, whatever T says: a label that T excludes is met nevertheless."""
log = logging.getLogger(__name__)


class EbomlcSConfig(EbomlcConfig):
    """EBOMLC-S's settings."""

    name: Literal["ebomlc-s"] = "ebomlc-s"  # type: ignore[assignment]
    mixture_kind: MixtureKind = frame("loss", "What ρ mixes: probabilities, logits, losses, or as the released code.")
    barrier_strength: float = frame(1.0, "δ, strength of the barrier.", ge=0.0)
    noisy_scale: float = frame(1.0, "ξ, factor of β in the step.", gt=0.0, le=1.0)
    corrected_share: float = frame(1.0, "κ, weight of the corrected label against the given one in G.", ge=0.0, le=1.0)
    noise_process: Literal["auto", "observed", "counted", "estimated", "known"] = frame(
        "auto", "Where the noisy labels that the corrector is shown on trusted images come from."
    )
    estimate: Literal["posterior", "moments", "mean_softmax"] = frame(
        "posterior", "How T is estimated. Above 100 classes posterior is moments; mean_softmax is GLC's."
    )
    transition: tuple[tuple[float, ...], ...] | None = frame(
        None, "T as rows, [[0.8, 0.2], [0.1, 0.9]], for noise_process known."
    )
    held_out: float = frame(0.2, "Share of the trusted images held out to measure the corrector.", gt=0.0, lt=1.0)
    held_out_until: Annotated[float, Field(gt=0.0, le=1.0)] | None = frame(
        None, "Share of the epochs after which held-out images are trained on too. null: 0.5, with --audit 1."
    )
    settings: Literal["measured", "fixed", "corrected", "given"] = frame(
        "measured",
        "How step weights are set. measured: by held-out likelihood; given, corrected: by how many of these labels "
        "are right.",
    )
    followed: tuple[Followed, ...] = frame(get_args(Followed), "Which step weights are set so; the others are fixed.")

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
        memory: all float64. ``transition``: T (K, K), ``T[true, noisy]``. ``settings``: (4,) ρ, δ, ξ and κ_c.
            ``measured``: (4,) of the held-out images the share that the main model classifies right, the probability
            that the corrector puts on the right label, how far its confidence exceeds its accuracy, and λ of its
            answers, when they were last held out; zeros where none is. With ``settings`` ``measured`` also, 0-dim,
            ``posterior_share``: κ_p, and ``least_rate``, below which no later estimate of the rate is believed. Where
            ``auto`` found pairs, ``pairs_refused``: 0-dim, 1 once the estimate has taken their place.
    """

    Config: ClassVar = EbomlcSConfig
    config: EbomlcSConfig

    def __init__(self, config: EbomlcSConfig) -> None:
        super().__init__(config)
        self.noise_process: str = config.noise_process
        self._held_out_until = 1.0
        self._estimates_now = False
        self._sizes = (2, 1, 1)
        self._pairs: Tensor | None = None

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
        if config.settings == "measured":
            for name in ("posterior_share", "least_rate"):
                self.memory[name] = torch.zeros((), dtype=torch.float64, device=device)
        if config.noise_process == "auto" and self.noise_process == "counted":
            assert task.old_labels is not None
            self._pairs = task.old_labels
            self.memory["pairs_refused"] = torch.zeros((), dtype=torch.float64, device=device)
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
        self._estimates_now = keeps and is_due and self._estimates(epoch)

    def _estimates(self, epoch: int) -> bool:
        """Whether T is estimated in this epoch: to be used, or, once the model has learnt, to check the pairs by."""
        if self._pairs is not None and bool(self.memory["pairs_refused"]):
            self.noise_process = "estimated"
        checks = self._pairs is not None and epoch > 0 and len(self.memory["transition"]) <= MOST_CLASSES
        return self.noise_process == "estimated" or checks

    def begin_epoch(self, networks: Networks, interlude: Interlude) -> None:
        if not self.streams.held_out:
            return
        if self._estimates_now:
            self._estimate(networks, interlude)
        self._measure(networks, interlude)
        if self.config.settings == "measured" and "corrected_share" in self.config.followed and self.epoch > 0:
            self._weigh_readings(networks, interlude)
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

    def soft_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        shares = self.memory["settings"][3].to(answers.dtype), self.memory.get("posterior_share")
        corrected = shares[0] * answers
        left = 1 - shares[0]
        if shares[1] is not None:
            share = shares[1].to(answers.dtype)
            corrected, left = corrected + share * self._posterior(logits, labels), left - share
        return corrected + left * one_hot(labels, answers.shape[1], answers.dtype)

    def corrected_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        return self.soft_labels(answers, logits, labels) if self.config.settings == "measured" else answers

    def _posterior(self, logits: Tensor, labels: Tensor) -> Tensor:
        """p(y | x, ỹ) ∝ softmax(logits)_y T[y, ỹ], (n, K), without a gradient."""
        likelihood = self.memory["transition"].t()[labels].clamp_min(LEAST_PROBABILITY).to(logits.dtype)
        return (logits.detach().log_softmax(dim=1) + likelihood.log()).softmax(dim=1)

    def own_metrics(self) -> dict[str, Tensor]:
        found = {"noise_rate": 1 - self.memory["transition"].diagonal().mean()}
        if self._measures:
            names = ("held_out_accuracy", "held_out_reliability", "held_out_overconfidence", "held_out_lead")
            found |= dict(zip(names, self.memory["measured"], strict=True))
        if self.config.settings != "fixed":
            found |= dict(zip(get_args(Followed), self.memory["settings"], strict=True))
        return found | {name: self.memory[name] for name in ("posterior_share", "pairs_refused") if name in self.memory}

    def report(self) -> Mapping[str, str | float]:
        return {"noise_process": self.noise_process, **{name: float(v) for name, v in self.own_metrics().items()}}

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
        """Renew T, or check the pairs that it was counted from."""
        transition, way, num_classes = self.memory["transition"], self.config.estimate, len(self.memory["transition"])
        soft = way == "mean_softmax"
        counted = partial(prediction_counts, networks, num_classes, soft)
        joint, confusion = interlude.sum_noisy(counted).t(), interlude.sum_held_out(counted)
        if self._pairs is not None or (way == "posterior" and num_classes <= MOST_CLASSES):
            # A model at chance confounds the classes, and may be sure of it.
            if not above_chance(confusion):
                return
            like = torch.zeros(num_classes**2 + 3, dtype=torch.float64, device=transition.device)
            shared = interlude.once(lambda: noise_posterior(joint, confusion).flat(), like=like)
            if self._is_believed(found := NoisePosterior.of(shared)):
                transition.copy_(found.transition)
        else:
            transition.copy_((transition_by_mean_softmax if soft else transition_by_moments)(joint, confusion))

    def _is_believed(self, found: NoisePosterior) -> bool:
        """Whether an estimate takes the place of T.

        Pairs stay as long as they can be a sample. And a model that memorises labels finds them right: an estimate
        below the interval of the one before is not believed.
        """
        least, low = self.memory.get("least_rate"), found.interval[0]
        if self._pairs is not None and not self.memory["pairs_refused"]:
            if not too_clean(self._pairs, low):
                return False
            wrong, total = int(self._pairs.sum() - self._pairs.trace()), int(self._pairs.sum())
            log.warning(
                "%d of %d trusted images had a wrong label before, but the model finds at least %.0f %% wrong labels. "
                "These images are no random sample of the noisy ones; the noise is estimated from the model instead",
                *(wrong, total, 100 * low),
            )
            self.memory["pairs_refused"].fill_(1.0)
            self.noise_process = "estimated"
        if least is not None:
            if found.rate < least:
                return False
            least.fill_(low)
        return True

    def _measure(self, networks: Networks, interlude: Interlude) -> None:
        """Renew what is known of the networks on held-out images."""
        num_classes = len(self.memory["transition"])
        figures = partial(corrector_figures, networks, self.features, self.memory["transition"])
        found = interlude.sum_held_out(figures)
        (count, accuracy, right, sure), answers = found[:4], found[4:].view(num_classes, num_classes)
        shares = torch.stack([accuracy, answers.trace(), sure - right]) / count.clamp_min(1.0)
        # A class of which no image is held out leads nowhere.
        mean_answers = answers / answers.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        self.memory["measured"].copy_(torch.cat([shares, lead(mean_answers)[None]]))

    def _weigh_readings(self, networks: Networks, interlude: Interlude) -> None:
        """Renew κ_c and κ_p: by what the readings of every label that a held-out image could have been given, as likely
        as T says, give to its true label."""
        found = interlude.gather_held_out(
            partial(readings_of_true_labels, networks, self.features, self._posterior, self.memory["transition"])
        )
        cases = found.flatten(0, 1)
        # One image more that speaks for the given label, so that nothing is believed on no evidence.
        pseudo_counts = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=cases.device)
        shares = stacking_weights(cases[:, :3], cases[:, 3], pseudo_counts)
        self.memory["settings"][3] = shares[0]
        self.memory["posterior_share"].copy_(shares[1])

    def _follow(self) -> None:
        """Renew the settings that follow from what is known of the given and the corrected labels."""
        config, settings, measured = self.config, self.memory["settings"], self.memory["measured"]
        if config.settings == "fixed":
            return
        if config.settings == "measured":
            renewed, is_known = settings.clone(), torch.ones_like(measured[1], dtype=torch.bool)
            _, num_noisy, num_clean = self._sizes
            by_number = num_clean / (num_clean + num_noisy)
            renewed[0] = torch.where(measured[1] > 0, 0.5, by_number)
            renewed[1], renewed[2] = 1 - renewed[0], 1.0
            if self.epoch == 0:
                renewed[3] = 0.0
        else:
            reliability = self.memory["transition"].diagonal().mean() if config.settings == "given" else measured[1]
            share = information_share(reliability, *self._sizes)
            kappa = corrected_share(measured[3], lead(self.memory["transition"]))
            # Where no image is held out nothing is known of the corrector: it is not asked, and fixed values stand.
            is_measured = measured[1] > 0
            kappa = torch.where(is_measured, kappa, 0.0)
            renewed = torch.cat([settings_for(share, config.mixture_kind == "loss"), kappa[None]])
            is_known = (
                is_measured & (self.epoch > 0) if config.settings == "corrected" else torch.ones_like(is_measured)
            )
        follows = torch.tensor([name in config.followed for name in get_args(Followed)], device=settings.device)
        known = torch.stack([is_known, is_known, is_known, torch.ones_like(is_known)])
        settings.copy_(torch.where(follows & known, renewed, settings))
