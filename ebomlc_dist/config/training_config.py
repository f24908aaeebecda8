"""Models, optimisers, length and habits of a run, and its seeds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ebomlc_dist.config.section import MOST_IMAGES, Positive, Seconds, Section, Share
from ebomlc_dist.fields import frame, habit

Precision = Literal["no", "tf32", "bf16", "fp16", "auto"]
Strategy = Literal["replicated", "fsdp", "zero1", "zero2", "zero3"]


class ModelConfig(Section):
    """The main model. ``torchvision/<name>`` takes any classifier of torchvision."""

    panel = "Model"
    name: str = frame("resnet32", "Main model; see `ebomlc list models`.", "--model", metavar="NAME", cost=True)
    norm: Literal["batch", "sync", "group"] = frame("batch", "Normalisation layers.", "--norm", metavar="KIND")
    widths: tuple[Annotated[int, Field(ge=1)], ...] | None = frame(
        None,
        "Channels of each stage of fast-cnn, as [64, 128, 256]; units of each layer of mlp.",
        before=None,
        cost=True,
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
    epochs: int = frame(120, "Passes over the noisy images.", "--epochs", cost=True, ge=1, le=1_000_000)
    global_noisy_batch_size: int = frame(
        100,
        "Noisy images in a step, all processes together.",
        "--batch-size",
        also=("--global-noisy-batch-size",),
        cost=True,
        ge=1,
        le=MOST_IMAGES,
    )
    global_clean_batch_size: int = frame(
        100,
        "Trusted images in a step, all processes together.",
        "--clean-batch-size",
        also=("--global-clean-batch-size",),
        cost=True,
        ge=1,
        le=MOST_IMAGES,
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
        "no",
        "Arithmetic of the passes: IEEE float32 (no), a GPU's quicker float32, or mixed.",
        "--precision",
        also=("--mixed-precision",),
        metavar="WORD",
        cost=True,
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
    rendezvous_timeout_s: Seconds = habit(60.0, "Seconds to wait for all processes to come.")
    start_timeout_s: Seconds = habit(600.0, "Seconds to wait for each other's preparations.")
    step_timeout_s: Seconds = habit(60.0, "Seconds after which a process that does not go on is named.")
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
