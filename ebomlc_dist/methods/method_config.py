"""The settings of a method. Nothing here imports torch, so that ``--help`` answers at once."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class MethodConfig(BaseModel):
    """Settings of one method, with its paper's defaults; ``name`` is the method's name in the registry.

    Each field is declared by `ebomlc_dist.fields.frame`, `place` or `habit`. One that is declared by pydantic alone is
    taken to decide the result.

    Attributes:
        optim_defaults: field of `OptimConfig` → this method's default where it is not the common one.
        own_frame: dotted key → value with which the method's own paper trained CIFAR-10, for recipes of that kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    optim_defaults: ClassVar[Mapping[str, Any]] = {}
    own_frame: ClassVar[Mapping[str, Any]] = {}
    name: str
