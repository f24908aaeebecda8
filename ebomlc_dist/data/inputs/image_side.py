"""The default side of a folder's images, by the images and by the model."""

import logging

import numpy as np

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.inputs.read import Probe
from ebomlc_dist.models import usual_sides

AUTO = "auto"
_LARGE = 224
log = logging.getLogger(__name__)


def side_for(shorter_side: int, model: str) -> int:
    """Return the side for images of this shorter side: their own, within what is usual for the model."""
    least, most = usual_sides(model)
    return min(max(shorter_side, least), most)


def chosen_side(config: DataConfig, probe: Probe, num_train: int, model: str | None) -> int | None:
    """``config.image_size``; of ``auto``, what `side_for` says of the median of the training images' shorter sides.

    Where that reduces the images, a line is logged.
    """
    if config.image_size != AUTO:
        return config.given_side
    if model is None:
        raise ValueError("data.image_size=auto follows the model, whose name is not given")
    sides = [min(header.width, header.height) for row, header in probe.headers.items() if row < num_train]
    typical = int(np.median(sides)) if sides else 1
    side = side_for(typical, model)
    if side < typical:
        larger = "" if side >= _LARGE else ", or take the recipe folder-resnet50, which trains at 224×224"
        log.warning(
            "images (median of the shorter side: %d pixels) are reduced to %d×%d for %s; give another size with "
            "--image-size%s",
            *(typical, side, side, model, larger),
        )
    return side
