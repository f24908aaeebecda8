"""What EBOMLC-S asks of its networks between two epochs, image by image.

Each function gives values of one block of images, (n, C, H, W), and their labels, (n,) int64, as `Interlude` takes
them: given labels of noisy images, true labels of held-out ones. float64, evaluation mode, no gradient.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ebomlc_dist.methods.contract import Networks
from ebomlc_dist.noise.reliability import lead
from ebomlc_dist.numerics.one_hot import in_own_row, one_hot

Features = Callable[[Networks, Tensor, Tensor], Tensor]
Posterior = Callable[[Tensor, Tensor], Tensor]


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
    return torch.cat([shares, lead(mean_answers)[None]])


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
