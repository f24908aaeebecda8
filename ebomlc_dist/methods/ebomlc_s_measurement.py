"""What EBOMLC-S measures between two epochs: the noise process T, and its networks on held-out images.

`NoiseProcess` finds T. `measured_figures` and `reading_weights` ask the networks image by image. The functions below
them give values of one block of images, (n, C, H, W), and their labels, (n,) int64, as `DatasetReducer` takes them:
given labels of noisy images, true labels of held-out ones. float64, evaluation mode, no gradient.
"""

import logging
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import DatasetReducer, Networks, Task
from ebomlc_dist.noise.gibbs import MOST_CLASSES
from ebomlc_dist.noise.moments import (
    blind_transition,
    transition_by_counts,
    transition_by_mean_softmax,
    transition_by_moments,
)
from ebomlc_dist.noise.pairs import too_clean
from ebomlc_dist.noise.posterior import NoisePosterior, above_chance, noise_posterior
from ebomlc_dist.noise.reliability import margin
from ebomlc_dist.numerics.one_hot import in_own_row, one_hot
from ebomlc_dist.numerics.stacking import stacking_weights

Features = Callable[[Networks, Tensor, Tensor], Tensor]
Posterior = Callable[[Tensor, Tensor], Tensor]
log = logging.getLogger(__name__)


class NoiseProcess:
    """Where the labels come from that are shown on trusted images, and T.

    Attributes:
        kind: ``observed``, ``counted``, ``estimated`` or ``known``; before `allocate` also ``auto``.
        state: the method's, float64. Kept here are ``transition``: T (K, K), ``T[true, noisy]``; ``least_rate``, where
            the method has it: 0-dim, below which no later estimate of the rate is believed; and, where ``auto`` found
            pairs, ``pairs_refused``: 0-dim, 1 once the estimate has taken their place.
    """

    def __init__(self, kind: str, way: str, given: tuple[tuple[float, ...], ...] | None, state: dict[str, Tensor]):
        self.kind, self.state = kind, state
        self._asked, self._way, self._given = kind, way, given
        self._pairs: Tensor | None = None

    @property
    def transition(self) -> Tensor:
        """T (K, K), ``T[true, noisy]``."""
        return self.state["transition"]

    def allocate(self, task: Task, device: torch.device) -> None:
        """Settle `kind` and the first T. Raises `InputError` where the data do not have what they need."""
        self.kind = self._chosen(task)
        log.info("labels shown on trusted images: %s", self.kind)
        self.state["transition"] = self._first_transition(task).to(device)
        if self._asked == "auto" and self.kind == "counted":
            assert task.old_labels is not None
            self._pairs = task.old_labels
            self.state["pairs_refused"] = torch.zeros((), dtype=torch.float64, device=device)

    def is_estimated(self, epoch: int) -> bool:
        """Whether T is estimated in this epoch: to be used, or, once the model has learnt, to check the pairs by."""
        if self._pairs is not None and bool(self.state["pairs_refused"]):
            self.kind = "estimated"
        checks = self._pairs is not None and epoch > 0 and len(self.transition) <= MOST_CLASSES
        return self.kind == "estimated" or checks

    def estimate(self, networks: Networks, interlude: DatasetReducer) -> None:
        """Renew T, or check the pairs that it was counted from."""
        transition, way, num_classes = self.transition, self._way, len(self.transition)
        soft = way == "mean_softmax"
        counted = partial(prediction_counts, networks, num_classes, soft)
        joint, confusion = interlude.sum_noisy(counted).t(), interlude.sum_held_out(counted)
        if self._pairs is not None or (way == "posterior" and num_classes <= MOST_CLASSES):
            # A model at chance confounds the classes, and may be sure of it.
            if not above_chance(confusion):
                return
            like = torch.zeros(num_classes**2 + 4, dtype=torch.float64, device=transition.device)
            shared = interlude.from_first_rank(lambda: noise_posterior(joint, confusion).flat(), like=like)
            if self._is_believed(found := NoisePosterior.of(shared)):
                transition.copy_(found.transition)
        else:
            transition.copy_((transition_by_mean_softmax if soft else transition_by_moments)(joint, confusion))

    def _chosen(self, task: Task) -> str:
        known = 0 if task.old_labels is None else int(task.old_labels.sum())
        if self._asked == "auto":
            return "counted" if known and known == task.num_clean else "estimated"
        if self._asked in ("observed", "counted") and not known:
            raise InputError(
                f"method.noise_process={self._asked} needs the labels that trusted images had in the noisy set, and "
                "none is known; give a column noisy_label in --clean-csv, or method.noise_process=estimated"
            )
        return self._asked

    def _first_transition(self, task: Task) -> Tensor:
        given = self._given
        if given is not None:
            if len(given) != task.num_classes:
                raise InputError(f"method.transition has {len(given)} rows and there are {task.num_classes} classes")
            return torch.tensor(given, dtype=torch.float64)
        if self.kind == "estimated":
            return blind_transition(task.num_classes)
        assert task.old_labels is not None
        return transition_by_counts(task.old_labels)

    def _is_believed(self, found: NoisePosterior) -> bool:
        """Whether an estimate takes the place of T.

        Pairs stay as long as they can be a sample. And a model that memorises labels finds them right: an estimate
        below the interval of the one before is not believed.
        """
        least, low = self.state.get("least_rate"), found.interval[0]
        if self._pairs is not None and not self.state["pairs_refused"]:
            if not too_clean(self._pairs, low):
                return False
            wrong, total = int(self._pairs.sum() - self._pairs.trace()), int(self._pairs.sum())
            log.warning(
                "%d of %d trusted images had a wrong label before, but the model finds at least %.0f %% wrong labels. "
                "These images are no random sample of the noisy ones; the noise is estimated from the model instead",
                *(wrong, total, 100 * low),
            )
            self.state["pairs_refused"].fill_(1.0)
            self.kind = "estimated"
        if least is not None:
            if found.rate < least:
                return False
            least.fill_(found.least_drawn)
        return True


