"""A run as one typed, frozen value. JSON round trip: ``RunConfig.model_validate_json(c.model_dump_json()) == c``.

A new setting is one declaration here or in a method's settings. Give ``before``, the value that stored runs were made
with, so that they stay the runs that they are.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from ebomlc_dist.aliases import translated_sections
from ebomlc_dist.fields import frame, habit, place
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.methods.method_config import MethodConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Precision = Literal["no", "bf16", "fp16", "auto"]
Strategy = Literal["replicated", "fsdp", "zero1", "zero2", "zero3"]


class Section(BaseModel):
    """Settings that belong together. ``panel`` is where ``--help`` shows their flags."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    panel: ClassVar[str]


class DataConfig(Section):
    """Where images and labels come from, and how the trusted set is cut out of them."""

    panel = "Data"
    dataset: str = frame("digits", "Data set; see `ebomlc list datasets`.", "--dataset", metavar="NAME", cost=True)
    data_dir: Path = place(Path("data"), "Folder of the data set; downloads go there.", "--data-dir", metavar="DIR")
    download: bool = habit(True, "Download a data set that is not in data_dir.")
    image_size: Annotated[int, Field(ge=4)] | Literal["auto"] | None = frame(
        None,
        "Resize images of a folder to this side, in pixels. auto: a side that suits images and model.",
        "--image-size",
        metavar="PIXELS",
        cost=True,
    )
    noisy_csv: Path | None = frame(None, "CSV `path,label` of the noisy images of a folder.", "--noisy-csv")
    clean_csv: Path | None = frame(
        None, "CSV `path,label` of the trusted images of a folder.", "--clean-csv", "--trusted"
    )
    test_csv: Path | None = frame(None, "CSV `path,label` of the test images of a folder.", "--test-csv")
    clean_size: int = frame(
        1000, "Number of trusted images, drawn with equal shares of each class.", "--clean-size", ge=1
    )
    clean_from_noisy: bool = frame(
        False, "Without trusted images: choose clean_size of the noisy ones by cross-fitting.", "--clean-from-noisy"
    )
    split: Path | None = frame(
        None, "Use the split and the labels of an earlier run's split.json.", "--split", draw=True
    )
    split_kind: Literal["disjoint", "leaky"] = frame(
        "disjoint", "leaky: trusted images stay in the noisy set too, as in the released code."
    )
    validation_size: int = frame(
        0,
        "Number of trusted images that choose the best epoch and are not trained on. leaky: a draw of their own.",
        "--validation-size",
        before=0,
        ge=0,
    )
    validation_augment: bool = frame(False, "Augment the validation images too, as in the released code.", before=False)
    development_size: int = frame(
        0,
        "Number of noisy images whose true labels take the test set's place, to choose settings without it.",
        before=0,
        cost=True,
        ge=0,
    )
    noisy_size: int | None = frame(
        None, "Use this many noisy images only, with equal shares of each class.", "--noisy-size", cost=True, ge=1
    )
    augment: Literal["pad-crop-flip", "pad-crop", "resized-crop-flip", "none"] = frame(
        "pad-crop-flip", "Augmentation of training images.", "--augment", metavar="KIND", cost=True
    )
    pad: int = frame(4, "Padding before the random crop, in pixels.", ge=0)
    pad_mode: Literal["zero", "reflect"] = frame("zero", "Pad with black, or with the mirrored image.", before="zero")
    pixel_mean: tuple[Share, ...] | None = frame(
        None, "Mean of each channel to normalise by, in 0…1; null: that of the training images.", before=None
    )
    pixel_std: tuple[Positive, ...] | None = frame(
        None, "Standard deviation of each channel to normalise by; null: that of the training images.", before=None
    )
    max_side: int = frame(384, "Longer side that images of a folder keep under resized-crop-flip, in pixels.", ge=4)
    loader: Literal["auto", "resident", "ffcv", "dataloader"] = habit(
        "auto", "Data loader.", "--loader", metavar="NAME"
    )
    num_workers: int = habit(
        2, "Workers of each process that read images: threads (ffcv) or processes (dataloader).", "--num-workers", ge=0
    )
    pack_dir: Path | None = place(
        None, "Folder of `ebomlc pack`; default: packed-DATASET in data_dir.", "--pack-dir", metavar="DIR"
    )
    skip_unreadable: bool = frame(False, "Train without the images that cannot be read.", "--skip-unreadable")
    max_pixels: int = frame(64_000_000, "Refuse images with more pixels, before they are decoded.", ge=1)

    @property
    def given_side(self) -> int | None:
        """``image_size`` where it is a number."""
        return self.image_size if isinstance(self.image_size, int) else None


