"""The data of one run, on the host: plain arrays that every loader, method and report starts from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ebomlc_dist.data.inputs.grey_levels import FULL, Levels
from ebomlc_dist.data.inputs.previews import Previews


class InputSet(Protocol):
    """What the program asks of a set of inputs: N of them, all of one shape.

    Images are (N, C, H, W) uint8: a tensor, or `ImageFiles`. Features are (N, D) floats: `FeatureRows`. Code that asks
    nothing but this takes both.
    """

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W) or (N, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """(n, C, H, W) uint8 or (n, D) floats for (n,) int64 rows, as they are evaluated: without augmentation."""
        ...


def are_features(inputs: InputSet) -> bool:
    """Return whether inputs are features, (N, D), and no images."""
    return len(inputs.shape) == 2


def described(inputs: InputSet) -> str:
    """Return what the inputs are, in words: ``images of 32×32×3`` or ``rows of 384 features``."""
    if are_features(inputs):
        return f"rows of {inputs.shape[1]} features"
    channels, height, width = inputs.shape[1:]
    return f"images of {height}×{width}×{channels}"


def digest_of(images: InputSet, file_digest: str | None) -> str:
    """Return sha256 (hex) of a set of images: ``file_digest`` where they come from files, else of shape and pixels."""
    if file_digest is not None or not isinstance(images, Tensor):
        return file_digest or ""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().data)
    return digest.hexdigest()


FROM_NOISY = "from_noisy"
SAMPLED = 65_536
"""Images that the channels' mean and standard deviation are taken from, at most."""


def no_rows() -> Tensor:
    """(0,) int64."""
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class Source:
    """What a data set's module delivers, before noise and split.

    Attributes:
        images: the training inputs (noisy and trusted together), an `InputSet`: images or features.
        labels: (N,) int64, the label each image came with.
        ids: one text per input: a path relative to the data folder, ``train/<index>``, or what the user calls it.
        test_images: M more inputs of the same shape. M may be 0 where the user has no test set.
        test_labels: (M,) int64.
        class_names: K names, in label order.
        trusted: indices into ``images`` that the user marked as trusted, or None where a split is to be drawn.
        trusted_old_labels: beside ``trusted``, (Nc,) int64, the noisy label each of them had, −1 where that is unknown;
            None where it is unknown of all.
        labels_are_true: False where the labels are the user's own noisy ones and the truth is unknown.
        image_digests: sha256 (hex) over the training and over the test inputs where these are no tensor: of images over
            their files and how they are brought to size, the same whether they lie in memory or not. Else None.
        aliases: further names of training images → the id: copies and links.
        levels: what became of more than 8 bits.
        remarks: lines for a person whose data are good enough to train on.
        previews: what a person is shown of the training inputs, where these are no images.
        standardise: whether features are brought to mean 0 and standard deviation 1.
    """

    images: InputSet
    labels: Tensor
    ids: list[str]
    test_images: InputSet
    test_labels: Tensor
    class_names: list[str]
    trusted: Tensor | None = None
    trusted_old_labels: Tensor | None = None
    labels_are_true: bool = True
    image_digests: tuple[str, str] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    levels: Levels = FULL
    remarks: tuple[str, ...] = ()
    previews: Previews | None = None
    standardise: bool = True


