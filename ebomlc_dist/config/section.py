"""What sections of a configuration have in common: their base, and the ranges that values lie in."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Seconds = Annotated[float, Field(gt=0.0, le=1e7)]
MOST_PIXELS = 4096
"""A side of an image, or of its padding."""
MOST_IMAGES = 2**20
"""In a step."""


class Section(BaseModel):
    """Settings that belong together. ``panel`` is where ``--help`` shows their flags."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    panel: ClassVar[str]
