"""One identity for an image, wherever it is named: the bytes of its file.

Links, hard links, other spellings of a path and copies are one image. What is told apart by name alone would let a test
image be trained on, and a checked image be trained on under its old label as well.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from ebomlc_dist.data.inputs.listing import Listing
from ebomlc_dist.data.inputs.read import Probe
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a data set consists of; rows of a `Probe` run over all three in this order.

    Attributes:
        noisy, clean, test: any of them may be empty.
        aliases: further names of training images: paths relative to the data folder → a listed name.
    """

    noisy: Listing
    clean: Listing
    test: Listing
    aliases: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The names of all parts in a row."""
        return [name for part in (self.noisy, self.clean, self.test) for name in part.names]

    @property
    def labels(self) -> list[int]:
        """Beside ``names``."""
        return [label for part in (self.noisy, self.clean, self.test) for label in part.labels]


def settle(root: Path, parts: Parts, probe: Probe) -> tuple[Parts, Probe]:
    """Take each image once: a trusted image leaves the noisy part, and its label there becomes its old label.

    Args:
        root: the data folder, a real path.
        parts: as they were listed.
        probe: the header pass over all of their names.

    Returns:
        the parts and the probe without the noisy copies of trusted images.

    Raises:
        InputError: a test image is a training image too, by name.
    """
    num_noisy, num_train = len(parts.noisy.names), len(parts.noisy.names) + len(parts.clean.names)
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, header in probe.headers.items():
        rows_of[header.sha256].append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    _check_apart(parts, probe.names, several, num_train)
    labels = parts.labels
    for part, begin, end in (
        (parts.noisy, 0, num_noisy),
        (parts.clean, num_noisy, num_train),
        (parts.test, num_train, len(labels)),
    ):
        _tell_contradictions(part, [[row for row in rows if begin <= row < end] for rows in several], probe, labels)
    # Texts, as a Path for each file is slow.
    start = len(str(root).rstrip("/")) + 1
    relative = {row: str(header.path)[start:] for row, header in probe.headers.items() if row < num_train}
    aliases = {name: probe.names[row] for row, name in relative.items() if name != probe.names[row]}
    old = list(parts.clean.old_labels or [-1] * len(parts.clean.names))
    dropped: set[int] = set()
    for rows in several:
        clean = [row for row in rows if num_noisy <= row < num_train]
        copies = [row for row in rows if row < num_noisy] if clean else []
        for row in clean:
            if copies and old[row - num_noisy] < 0:
                old[row - num_noisy] = parts.noisy.labels[copies[0]]
        for row in copies:
            for name in (probe.names[row], relative[row]):
                aliases[name] = probe.names[clean[0]]
        dropped.update(copies)
    clean_part = replace(parts.clean, old_labels=old)
    if not dropped:
        return replace(parts, clean=clean_part, aliases=aliases), probe
    kept = [row for row in range(num_noisy) if row not in dropped]
    noisy = replace(
        parts.noisy,
        names=[parts.noisy.names[row] for row in kept],
        labels=[parts.noisy.labels[row] for row in kept],
    )
    return Parts(noisy, clean_part, parts.test, aliases), probe.without(dropped)


def _check_apart(parts: Parts, names: list[str], several: list[list[int]], num_train: int) -> None:
    pairs = []
    for rows in several:
        train = [row for row in rows if row < num_train]
        pairs += [(names[row], names[train[0]]) for row in rows if row >= num_train and train]
    if pairs:
        texts = [shown(a) if a == b else f"{shown(a)} (the same bytes as {shown(b)})" for a, b in pairs]
        others = [str(part.origin) for part in (parts.noisy, parts.clean) if part.names]
        raise InputError(
            f"{len(pairs)} test images are training images too: {listed(texts, 10)} ({parts.test.origin} and "
            f"{' or '.join(others)}); take them out of one of the two"
        )


def _tell_contradictions(part: Listing, groups: list[list[int]], probe: Probe, labels: list[int]) -> None:
    """Log images that one part holds twice, under two labels."""
    found = [rows for rows in groups if len({labels[row] for row in rows}) > 1]
    if found:
        pairs = [" and ".join(shown(probe.names[row]) for row in rows[:2]) for rows in found]
        log.warning("%s has %d images twice, under two labels: %s", part.origin, len(found), listed(pairs, 10))
