"""What can be known of a network from its shapes alone, before it is given memory."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.func import functional_call

from ebomlc_dist.errors import InputError
from ebomlc_dist.models.main_model import MainModel

Network = TypeVar("Network", bound=nn.Module)


def on_meta_device(build: Callable[[], Network]) -> Network:
    """Return the network that ``build`` makes, on the meta device: names, shapes and dtypes, no values.

    Random numbers are left as they were.
    """
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:
        # torchvision's RegNets work out their widths with tensors, which takes real ones.
        with torch.random.fork_rng(devices=[]):
            return build().to("meta")


def check_inputs(model: MainModel, name: str, shape: tuple[int, ...]) -> None:
    """Make sure that ``model`` takes inputs of this shape, without computing anything or touching its state.

    Args:
        model: the network.
        name: what to call it in a message.
        shape: (C, H, W) of an image, or (D,) of features.

    The shapes alone go through the model. Some architectures take one size only (``torchvision/vit_b_16``: 224) and
    some need a least size (``torchvision/inception_v3``: 75).

    Raises:
        InputError: the model cannot take such inputs; the message holds the model's own reason.
    """
    state = {key: tensor.to("meta") for key, tensor in [*model.named_parameters(), *model.named_buffers()]}
    inputs = torch.empty(2, *shape, device="meta", dtype=model.head.weight.dtype)
    training = model.training
    model.eval()
    try:
        functional_call(model, state, (inputs,))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        what, remedy = (
            (f"rows of {shape[0]} features", "choose --model mlp or linear")
            if len(shape) == 1
            else (
                f"images of {'×'.join(map(str, shape))}",
                "set another size with --image-size or choose another --model",
            )
        )
        raise InputError(f"model '{name}' does not take {what}: {reason}; {remedy}") from error
    finally:
        model.train(training)


def trains_on_one(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return whether a network `on_meta_device` can be trained on a batch of one input of ``shape``.

    It cannot where a batch normalisation would be given a single value of a channel. Nothing is computed.
    """
    dtype = next(model.parameters()).dtype
    try:
        model.train()(torch.empty(1, *shape, device="meta", dtype=dtype))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return False
    return True
