"""A run as one typed, frozen value. JSON round trip: ``RunConfig.model_validate_json(c.model_dump_json()) == c``."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.methods.contract import MethodConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Precision = Literal["no", "bf16", "fp16"]
Strategy = Literal["replicated", "fsdp", "zero1", "zero2", "zero3"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Where images and labels come from, and how the trusted set is cut out of them."""

    dataset: str = "digits"
    data_dir: Path = Path("data")
    download: bool = Field(True, description="fetch a data set that is not in data_dir")
    image_size: Annotated[int, Field(ge=4)] | Literal["auto"] | None = Field(
        None,
        description="side in pixels that images of a folder are resized to; auto: their own, where it suits the model",
    )
    noisy_csv: Path | None = Field(None, description="`path,label` of the noisy images (dataset folder)")
    clean_csv: Path | None = Field(None, description="`path,label` of the trusted images (dataset folder)")
    test_csv: Path | None = Field(None, description="`path,label` of the test images (dataset folder)")
    clean_size: int = Field(1000, ge=1, description="trusted images, stratified")
    clean_from_noisy: bool = Field(False, description="choose the trusted images from the noisy ones, by cross-fitting")
    split: Path | None = Field(None, description="split.json of an earlier run, used instead of a new split")
    split_kind: Literal["disjoint", "leaky"] = Field(
        "disjoint", description="leaky: trusted images stay in the noisy set too, as in the released code"
    )
    validation_size: int = Field(
        0,
        ge=0,
        description="trusted images, stratified, that choose an epoch and are not trained on; under leaky a draw of "
        "their own",
    )
    validation_augment: bool = Field(
        False, description="augment these images as those that are trained on, as in the released code"
    )
    development_size: int = Field(
        0,
        ge=0,
        description="noisy images, stratified, whose true labels take the test set's place and which are not trained "
        "on: to choose settings without the test set",
    )
    noisy_size: int | None = Field(None, ge=1, description="use only so many noisy images, stratified")
    augment: Literal["pad-crop-flip", "pad-crop", "resized-crop-flip", "none"] = Field(
        "pad-crop-flip", description="random changes of training images; resized-crop-flip for large ones"
    )
    pad: int = Field(4, ge=0, description="pixels of padding before the random crop")
    pad_mode: Literal["zero", "reflect"] = Field(
        "zero", description="what is padded with: black, or the image mirrored"
    )
    pixel_mean: tuple[Share, ...] | None = Field(
        None, description="of each channel in 0…1, to normalise by; null: that of the training images"
    )
    pixel_std: tuple[Positive, ...] | None = Field(None, description="likewise")
    max_side: int = Field(384, ge=4, description="longer side that images of a folder keep under resized-crop-flip")
    loader: Literal["auto", "resident", "ffcv", "dataloader"] = "auto"
    num_workers: int = Field(2, ge=0, description="of each process: threads of ffcv, processes of dataloader")
    pack_dir: Path | None = Field(None, description="folder of `ebomlc pack`; by default packed-<dataset> in data_dir")
    skip_unreadable: bool = False
    max_pixels: int = Field(64_000_000, ge=1, description="larger images are refused before they are decoded")

    @property
    def given_side(self) -> int | None:
        """``image_size`` where it is a number."""
        return self.image_size if isinstance(self.image_size, int) else None


class NoiseConfig(Section):
    """Label noise that is added to known labels; ``none`` for data that are noisy already."""

    kind: Literal["none", "uniform", "flip", "matrix", "human"] = "none"
    rate: Share = 0.0
    uniform_over: Literal["other", "any"] = Field(
        "other", description="uniform noise draws another class, or any class, the true one included"
    )
    flip_pairs: Literal["drawn", "released"] = Field(
        "drawn",
        description="which class flips to which: drawn by seeds.noise, or as the code of EBOMLC, MLC and GLC fixes it",
    )
    matrix: Path | None = Field(
        None,
        description="CSV of K rows of K numbers, row = true class, column = noisy class; numbered classes by value",
    )
    human_file: Path | None = Field(None, description="CIFAR-N labels: the official .npz/.csv or a CSV with a header")
    human_column: str | None = Field(None, description="column of human_file, such as worse_label")


class ModelConfig(Section):
    """The main model. ``torchvision/<name>`` takes any classifier of torchvision."""

    name: str = "resnet32"
    norm: Literal["batch", "sync", "group"] = "batch"
    widths: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, description="channels of each stage of fast-cnn, [64, 128, 256] by default"
    )
    head_start: Literal["plain", "released"] = Field(
        "plain", description="first weights of the last layer: the model's own, or as in the released code"
    )


class MetaModelConfig(Section):
    """The meta model (label corrector)."""

    architecture: Literal["plain", "released"] = Field(
        "plain", description="order of layers and first weights: ours, or as in the released code of EBOMLC and MLC"
    )
    embedding_dim: int = Field(128, ge=1, description="width of the embedding of a noisy label")
    hidden_dim: int = Field(128, ge=1, description="width of the hidden layers")
    dropout: Share = Field(0.0, description="share of hidden units left out in training")
    batch_norm: bool = Field(False, description="normalise the hidden layers over the batch")


