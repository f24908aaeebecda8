"""Any image classifier of torchvision as a main model, from its random initialisation (no weights are loaded)."""

import torch
import torchvision
from torch import nn

from ebomlc_dist.errors import InputError, nearest
from ebomlc_dist.models.main_model import MainModel

CATALOGUE = "https://docs.pytorch.org/vision/stable/models.html#classification"

# These two return auxiliary outputs in training unless told otherwise, and warn unless their initialisation is named.
OWN_ARGUMENTS: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def classifier_names() -> list[str]:
    """Return the names that `torchvision_classifier` takes."""
    return torchvision.models.list_models(module=torchvision.models)


def torchvision_classifier(name: str, num_classes: int, in_channels: int) -> MainModel:
    """torchvision's model ``name`` for ``num_classes`` classes, split before its last linear layer.

    The head is the model's own last linear layer, with the model's own initialisation; the body is all before it.
    SqueezeNet ends in a 1×1 convolution, a ReLU and average pooling: here pooling and then a linear layer, which is the
    same map but for that ReLU. With other than 3 input channels the first convolution is made anew, from the normal
    distribution of He et al. 2015 (fan-out) and zero bias.

    Raises:
        InputError: an unknown name, or a model for another task.
    """
    _check_name(name)
    body = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **OWN_ARGUMENTS.get(name, {}))
    if isinstance(body, torchvision.models.SqueezeNet):
        _end_in_linear(body, num_classes)
    path, head = next((p, m) for p, m in reversed(list(body.named_modules())) if isinstance(m, nn.Linear))
    body.set_submodule(path, nn.Identity())
    if in_channels != 3:
        _adapt_input(body, in_channels)
    return MainModel(body, head)


def _check_name(name: str) -> None:
    classifiers = classifier_names()
    if name in classifiers:
        return
    offer = f"its classifiers: {CATALOGUE}"
    if name in torchvision.models.list_models():
        # torchvision keeps each other task in a package of its own: torchvision.models.<task>.<file>.
        task = torchvision.models.get_model_builder(name).__module__.split(".")[2].replace("_", " ")
        raise InputError(f"torchvision's '{name}' is a model for {task}, not an image classifier; {offer}")
    raise InputError(
        f"torchvision {torchvision.__version__} has no model '{name}'{nearest(name, classifiers)}; {offer}"
    )


def _end_in_linear(squeezenet: nn.Module, num_classes: int) -> None:
    dropout, convolution, _, pooling = squeezenet.get_submodule("classifier").children()
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError("SqueezeNet's classifier is not dropout, convolution, ReLU, pooling")
    linear = nn.Linear(convolution.in_channels, num_classes)
    with torch.no_grad():
        for own, given in zip(linear.parameters(), convolution.parameters(), strict=True):
            own.copy_(given.view_as(own))
    squeezenet.set_submodule("classifier", nn.Sequential(dropout, pooling, nn.Flatten(), linear))


def _adapt_input(body: nn.Module, in_channels: int) -> None:
    path, old = next((p, m) for p, m in body.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    body.set_submodule(path, new)
