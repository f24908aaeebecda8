"""A trained network as a folder in the layout of model hubs: ``config.json``, ``model.safetensors``, ``README.md``.

``config.json`` says how to build the network again and how to prepare its images; no code and no pickle is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from safetensors import SafetensorError
from torch import Tensor, nn

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import make_folder, write_bytes, write_json
from ebomlc_dist.files.reading import read_bytes
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.models.meta_device import on_meta_device
from ebomlc_dist.models.state_tensors import check_state, load_state, state_tensors
from ebomlc_dist.models.weight_nets import BetaWeightNet, WeightNet

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 16 * 1024 * 1024
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocessing(Section):
    """From an image to the model's input: resize, scale to 0…1, subtract ``mean``, divide by ``std``.

    Of features the last two alone.

    Attributes:
        mean, std: one number a channel, for values in 0…1; or one a feature.
        image_size: height and width in pixels; None for features.
        max_side: None where the whole image is resized. Else its longer side is reduced to this at most, and the centre
            is cut out and resized.
        deep_low, deep_shift: what becomes of grey images of 16 bits: ``(value − deep_low) >> deep_shift``, in 0…255.
    """

    mean: list[float]
    std: list[Annotated[float, Field(gt=0.0)]]
    image_size: Annotated[list[Count], Field(min_length=2, max_length=2)] | None
    max_side: Count | None = None
    deep_low: Annotated[int, Field(ge=0, lt=2**16)] = 0
    deep_shift: Annotated[int, Field(ge=0, le=8)] = 8


class StoredConfig(Section):
    """What both configurations hold; ``dtype`` is that of the parameters."""

    format_version: Literal[1] = 1
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"


class MainModelConfig(StoredConfig):
    """``config.json`` of a main model; ``class_names`` in label order."""

    model_type: Literal["ebomlc-main"]
    name: str
    num_classes: Count
    in_channels: Count
    norm: str
    widths: tuple[Count, ...] | None = None
    preprocessing: Preprocessing
    class_names: list[str]

    @model_validator(mode="after")
    def _agree(self) -> "MainModelConfig":
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"{len(self.class_names)} class_names for num_classes {self.num_classes}")
        if not len(self.preprocessing.mean) == len(self.preprocessing.std) == self.in_channels:
            raise ValueError(f"preprocessing mean and std need one number for each of {self.in_channels} channels")
        return self

    def build(self) -> nn.Module:
        """Return the network, freshly initialised, in float32."""
        return build_main_model(
            self.name,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            norm=self.norm,
            widths=self.widths,
        )


class LabelCorrectorConfig(StoredConfig):
    """``config.json`` of a label corrector; the fields are `build_meta_model`'s arguments."""

    model_type: Literal["ebomlc-label-corrector"]
    num_classes: Count
    feature_dim: Count
    embedding_dim: Count = 128
    hidden_dim: Count = 128
    dropout: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    batch_norm: bool = False
    architecture: Literal["plain", "released"] = "plain"

    def build(self) -> nn.Module:
        """Return the network, freshly initialised, in float32."""
        fields = self.model_dump(exclude={"model_type", "format_version", "dtype"})
        return build_meta_model("label-corrector", **fields)


class WeightNetConfig(StoredConfig):
    """``config.json`` of a net that weighs samples by their loss."""

    model_type: Literal["ebomlc-weight-net", "ebomlc-beta-weight-net"]

    def build(self) -> nn.Module:
        """Return the network, freshly initialised, in float32."""
        return WeightNet() if self.model_type == "ebomlc-weight-net" else BetaWeightNet()


AnyConfig = MainModelConfig | LabelCorrectorConfig | WeightNetConfig
HubConfig = Annotated[AnyConfig, Field(discriminator="model_type")]
_ADAPTER: TypeAdapter[AnyConfig] = TypeAdapter(HubConfig)


def save_model(folder: Path, model: nn.Module, config: Mapping[str, Any], card: str) -> None:
    """Write a network so that `load_model` gives it back bit for bit.

    Each file is replaced atomically, the configuration last. Where the three must change together, give a fresh folder
    and rename it.

    Args:
        folder: made where it is missing.
        model: what ``config`` builds, trained; on any device, in any memory format.
        config: the fields of `MainModelConfig`, `LabelCorrectorConfig` or `WeightNetConfig`, chosen by ``model_type``;
            ``dtype`` is read off the model.
        card: the model card, see `ebomlc_dist.models.card`.

    Raises:
        InputError: ``config`` has a missing, unknown or impossible field, or is not that of ``model``.
    """
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    checked = _validated({**config, "dtype": dtype}, "config")
    tensors = state_tensors(model)
    check_state(_outline(checked).state_dict(), tensors, "the network")
    make_folder(folder)
    write_bytes(folder / WEIGHTS, safetensors.torch.save(tensors, metadata={"format": "pt"}))
    write_bytes(folder / CARD, card.encode())
    write_json(folder / CONFIG, checked.model_dump(mode="json"))


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network stored in ``folder``, on the CPU and in evaluation mode, and its configuration.

    The folder may be a stranger's: the configuration is checked first, then size, names, shapes and dtypes of the
    weights against it. Random numbers are left as they were.

    Raises:
        InputError: a file is missing or damaged, or the weights are not those of the configuration.
    """
    folder = Path(folder)
    config = _validated(read_json(folder / CONFIG, MAX_CONFIG_BYTES), str(folder / CONFIG))
    # A size that the weights do not bear out costs nothing: memory comes after they have been held against it.
    module = _outline(config)
    tensors = _read_weights(folder / WEIGHTS, module.state_dict())
    module.to_empty(device="cpu")
    load_state(module, tensors, str(folder / WEIGHTS))
    return module.eval(), config.model_dump(mode="json")


def read_preprocessing(folder: Path) -> Preprocessing:
    """Return the preprocessing of the main model stored in ``folder``. Raises `InputError` where there is none."""
    config = _validated(read_json(folder / CONFIG, MAX_CONFIG_BYTES), str(folder / CONFIG))
    if not isinstance(config, MainModelConfig):
        raise InputError(f"{folder / CONFIG} does not describe a main model")
    return config.preprocessing


def _validated(config: Any, source: str) -> AnyConfig:
    try:
        return _ADAPTER.validate_python(dict(config) if isinstance(config, Mapping) else config)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc'][1:])) or 'all'}: {e['msg']}" for e in error.errors())
        raise InputError(f"{source} does not describe a model: {'; '.join(faults)}") from None


def _outline(config: AnyConfig) -> nn.Module:
    return on_meta_device(config.build).to(getattr(torch, config.dtype))


def _read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    size = sum(tensor.nbytes for tensor in expected.values())
    data = read_bytes(path, size + MAX_HEADER_BYTES)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    check_state(expected, tensors, str(path))
    return tensors