def measured_figures(
    networks: Networks, interlude: DatasetReducer, features_of: Features, transition: Tensor
) -> Tensor:
    """(4,) of the held-out images, see `mean_figures`."""
    return mean_figures(interlude.sum_held_out(partial(corrector_figures, networks, features_of, transition)))


def reading_weights(
    networks: Networks, interlude: DatasetReducer, features_of: Features, posterior: Posterior, transition: Tensor
) -> Tensor:
    """(3,) κ_c, κ_p and the rest: by what the readings of every label that a held-out image could have been given, as
    likely as T says, give to its true label."""
    found = interlude.gather_held_out(partial(readings_of_true_labels, networks, features_of, posterior, transition))
    cases = found.flatten(0, 1)
    # One image more that speaks for the given label, so that nothing is believed on no evidence.
    pseudo_counts = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=cases.device)
    return stacking_weights(cases[:, :3], cases[:, 3], pseudo_counts)


def prediction_counts(networks: Networks, num_classes: int, soft: bool, images: Tensor, labels: Tensor) -> Tensor:
    """(n, K, K): at [label, ·] the main model's prediction, as a one in its place or, ``soft``, as probabilities."""
    logits = networks["main"](images)[0].double()
    predicted = logits.softmax(dim=1) if soft else one_hot(logits.argmax(dim=1), num_classes, logits.dtype)
    return in_own_row(labels, predicted, num_classes)


def corrector_figures(
    networks: Networks, features_of: Features, transition: Tensor, images: Tensor, labels: Tensor
) -> Tensor:
    """(n, 4 + K²): a one, main model right, and, over the labels that could have been shown, corrector right, its
    confidence, and its mean answer in the row of the true class."""
    logits, features = networks["main"](images)
    num_classes, seen = len(transition), features_of(networks, images, features)
    terms = torch.zeros(len(labels), 2 + num_classes, dtype=torch.float64, device=labels.device)
    for label in range(num_classes):
        answer = networks["meta"](seen, torch.full_like(labels, label)).double().softmax(dim=1)
        right = (answer.argmax(dim=1) == labels).double()
        figures = torch.cat([right[:, None], answer.max(dim=1).values[:, None], answer], dim=1)
        terms += transition[labels, label][:, None] * figures
    answers = in_own_row(labels, terms[:, 2:], num_classes).flatten(1)
    main_right = (logits.argmax(dim=1) == labels).double()
    return torch.cat([torch.ones_like(main_right)[:, None], main_right[:, None], terms[:, :2], answers], dim=1)


def mean_figures(summed: Tensor) -> Tensor:
    """(4,) of `corrector_figures` summed over images, (4 + K²,): the share that the main model has right, the
    probability that the corrector puts on the right label, its confidence less its accuracy, λ of its answers."""
    (count, accuracy, right, sure), num_classes = summed[:4], math.isqrt(len(summed) - 4)
    answers = summed[4:].view(num_classes, num_classes)
    shares = torch.stack([accuracy, answers.trace(), sure - right]) / count.clamp_min(1.0)
    # A class of which no image is held out leads nowhere.
    mean_answers = answers / answers.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.cat([shares, margin(mean_answers)[None]])


def readings_of_true_labels(
    networks: Networks,
    features_of: Features,
    posterior: Posterior,
    transition: Tensor,
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    """(n, K, 4): what each of three readings of each label gives to the true one, and T of that label.

    The readings: the corrector's answer, the main model's ``posterior`` of (n, K) logits and (n,) labels, the label.
    """
    logits, features = networks["main"](images)
    num_classes, seen = len(transition), features_of(networks, images, features)
    rows = torch.arange(len(labels), device=labels.device)
    found = torch.zeros(len(labels), num_classes, 4, dtype=torch.float64, device=labels.device)
    for label in range(num_classes):
        shown = torch.full_like(labels, label)
        found[:, label, 0] = networks["meta"](seen, shown).double().softmax(dim=1)[rows, labels]
        found[:, label, 1] = posterior(logits.double(), shown)[rows, labels]
        found[:, label, 2] = (labels == label).double()
    found[:, :, 3] = transition[labels]
    return found
