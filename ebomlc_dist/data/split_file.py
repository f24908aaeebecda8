"""``split.json``: the split and the noisy labels of a run, so that another run can train on exactly the same."""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ebomlc_dist.config import NoiseConfig
from ebomlc_dist.data.dataset import NoisyDataset, Source
from ebomlc_dist.data.split import Split
from ebomlc_dist.errors import InputError, first_fault
from ebomlc_dist.files.safe_json import read_json

MAX_BYTES = 64 * 1024 * 1024

_Rate = Annotated[float, Field(ge=0.0, le=1.0)] | None
_Index = Annotated[int, Field(ge=0, lt=2**31)]
_Label = Annotated[int, Field(ge=-1, lt=2**31)]


class Purity(BaseModel):
    """The share of right labels in a trusted set that was chosen from the noisy one, in 0…1, with a 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    value: _Rate
    low: _Rate
    high: _Rate


class SplitDocument(BaseModel):
    """The content of split.json. True labels are not stored: they come with the data, which the fingerprint pins.

    Schema 1 had no ``clean_labels``, ``clean_old_labels`` and ``clean_purity``, 2 no ``validation_index``, 3 no
    ``development_index``; all are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    split_schema: Literal[1, 2, 3, 4] = 4
    fingerprint: str
    num_images: _Index
    num_classes: _Index
    noise_rate_nominal: _Rate
    noise_rate_realised: _Rate
    provenance: dict[str, str | int]
    clean_index: list[_Index]
    noisy_index: list[_Index]
    noisy_labels: list[_Index]
    clean_labels: list[_Index] | None = None
    clean_old_labels: list[_Label] | None = None
    clean_purity: Purity | None = None
    validation_index: list[_Index] = []
    development_index: list[_Index] = []


def split_document(dataset: NoisyDataset) -> dict[str, Any]:
    """Return the content of split.json: indices, labels that are not the data's own, rates, seeds and fingerprint."""
    return SplitDocument(
        fingerprint=dataset.fingerprint,
        num_images=len(dataset.images),
        num_classes=dataset.num_classes,
        noise_rate_nominal=dataset.noise_rate_nominal,
        noise_rate_realised=dataset.noise_rate_realised,
        provenance=dict(dataset.provenance),
        clean_index=dataset.clean_index.tolist(),
        noisy_index=dataset.noisy_index.tolist(),
        noisy_labels=dataset.noisy_labels.tolist(),
        clean_labels=dataset.clean_labels.tolist() if dataset.from_noisy else None,
        clean_old_labels=None if dataset.clean_old_labels is None else dataset.clean_old_labels.tolist(),
        clean_purity=None if dataset.purity is None else Purity(**dataset.purity),
        validation_index=dataset.validation_index.tolist(),
        development_index=dataset.development_index.tolist(),
    ).model_dump()


def read_document(path: Path) -> SplitDocument:
    """Return a split.json as it stands. Raises `InputError` where it is none."""
    try:
        return SplitDocument.model_validate(read_json(path, MAX_BYTES))
    except ValidationError as error:
        raise InputError(f"{path} is no split.json of this program: {first_fault(error)}") from None


def read_split(path: Path, source: Source, fingerprint: str, noise: NoiseConfig) -> Split:
    """Return the split and noisy labels of an earlier run, for the same data.

    Args:
        path: a split.json.
        source: the data as they are now.
        fingerprint: of ``source``.
        noise: what this run asks for. ``none`` takes the file's noise as it is; anything else must be what it holds.

    Raises:
        InputError: not a split.json, other data, indices or labels out of range, or another noise than asked for.
    """
    document = read_document(path)
    num_images, num_classes = len(source.images), len(source.class_names)
    if (document.num_images, document.num_classes) != (num_images, num_classes):
        raise InputError(
            f"{path} is a split of {document.num_images} images in {document.num_classes} classes, these data have "
            f"{num_images} in {num_classes}; give the data it was made from, or leave --split out"
        )
    if document.fingerprint != fingerprint:
        raise InputError(
            f"{path} belongs to other data: pixels, labels or their order differ (fingerprint "
            f"{document.fingerprint[:12]} there, {fingerprint[:12]} here); give the data it was made from, or leave "
            "--split out"
        )
    _check_noise(path, document, noise)
    noisy, clean, labels, validation, development = (
        torch.tensor(values, dtype=torch.int64)
        for values in (
            document.noisy_index,
            document.clean_index,
            document.noisy_labels,
            document.validation_index,
            document.development_index,
        )
    )
    clean_labels, old_labels = (
        None if values is None else torch.tensor(values, dtype=torch.int64)
        for values in (document.clean_labels, document.clean_old_labels)
    )
    if not all(_fits(index, num_images) for index in (noisy, clean, validation, development)):
        raise InputError(f"{path} is damaged: indices are out of range or doubled")
    for found, index in ((labels, noisy), (clean_labels, clean), (old_labels, clean)):
        if found is not None and len(found) != len(index):
            raise InputError(f"{path} is damaged: its labels do not match the indices")
        if found is not None and len(found) and int(found.max()) >= num_classes:
            raise InputError(f"{path} is damaged: it holds label {int(found.max())}, 0…{num_classes - 1} are allowed")
    return Split(
        noisy_index=noisy,
        noisy_labels=labels,
        clean_index=clean,
        noise_rate_nominal=document.noise_rate_nominal,
        provenance=document.provenance,
        clean_labels=clean_labels,
        clean_old_labels=old_labels,
        purity=None if document.clean_purity is None else document.clean_purity.model_dump(),
        validation_index=validation,
        development_index=development,
    )


def _check_noise(path: Path, document: SplitDocument, noise: NoiseConfig) -> None:
    kind, rate = document.provenance.get("noise_kind"), document.noise_rate_nominal
    same_rate = noise.kind not in ("uniform", "flip") or noise.rate == rate
    if noise.kind != "none" and not (noise.kind == kind and same_rate):
        raise InputError(
            f"{path} holds labels with {kind} noise at rate {rate}, asked for is {noise.kind} at {noise.rate}; leave "
            "--split out for new noise, or give --noise none to take the labels of the file"
        )


def _fits(index: Tensor, size: int) -> bool:
    return len(index.unique()) == len(index) and (not len(index) or int(index.max()) < size)
