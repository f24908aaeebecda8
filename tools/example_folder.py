"""A folder of real images with wrong labels, to try things on: part of CIFAR-10 as PNG files.

    python -m tools.example_folder photos --data-dir data [--noise flip] [--noise-rate 0.4] [--images 10000]

Writes ``photos/train/<given class>/``, ``photos/clean/<class>/`` (trusted) and ``photos/test/<class>/``, as
``ebomlc train folder`` reads them, and ``photos/truth.csv``: the true class of every training image. CIFAR-10 is
downloaded into ``--data-dir`` where it is not there yet. ``--noise human`` takes CIFAR-10N's labels (``--human-file``).
"""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from PIL import Image

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.errors import InputError

if TYPE_CHECKING:
    from ebomlc_dist.data.dataset import NoisyDataset

app = make_app()


@app.command()
def example_folder(
    folder: Annotated[str, typer.Argument(help="Where to write; must not exist yet.")],
    data_dir: Annotated[str, typer.Option("--data-dir", help="Where CIFAR-10 lies, or is downloaded to.")] = "data",
    noise: Annotated[
        Literal["flip", "uniform", "human"], typer.Option("--noise", help="Kind of wrong labels.")
    ] = "flip",
    noise_rate: Annotated[float, typer.Option("--noise-rate", help="Share of wrong labels.")] = 0.4,
    human_file: Annotated[str, typer.Option("--human-file", help="CIFAR-10N labels.", show_default=False)] = "",
    human_column: Annotated[str, typer.Option("--human-column", help="Column of --human-file.")] = "worse_label",
    images: Annotated[int, typer.Option("--images", help="Training images, stratified.")] = 10_000,
    trusted: Annotated[int, typer.Option("--trusted", help="Trusted images, stratified.")] = 1000,
    tests: Annotated[int, typer.Option("--test", help="Test images, the first ones.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of split and noise.")] = 0,
) -> int:
    """Write part of CIFAR-10 with wrong labels as a folder of PNG files."""
    from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
    from ebomlc_dist.data.run_data import load_dataset

    if Path(folder).exists():
        raise InputError(f"{folder} is there already; give a folder that is not, or remove it")
    for value, flag in ((images, "--images"), (trusted, "--trusted"), (tests, "--test")):
        if value < 10:
            raise InputError(f"{flag} {value}: ten classes need 10 or more")
    data = DataConfig(
        dataset="cifar10", data_dir=Path(data_dir), noisy_size=images, clean_size=trusted, loader="resident"
    )
    chosen = (
        NoiseConfig(kind="human", human_file=human_file, human_column=human_column)
        if noise == "human"
        else NoiseConfig(kind=noise, rate=noise_rate)
    )
    dataset = load_dataset(data, chosen, SeedConfig(seed=seed))
    _write(dataset, Path(folder), tests)
    print(
        f"{folder}: {len(dataset.noisy_index)} images to train on, "
        f"{100 * (dataset.noise_rate_realised or 0):.2f} % of them with a wrong label; "
        f"{len(dataset.clean_index)} trusted ones; {min(tests, len(dataset.test_labels))} to test on"
    )
    return 0


def _write(dataset: "NoisyDataset", folder: Path, tests: int) -> None:
    from torch import Tensor

    names, images, true_labels = dataset.class_names, dataset.images, dataset.true_labels
    assert isinstance(images, Tensor)
    assert isinstance(dataset.test_images, Tensor)
    assert true_labels is not None
    train = zip(dataset.noisy_index.tolist(), dataset.noisy_labels.tolist(), strict=True)
    clean = zip(dataset.clean_index.tolist(), dataset.clean_labels.tolist(), strict=True)
    placed = [(images[row], f"train/{names[label]}/{row:05d}.png") for row, label in train]
    truth = [(path, names[label]) for (_, path), label in zip(placed, true_labels.tolist(), strict=True)]
    placed += [(images[row], f"clean/{names[label]}/{row:05d}.png") for row, label in clean]
    for row, label in enumerate(dataset.test_labels[:tests].tolist()):
        placed.append((dataset.test_images[row], f"test/{names[label]}/{row:05d}.png"))
    for part in ("train", "clean", "test"):
        for name in names:
            (folder / part / name).mkdir(parents=True)
    for pixels, path in placed:
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / path)
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *truth])


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.example_folder", "`python -m tools.example_folder --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
