"""Which inputs with which labels a run reads, and the noise that is added to known labels."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ebomlc_dist.config.section import MOST_PIXELS, Positive, Section, Share
from ebomlc_dist.fields import frame, habit, place


class DataConfig(Section):
    """Where images and labels come from, and how the trusted set is cut out of them."""

    panel = "Data"
    dataset: str = frame("digits", "Data set; see `ebomlc list datasets`.", "--dataset", metavar="NAME", cost=True)
    data_dir: Path = place(Path("data"), "Folder of the data set; downloads go there.", "--data-dir", metavar="DIR")
    download: bool = habit(True, "Download a data set that is not in data_dir.")
    image_size: Annotated[int, Field(ge=4, le=MOST_PIXELS)] | Literal["auto"] | None = frame(
        None,
        "Resize images of a folder to this side, in pixels. auto: a side that suits images and model.",
        "--image-size",
        metavar="PIXELS",
        cost=True,
    )
    noisy_csv: Path | None = frame(None, "CSV `path,label` of the noisy images of a folder.", "--noisy-csv")
    clean_csv: Path | None = frame(
        None,
        "CSV `path,label` of the trusted images of a folder; or `id,label` of rows of features.",
        "--clean-csv",
        "--trusted",
    )
    test_csv: Path | None = frame(
        None, "CSV `path,label` of the test images of a folder; or `id,label` of rows of features.", "--test-csv"
    )
    features: Path | None = frame(
        None, "Features (N, D) of --dataset features: .npy, .npz, .safetensors or .parquet.", "--features", before=None
    )
    labels: Path | None = frame(None, "Their labels: .npy, .csv or .parquet.", "--labels", before=None)
    trusted_features: Path | None = frame(None, "Trusted features, in a file apart.", "--trusted-features", before=None)
    trusted_labels: Path | None = frame(None, "Their labels.", "--trusted-labels", before=None)
    test_features: Path | None = frame(None, "Test features, in a file apart.", "--test-features", before=None)
    test_labels: Path | None = frame(None, "Their labels.", "--test-labels", before=None)
    inputs_csv: Path | None = place(None, "CSV `path` or `text` of each row, for the audit's page.", "--inputs-csv")
    standardise: bool = frame(True, "Bring features to mean 0 and deviation 1 over the training rows.", before=True)
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
    pad: int = frame(4, "Padding before the random crop, in pixels.", ge=0, le=MOST_PIXELS)
    pad_mode: Literal["zero", "reflect"] = frame("zero", "Pad with black, or with the mirrored image.", before="zero")
    pixel_mean: tuple[Share, ...] | None = frame(
        None, "Mean of each channel to normalise by, in 0…1; null: that of the training images.", before=None
    )
    pixel_std: tuple[Positive, ...] | None = frame(
        None, "Standard deviation of each channel to normalise by; null: that of the training images.", before=None
    )
    max_side: int = frame(
        384, "Longer side that images of a folder keep under resized-crop-flip, in pixels.", ge=4, le=MOST_PIXELS
    )
    loader: Literal["auto", "resident", "ffcv", "dataloader"] = habit(
        "auto", "Data loader.", "--loader", metavar="NAME"
    )
    num_workers: int = habit(
        2,
        "Workers of each process that read images: threads (ffcv) or processes (dataloader).",
        "--num-workers",
        ge=0,
        le=1024,
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
