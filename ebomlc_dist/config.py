"""A run as one typed, frozen value. JSON round trip: ``RunConfig.model_validate_json(c.model_dump_json()) == c``."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.methods.contract import MethodConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Precision = Literal["no", "bf16", "fp16"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Where images and labels come from, and how the trusted set is cut out of them."""

    dataset: str = "digits"
    data_dir: Path = Path("data")
    download: bool = True
    image_size: int | None = Field(None, ge=4, description="side in pixels; images of a folder are resized to it")
    noisy_csv: Path | None = Field(None, description="`path,label` of the noisy images (dataset folder)")
    clean_csv: Path | None = Field(None, description="`path,label` of the trusted images (dataset folder)")
    test_csv: Path | None = Field(None, description="`path,label` of the test images (dataset folder)")
    clean_size: int = Field(1000, ge=1, description="trusted images, stratified")
    clean_from_noisy: bool = Field(False, description="choose the trusted images from the noisy ones, by cross-fitting")
    split: Path | None = Field(None, description="split.json of an earlier run, used instead of a new split")
    split_kind: Literal["disjoint", "leaky"] = "disjoint"
    noisy_size: int | None = Field(None, ge=1, description="use only so many noisy images, stratified")
    augment: Literal["pad-crop-flip", "pad-crop", "resized-crop-flip", "none"] = "pad-crop-flip"
    pad: int = Field(4, ge=0, description="pixels of zero padding before the random crop")
    max_side: int = Field(384, ge=4, description="longer side that images of a folder keep under resized-crop-flip")
    loader: Literal["auto", "resident", "ffcv", "dataloader"] = "auto"
    num_workers: int = Field(2, ge=0, description="of each process: threads of ffcv, processes of dataloader")
    pack_dir: Path | None = Field(None, description="folder of `ebomlc pack`; by default packed-<dataset> in data_dir")
    skip_unreadable: bool = False
    max_pixels: int = Field(64_000_000, ge=1, description="larger images are refused before they are decoded")


class NoiseConfig(Section):
    """Label noise that is added to known labels; ``none`` for data that are noisy already."""

    kind: Literal["none", "uniform", "flip", "matrix", "human"] = "none"
    rate: Share = 0.0
    uniform_over: Literal["other", "any"] = "other"
    matrix: Path | None = Field(None, description="CSV of K rows of K numbers, row = true class, column = noisy class")
    human_file: Path | None = Field(None, description="CIFAR-N labels: the official .npz/.csv or a CSV with a header")
    human_column: str | None = Field(None, description="column of human_file, such as worse_label")


class ModelConfig(Section):
    """The main model. ``torchvision/<name>`` takes any classifier of torchvision."""

    name: str = "resnet32"
    norm: Literal["batch", "sync", "group"] = "batch"


class MetaModelConfig(Section):
    """The meta model (label corrector) of equations.md."""

    embedding_dim: int = Field(128, ge=1)
    hidden_dim: int = Field(128, ge=1)
    dropout: Share = 0.0
    batch_norm: bool = False


class OptimConfig(Section):
    """SGD for the main model, Adam for the meta model, a step schedule in fractions of the run.

    A method may have defaults of its own (`MethodConfig.optim_defaults`) for what is not set.
    """

    main_optimizer: Literal["sgd", "adam"] = "sgd"
    main_lr: Positive = 0.1
    momentum: Share = 0.9
    weight_decay: float = Field(5e-4, ge=0.0)
    nesterov: bool = False
    late_beta1: Share | None = Field(None, description="μ₁ of a main Adam after the first milestone")
    meta_lr: Positive = 3e-4
    meta_weight_decay: float = Field(0.0, ge=0.0)
    meta_amsgrad: bool = False
    schedule: Literal["step", "cosine", "linear"] = Field(
        "step", description="×decay at milestones; to zero along a cosine; to zero in a line from the first milestone"
    )
    milestones: tuple[Share, ...] = (80 / 120, 100 / 120)
    decay: Positive = 0.1
    meta_schedule: Literal["constant", "main"] = "constant"


class TrainConfig(Section):
    """Length, batches, precision and the habits of the loop."""

    epochs: int = Field(120, ge=1)
    global_noisy_batch_size: int = Field(100, ge=1)
    global_clean_batch_size: int = Field(100, ge=1)
    precision: Precision = "no"
    compile: bool = Field(False, description="torch.compile of the main models' forward and backward passes")
    cuda_graph: bool = Field(False, description="one CUDA graph holds a step, from the gather to the optimisers")
    deterministic: bool = Field(False, description="bitwise repeatable kernels on a GPU, slower")
    log_interval: int = Field(50, ge=1, description="steps between metric lines")
    checkpoint_steps: int | None = Field(None, ge=1, description="save every so many steps too, not only each epoch")
    epoch_scores: bool = Field(False, description="keep every epoch's label scores, for an audit that averages them")
    trackers: tuple[str, ...] = ("tensorboard",)
    rendezvous_timeout_s: Positive = Field(60.0, description="for all processes to come")
    start_timeout_s: Positive = 600.0
    step_timeout_s: Positive = 60.0
    max_skipped_in_a_row: int = Field(10, ge=1)


class SeedConfig(Section):
    """One seed for all; each named stream can be set alone."""

    seed: int = Field(0, ge=0)
    split: int | None = Field(None, ge=0)
    noise: int | None = Field(None, ge=0)
    order: int | None = Field(None, ge=0)
    augmentation: int | None = Field(None, ge=0)
    initialisation: int | None = Field(None, ge=0)
    draws: int | None = Field(None, ge=0)


def _method(value: Any) -> Any:
    return config_from_mapping(value) if isinstance(value, dict) else value


class RunConfig(Section):
    """Everything that decides a run's result."""

    recipe: str = "custom"
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
    def _own_optim_defaults(cls, values: Any) -> Any:
        """Fields of ``optim`` that nobody set take the method's defaults."""
        if not isinstance(values, dict) or values.get("method") is None:
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
