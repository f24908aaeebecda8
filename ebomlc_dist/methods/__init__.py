"""The registry of methods. A method of ours is one module, one row here and one row in ``tests/methods``.

Methods from outside have no row: `ebomlc_dist.plugins` says how they are named.

The table itself imports no torch, so that ``ebomlc list`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ebomlc_dist import plugins

if TYPE_CHECKING:
    from ebomlc_dist.methods.contract import Method, MethodConfig


@dataclass(frozen=True)
class MethodInfo:
    """One line of the registry: where a method lives and what a person wants to know before choosing it.

    Attributes:
        target: ``module:class`` in this package; the name itself for a method from outside.
        summary: one line.
        paper: where it comes from.
        needs_clean: whether it needs a trusted set.
        networks: what it trains.
        noisy_units: cost of a step with default settings, in forwards of the noisy batch through the main model, a
            backward being two; without `clean_units`. None where nobody has said it.
        clean_units: the same, in forwards of the clean batch, which may be smaller.
        precisions: of the main models' passes.
        capturable: whether a CUDA graph can hold a step, which makes no host sync and has fixed shapes.
        compilable: whether ``torch.compile`` can make the main models' passes.
    """

    target: str
    summary: str
    paper: str
    needs_clean: bool
    networks: tuple[str, ...]
    noisy_units: float | None
    clean_units: float = 0.0
    precisions: str = "no, tf32, bf16, fp16"
    capturable: str = "yes"
    compilable: str = "yes"

    @property
    def units(self) -> str:
        """What a step costs, for noisy batches of B images and clean ones of C: ``4 + 3·C/B``."""
        if self.noisy_units is None:
            return "-"
        return f"{self.noisy_units:g}" + (f" + {self.clean_units:g}·C/B" if self.clean_units else "")

    def units_at(self, ratio: float) -> float | None:
        """`units` at C/B = ``ratio``."""
        return None if self.noisy_units is None else self.noisy_units + self.clean_units * ratio


_HYPERGRADIENT = {
    "capturable": "not with double_backward",
    "compilable": "not with double_backward, nor the forward-mode pass",
}


METHODS = {
    "ebomlc": MethodInfo(
        "ebomlc:Ebomlc",
        "label correction steered by a first-order dynamic barrier",
        "Efficient Bilevel Optimization for Meta Label Correction, Algorithm 2",
        True,
        ("main", "meta"),
        4,
        3,
    ),
    "ebomlc-s": MethodInfo(
        "ebomlc_s:EbomlcS",
        "EBOMLC whose corrector is shown simulated noise on trusted images, so that it learns to correct",
        "this project",
        True,
        ("main", "meta"),
        4,
        3,
    ),
    "ebomlc-released": MethodInfo(
        "ebomlc_released:EbomlcReleased",
        "the step of EBOMLC's released research code, for replication",
        "released code of EBOMLC",
        True,
        ("main", "meta"),
        6,
        4.5,
    ),
    "mlc": MethodInfo(
        "mlc:Mlc",
        "label correction steered by a hypergradient through a look-ahead",
        "Zheng et al. 2021, Meta Label Correction for Noisy Label Learning",
        True,
        ("main", "meta"),
        6,
        3,
        **_HYPERGRADIENT,
    ),
    "mlc-d": MethodInfo(
        "mlc_d:MlcD",
        "MLC with the plain dynamic barrier instead of a hypergradient",
        "Efficient Bilevel Optimization for Meta Label Correction, Algorithm 1",
        True,
        ("main", "meta"),
        16,
        3,
    ),
    "glc": MethodInfo(
        "glc:Glc",
        "a transition matrix measured on trusted images corrects the loss, in a second training",
        "Hendrycks et al. 2018, Using Trusted Data to Train Deep Networks on Labels Corrupted by Severe Noise",
        True,
        ("main",),
        3,
    ),
    "l2rw": MethodInfo(
        "l2rw:L2rw",
        "each sample weighs as its gradient agrees with that of the trusted images",
        "Ren et al. 2018, Learning to Reweight Examples for Robust Deep Learning",
        True,
        ("main",),
        6,
        3,
        **_HYPERGRADIENT,
    ),
    "mw-net": MethodInfo(
        "mw_net:MwNet",
        "a small net weighs samples by their loss, trained through a look-ahead",
        "Shu et al. 2019, Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting",
        True,
        ("main", "meta"),
        8,
        3,
        **_HYPERGRADIENT,
    ),
    "pmw-net": MethodInfo(
        "pmw_net:PmwNet",
        "MW-Net whose weights are drawn from a Beta distribution that the net predicts",
        "Zhao et al. 2021, A Probabilistic Formulation for Meta-Weight-Net",
        True,
        ("main", "meta"),
        8,
        3,
        **_HYPERGRADIENT,
    ),
    "dividemix": MethodInfo(
        "dividemix:DivideMix",
        "two models split the noisy set for each other and learn half-supervised",
        "Li et al. 2020, DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
        False,
        ("main", "peer"),
        36,
    ),
    "coteaching-plus": MethodInfo(
        "coteaching_plus:CoteachingPlus",
        "two models teach each other small-loss samples on which they disagree",
        "Yu et al. 2019, How does Disagreement Help Generalization against Label Corruption?",
        False,
        ("main", "peer"),
        6,
    ),
    "ce": MethodInfo(
        "cross_entropy:CrossEntropy", "cross entropy on the noisy labels: the floor", "-", False, ("main",), 3
    ),
    "ce-clean": MethodInfo(
        "cross_entropy:CrossEntropyClean",
        "cross entropy on the trusted images alone: a reference",
        "-",
        True,
        ("main",),
        3,
    ),
    "ce-weighted": MethodInfo(
        "weighted_cross_entropy:WeightedCrossEntropy",
        "cross entropy on trusted and noisy labels in fixed proportion: the baseline of every weighting",
        "-",
        True,
        ("main",),
        3,
        3,
    ),
    "ce-finetune": MethodInfo(
        "fine_tuning:FineTuning",
        "cross entropy on the noisy labels, then fine-tuning on the trusted images alone",
        "-",
        True,
        ("main",),
        3,
    ),
    "ce-oracle": MethodInfo(
        "cross_entropy:CrossEntropyOracle",
        "cross entropy on the true labels: the ceiling",
        "-",
        False,
        ("main",),
        3,
    ),
}


def check_method(name: str) -> None:
    """Raise `InputError` for a name that stands for nothing. Nothing is imported."""
    if name not in METHODS and not plugins.is_outside("methods", name):
        raise plugins.unknown("methods", name, METHODS)


def method_class(name: str) -> type[Method]:
    """The class of a method by its name. Raises `InputError` for an unknown name, or one that stands for no method."""
    check_method(name)
    if name not in METHODS:
        return import_module(f"{__name__}.outside_method").outside_class(name)
    module, attribute = METHODS[name].target.split(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def method_info(name: str) -> MethodInfo:
    """What a person wants to know of a method. Raises `InputError` as `method_class` does."""
    check_method(name)
    return METHODS[name] if name in METHODS else import_module(f"{__name__}.outside_method").outside_info(name)


def config_from_mapping(values: dict[str, Any]) -> MethodConfig:
    """A method's typed configuration from plain values; ``values["name"]`` chooses the method."""
    return method_class(str(values.get("name"))).Config.model_validate(values)
