"""EBOMLC-S: EBOMLC whose corrector is shown noisy labels on the trusted images.

Algorithm 2 shows the corrector, on a trusted image, the true label and asks for the true label: it learns to copy. Here
it is shown a label y' as the noisy process would have given it, and must return the true one:

    F(w, α) = mean ρ·CE(f_w(x_c), y_c) + (1−ρ)·CE(g_α(h(x_c), y'), y_c)

Losses are mixed, not probabilities as in eq. (9), so that a trusted image weighs as much in the main model's gradient
where the corrector is right already (`mixture_kind` has both). And on noisy images three readings of the given label ỹ
share the target: the corrector's answer, the main model's own posterior, and the label itself:

    G(w, α) = mean softCE(f_w(x_n), κ_c·g_α(h(x_n), ỹ) + κ_p·p(· | x_n, ỹ) + (1 − κ_c − κ_p)·e_ỹ)
    p(y | x, ỹ) ∝ softmax f_w(x)_y · T[y, ỹ], held constant

Where y' comes from:

- ``observed``: the label that the image had in the noisy set; drawn, as for ``counted``, where that is unknown;
- ``counted``: y' ~ T[y_c, ·], T from the counts of observed pairs, drawn anew at each step;
- ``estimated``: y' ~ T[y_c, ·], T found from the main model's predictions on the noisy set and on a held-out part of
  the trusted set, before epochs 1, 2, 4, 8, … counted from 0, and before the last one for which that part is held out;
  blind in epoch 0. After half of the epochs T is kept, and that part is trained on as well (`held_out_until`);
- ``known``: y' ~ T[y_c, ·], T given, for ablation;
- ``auto``: ``counted`` where the old label of every trusted image is known, else ``estimated``. ``counted``
  is taken back where the pairs are too clean to be a sample (`ebomlc_dist.noise.pairs`).

Draws depend on seed, step and place in the global batch. With ``settings`` ``measured``, the default, κ_c and κ_p are
those under which the readings together give the true labels of the held-out images the highest likelihood
(`numerics.stacking`), measured before each epoch in which images are held out; until then both are 0. Noisy and trusted
batches weigh alike, ρ = δ = 1/2; where none could be held out each image does, ρ = 1 − δ = n_c / (n_c + n_n). ξ = 1.
``informed`` weighs a noisy batch by what its labels tell, r of `noise.reliability`: ρ = 1 − δ = 1 / (1 + r);
below `LITTLE` all trusted images are trained on, and they alone. Cost: 4 + 3·C/B forward units.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import DatasetReducer, Networks, PairedBatch, Reducer, Rules, StepResult, Task
from ebomlc_dist.methods.ebomlc import (
    BarrierStrength,
    LabelCorrection,
    Mixed,
    Mixture,
    NoisyScale,
    Objectives,
    StepWeights,
    ValueGapConfig,
    barrier_step,
)
from ebomlc_dist.methods.ebomlc_s_measurement import NoiseProcess, measured_figures, reading_weights
from ebomlc_dist.noise.moments import blind_transition, draw_labels
from ebomlc_dist.noise.reliability import LITTLE, information_told, settings_by_formula
from ebomlc_dist.numerics.draws import keys_of, uniform
from ebomlc_dist.numerics.one_hot import one_hot

Followed = Literal["mixture", "barrier_strength", "noisy_scale", "corrected_share"]
LEAST_PROBABILITY = 1e-6
"""Of a given label, whatever T says: a label that T excludes is met nevertheless."""


class EbomlcSConfig(ValueGapConfig):
    """EBOMLC-S's settings."""

    mixture: Mixture = 0.2
    mixture_kind: Mixed = "loss"
    barrier_strength: BarrierStrength = 1.0
    noisy_scale: NoisyScale = 1.0
    name: Literal["ebomlc-s"] = "ebomlc-s"
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
    settings: Literal["measured", "informed", "fixed", "corrected", "given"] = frame(
        "measured",
        "How step weights are set. measured: targets by held-out likelihood, noisy and trusted batches alike; "
        "informed: noisy ones by what their labels tell; given, corrected: by how many of these labels are right.",
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


class ShownNoise(Objectives):
    """F in which the corrector is shown noisy labels, and G whose target three readings share.

    ``noise``: T and where shown labels come from. ``stacks``: whether readings are weighed by likelihood. ``state``: of
    `EbomlcS`.
    """

    def __init__(self, config: EbomlcSConfig, noise: NoiseProcess, stacks: bool, state: dict[str, Tensor]) -> None:
        super().__init__(config, config.mixture_kind)
        self._noise, self._stacks, self._state = noise, stacks, state

    def shown_labels(self, batch: PairedBatch) -> Tensor:
        """y', (n,) int64: the label that each clean image had, or one drawn from T."""
        assert batch.clean is not None
        assert batch.key is not None
        labels, old = batch.clean.labels, batch.clean.old_labels
        places = batch.clean.offset + torch.arange(len(labels), device=labels.device)
        numbers = uniform(keys_of(batch.key, places), 1, 0)[:, 0]
        drawn = draw_labels(labels, self._noise.transition, numbers)
        if self._noise.kind != "observed":
            return drawn
        assert old is not None
        return torch.where(old >= 0, old, drawn)

    def soft_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """κ_c·g_α + κ_p·p + (1 − κ_c − κ_p)·e_ỹ, (n, K)."""
        shares = self._state["settings"][3].to(answers.dtype), self._state.get("posterior_share")
        corrected = shares[0] * answers
        left = 1 - shares[0]
        if shares[1] is not None:
            share = shares[1].to(answers.dtype)
            corrected, left = corrected + share * self.posterior(logits, labels), left - share
        return corrected + left * one_hot(labels, answers.shape[1], answers.dtype)

    def corrected_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The target of G where its readings are weighed by likelihood; else the corrector's answer."""
        return self.soft_labels(answers, logits, labels) if self._stacks else answers

    def posterior(self, logits: Tensor, labels: Tensor) -> Tensor:
        """p(y | x, ỹ) ∝ softmax(logits)_y T[y, ỹ], (n, K), without a gradient."""
        likelihood = self._noise.transition.t()[labels].clamp_min(LEAST_PROBABILITY).to(logits.dtype)
        return (logits.detach().log_softmax(dim=1) + likelihood.log()).softmax(dim=1)


class EbomlcS(LabelCorrection):
    """The step of EBOMLC with noisy labels shown. See the module's docstring.

    Attributes:
        noise: T, and where it comes from; its part of `state` is told there.
        state: all float64. ``settings``: (4,) ρ, δ, ξ and κ_c. ``measured``: (4,), `mean_figures` of the held-out
            images, when last held out; zeros where none is. Where readings are stacked also, 0-dim,
            ``posterior_share``: κ_p, and ``least_rate``.
    """

    Config: ClassVar = EbomlcSConfig
    config: EbomlcSConfig
    objectives: ShownNoise

    def __init__(self, config: EbomlcSConfig) -> None:
        super().__init__(config)
        self._stacks = config.settings in ("informed", "measured")
        self.noise = NoiseProcess(config.noise_process, config.estimate, config.transition, self.state)
        self.objectives = ShownNoise(config, self.noise, self._stacks, self.state)
        self._held_out_until = 1.0
        self._estimates_now = False
        self._sizes = (2, 1, 1)

    def allocate(self, networks: Networks, task: Task) -> None:
        config, device = self.config, networks["main"].vector.device
        self.noise.allocate(task, device)
        # An audit reads from images that were never trained on how sure the model may be.
        self._held_out_until = config.held_out_until or (1.0 if task.audited else 0.5)
        self._sizes = (task.num_classes, task.num_noisy, task.num_clean)
        fixed = [config.mixture, config.barrier_strength, config.noisy_scale, config.corrected_share]
        self.state["settings"] = torch.tensor(fixed, dtype=torch.float64, device=device)
        self.state["measured"] = torch.zeros(4, dtype=torch.float64, device=device)
        if self._stacks:
            for name in ("posterior_share", "least_rate"):
                self.state[name] = torch.zeros((), dtype=torch.float64, device=device)
        self._follow()

    @property
    def _measures(self) -> bool:
        return self.noise.kind == "estimated" or self.config.settings != "fixed"

    def enter_epoch(self, epoch: int, epochs: int) -> None:
        super().enter_epoch(epoch, epochs)
        last = min(int(self._held_out_until * epochs), epochs - 1)
        leaves_out = self.config.settings == "informed" and float(self._told()) == 0
        keeps = self._measures and epoch <= last and not leaves_out
        self.streams = replace(self.streams, held_out=self.config.held_out if keeps else 0.0)
        # T changes ever more slowly; that each estimate counts the noisy set anew would be felt in a long run.
        is_due = epoch.bit_count() == 1 or epoch == last > 0
        self._estimates_now = keeps and is_due and self.noise.is_estimated(epoch)

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:
        if not self.streams.held_out:
            return
        if self._estimates_now:
            self.noise.estimate(networks, interlude)
        features_of, transition = self.objectives.features, self.noise.transition
        self.state["measured"].copy_(measured_figures(networks, interlude, features_of, transition))
        if self._stacks and "corrected_share" in self.config.followed and self.epoch > 0:
            shares = reading_weights(networks, interlude, features_of, self.objectives.posterior, transition)
            self.state["settings"][3] = shares[0]
            self.state["posterior_share"].copy_(shares[1])
        self._follow()

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        result = barrier_step(self.objectives, self.config, self.step_weights(), networks, rules, batch, reducer)
        return replace(result, metrics={**result.metrics, **self._figures()})

    def step_weights(self) -> StepWeights:
        """What this step takes for ρ, δ and ξ."""
        config = self.config
        if config.settings == "fixed":
            return StepWeights(config.mixture, config.barrier_strength, config.noisy_scale)
        return StepWeights(*self.state["settings"][:3])

    def report(self) -> Mapping[str, str | float]:
        return {"noise_process": self.noise.kind, **{name: float(v) for name, v in self._figures().items()}}

    def _figures(self) -> dict[str, Tensor]:
        """What is known of the labels and of the networks, for each step's metrics."""
        found = {"noise_rate": 1 - self.noise.transition.diagonal().mean()}
        if self._measures:
            names = ("held_out_accuracy", "held_out_reliability", "held_out_overconfidence", "held_out_lead")
            found |= dict(zip(names, self.state["measured"], strict=True))
        if self.config.settings != "fixed":
            found |= dict(zip(get_args(Followed), self.state["settings"], strict=True))
        return found | {name: self.state[name] for name in ("posterior_share", "pairs_refused") if name in self.state}

    def _told(self) -> Tensor:
        """r, 0-dim: 1 where nothing is known of it, 0 where it is too little to train on, but for an audit's sake."""
        transition = self.noise.transition
        told = information_told(transition)
        if self._held_out_until < 1:
            told = torch.where(told < LITTLE, 0.0, told)
        is_blind = (transition == blind_transition(len(transition)).to(transition.device)).all()
        return torch.where(is_blind | (self.config.settings != "informed"), 1.0, told)

    def _follow(self) -> None:
        """Renew the settings that follow from what is known of the given and the corrected labels."""
        config, settings, measured = self.config, self.state["settings"], self.state["measured"]
        if config.settings == "fixed":
            return
        is_measured = measured[1] > 0
        if self._stacks:
            _, num_noisy, num_clean = self._sizes
            renewed, is_known = settings.clone(), torch.ones_like(is_measured)
            told = self._told()
            by_number = num_clean / (num_clean + num_noisy)
            renewed[0] = torch.where(is_measured | (told == 0), 1 / (1 + told), by_number)
            renewed[1], renewed[2] = 1 - renewed[0], told > 0
            if self.epoch == 0:
                renewed[3] = 0.0
        else:
            by_corrected, losses_mixed = config.settings == "corrected", config.mixture_kind == "loss"
            renewed = settings_by_formula(self.noise.transition, measured, self._sizes, by_corrected, losses_mixed)
            is_known = is_measured & (self.epoch > 0) if by_corrected else torch.ones_like(is_measured)
        follows = torch.tensor([name in config.followed for name in get_args(Followed)], device=settings.device)
        known = torch.stack([is_known, is_known, is_known, torch.ones_like(is_known)])
        settings.copy_(torch.where(follows & known, renewed, settings))
