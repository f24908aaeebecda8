"""The flags that stand for a key of the configuration: one row each, nothing else to keep in step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flag:
    """One flag: its key, what stands for its value in ``--help``, its help, and its names, the usual one first.

    Without a metavar it takes no value and sets its key to true.
    """

    key: str
    metavar: str
    help: str
    names: tuple[str, ...]


FLAGS = (
    Flag("data.dataset", "NAME", "Data set; see `ebomlc list datasets`.", ("--dataset",)),
    Flag("data.data_dir", "DIR", "Where the data set lies, or is downloaded to.", ("--data-dir",)),
    Flag(
        "data.image_size",
        "PIXELS",
        "Side that images of a folder are resized to; auto follows images and model.",
        ("--image-size",),
    ),
    Flag("data.noisy_csv", "FILE", "path,label of the noisy images (data set folder).", ("--noisy-csv",)),
    Flag("data.clean_csv", "FILE", "path,label of the trusted images (data set folder).", ("--clean-csv", "--trusted")),
    Flag("data.test_csv", "FILE", "path,label of the test images (data set folder).", ("--test-csv",)),
    Flag("data.clean_size", "N", "Trusted images, stratified.", ("--clean-size",)),
    Flag("data.split", "FILE", "split.json of an earlier run, used again.", ("--split",)),
    Flag("data.loader", "NAME", "auto, resident, ffcv or dataloader.", ("--loader",)),
    Flag("data.num_workers", "N", "Threads (ffcv) or processes (dataloader) that read.", ("--num-workers",)),
    Flag("data.pack_dir", "DIR", "Where `ebomlc pack` writes and ffcv reads.", ("--pack-dir",)),
    Flag("noise.kind", "KIND", "none, uniform, flip, matrix or human.", ("--noise",)),
    Flag("noise.rate", "SHARE", "Share of noisy labels, 0 to 1.", ("--noise-rate",)),
    Flag("model.name", "NAME", "Main model; see `ebomlc list models`.", ("--model",)),
    Flag("model.norm", "KIND", "batch, sync or group.", ("--norm",)),
    Flag("train.epochs", "N", "Passes over the noisy images.", ("--epochs",)),
    Flag(
        "train.global_noisy_batch_size",
        "N",
        "Noisy images a step, all processes together.",
        ("--global-noisy-batch-size",),
    ),
    Flag("train.global_clean_batch_size", "N", "Trusted images a step, likewise.", ("--global-clean-batch-size",)),
    Flag("train.precision", "WORD", "no, bf16 or fp16.", ("--precision", "--mixed-precision")),
    Flag("seeds.seed", "N", "Seed of everything.", ("--seed",)),
    Flag("seeds.split", "N", "Seed of the trusted split alone.", ("--split-seed",)),
    Flag("seeds.noise", "N", "Seed of the noise alone.", ("--noise-seed",)),
    Flag("seeds.order", "N", "Seed of the order alone.", ("--order-seed",)),
    Flag("seeds.augmentation", "N", "Seed of the augmentation alone.", ("--augmentation-seed",)),
    Flag("seeds.initialisation", "N", "Seed of the initial weights alone.", ("--initialisation-seed",)),
    Flag("train.compile", "", "Compile the main models' passes.", ("--compile",)),
    Flag("train.cuda_graph", "", "Hold a whole step in one CUDA graph.", ("--cuda-graph",)),
    Flag(
        "train.activation_checkpointing",
        "",
        "Compute the main models' blocks again on the way back: less memory.",
        ("--activation-checkpointing",),
    ),
    Flag("train.strategy", "WORD", "replicated, or fsdp, zero1, zero2, zero3: main models spread.", ("--strategy",)),
    Flag("data.skip_unreadable", "", "Train without the images that cannot be read.", ("--skip-unreadable",)),
    Flag(
        "data.clean_from_noisy",
        "",
        "No trusted images: choose --clean-size of the noisy ones.",
        ("--clean-from-noisy",),
    ),
)
