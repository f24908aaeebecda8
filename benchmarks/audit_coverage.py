"""Whether an audit's stated intervals hold the truth, and what its corrections do to the labels.

    python -m benchmarks.audit_coverage FEATURES.npz DATA [--output TABLE.md]

FEATURES comes from ``python benchmarks/lite0.py``; DATA holds CIFAR-10, ``cifar10n_labels.csv`` and
``cifar10_idn04.csv``. Of the first training images 8,000 carry given labels, 2,000 others are there to be trusted.
A logistic regression on the features' first principal components is fitted to the given labels, each image is scored by
a fit without it, and the audit sees these probabilities: of a strong classifier (128 components) and a weak one (4).
Every audit has its default options. Nothing is chosen by what this prints.
"""

import argparse
import csv
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torchvision.datasets import CIFAR10

from ebomlc_dist.audit.summary import summarise
from ebomlc_dist.noise.matrices import apply_transition, flip_matrix, uniform_matrix
from tests.audit.support import World, findings_of

CLASSES, NOISY, SPARE, FOLDS = 10, 8_000, 2_000, 3
SETTINGS = ("none", "uniform20", "uniform40", "uniform80", "flip20", "flip40", "worst", "aggregate", "instance40")
TRUSTED = (5, 10, 20, 100)
CLASSIFIERS = {"strong": 128, "weak": 4}


@dataclass(frozen=True)
class Scored:
    """What a classifier says: (n, K) of the noisy images and (m, K) of the spare ones, by fits without them."""

    noisy: NDArray[np.float32]
    spare: NDArray[np.float32]


def main() -> None:
    """Print the table as Markdown, and what it comes to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, help="a file for the table, beside the terminal")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.monotonic()
    features = PCA(max(CLASSIFIERS.values()), random_state=0).fit_transform(
        np.load(asked.features)["train"][: NOISY + SPARE].astype(np.float32)
    )
    features /= features[:NOISY].std()
    true = np.asarray(CIFAR10(asked.data, train=True).targets, dtype=np.int64)
    lines = [
        "| noise | classifier | trusted a class | wrong % | estimated % (95 %) | holds | precision of flagged % "
        "| stated (95 %) | holds | relabelled | of these right % | wrong afterwards % |",
        "|" + "---|" * 12,
    ]
    held: dict[str, list[bool]] = {"rate": [], "precision": [], "no worse": []}
    widths: dict[str, list[float]] = {"rate": [], "precision": []}
    for setting in SETTINGS:
        given = labels_of(setting, true, asked.data, asked.seed)
        for name, components in CLASSIFIERS.items():
            scored = scores(features[:, :components], given, asked.seed)
            print(f"{setting}, {name}: {time.monotonic() - started:.0f} s", flush=True)
            for a_class in TRUSTED:
                lines.append(row(setting, name, a_class, given, true, scored, held, widths))
    lines += ["", *(f"- {what}: {sum(found)} of {len(found)} audits" for what, found in held.items())]
    lines += [
        f"- mean width of the interval of the {what}: {np.mean(found):.1f} points" for what, found in widths.items()
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.output is not None:
        asked.output.write_text(text)


def labels_of(setting: str, true: NDArray[np.int64], data: Path, seed: int) -> NDArray[np.int64]:
    """The given labels (NOISY,) of a setting."""
    first = true[:NOISY]
    if setting in ("worst", "aggregate"):
        column = {"worst": "worse_label", "aggregate": "aggre_label"}[setting]
        with (data / "cifar10n_labels.csv").open() as file:
            found = {int(line["original_index"]): int(line[column]) for line in csv.DictReader(file)}
        return np.array([found[row] for row in range(NOISY)])
    if setting == "instance40":
        with (data / "cifar10_idn04.csv").open() as file:
            return np.array([int(line["label_noisy"]) for line in csv.DictReader(file)][:NOISY])
    if setting == "none":
        return first.copy()
    kind, rate = setting.rstrip("0123456789"), int(setting[-2:]) / 100
    rng = np.random.default_rng(seed)
    matrix = uniform_matrix(CLASSES, rate) if kind == "uniform" else flip_matrix(CLASSES, rate, rng)
    return apply_transition(torch.from_numpy(first), matrix, rng).numpy()


def scores(features: NDArray[np.float32], given: NDArray[np.int64], seed: int) -> Scored:
    """Probabilities by fits on other images."""
    noisy, spare = np.zeros((NOISY, CLASSES), np.float32), np.zeros((SPARE, CLASSES), np.float32)
    whose = np.random.default_rng(seed).integers(FOLDS, size=SPARE)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (fitted, left) in enumerate(folds.split(features[:NOISY], given)):
        model = LogisticRegression(C=0.1, max_iter=200).fit(features[fitted], given[fitted])
        noisy[left] = model.predict_proba(features[left])
        own = whose == fold
        spare[own] = model.predict_proba(features[NOISY : NOISY + SPARE][own])
    return Scored(noisy, spare)


def row(
    setting: str,
    classifier: str,
    a_class: int,
    given: NDArray[np.int64],
    true: NDArray[np.int64],
    scored: Scored,
    held: dict[str, list[bool]],
    widths: dict[str, list[float]],
) -> str:
    """One audit as a row; what it held goes into ``held`` and ``widths``."""
    truth = true[NOISY : NOISY + SPARE]
    chosen = np.concatenate([np.flatnonzero(truth == k)[:a_class] for k in range(CLASSES)])
    world = World(given, true[:NOISY], scored.noisy, truth[chosen], scored.spare[chosen])
    with (
        tempfile.TemporaryDirectory() as folder,
        findings_of(world, Path(folder), folds=FOLDS, in_sample=False, confidence=None) as found,
    ):
        summary, final = summarise(found, Path()), found.final_labels()
    wrong, after = 100 * np.mean(given != true[:NOISY]), 100 * np.mean(final != true[:NOISY])
    changed = final != given
    held["no worse"].append(bool(after <= wrong))
    cells = [setting, classifier, str(a_class), f"{wrong:.1f}"]
    reached = summary["truth"]["precision"]
    for what, figure, value in (
        ("rate", summary["noise_rate"], wrong),
        ("precision", summary["estimated_precision_of_flagged"], None if reached is None else 100 * reached),
    ):
        if what == "precision":
            cells.append("–" if value is None else f"{value:.1f}")
        if figure is None or value is None:
            cells += ["–", "–"]
            continue
        holds = bool(figure["low"] <= value <= figure["high"])
        held[what].append(holds)
        widths[what].append(figure["high"] - figure["low"])
        cells += [f"{figure['value']:.1f} ({figure['low']:.1f}–{figure['high']:.1f})", "yes" if holds else "**no**"]
    right = f"{100 * np.mean(final[changed] == true[:NOISY][changed]):.1f}" if changed.any() else "–"
    return "| " + " | ".join([*cells, str(int(changed.sum())), right, f"{after:.1f}"]) + " |"


if __name__ == "__main__":
    main()