class NoiseConfig(Section):
    """Label noise that is added to known labels; ``none`` for data that are noisy already."""

    panel = "Noise"
    kind: Literal["none", "uniform", "flip", "matrix", "human"] = frame(
        "none", "Label noise to add.", "--noise", metavar="KIND"
    )
    rate: Share = frame(0.0, "Share of labels to make wrong, 0 to 1.", "--noise-rate", metavar="SHARE")
    uniform_over: Literal["other", "any"] = frame(
        "other", "Uniform noise draws another class, or any class, the true one included."
    )
    flip_pairs: Literal["drawn", "released"] = frame(
        "drawn",
        "Which class flips to which: drawn by seeds.noise, or fixed as in the code of EBOMLC, MLC and GLC.",
        before="drawn",
    )
    matrix: Path | None = frame(
        None,
        "CSV of K rows of K numbers. Row: true class; column: noisy class; numbered classes by value.",
        "--noise-matrix",
    )
    human_file: Path | None = frame(
        None, "CIFAR-N labels: the official .npz or .csv, or a CSV with a header.", "--human-file"
    )
    human_column: str | None = frame(None, "Column of human_file, such as worse_label.", "--human-column")


class ModelConfig(Section):
    """The main model. ``torchvision/<name>`` takes any classifier of torchvision."""

    panel = "Model"
    name: str = frame("resnet32", "Main model; see `ebomlc list models`.", "--model", metavar="NAME", cost=True)
    norm: Literal["batch", "sync", "group"] = frame("batch", "Normalisation layers.", "--norm", metavar="KIND")
    widths: tuple[Annotated[int, Field(ge=1)], ...] | None = frame(
        None, "Channels of each stage of fast-cnn, as [64, 128, 256].", before=None, cost=True
    )
    head_start: Literal["plain", "released"] = frame(
        "plain",
        "Initial weights of the last layer: the model's own, or as in the released code.",
        before="plain",
    )


class MetaModelConfig(Section):
    """The meta model (label corrector)."""

    panel = "Model"
    architecture: Literal["plain", "released"] = frame(
        "plain",
        "Order of layers and initial weights: ours, or as in the released code of EBOMLC and MLC.",
        before="plain",
    )
    embedding_dim: int = frame(128, "Width of the embedding of a noisy label.", ge=1)
    hidden_dim: int = frame(128, "Width of the hidden layers.", ge=1)
    dropout: Share = frame(0.0, "Share of hidden units dropped in training.")
    batch_norm: bool = frame(False, "Normalise the hidden layers over the batch.")


class OptimConfig(Section):
    """SGD for the main model, Adam for the meta model, a step schedule in fractions of the run.

    A method may have defaults of its own (`MethodConfig.optim_defaults`) for what is not set.
    """

    panel = "Training"
    main_optimizer: Literal["sgd", "adam"] = frame("sgd", "Optimiser of the main model.", "--optimizer", metavar="NAME")
    main_lr: Positive = frame(0.1, "Learning rate of the main model, η.", "--learning-rate", "--lr", metavar="RATE")
    momentum: Share = frame(0.9, "Momentum of the main model's SGD.", "--momentum")
    weight_decay: float = frame(5e-4, "Weight decay of the main model.", "--weight-decay", ge=0.0)
    nesterov: bool = frame(False, "Nesterov's form of momentum.")
    late_beta1: Share | None = frame(None, "μ₁ of a main Adam after the first milestone.")
    meta_lr: Positive = frame(
        3e-4, "Learning rate of the meta model's Adam.", "--meta-learning-rate", also=("--meta-lr",), metavar="RATE"
    )
    meta_weight_decay: float = frame(0.0, "Weight decay of the meta model.", ge=0.0)
    meta_amsgrad: bool = frame(False, "AMSGrad for the meta model.")
    schedule: Literal["step", "cosine", "linear"] = frame(
        "step",
        "step: times decay at each milestone; cosine: to zero; linear: to zero from the first milestone.",
        "--lr-schedule",
        metavar="KIND",
    )
    schedule_unit: Literal["epoch", "step"] = frame(
        "epoch", "How often the schedule moves the learning rate.", before="epoch"
    )
    warmup: Share = frame(0.0, "Share of the run in which the learning rate grows in a line, from a fifth.", before=0.0)
    milestones: tuple[Share, ...] = frame((80 / 120, 100 / 120), "Milestones, in shares of the run.")
    decay: Positive = frame(0.1, "Factor of the learning rate at a milestone.")
    look_ahead_rate: Literal["current", "get_lr"] = frame(
        "current",
        "η of look-aheads: the main model's rate, or what torch's get_lr() gives, as in the released code. "
        "get_lr() decays once more in the epoch after each milestone.",
        before="current",
    )
    meta_schedule: Literal["constant", "main"] = frame(
        "constant", "Learning rate of the meta model: constant, or with the main model's schedule."
    )

    @model_validator(mode="after")
    def _get_lr_speaks_of_epochs(self) -> Self:
        if self.look_ahead_rate == "get_lr" and (self.schedule_unit, self.warmup) != ("epoch", 0.0):
            raise ValueError("optim.look_ahead_rate=get_lr goes with optim.schedule_unit=epoch and no warm-up alone")
        return self