@dataclass(frozen=True)
class NoisyDataset:
    """A source with its noise and its split.

    Attributes:
        images: all training inputs, an `InputSet`: images or features.
        ids: N texts, see `Source`.
        noisy_index: (Nn,) int64 into ``images``; ``noisy_labels`` (Nn,) int64 runs beside it.
        true_labels: (Nn,) int64 for metrics only, or None where the truth is unknown.
        clean_index: (Nc,) int64 into ``images``; ``clean_labels`` (Nc,) int64 runs beside it.
        clean_old_labels: beside them, (Nc,) int64, the noisy label each had before it was trusted, −1 where that is
            unknown; None where it is unknown of all.
        test_images: M more; ``test_labels`` (M,) int64.
        class_names: K names.
        mean, std: (C,) float32 of the training images in 0…1, or (D,) of the features, for normalisation.
        noise_rate_nominal: the share asked for, in 0…1, or None.
        noise_rate_realised: the share of ``noisy_labels`` that differ from ``true_labels``, or None.
        fingerprint: sha256 over shapes, pixels (or the files they are decoded from) and labels, hex. The same data give
            the same text.
        provenance: where split and noise come from: ``split_kind``, ``split_seed``, ``noise_kind``, ``noise_seed``.
        image_digest: of the training images, see `Source.image_digests`.
        purity: of a trusted set that was chosen from the noisy set (``from_noisy``): the estimated share of right
            labels in 0…1 as ``value``, ``low``, ``high`` (95 %); None for trusted sets that can be trusted.
        clean_true_labels: (Nc,) int64 of such a set, for figures only; None where the truth is unknown.
        validation_index: (Nv,) int64 into ``images``, trusted ones that choose an epoch; ``validation_labels`` (Nv,)
            int64 runs beside it. Often none.
        development_index: (Nd,) int64 into ``images``: those that are the test images, where settings are chosen.
        levels: what became of more than 8 bits.
        previews: see `Source`.
    """

    images: InputSet
    ids: list[str]
    noisy_index: Tensor
    noisy_labels: Tensor
    true_labels: Tensor | None
    clean_index: Tensor
    clean_labels: Tensor
    test_images: InputSet
    test_labels: Tensor
    class_names: list[str]
    mean: Tensor
    std: Tensor
    noise_rate_nominal: float | None
    noise_rate_realised: float | None
    fingerprint: str
    provenance: Mapping[str, str | int] = field(default_factory=dict)
    image_digest: str | None = None
    clean_old_labels: Tensor | None = None
    purity: Mapping[str, float | None] | None = None
    clean_true_labels: Tensor | None = None
    validation_index: Tensor = field(default_factory=no_rows)
    validation_labels: Tensor = field(default_factory=no_rows)
    development_index: Tensor = field(default_factory=no_rows)
    levels: Levels = FULL
    previews: Previews | None = None

    @property
    def from_noisy(self) -> bool:
        """Whether the trusted set was chosen from the noisy one, so that its labels may be wrong."""
        return self.provenance.get("split_kind") == FROM_NOISY

    @property
    def true_purity(self) -> float | None:
        """The share of right labels in a trusted set that was chosen from the noisy one, where the truth is known."""
        if self.clean_true_labels is None or not len(self.clean_labels):
            return None
        return float((self.clean_true_labels == self.clean_labels).double().mean())

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def trusted_labels(self) -> dict[int, int]:
        """Return row → label of every trusted image, those that choose an epoch among them, ascending."""
        pairs: dict[int, int] = {}
        for index, labels in ((self.validation_index, self.validation_labels), (self.clean_index, self.clean_labels)):
            pairs |= dict(zip(index.tolist(), labels.tolist(), strict=True))
        return dict(sorted(pairs.items()))

    def old_label_counts(self) -> Tensor | None:
        """(K, K) int64, trusted images by [label, noisy label before], as far as that is known; None where not."""
        if self.clean_old_labels is None:
            return None
        known, size = self.clean_old_labels >= 0, self.num_classes
        pairs = self.clean_labels[known] * size + self.clean_old_labels[known]
        return torch.bincount(pairs, minlength=size**2).view(size, size)


def channel_statistics(images: InputSet) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel of (N, C, H, W) uint8 images, each (C,) float32 in 0…1.

    Exact integer sums over a histogram of each channel, so that a large set needs no wider copy. Of more than `SAMPLED`
    images, so many are looked at, evenly spaced.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    number = min(len(images), SAMPLED)
    for block in (torch.arange(number) * len(images) // max(number, 1)).split(512):
        pixels = images[block]
        for channel, histogram in enumerate(counts):
            histogram += torch.bincount(pixels[:, channel].reshape(-1), minlength=256)
    levels = torch.arange(256)
    count = counts[0].sum()
    mean = (counts @ levels).double() / count
    variance = (counts @ levels.square()).double() / count - mean.square()
    return (mean / 255).float(), (variance.clamp_min(1e-12).sqrt() / 255).clamp_min(1e-3).float()


def feature_statistics(features: InputSet) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each of D features, (D,) float32 each.

    Sums in float64 over at most `SAMPLED` rows, evenly spaced. A feature that is the same in all rows has the
    standard deviation 1, so that it becomes 0 and not noise.
    """
    number = min(len(features), SAMPLED)
    blocks = (torch.arange(number) * len(features) // max(number, 1)).split(4096)
    mean = torch.stack([features[block].double().sum(dim=0) for block in blocks]).sum(dim=0) / number
    squares = torch.stack([(features[block].double() - mean).square().sum(dim=0) for block in blocks])
    std = (squares.sum(dim=0) / number).sqrt()
    return mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()
