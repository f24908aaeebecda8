"""What a reader has to know of a table before believing it: score, data, model, seeds, and how it differs."""

from collections.abc import Iterable, Sequence
from typing import Any

from ebomlc_dist.reports.paper_tables.layout import Placed, Row, ordered_rows
from ebomlc_dist.reports.paper_tables.paper import paper
from ebomlc_dist.reports.paper_tables.times import device_of

_SCORES = {
    "last": "Scores are the last epoch's test accuracy in per cent.",
    "best": "Scores are the best epoch's test accuracy in per cent: a figure selected on the test images.",
    "best-validation": "Scores are the test accuracy in per cent of the epoch that is best on held-out trusted images.",
    "last-10": "Scores are the mean test accuracy of the last ten epochs in per cent.",
}
_SHOWN = 4


def notes_of(cells: Sequence[Placed], score: str, with_paper: bool) -> list[str]:
    """Sentences, the most important first."""
    done = [cell for cell in cells if cell.result is not None]
    notes = []
    if with_paper:
        differences: dict[str, set[tuple[str, str]]] = {}
        for cell in cells:
            for key, (ours, theirs) in paper().differences(cell.config).items():
                differences.setdefault(key, set()).add((_word(ours), " or ".join(map(_word, theirs))))
        if differences:
            listed = "; ".join(
                f"{key} {' or '.join(sorted(ours for ours, _ in pairs))} (paper: {next(iter(pairs))[1]})"
                for key, pairs in differences.items()
            )
            notes.append(f"Settings differ from the paper's, so its figures do not compare: {listed}.")
        notes.append(f"Paper: {paper().source}. {paper().frame_note}")
        if others := [row.label for row in ordered_rows({cell.row for cell in cells}) if not _in_paper(row)]:
            notes.append(f"Not in the paper: {', '.join(others)}.")
    notes.append(f"{_SCORES[score]} Mean ± sample standard deviation over the seeds.")
    notes.append(f"{len(done)} of {len(cells)} runs are done; what no run has made is marked missing.")
    notes += _data(cells, done)
    devices = sorted({device_of(cell.result) for cell in done if cell.result is not None})
    if devices:
        notes.append(
            "Time is training time relative to ce with the same setting, seed and device; other work on a device "
            f"shows in it. Devices: {_few(devices)}."
        )
    versions = sorted(
        {str(cell.result.environment.get("packages", {}).get("torch", "?")) for cell in done if cell.result}
    )
    if versions:
        notes.append(f"torch {', '.join(versions)}.")
    return notes


def _in_paper(row: Row) -> bool:
    return row.method in paper().methods and not row.variant


def _data(cells: Sequence[Placed], done: Sequence[Placed]) -> list[str]:
    def values(key: str) -> str:
        return _few(sorted({_word(cell.config.get(key)) for cell in cells}))

    def counted(key: str) -> str:
        return _few(
            sorted({f"{cell.result.summary[key]:,}" for cell in done if cell.result and key in cell.result.summary})
        )

    sizes = [
        f"{numbers} {what}"
        for what, key in (("noisy", "num_noisy"), ("trusted", "num_clean"), ("test", "num_test"))
        if (numbers := counted(key))
    ]
    images = f" ({', '.join(sizes)} images)" if sizes else ""
    notes = [
        f"Data: {values('data.dataset')}{images}, split {values('data.split_kind')}, "
        f"augmentation {values('data.augment')}, uniform noise over {values('noise.uniform_over')} classes.",
        f"Model: {values('model.name')}, norm {values('model.norm')}; {values('train.epochs')} epochs, batches of "
        f"{values('train.global_noisy_batch_size')} noisy and {values('train.global_clean_batch_size')} trusted; "
        f"seeds {values('seeds.seed')}.",
    ]
    mixed = [
        f"{key} {values(key)}"
        for key in ("model.name", "train.epochs", "data.noisy_size", "optim.main_optimizer", "optim.main_lr")
        if len({_word(cell.config.get(key)) for cell in cells}) > 1 and key not in dict(cells[0].column.values)
    ]
    if mixed:
        notes.append(f"Methods differ in more than the method: {'; '.join(mixed)}.")
    return notes


def _few(words: Iterable[str]) -> str:
    every = list(words)
    rest = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + rest


def _word(value: Any) -> str:
    if value is None:
        return "all"
    return f"{value:,}" if type(value) is int else f"{value:g}" if isinstance(value, float) else str(value)
