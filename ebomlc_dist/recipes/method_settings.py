"""Settings of a method that its paper chooses by data set, noise and length of the run.

A recipe knows all three. On a person's own data none is known, and the method's defaults stand.
"""

from typing import Any

from ebomlc_dist.config import RunConfig
from ebomlc_dist.methods import method_class

_PRINTED_METHODS = ("ebomlc", "mlc", "mlc-d")
_PRINTED_KEYS = ("features", "extractor_images", "value_gradient")


def settings_of(method: str, config: RunConfig) -> dict[str, Any]:
    """Dotted ``method.`` keys for ``method`` in a recipe's run.

    Warm-ups are the papers', and at most a quarter of the run. What a recipe as printed says of the corrector's
    features and of ∇_wQ holds for all of that paper's methods.
    """
    many_classes = config.data.dataset == "cifar100"
    quarter = max(1, config.train.epochs // 4)
    noise_is_known = config.noise.kind in ("uniform", "flip")
    rate, flips = config.noise.rate, config.noise.kind == "flip"
    if method == "coteaching-plus":
        return {
            "method.init_epochs": min(5 if many_classes else 20, quarter),
            "method.forget_epochs": min(10, quarter),
            **({"method.forget_rate": rate} if noise_is_known else {}),
        }
    if method == "dividemix":
        return {
            "method.warm_up_epochs": min(30 if many_classes else 10, quarter),
            "method.ramp_epochs": min(16, quarter),
            **({"method.unlabelled_weight": _unlabelled_weight(many_classes, rate, flips)} if noise_is_known else {}),
            **({"method.warm_up_penalty": "negative_entropy"} if flips else {}),
            **({"method.loss_epochs": 5} if rate >= 0.9 else {}),
        }
    if method in _PRINTED_METHODS and getattr(config.method, "extractor_images", None) is not None:
        fields = method_class(method).Config.model_fields
        return {f"method.{key}": getattr(config.method, key) for key in _PRINTED_KEYS if key in fields}
    return {}


def _unlabelled_weight(many_classes: bool, rate: float, flips: bool) -> float:
    """λ_u of DivideMix: 0 or 25 up to 20 %, then 25 or 150; 0 for flips and 50 from 90 % on with few classes."""
    if many_classes:
        return 25.0 if rate <= 0.2 else 150.0
    if rate <= 0.2 or flips:
        return 0.0
    return 25.0 if rate < 0.9 else 50.0


def own_frame(method: str) -> dict[str, Any]:
    """Dotted keys with which the method's own paper trained, where they are not the common frame's."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in method_class(method).Config.own_frame.items()
    }
