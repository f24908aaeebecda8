"""The registry of models. A model of ours is one module, one row here and one row in ``tests/models``.

Models from outside have no row: `ebomlc_dist.plugins` says how they are named.

The table itself imports no torch, so that ``ebomlc list`` answers at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ebomlc_dist import plugins
from ebomlc_dist.errors import InputError, nearest

if TYPE_CHECKING:
    from ebomlc_dist.models.main_model import MainModel

TORCHVISION = "torchvision/"


@dataclass(frozen=True)
class ModelInfo:
    """One line of the registry.

    Attributes:
        target: ``module:callable`` in this package; called as ``callable(num_classes, in_channels)``.
        summary: what a person wants to know before choosing the model.
        sides: the least and the largest side, in pixels, of images that it is given without a word from the person.
        options: names of the options that ``callable`` takes: of those of `build_main_model`.
    """

    target: str
    summary: str
    sides: tuple[int, int] = (32, 64)
    options: tuple[str, ...] = ()


MODELS: dict[str, ModelInfo] = {
    "digits-cnn": ModelInfo("digits_cnn:digits_cnn", "three convolutions for 8×8 images, 24 k parameters", (8, 32)),
    "fast-cnn": ModelInfo(
        "fast_cnn:fast_cnn",
        "seven convolutions for 32×32 images, 1.1 M parameters: the quickest to a high accuracy (--set model.widths=…)",
        options=("widths",),
    ),
    "linear": ModelInfo("feature_heads:linear", "for features: one linear layer"),
    "mlp": ModelInfo(
        "feature_heads:mlp",
        "for features: LayerNorm, 256 units with ReLU, one linear layer (--set model.widths=…)",
        options=("widths",),
    ),
    "resnet8": ModelInfo("resnet_cifar:resnet8", "ResNet for 32×32 images, 0.08 M parameters: a quick look on a CPU"),
    "resnet20": ModelInfo("resnet_cifar:resnet20", "ResNet for 32×32 images, 0.27 M parameters"),
    "resnet32": ModelInfo(
        "resnet_cifar:resnet32", "ResNet for 32×32 images, 0.46 M parameters: the paper's main model"
    ),
    "resnet44": ModelInfo("resnet_cifar:resnet44", "ResNet for 32×32 images, 0.66 M parameters"),
    "resnet56": ModelInfo("resnet_cifar:resnet56", "ResNet for 32×32 images, 0.85 M parameters"),
}


_LARGE_SIDES = (32, 224)
_OWN_SIDES = {"vit_": (224, 224), "maxvit_": (224, 224), "inception_": (75, 299), "alexnet": (64, 224)}
"""By the beginning of torchvision's name: models that take one size only, or need a least one."""


def usual_sides(name: str) -> tuple[int, int]:
    """Return the least and the largest default image side of a model, in pixels.

    Known of any name: what is wrong with an unknown one is said where the model is built. A function from outside may
    have an attribute ``sides``.
    """
    if name not in MODELS and plugins.is_outside("models", name):
        return getattr(outside_model(name), "sides", ModelInfo.sides)
    if name.startswith(TORCHVISION):
        kind = name.removeprefix(TORCHVISION)
        return next((sides for start, sides in _OWN_SIDES.items() if kind.startswith(start)), _LARGE_SIDES)
    return MODELS[name].sides if name in MODELS else ModelInfo.sides


def build_main_model(
    name: str, *, num_classes: int, in_channels: int, norm: str, widths: tuple[int, ...] | None = None
) -> MainModel:
    """Return a freshly initialised main model, a pure function of torch's default generator.

    Call ``torch.manual_seed`` before it: the same seed gives the same parameters, bit for bit.

    Args:
        name: a row of `MODELS`, ``torchvision/<name>`` for any image classifier of torchvision, or a name from outside.
        num_classes: K, the width of the logits.
        in_channels: C of the (n, C, H, W) images, or D of (n, D) features.
        norm: ``batch``, ``sync`` or ``group``; see `ebomlc_dist.models.norm`.
        widths: channels of each stage, for models that let one choose them; None for the model's own.

    Raises:
        InputError: an unknown name or norm, a torchvision model that is no image classifier, an option that the model
            does not have, or a function from outside that fails or gives no `MainModel`.
    """
    from ebomlc_dist.models.norm import apply_norm

    known = MODELS[name].options if name in MODELS else ()
    options = {key: value for key, value in (("widths", widths),) if value is not None}
    if unknown := [key for key in options if key not in known]:
        able = ", ".join(other for other, info in MODELS.items() if unknown[0] in info.options)
        raise InputError(f"model '{name}' has no option model.{unknown[0]}; leave it out, or take {able}")
    if name.startswith(TORCHVISION):
        from ebomlc_dist.models.torchvision_classifier import torchvision_classifier

        model = torchvision_classifier(name.removeprefix(TORCHVISION), num_classes, in_channels)
    elif name in MODELS:
        module, attribute = MODELS[name].target.split(":")
        model = getattr(import_module(f"{__name__}.{module}"), attribute)(num_classes, in_channels, **options)
    elif plugins.is_outside("models", name):
        model = _built_outside(name, num_classes, in_channels)
    else:
        raise _unknown(name)
    apply_norm(model, norm)
    return model


def outside_model(name: str) -> Callable[[int, int], object]:
    """Return the function that a name from outside stands for. Raises `InputError` where it is none."""
    found = plugins.load("models", name)
    # One written in C is nobody's model, and who knows what it does with two numbers.
    if not (inspect.isfunction(found) or inspect.isclass(found)):
        raise plugins.wrong_kind("models", name, "is no function of (num_classes, in_channels)")
    return found


def _built_outside(name: str, num_classes: int, in_channels: int) -> MainModel:
    from ebomlc_dist.models.main_model import MainModel

    function = outside_model(name)
    try:
        model = function(num_classes, in_channels)
    except Exception as error:
        called = f"fails for {num_classes} classes and {in_channels} channel(s)"
        raise plugins.wrong_kind("models", name, f"{called}: {plugins.failure(error)}") from error
    if not isinstance(model, MainModel):
        raise plugins.wrong_kind(
            "models",
            name,
            f"gives a {type(model).__name__}; return ebomlc_dist.models.main_model.MainModel(body, head)",
        )
    if model.head.out_features != num_classes:
        raise plugins.wrong_kind("models", name, f"gives {model.head.out_features} logits for {num_classes} classes")
    return model


def _unknown(name: str) -> InputError:
    from ebomlc_dist.models.torchvision_classifier import classifier_names

    classifiers = classifier_names()
    offered = [f"{TORCHVISION}{known}" for known in classifiers]
    hint = (
        f" (did you mean '{TORCHVISION}{name}'?)"
        if name in classifiers
        else nearest(name, [*MODELS, *plugins.registered("models"), *offered])
    )
    return plugins.unknown("models", name, MODELS, further=f", {TORCHVISION}<name> for its classifiers", hint=hint)
