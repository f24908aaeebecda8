"""From a configuration to the data of a run: read the source, draw or read noise and split, check, summarise."""

import hashlib
import json
import logging
from dataclasses import replace

import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
from ebomlc_dist.data.dataset import (
    FROM_NOISY,
    NoisyDataset,
    Source,
    are_features,
    channel_statistics,
    feature_statistics,
    no_rows,
)
from ebomlc_dist.data.datasets import Progress, load_source
from ebomlc_dist.data.loaders.auto_select import check_loader
from ebomlc_dist.data.noise import draw_noise
from ebomlc_dist.data.seeds import seed_sequence
from ebomlc_dist.data.split import Split, check_classes, draw_development, draw_indices, draw_validation
from ebomlc_dist.data.split_file import read_split
from ebomlc_dist.errors import InputError
from ebomlc_dist.noise.matrices import realised_rate

log = logging.getLogger(__name__)


def load_dataset(
    data: DataConfig,
    noise: NoiseConfig,
    seeds: SeedConfig,
    *,
    needs_clean: bool = True,
    progress: Progress | None = None,
    model: str | None = None,
) -> NoisyDataset:
    """Return the data of a run, a pure function of the files and the configuration: the same on every rank.

    Args:
        data: which data and how they are split.
        noise: label noise to add. With any kind but ``none``, labels of the user's own images are taken as true.
        seeds: the streams ``split`` and ``noise`` are used.
        needs_clean: whether the method needs a trusted set. Without the need a missing one is no error; the split is
            the same either way, so that methods can be compared.
        progress: called with (images read, images in all) where single image files are read.
        model: the main model's name, which ``data.image_size`` ``auto`` follows.

    Raises:
        InputError: data, noise or split that are missing, damaged or do not fit together, or a loader not to be had.
    """
    check_loader(data)
    source = load_source(data, progress=progress, model=model)
    dataset = from_source(source, data, noise, seeds, needs_clean=needs_clean)
    # Only now, so that bad input is one line.
    for line in source.remarks:
        log.warning("%s", line)
    return dataset


def from_source(
    source: Source, data: DataConfig, noise: NoiseConfig, seeds: SeedConfig, *, needs_clean: bool = True
) -> NoisyDataset:
    """`load_dataset` for images that are in memory already."""
    if len(source.class_names) < 2:
        raise InputError(f"{data.dataset} has {len(source.class_names)} class; a classifier needs 2 or more")
    fingerprint = fingerprint_of(source)
    if data.validation_augment and data.augment == "resized-crop-flip":
        raise InputError(
            "data.validation_augment does not go with resized-crop-flip, which reads images at other sizes"
        )
    if data.split is not None:
        split = read_split(data.split, source, fingerprint, noise)
        if data.clean_from_noisy and split.provenance.get("split_kind") != FROM_NOISY:
            raise InputError(
                f"--clean-from-noisy and --split exclude each other: {data.split} has a trusted set already"
            )
        for key, asked, held in (
            ("validation", data.validation_size, split.validation_index),
            ("development", data.development_size, split.development_index),
        ):
            if asked not in (0, len(held)):
                raise InputError(
                    f"data.{key}_size={asked} and {data.split} holds {len(held)} {key} images; leave the key out to "
                    "take the file's, or --split for a new split"
                )
    else:
        split = _draw_split(source, data, noise, seeds, needs_clean)
    if len(split.development_index):
        index = split.development_index
        source = replace(source, test_images=source.images[index], test_labels=source.labels[index])
    own_labels = source.labels[split.clean_index]
    clean_labels = own_labels if split.clean_labels is None else split.clean_labels
    check_classes(source, split.noisy_index, clean_labels, needs_clean=needs_clean)
    known = source.labels_are_true or split.provenance.get("noise_kind", "none") != "none"
    true_labels = source.labels[split.noisy_index] if known else None
    mean, std = _normalisation(source, data)
    return NoisyDataset(
        images=source.images,
        ids=source.ids,
        noisy_index=split.noisy_index,
        noisy_labels=split.noisy_labels,
        true_labels=true_labels,
        clean_index=split.clean_index,
        clean_labels=clean_labels,
        test_images=source.test_images,
        test_labels=source.test_labels,
        class_names=source.class_names,
        mean=mean,
        std=std,
        noise_rate_nominal=split.noise_rate_nominal,
        noise_rate_realised=None if true_labels is None else realised_rate(true_labels, split.noisy_labels),
        fingerprint=fingerprint,
        provenance=split.provenance,
        image_digest=source.image_digests[0] if source.image_digests else None,
        clean_old_labels=split.clean_old_labels,
        purity=split.purity,
        levels=source.levels,
        previews=source.previews,
        clean_true_labels=own_labels if known and split.clean_labels is not None else None,
        validation_index=split.validation_index,
        validation_labels=source.labels[split.validation_index],
        development_index=split.development_index,
    )


