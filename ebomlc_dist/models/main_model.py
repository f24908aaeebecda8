"""What every main model is: a body that gives features, and one linear layer on top of them."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ebomlc_dist.errors import InputError


class MainModel(nn.Module):
    """``features = body(images)``, ``logits = head(features)``.

    Args:
        body: (n, C, H, W) images → (n, D) features.
        head: the last linear layer, D → K.
    """

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    @property
    def feature_dim(self) -> int:
        """D, the width of the features."""
        return self.head.in_features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) float images → logits (n, K) and features (n, D), the very input of the head."""
        features = self.body(images)
        return self.head(features), features


def check_images(model: MainModel, name: str, channels: int, height: int, width: int) -> None:
    """Make sure that ``model`` takes images of this size, without computing anything or touching its state.

    The shapes alone go through the model. Some architectures take one size only (``torchvision/vit_b_16``: 224) and
    some need a least size (``torchvision/inception_v3``: 75).

    Raises:
        InputError: the model cannot take such images; the message holds the model's own reason.
    """
    state = {key: tensor.to("meta") for key, tensor in [*model.named_parameters(), *model.named_buffers()]}
    images = torch.empty(2, channels, height, width, device="meta", dtype=model.head.weight.dtype)
    training = model.training
    model.eval()
    try:
        functional_call(model, state, (images,))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model '{name}' does not take images of {channels}×{height}×{width}: {reason}; "
            "set another size with --image-size or choose another --model"
        ) from error
    finally:
        model.train(training)
