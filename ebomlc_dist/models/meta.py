"""The registry of meta models: what steers a main model's training."""

from typing import Any

from torch import nn

from ebomlc_dist.models.label_corrector import LabelCorrector, ReleasedCorrector
from ebomlc_dist.models.weight_nets import BetaWeightNet, WeightNet

META_MODELS = ("label-corrector", "weight-net", "beta-weight-net")
CORRECTORS = {"plain": LabelCorrector, "released": ReleasedCorrector}
"""Architecture → label corrector; both take the same arguments."""


def build_meta_model(name: str, *, num_classes: int, feature_dim: int, **settings: Any) -> nn.Module:
    """Return a freshly initialised meta model, a function of torch's default generator.

    Args:
        name: one of `META_MODELS`.
        num_classes: K.
        feature_dim: D of the features a label corrector sees.
        settings: of a label corrector its ``architecture``, a key of `CORRECTORS`, and its other arguments; weight nets
            have none.
    """
    if name == "label-corrector":
        return CORRECTORS[settings.pop("architecture", "plain")](num_classes, feature_dim, **settings)
    return {"weight-net": WeightNet, "beta-weight-net": BetaWeightNet}[name]()
