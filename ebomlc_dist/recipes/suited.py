"""Model, size and length that suit images in memory, where a person has not chosen them.

| images | model, CPU | model, GPU |
|---|---|---|
| up to 16 pixels | ``digits-cnn`` | ``digits-cnn`` |
| up to 48 pixels | ``resnet8`` | ``resnet32`` |
| larger | ``resnet8`` | ``torchvision/resnet18`` |

The model sees images at their own size, within what is usual for it (`ebomlc_dist.data.inputs.image_side`): for larger
ones that is 64 pixels on a CPU, and up to 224 on a GPU.
A run sees 100,000 images on a CPU and 2,000,000 on a GPU, over 8 to 120 epochs: minutes rather than hours. Batches are
a tenth of a small set, 100 at most. Grey images are not mirrored, as most of them are digits, letters or scans.
"""

from typing import Any

from ebomlc_dist.data.inputs.image_side import side_for

_SMALL, _MEDIUM = 16, 48
_SEEN = {False: 100_000, True: 2_000_000}
_EPOCHS = (8, 120)
_BATCH = (20, 100)


def suited(
    num_images: int, channels: int, side: int, *, gpu: bool, model: str | None = None, image_size: int | None = None
) -> dict[str, Any]:
    """Return dotted keys of a configuration → values for a training set.

    Args:
        num_images: noisy and trusted ones together.
        channels: of each image.
        side: the shorter one, in pixels.
        gpu: whether the run is on one.
        model, image_size: chosen by the person already.
    """
    name = model or _model(image_size or side, gpu)
    size = image_size or side_for(side, name)
    batch = min(max(num_images // 10, _BATCH[0]), _BATCH[1])
    return {
        "data.image_size": size,
        "data.augment": "pad-crop" if channels == 1 else "pad-crop-flip",
        "data.pad": max(1, size // 8),
        "model.name": name,
        "train.epochs": min(max(round(_SEEN[gpu] / num_images), _EPOCHS[0]), _EPOCHS[1]),
        "train.global_noisy_batch_size": batch,
        "train.global_clean_batch_size": batch,
        "train.log_interval": 10,
        "optim.main_lr": 0.05 if name == "digits-cnn" or batch < _BATCH[1] else 0.1,
    }


def suited_to_features(num_rows: int, *, gpu: bool) -> dict[str, Any]:
    """Return the same for rows of features: 15 epochs, and batches that grow with the set.

    Args:
        num_rows: noisy and trusted ones together.
        gpu: whether the run is on one.
    """
    batch = min(max(num_rows // 10, _BATCH[0]), max(_BATCH[1], num_rows // 1000))
    return {
        "train.epochs": 15,
        "train.global_noisy_batch_size": batch,
        "train.global_clean_batch_size": min(batch, _BATCH[1]),
        "train.log_interval": 50 if gpu else 10,
    }


def _model(size: int, gpu: bool) -> str:
    if size <= _SMALL:
        return "digits-cnn"
    if not gpu:
        return "resnet8"
    return "resnet32" if size <= _MEDIUM else "torchvision/resnet18"
