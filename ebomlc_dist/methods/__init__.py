"""The registry of methods. A method is one module, one row here and one row in ``tests/methods``.

The table itself imports no torch, so that ``ebomlc list`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ebomlc_dist.errors import InputError, nearest

if TYPE_CHECKING:
    from ebomlc_dist.methods.contract import Method, MethodConfig


@dataclass(frozen=True)
class MethodInfo:
    """One line of the registry: where a method lives and what a person wants to know before choosing it."""

    target: str
    summary: str
    paper: str
    needs_clean: bool


METHODS = {
    "ebomlc": MethodInfo(
        "ebomlc:Ebomlc",
        "label correction steered by a first-order dynamic barrier",
        "Efficient Bilevel Optimization for Meta Label Correction, Algorithm 2",
        True,
    ),
    "ebomlc-released": MethodInfo(
        "ebomlc_released:EbomlcReleased",
        "the step of EBOMLC's released research code, for replication",
        "released code of EBOMLC",
        True,
    ),
    "mlc": MethodInfo(
        "mlc:Mlc",
        "label correction steered by a hypergradient through a look-ahead",
        "Meta Label Correction for Noisy Label Learning",
        True,
    ),
    "mlc-d": MethodInfo(
        "mlc_d:MlcD",
        "MLC with the plain dynamic barrier instead of a hypergradient",
        "Efficient Bilevel Optimization for Meta Label Correction, Algorithm 1",
        True,
    ),
    "ce": MethodInfo("cross_entropy:CrossEntropy", "cross entropy on the noisy labels: the floor", "-", False),
    "ce-clean": MethodInfo(
        "cross_entropy:CrossEntropyClean", "cross entropy on the trusted images alone: a reference", "-", True
    ),
    "ce-oracle": MethodInfo(
        "cross_entropy:CrossEntropyOracle", "cross entropy on the true labels: the ceiling", "-", False
    ),
}


def method_class(name: str) -> type[Method]:
    """The class of a method by its registered name. Raises `InputError` for an unknown name."""
    if name not in METHODS:
        raise InputError(f"unknown method '{name}'{nearest(name, list(METHODS))}; known: {', '.join(METHODS)}")
    module, attribute = METHODS[name].target.split(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def config_from_mapping(values: dict[str, Any]) -> MethodConfig:
    """A method's typed configuration from plain values; ``values["name"]`` chooses the method."""
    return method_class(str(values.get("name"))).Config.model_validate(values)