class TrainConfig(Section):
    """Length, batches, precision and the habits of the loop."""

    panel = "Training"
    epochs: int = frame(120, "Passes over the noisy images.", "--epochs", cost=True, ge=1)
    global_noisy_batch_size: int = frame(
        100,
        "Noisy images in a step, all processes together.",
        "--batch-size",
        also=("--global-noisy-batch-size",),
        cost=True,
        ge=1,
    )
    global_clean_batch_size: int = frame(
        100,
        "Trusted images in a step, all processes together.",
        "--clean-batch-size",
        also=("--global-clean-batch-size",),
        cost=True,
        ge=1,
    )
    label_smoothing: Share = frame(
        0.0, "Share of a given label that the target spreads evenly over the classes.", before=0.0
    )
    weight_average: Annotated[float, Field(ge=0.0, lt=1.0)] | None = frame(
        None, "Predict by a moving average of the weights; its decay a step.", before=None
    )
    evaluation_views: Literal["plain", "flip"] = frame(
        "plain", "flip: predict by the mean logits of an image and its mirror image.", before="plain"
    )
    precision: Precision = frame(
        "no", "Mixed precision.", "--precision", also=("--mixed-precision",), metavar="WORD", cost=True
    )
    compile: bool = frame(False, "Compile the main models' passes by torch.compile.", "--compile")
    cuda_graph: bool = habit(False, "Run each whole step as one CUDA graph.", "--cuda-graph")
    activation_checkpointing: bool = habit(
        False,
        "Compute activations again in the backward pass: less memory, more time.",
        "--activation-checkpointing",
    )
    strategy: Strategy = habit(
        "replicated",
        "Keep the main models whole in each process, or shard them by FSDP2 or DeepSpeed's ZeRO.",
        "--strategy",
        metavar="WORD",
        panel="Processes",
    )
    deterministic: bool = frame(False, "Force bitwise-repeatable GPU kernels, which are slower.", "--deterministic")
    log_interval: int = habit(50, "Steps between two lines of metrics.", keyed=True, ge=1)
    checkpoint_steps: int | None = habit(None, "Save every so many steps too, not only each epoch.", ge=1)
    replica_check_steps: int = habit(
        100, "Steps between comparisons of the replicas, which precede each checkpoint too; 0: never.", ge=0
    )
    epoch_scores: bool = frame(
        False,
        "Keep every epoch's label scores for the audit. ebomlc-s then holds trusted images out to the end.",
        before=False,
    )
    trackers: tuple[str, ...] = habit(("tensorboard",), "Accelerate's trackers, by name.")
    rendezvous_timeout_s: Positive = habit(60.0, "Seconds to wait for all processes to come.")
    start_timeout_s: Positive = habit(600.0, "Seconds to wait for each other's preparations.")
    step_timeout_s: Positive = habit(60.0, "Seconds after which a process that does not go on is named.")
    max_skipped_in_a_row: int = habit(
        10, "End the run after this many steps in a row without finite values.", keyed=True, ge=1
    )


class SeedConfig(Section):
    """One seed for all; each named stream can be set alone."""

    panel = "Training"
    seed: int = frame(0, "Seed of everything.", "--seed", draw=True, ge=0)
    split: int | None = frame(None, "Seed of the trusted split alone.", "--split-seed", panel="Data", draw=True, ge=0)
    noise: int | None = frame(None, "Seed of the label noise alone.", "--noise-seed", panel="Noise", draw=True, ge=0)
    order: int | None = frame(None, "Seed of the order of images alone.", "--order-seed", panel="Data", draw=True, ge=0)
    augmentation: int | None = frame(
        None, "Seed of the augmentation alone.", "--augmentation-seed", panel="Data", draw=True, ge=0
    )
    initialisation: int | None = frame(
        None, "Seed of the initial weights alone.", "--initialisation-seed", panel="Model", draw=True, ge=0
    )
    draws: int | None = frame(None, "Seed of what methods draw in a step alone.", draw=True, ge=0)


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
