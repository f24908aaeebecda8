"""Any recipe, cut down until it runs in seconds.

    ebomlc train cifar10-uniform40 --tiny

Its figures mean nothing; that it ends shows that data, devices, folders and launcher are in place.
"""

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.datasets import num_classes_of
from ebomlc_dist.models import MODELS, TORCHVISION

_NOISY_IMAGES = 256
_SIDE = 32  # pixels, in place of a large model's 224
_WIDTHS = (16, 16, 32)
_TRUSTED_IMAGES_A_CLASS = 2


def tiny(config: RunConfig) -> RunConfig:
    """Two epochs on a few hundred images with the smallest model of its kind. Own images are used as they are."""
    data, model, train = config.data, config.model, config.train
    num_classes = num_classes_of(data.dataset)
    if num_classes is not None:
        clean_size = _TRUSTED_IMAGES_A_CLASS * num_classes
        sizes = {"clean_size": clean_size, "noisy_size": _NOISY_IMAGES}
        data = data.model_copy(update=sizes | ({"validation_size": clean_size} if data.validation_size else {}))
    if model.name.startswith(TORCHVISION):
        data = data.model_copy(update={"image_size": _SIDE, "num_workers": 0})
    if data.image_size == "auto":
        data = data.model_copy(update={"image_size": _SIDE})
    if model.name.startswith(("resnet", TORCHVISION)):
        model = model.model_copy(update={"name": "resnet8"})
    if model.name in MODELS and "widths" in MODELS[model.name].options:
        model = model.model_copy(update={"widths": _WIDTHS})
    train = train.model_copy(
        update={"epochs": 2, "global_noisy_batch_size": 64, "global_clean_batch_size": 20, "log_interval": 2}
    )
    return config.model_copy(update={"data": data, "model": model, "train": train})
