"""Figures 2 and 6: which label the corrector gives, by true and by given label, at the end of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.figures.drawing import Drawing, complete_settings
from ebomlc_dist.reports.figures.series import Series, by_key
from ebomlc_dist.reports.figures.style import method_name, new_figure
from ebomlc_dist.reports.finished import FinishedRun

_READABLE_CLASSES = 20
_TRUE = "correction_matrix"
_MATRICES = {_TRUE: "true label", "given_correction_matrix": "given label"}
_IN_WORDS = {"wrong_labels_corrected": "of wrong labels corrected", "right_labels_kept": "of right kept"}


def figure_2(runs: Sequence[FinishedRun]) -> Drawing:
    """MLC-D and MLC."""
    return _draw(2, runs, ("mlc-d", "mlc"))


def figure_6(runs: Sequence[FinishedRun]) -> Drawing:
    """MLC and EBOMLC."""
    return _draw(6, runs, ("mlc", "ebomlc"))


def _draw(number: int, runs: Sequence[FinishedRun], methods: Sequence[str]) -> Drawing:
    settings = complete_settings(number, runs, methods)
    figure, axes = new_figure(len(_MATRICES) * len(settings), len(methods), height=3.7)
    places, used = iter(axes), []
    image: AxesImage | None = None
    for setting, alike in settings.items():
        series = by_key(alike, lambda run: run.method)
        for key, label in _MATRICES.items():
            for method in methods:
                place = next(places)
                image = _panel(place, series[method], key)
                place.set_ylabel(label)
                if key == _TRUE:
                    place.set_title(f"{method_name(method)}\n{setting}\n{_in_words(series[method])}")
        used += [run for method in methods for run in series[method]]
    assert image is not None
    figure.colorbar(image, ax=axes, label="share of the row's images (%)", shrink=0.5, pad=0.02)
    caption = (
        "Labels that the corrector gives to the noisy set at the end of training (its most likely class, images not "
        "augmented), above by true and below by given label; rows sum to 100 %, seeds are counted together."
    )
    return Drawing(figure, caption, tuple(used))


def _panel(axes: Axes, series: Series, key: str) -> AxesImage:
    shares = 100 * _shares(series, key)
    names, readable = series[0].class_names, len(shares) <= _READABLE_CLASSES
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_box_aspect(1)
    axes.grid(False)
    axes.set_xlabel("corrected label")
    if readable:
        ticks = range(len(names))
        upright = all(len(name) <= 2 for name in names)
        axes.set_xticks(ticks, names, rotation=0 if upright else 60, ha="center" if upright else "right")
        axes.set_yticks(ticks, names)
        for (row, column), share in np.ndenumerate(shares):
            shade = "white" if share > 55 else "#222222"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=6, color=shade)
    return image


def _shares(series: Series, key: str) -> NDArray[np.float64]:
    matrices: list[Any] = []
    for run in series:
        matrix = run.summary.get(key)
        if matrix is None:
            raise InputError(
                f"the run in {run.folder} has no {key}: its data have no known true labels or more than 100 classes, "
                "or it is of an older version; give others, such as those of `ebomlc train figure-2:tiny`"
            )
        matrices.append(matrix)
    counts = np.array(matrices, dtype=np.float64).sum(axis=0)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _in_words(series: Series) -> str:
    words = []
    for key, text in _IN_WORDS.items():
        values = [run.summary[key] for run in series if run.summary.get(key) is not None]
        if values:
            words.append(f"{sum(values) / len(values):.0f} % {text}")
    return ", ".join(words)
