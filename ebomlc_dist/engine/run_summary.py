"""The figures a run ends with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.evaluate import evaluate_noisy_set
from ebomlc_dist.engine.trainer import Progress
from ebomlc_dist.monitoring.purity import purity_figures


def summarise(training: Training, progress: Progress, folder: Path) -> dict[str, Any]:
    """``summary.json``. Collective: every rank calls it. Rates, shares and accuracies are in per cent.

    ``accuracy_last`` is the last epoch's test accuracy, ``accuracy_best`` that of the best epoch on the test set: a
    figure that was selected on test data, given because the literature quotes it. ``accuracy_at_best_validation`` is
    the test accuracy of the epoch with the best accuracy on the validation images, the first of equals; None without
    any. All four scores are of the method's last stage.
    ``correction_matrix[true, corrected]`` and ``given_correction_matrix[given, corrected]`` count noisy images.
    """
    config, dataset = training.config, training.dataset
    labels = evaluate_noisy_set(training)
    corrector, prediction = labels.get("corrector", {}), labels.get("prediction", {})
    accuracies = progress.accuracies[-config.train.epochs :]
    last_ten = accuracies[-10:]
    images = progress.step * config.train.global_noisy_batch_size
    by_true, by_given = (labels.get(name, {}).get("correction_matrix") for name in ("corrector", "given"))
    small = dataset.num_classes <= 100
    return {
        "run": str(folder),
        "recipe": config.recipe,
        "method": config.method.name,
        "dataset": config.data.dataset,
        "model": config.model.name,
        "noise": config.noise.kind,
        "noise_rate_nominal": _per_cent(dataset.noise_rate_nominal),
        "noise_rate_realised": _per_cent(dataset.noise_rate_realised),
        "seed": config.seeds.seed,
        "world_size": training.runtime.world_size,
        "precision": config.train.precision,
        "num_noisy": len(dataset.noisy_labels),
        "num_clean": len(dataset.clean_labels),
        "num_validation": len(dataset.validation_labels),
        "num_test": len(dataset.test_labels),
        "split_kind": dataset.provenance.get("split_kind"),
        "trusted_purity": purity_figures(dataset.purity, dataset.true_purity) if dataset.from_noisy else None,
        "epochs": config.train.epochs,
        "steps": progress.step,
        "skipped_steps": progress.skipped,
        "accuracy_last": accuracies[-1] if accuracies else None,
        "accuracy_last10_mean": sum(last_ten) / len(last_ten) if last_ten else None,
        "accuracy_best": max(accuracies, default=None),
        "accuracy_at_best_validation": at_best(accuracies, progress.validations[-config.train.epochs :]),
        "wrong_labels_corrected": corrector.get("wrong_labels_corrected"),
        "right_labels_kept": corrector.get("right_labels_kept"),
        "prediction_wrong_labels_corrected": prediction.get("wrong_labels_corrected"),
        "prediction_right_labels_kept": prediction.get("right_labels_kept"),
        "method_report": dict(training.method.report()),
        "correction_matrix": by_true if small else None,
        "given_correction_matrix": by_given if small else None,
        "train_seconds": progress.train_seconds,
        "images_per_second": images / progress.train_seconds if progress.train_seconds else None,
        "finished": progress.step == training.total_steps,
    }


def at_best(accuracies: Sequence[float], validations: Sequence[float]) -> float | None:
    """Return the accuracy of the epoch with the best validation accuracy, the first of equals; None without these."""
    if not accuracies or not validations:
        return None
    return accuracies[validations.index(max(validations))]


def _per_cent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share
