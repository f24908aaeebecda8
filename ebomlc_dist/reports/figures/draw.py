"""From run folders to files: ``figure-N.png``, ``figure-N.svg`` and ``figure-N.json`` with what is shown."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import make_folder, write_json
from ebomlc_dist.recipes import TINY
from ebomlc_dist.reports.figures import FIGURES
from ebomlc_dist.reports.figures.drawing import Drawing
from ebomlc_dist.reports.figures.series import setting_of
from ebomlc_dist.reports.figures.style import save, styled
from ebomlc_dist.reports.finished import FinishedRun

_FROM_SUMMARY = ("noise_rate_realised", "num_noisy", "num_clean", "num_test", "world_size")


def draw(numbers: Sequence[int], runs: Sequence[FinishedRun], output: Path) -> list[Path]:
    """Draw the figures of these numbers; either all are written or, by an `InputError`, none.

    Among the runs those that the recipe ``figure-N`` made are taken for figure N where there are any, so that a folder
    with the runs of all figures serves for each.

    Raises:
        InputError: a figure lacks runs or values, runs of one panel do not compare, or ``output`` is a file.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; give a folder")
    with styled():
        drawn = {number: _drawing(number, runs) for number in numbers}
        make_folder(output)
        return [path for number, drawing in drawn.items() for path in _write(number, drawing, output)]


def _drawing(number: int, runs: Sequence[FinishedRun]) -> Drawing:
    module, function = FIGURES[number].target.split(":")
    own = [run for run in runs if run.config.recipe.removesuffix(TINY) == f"figure-{number}"]
    return getattr(import_module(f"ebomlc_dist.reports.figures.{module}"), function)(own or runs)


def _write(number: int, drawing: Drawing, output: Path) -> list[Path]:
    title, stem = FIGURES[number].title, output / f"figure-{number}"
    caption = f"{title}. {drawing.caption} {_origin(drawing.runs)}"
    written = save(drawing.figure, stem, title, caption)
    document = {
        "figure": number,
        "title": title,
        "caption": caption,
        "missing": list(drawing.missing),
        "files": [path.name for path in written],
        "runs": [_described(run) for run in drawing.runs],
    }
    path = stem.with_name(f"{stem.name}.json")
    write_json(path, document)
    return [*written, path]


def _origin(runs: Sequence[FinishedRun]) -> str:
    """Data, model, noise and seeds in a sentence a setting."""
    sentences = []
    for setting in dict.fromkeys(setting_of(run) for run in runs):
        alike = [run for run in runs if setting_of(run) == setting]
        seeds = ", ".join(str(seed) for seed in sorted({run.config.seeds.seed for run in alike}))
        rates = {rate for run in alike if (rate := run.summary.get("noise_rate_realised")) is not None}
        realised = f" ({' and '.join(f'{rate:.2f}' for rate in sorted(rates))} % realised)" if rates else ""
        first = alike[0]
        sentences.append(
            f"{setting}{realised}: {first.config.model.name}, "
            f"{first.summary.get('num_noisy')} noisy and {first.summary.get('num_clean')} trusted images, "
            f"{first.config.train.epochs} epochs, seed{'s' if ',' in seeds else ''} {seeds}."
        )
    return " ".join(sentences)


def _described(run: FinishedRun) -> dict[str, Any]:
    config, summary = run.config, run.summary
    return {
        "folder": str(run.folder),
        "recipe": config.recipe,
        "method": config.method.model_dump(mode="json"),
        "data": config.data.dataset,
        "noise": config.noise.model_dump(mode="json", exclude_none=True),
        "model": config.model.name,
        "epochs": config.train.epochs,
        "seed": config.seeds.seed,
        **{key: summary.get(key) for key in _FROM_SUMMARY},
    }
