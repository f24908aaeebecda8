"""The trusted set and the noisy set: drawn stratified from the split seed, or as an earlier run stored them.

- ``disjoint``: C trusted images, as many of each class; the noisy set is all other images.
- ``from_noisy``: as ``disjoint``, but the trusted images are chosen among the noisy ones and keep their noisy labels; a
  draw stands in for the choice until it is made (`ebomlc_dist.audit.trusted`).
- ``leaky``: the loader inherited from GLC and MLC shuffles twice with different states. The trusted set and the C
  images kept out of the noisy set are therefore two independent draws, and a trusted image is in the noisy set too
  unless both drew it: of 1,000 out of 50,000, 980 on average (979 in the released runs).

Validation images choose an epoch. They are taken out of the trusted set, and are then in neither set that is trained
on. Under ``leaky`` they are a third independent draw from all images with their true labels, as in the released code:
98 % of them are in the noisy set too.

Development images take the test set's place while settings are chosen. They are taken out of the noisy set.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source, no_rows
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.data.seeds import child
from ebomlc_dist.errors import InputError

log = logging.getLogger(__name__)
_CLEAN, _HELD_OUT, _NOISY, _REMAINDER, _VALIDATION, _DEVELOPMENT = range(6)


@dataclass(frozen=True)
class Split:
    """Which images serve as what, and with which noisy labels.

    Attributes:
        noisy_index: (Nn,) int64 into the training images, ascending.
        noisy_labels: (Nn,) int64, beside it.
        clean_index: (Nc,) int64, ascending. Empty where no trusted set is needed and none can be drawn.
        noise_rate_nominal, provenance: see `NoisyDataset`.
        clean_labels: (Nc,) int64 beside ``clean_index``, where they are not the source's own; else None.
        clean_old_labels, purity, validation_index, development_index: see `NoisyDataset`.
    """

    noisy_index: Tensor
    noisy_labels: Tensor
    clean_index: Tensor
    noise_rate_nominal: float | None
    provenance: Mapping[str, str | int]
    clean_labels: Tensor | None = None
    clean_old_labels: Tensor | None = None
    purity: Mapping[str, float | None] | None = None
    validation_index: Tensor = field(default_factory=no_rows)
    development_index: Tensor = field(default_factory=no_rows)


def draw_validation(source: Source, data: DataConfig, seed: np.random.SeedSequence, clean_index: Tensor) -> Tensor:
    """Return ascending indices (Nv,) of `DataConfig.validation_size` validation images.

    Args:
        source: where they come from under ``leaky``.
        data: how many, and the kind of the split.
        seed: of the stream ``split``.
        clean_index: trusted images, of which they are part unless the split is leaky.

    Raises:
        InputError: fewer trusted images than one must be left to train on, in all or of a class.
    """
    seed, size = child(seed, _VALIDATION), data.validation_size
    if data.split_kind == "leaky":
        return torch.from_numpy(np.sort(_stratified(source, size, seed)))
    labels, index = source.labels.numpy(), clean_index.numpy()
    counts = np.bincount(labels[index], minlength=len(source.class_names))
    chosen = _subset(labels, index, size, seed) if size < len(index) else index
    if size >= len(index) or (np.bincount(labels[chosen], minlength=len(counts)) >= counts)[counts > 0].any():
        raise InputError(
            f"data.validation_size={size} of {len(index)} trusted images would leave a class none to train on; give "
            "fewer, or more trusted images (--clean-size)"
        )
    return torch.from_numpy(chosen)


def draw_indices(
    source: Source, data: DataConfig, seed: np.random.SeedSequence, *, labels_known: bool, needs_clean: bool
) -> tuple[Tensor, Tensor]:
    """Draw the noisy and the trusted set.

    Args:
        source: the user's own trusted set is taken as it stands where there is one.
        data: sizes and kind of the split.
        seed: of the stream ``split``.
        labels_known: whether a trusted set can be drawn from the source's labels.
        needs_clean: whether the method needs a trusted set.

    Returns:
        noisy and trusted indices into the training images, ascending.

    Raises:
        InputError: a class too small for ``clean_size``, no trusted set to be had, more noisy images asked for than
            there are, or ``leaky`` where no trusted set is drawn.
    """
    labels = source.labels.numpy()
    clean = held_out = np.empty(0, dtype=np.int64)
    draws_clean = source.trusted is None and labels_known
    if data.split_kind == "leaky" and not draws_clean:
        raise InputError("a leaky split draws the trusted set itself; these data need --set data.split_kind=disjoint")
    if source.trusted is not None:
        clean = held_out = source.trusted.numpy()
    elif draws_clean:
        # What is chosen among few images are as many as can be had; what is drawn is the size of an experiment.
        fewer = data.clean_from_noisy
        clean = held_out = _stratified(source, data.clean_size, child(seed, _CLEAN), fewer=fewer)
        if data.split_kind == "leaky":
            held_out = _stratified(source, data.clean_size, child(seed, _HELD_OUT))
    elif needs_clean:
        raise InputError(
            "this method needs trusted images and the labels of these data are taken as noisy; give "
            f"{data.data_dir / 'clean'}/<class>/* or --clean-csv, or let --clean-from-noisy choose some"
        )
    noisy = np.setdiff1d(np.arange(len(labels)), held_out)
    if data.noisy_size is not None:
        noisy = _subset(labels, noisy, data.noisy_size, child(seed, _NOISY))
    return torch.from_numpy(noisy), torch.from_numpy(np.sort(clean))


def draw_development(
    source: Source, data: DataConfig, seed: np.random.SeedSequence, noisy_index: Tensor, *, labels_known: bool
) -> Tensor:
    """Return ascending indices (Nd,) of `DataConfig.development_size` of the noisy images, stratified by true label.

    Raises:
        InputError: true labels that are unknown, or more images than there are.
    """
    if not labels_known:
        raise InputError(
            "data.development_size needs the noisy images' true labels, and those of these data are unknown; leave it "
            "out, or add noise to known labels (--noise)"
        )
    labels, noisy, size = source.labels.numpy(), noisy_index.numpy(), data.development_size
    return torch.from_numpy(_subset(labels, noisy, size, child(seed, _DEVELOPMENT), "data.development_size"))


def check_classes(source: Source, noisy_index: Tensor, clean_labels: Tensor, *, needs_clean: bool) -> None:
    """Raise `InputError` for a class without a noisy image, or without a trusted one where the method needs them.

    The user's own trusted images may be all that a class has, such as one whose noisy labels were all corrected.
    """
    given = source.labels[noisy_index]
    own = clean_labels if source.trusted is not None else clean_labels[:0]
    sets = {"training": torch.cat([given, own])} | ({"trusted": clean_labels} if needs_clean else {})
    for word, labels in sets.items():
        if empty := _without_images(source, labels):
            raise InputError(
                f"{len(empty)} of {len(source.class_names)} classes have no {word} image: {listed(empty, 20)}; add "
                "images, remove the class, or use more images (--clean-size, data.noisy_size)"
            )
    if empty := _without_images(source, given):
        log.warning("classes that have trusted images and no noisy one: %s", listed(empty, 20))


def _without_images(source: Source, labels: Tensor) -> list[str]:
    counts = torch.bincount(labels, minlength=len(source.class_names))
    return [shown(source.class_names[label]) for label in (counts == 0).nonzero().flatten().tolist()]


def _stratified(source: Source, size: int, seed: np.random.SeedSequence, *, fewer: bool = False) -> NDArray[np.int64]:
    """``size`` images, equally many of each class, the remainder over classes drawn; each class keeps one at least.

    With ``fewer`` a small class gives half of its images, where that is less than its share.
    """
    labels, num_classes = source.labels.numpy(), len(source.class_names)
    quotas = np.full(num_classes, size // num_classes)
    quotas[_shuffled(np.arange(num_classes), child(seed, _REMAINDER))[: size % num_classes]] += 1
    counts = np.bincount(labels, minlength=num_classes)
    if fewer and (quotas > counts // 2).any():
        quotas = np.minimum(quotas, counts // 2)
        log.warning("%d trusted images are asked for; %d can be had, half of a class at most", size, quotas.sum())
    if short := [label for label in range(num_classes) if 0 < counts[label] <= quotas[label]]:
        smallest = min(short, key=lambda label: int(counts[label]))
        allowed = num_classes * (int(counts[smallest]) - 1)
        raise InputError(
            f"{size} trusted images need {quotas[smallest]} of each class, but class "
            f"{shown(source.class_names[smallest])} has only {counts[smallest]}, and one must stay in the noisy set; "
            + (f"give --clean-size {allowed} or less" if allowed else "add images to it")
        )
    return np.concatenate(_first_of_each(labels, np.arange(len(labels)), quotas, seed))


def _subset(
    labels: NDArray[np.int64],
    index: NDArray[np.int64],
    size: int,
    seed: np.random.SeedSequence,
    key: str = "data.noisy_size",
) -> NDArray[np.int64]:
    """``size`` of the images ``index``, each class in proportion (largest remainder), ascending."""
    if size > len(index):
        raise InputError(f"{key} asks for {size} noisy images, and there are {len(index)}; lower it")
    counts = np.bincount(labels[index])
    shares = counts * size / len(index)
    quotas = np.floor(shares).astype(np.int64)
    quotas[np.argsort(quotas - shares, kind="stable")[: size - quotas.sum()]] += 1
    return np.sort(np.concatenate(_first_of_each(labels, index, quotas, seed)))


def _first_of_each(
    labels: NDArray[np.int64], index: NDArray[np.int64], quotas: NDArray[np.int64], seed: np.random.SeedSequence
) -> list[NDArray[np.int64]]:
    """Return the first ``quotas[k]`` of class k's images in a drawn order.

    Smaller draws are contained in larger ones.
    """
    members = (index[labels[index] == label] for label in range(len(quotas)))
    return [_shuffled(own, child(seed, _CLEAN, label))[: quotas[label]] for label, own in enumerate(members)]


def _shuffled(values: NDArray[np.int64], seed: np.random.SeedSequence) -> NDArray[np.int64]:
    """``values`` in an order that depends on ``seed`` alone, the same with every numpy."""
    return values[np.argsort(np.random.PCG64(seed).random_raw(len(values)), kind="stable")]


def held_out(labels: Tensor, share: float) -> Tensor:
    """(n,) bool: of each class the last images in order, ``share`` of them rounded, one at most short of all.

    Args:
        labels: (n,) int64 trusted labels.
        share: 0…1.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        number = min(round(share * len(members)), len(members) - 1)
        chosen[members[len(members) - number :]] = True
    return chosen
