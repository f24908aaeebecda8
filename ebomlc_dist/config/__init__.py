"""A run as one typed, frozen value. JSON round trip: ``RunConfig.model_validate_json(c.model_dump_json()) == c``.

A new setting is one declaration here or in a method's settings. Give ``before``, the value that stored runs were made
with, so that they stay the runs that they are.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationError, model_validator

from ebomlc_dist.aliases import translated_sections
from ebomlc_dist.config.data_config import DataConfig, NoiseConfig
from ebomlc_dist.config.section import Section
from ebomlc_dist.config.training_config import (
    MetaModelConfig,
    ModelConfig,
    OptimConfig,
    Precision,
    SeedConfig,
    Strategy,
    TrainConfig,
)
from ebomlc_dist.fields import habit
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.methods.method_config import MethodConfig

__all__ = [
    "DataConfig",
    "MetaModelConfig",
    "ModelConfig",
    "NoiseConfig",
    "OptimConfig",
    "Precision",
    "RunConfig",
    "Section",
    "SeedConfig",
    "Strategy",
    "TrainConfig",
]


def _method(value: Any) -> Any:
    return config_from_mapping(value) if isinstance(value, dict) else value


class RunConfig(Section):
    """Everything that decides a run's result."""

    recipe: str = habit("custom", "Name of the recipe that the settings come from.", keyed=True)
    method: Annotated[SerializeAsAny[MethodConfig], BeforeValidator(_method)]
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    model: ModelConfig = ModelConfig()
    meta_model: MetaModelConfig = MetaModelConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    seeds: SeedConfig = SeedConfig()

    @model_validator(mode="before")
    @classmethod
    def _in_todays_words(cls, values: Any) -> Any:
        """Take keys of earlier versions; fields of ``optim`` that nobody set take the method's defaults."""
        if not isinstance(values, dict):
            return values
        values = translated_sections(values)
        if values.get("method") is None:
            return values
        optim = values.get("optim", {})
        given = optim.model_dump(exclude_unset=True) if isinstance(optim, OptimConfig) else optim
        if not isinstance(given, dict):
            return values
        try:
            method = _method(values["method"])
        except ValidationError:
            return values
        return {**values, "method": method, "optim": {**getattr(method, "optim_defaults", {}), **given}}
