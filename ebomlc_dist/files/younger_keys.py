"""Keys of a configuration that are younger than stored runs and cells.

What was stored before a key existed was made as the value here says, whatever the key's default is. A cell that has
this value is stored under the hash it had without the key.
"""

from collections.abc import Mapping
from typing import Any

YOUNGER_KEYS: Mapping[str, Any] = {
    "data.pad_mode": "zero",
    "data.pixel_mean": None,
    "data.pixel_std": None,
    "data.validation_size": 0,
    "data.validation_augment": False,
    "data.development_size": 0,
    "noise.flip_pairs": "drawn",
    "model.widths": None,
    "model.head_start": "plain",
    "meta_model.architecture": "plain",
    "optim.schedule_unit": "epoch",
    "optim.warmup": 0.0,
    "optim.look_ahead_rate": "current",
    "train.label_smoothing": 0.0,
    "train.weight_average": None,
    "train.evaluation_views": "plain",
    "method.look_ahead_statistics": "kept",
    "method.extractor_images": None,
}


def without_younger(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys without those that say no more than their absence."""
    return {key: value for key, value in values.items() if key not in YOUNGER_KEYS or value != YOUNGER_KEYS[key]}