def _normalisation(source: Source, data: DataConfig) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (C,) float32 each: as asked for, or of the training images."""
    if are_features(source.images):
        return _of_features(source, data)
    channels = source.images.shape[1]
    for key, values in (("data.pixel_mean", data.pixel_mean), ("data.pixel_std", data.pixel_std)):
        if values is not None and len(values) != channels:
            raise InputError(
                f"{key} has {len(values)} number(s) and the images have {channels} channel(s); give one each"
            )
    if data.pixel_mean is not None and data.pixel_std is not None:
        return torch.tensor(data.pixel_mean), torch.tensor(data.pixel_std)
    if data.pixel_mean is not None or data.pixel_std is not None:
        raise InputError("data.pixel_mean and data.pixel_std go together; give both or neither")
    return channel_statistics(source.images)


def _of_features(source: Source, data: DataConfig) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (D,) float32 each; 0 and 1 where features are taken as they are."""
    for key, asked in {
        f"data.augment={data.augment}": data.augment != "none",
        "data.pixel_mean": data.pixel_mean is not None,
        "data.pixel_std": data.pixel_std is not None,
        "data.validation_augment": data.validation_augment,
        "--image-size": data.image_size is not None,
    }.items():
        if asked:
            remedy = "give --augment none" if key.startswith("data.augment") else "leave it out"
            raise InputError(f"{key} is for images, and these data are features; {remedy}")
    if source.standardise:
        return feature_statistics(source.images)
    return torch.zeros(source.images.shape[1]), torch.ones(source.images.shape[1])


def fingerprint_of(source: Source) -> str:
    """Return sha256 (hex) over shapes, pixels and labels of training, trusted and test images, and the class names.

    Where images come from files, these stand for the pixels: the same whether they lie in memory or not.
    """
    digest = hashlib.sha256(json.dumps(source.class_names).encode())
    of_images = dict(zip((0, 3), source.image_digests or (), strict=False))
    parts = [source.images, source.labels, source.trusted, source.test_images, source.test_labels]
    if source.trusted_old_labels is not None:
        parts.append(source.trusted_old_labels)
    for place, part in enumerate(parts):
        digest.update(repr(None if part is None else tuple(part.shape)).encode())
        if place in of_images:
            digest.update(of_images[place].encode())
        elif isinstance(part, Tensor):
            digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def _draw_split(source: Source, data: DataConfig, noise: NoiseConfig, seeds: SeedConfig, needs_clean: bool) -> Split:
    labels, nominal = draw_noise(source, noise, seed_sequence(seeds, "noise"))
    known = source.labels_are_true or noise.kind != "none"
    seed = seed_sequence(seeds, "split")
    if data.noisy_size is not None:
        # As many are left to train on.
        data = data.model_copy(update={"noisy_size": data.noisy_size + data.development_size})
    if data.clean_from_noisy:
        _check_from_noisy(source, data)
        given = replace(source, labels=labels, trusted=None)
        noisy, clean = draw_indices(given, data, seed, labels_known=True, needs_clean=True)
    else:
        noisy, clean = draw_indices(source, data, seed, labels_known=known, needs_clean=needs_clean)
    provenance: dict[str, str | int] = {
        "split_kind": _kind(source, data),
        "split_seed": seeds.seed if seeds.split is None else seeds.split,
        "noise_kind": noise.kind,
        "noise_seed": seeds.seed if seeds.noise is None else seeds.noise,
    }
    old_labels = None if data.clean_from_noisy else _old_labels(source, noise, labels, clean)
    validation = no_rows()
    if data.validation_size:
        _check_validation(data, clean)
        validation = draw_validation(source, data, seed, clean)
    development = no_rows()
    if data.development_size:
        # A leaky split has trusted and validation images in the noisy set too.
        free = noisy[~torch.isin(noisy, torch.cat([clean, validation]))]
        development = draw_development(source, data, seed, free, labels_known=known)
        noisy = noisy[~torch.isin(noisy, development)]
    if data.split_kind != "leaky":
        kept = ~torch.isin(clean, validation)
        clean, old_labels = clean[kept], None if old_labels is None else old_labels[kept]
    return Split(
        noisy_index=noisy,
        noisy_labels=labels[noisy],
        clean_index=clean,
        noise_rate_nominal=nominal,
        provenance=provenance,
        clean_labels=labels[clean] if data.clean_from_noisy else None,
        clean_old_labels=old_labels,
        validation_index=validation,
        development_index=development,
    )


def _check_validation(data: DataConfig, clean: Tensor) -> None:
    if data.clean_from_noisy:
        raise InputError(
            "data.validation_size needs trusted images whose labels are right, and --clean-from-noisy only chooses "
            "likely ones; leave one of them out"
        )
    if not len(clean):
        raise InputError(
            "data.validation_size is taken from the trusted images, and these data have none; leave it out"
        )


def _kind(source: Source, data: DataConfig) -> str:
    if data.clean_from_noisy:
        return FROM_NOISY
    return data.split_kind if source.trusted is None else "own"


def _old_labels(source: Source, noise: NoiseConfig, labels: Tensor, clean: Tensor) -> Tensor | None:
    """Return the noisy labels that the images ``clean`` had, from the noise drawn for all images or from the user."""
    if source.trusted is None or noise.kind in ("uniform", "flip", "matrix"):
        return labels[clean]
    # A file of human labels need not speak of images that are trusted already.
    return None if source.trusted_old_labels is None else source.trusted_old_labels[source.trusted.argsort()]


def _check_from_noisy(source: Source, data: DataConfig) -> None:
    if source.trusted is not None and len(source.trusted):
        raise InputError("--clean-from-noisy is for data without trusted images, and these have some; leave it out")
    if data.split_kind == "leaky":
        raise InputError("--clean-from-noisy takes the trusted images out of the noisy set: data.split_kind=disjoint")