class OptimConfig(Section):
    """SGD for the main model, Adam for the meta model, a step schedule in fractions of the run.

    A method may have defaults of its own (`MethodConfig.optim_defaults`) for what is not set.
    """

    main_optimizer: Literal["sgd", "adam"] = Field("sgd", description="of the main model")
    main_lr: Positive = Field(0.1, description="learning rate of the main model, η")
    momentum: Share = Field(0.9, description="of the main model's SGD")
    weight_decay: float = Field(5e-4, ge=0.0, description="of the main model")
    nesterov: bool = Field(False, description="Nesterov's form of momentum")
    late_beta1: Share | None = Field(None, description="μ₁ of a main Adam after the first milestone")
    meta_lr: Positive = Field(3e-4, description="learning rate of the meta model's Adam")
    meta_weight_decay: float = Field(0.0, ge=0.0, description="of the meta model")
    meta_amsgrad: bool = Field(False, description="AMSGrad for the meta model")
    schedule: Literal["step", "cosine", "linear"] = Field(
        "step", description="×decay at milestones; to zero along a cosine; to zero in a line from the first milestone"
    )
    schedule_unit: Literal["epoch", "step"] = Field("epoch", description="how often the schedule moves the rate")
    warmup: Share = Field(
        0.0, description="share of the run in which the rate grows in a line from a fifth to the full"
    )
    milestones: tuple[Share, ...] = Field((80 / 120, 100 / 120), description="in shares of the run")
    decay: Positive = Field(0.1, description="factor of the learning rate at a milestone")
    look_ahead_rate: Literal["current", "get_lr"] = Field(
        "current",
        description="η of look-aheads: the main model's rate, or what torch's get_lr() gives, which is decayed once "
        "more in the epoch after each milestone (released code)",
    )
    meta_schedule: Literal["constant", "main"] = Field("constant", description="main: the main model's schedule")

    @model_validator(mode="after")
    def _get_lr_speaks_of_epochs(self) -> Self:
        if self.look_ahead_rate == "get_lr" and (self.schedule_unit, self.warmup) != ("epoch", 0.0):
            raise ValueError("optim.look_ahead_rate=get_lr goes with optim.schedule_unit=epoch and no warm-up alone")
        return self


class TrainConfig(Section):
    """Length, batches, precision and the habits of the loop."""

    epochs: int = Field(120, ge=1)
    global_noisy_batch_size: int = Field(100, ge=1)
    global_clean_batch_size: int = Field(100, ge=1)
    label_smoothing: Share = Field(
        0.0,
        description="share of each given label that is spread evenly over the classes, where a main model learns it",
    )
    weight_average: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        None, description="keep a moving average of the main models' weights with this decay a step, and predict by it"
    )
    evaluation_views: Literal["plain", "flip"] = Field(
        "plain", description="flip: the logits of an image and of its mirror image are averaged"
    )
    precision: Precision = "no"
    compile: bool = Field(False, description="torch.compile of the main models' forward and backward passes")
    cuda_graph: bool = Field(False, description="one CUDA graph holds a step, from the gather to the optimisers")
    activation_checkpointing: bool = Field(
        False, description="the main models' blocks are computed again on the way back: less memory, more time"
    )
    strategy: Strategy = Field(
        "replicated", description="fsdp or zero1, zero2, zero3 (DeepSpeed): main models spread over processes"
    )
    deterministic: bool = Field(False, description="bitwise repeatable kernels on a GPU, slower")
    log_interval: int = Field(50, ge=1, description="steps between metric lines")
    checkpoint_steps: int | None = Field(None, ge=1, description="save every so many steps too, not only each epoch")
    replica_check_steps: int = Field(
        100, ge=0, description="steps between comparisons of the ranks' bits, made before a checkpoint too; 0 is never"
    )
    epoch_scores: bool = Field(False, description="keep every epoch's label scores, for an audit that averages them")
    trackers: tuple[str, ...] = Field(("tensorboard",), description="Accelerate's trackers, by name")
    rendezvous_timeout_s: Positive = Field(60.0, description="for all processes to come")
    start_timeout_s: Positive = Field(600.0, description="seconds for which ranks wait for each other's preparations")
    step_timeout_s: Positive = Field(60.0, description="seconds after which a rank that does not go on is named")
    max_skipped_in_a_row: int = Field(10, ge=1, description="steps without finite values that end a run")


class SeedConfig(Section):
    """One seed for all; each named stream can be set alone."""

    seed: int = Field(0, ge=0)
    split: int | None = Field(None, ge=0)
    noise: int | None = Field(None, ge=0)
    order: int | None = Field(None, ge=0)
    augmentation: int | None = Field(None, ge=0)
    initialisation: int | None = Field(None, ge=0)
    draws: int | None = Field(None, ge=0, description="of what methods draw in a step")


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
