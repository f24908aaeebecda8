"""Image files that belong to no data set, as a model sees them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ebomlc_dist.data.grey_levels import FULL, Levels
from ebomlc_dist.data.image_files import open_images
from ebomlc_dist.data.images import probe_images


def read_loose(
    paths: Sequence[Path | str],
    *,
    channels: int,
    image_size: int,
    max_side: int | None,
    max_pixels: int,
    levels: Levels = FULL,
) -> tuple[Tensor, dict[int, str]]:
    """Read files that somebody has named; a link is followed.

    Args:
        paths: the files.
        channels: 1 or 3. Images are made grey, or get three equal channels, where they have another number.
        image_size, max_side: as of `open_images`.
        max_pixels: larger images are not decoded.
        levels: what becomes of more than 8 bits.

    Returns:
        (n, channels, image_size, image_size) uint8, in order, the images that can be read; and place in ``paths`` →
        why, of the others.
    """
    root = Path("/")
    probe = probe_images(root, [os.path.realpath(path) for path in paths], max_pixels=max_pixels)
    sound = replace(probe, failures={}, channels=channels)
    files, _ = open_images(
        sound, image_size=image_size, max_side=max_side, max_pixels=max_pixels, skip_unreadable=False, levels=levels
    )
    images, broken = files.read_good()
    places = list(probe.headers)
    return images, probe.failures | {places[row]: why for row, why in broken.items()}
