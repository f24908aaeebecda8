"""Suspicion, proposals and estimated precision against a truth that is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ebomlc_dist.audit.rank_labels import rank_labels
from ebomlc_dist.audit.summary import correction_figures, ranking_figures
from ebomlc_dist.errors import InputError
from ebomlc_dist.noise.calibration import calibrate
from ebomlc_dist.noise.precision import Cases, precision_interval
from tests.audit.support import evidence_of, findings_of, flip, make_subject, make_world, uniform


def test_a_model_that_learnt_the_noise_is_read_by_the_trusted_images(tmp_path: Path) -> None:
    """With 45 % flips the model's own confidence hardly tells wrong labels; the posterior does, and is chosen."""
    world = make_world(flip(6, 0.45), strength=3.0, learns_noise=True, num_trusted=300)
    with findings_of(world, tmp_path) as found:
        own = roc_auc_score(world.wrong, found.table.suspicion)
        assert found.kind == found.relabel == "posterior"
        assert roc_auc_score(world.wrong, found.suspicion) > max(0.95, own + 0.1)
        right = (found.proposed == world.true).mean()
        assert right > (found.table.predicted == world.true).mean() + 0.1
        assert right > 1 - world.wrong.mean() + 0.2


@pytest.mark.parametrize("kind", ["confidence", "posterior"])
def test_the_precision_at_every_rank_is_near_the_true_one(kind, tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.3), num_images=6000, num_trusted=1000, strength=2.5)
    with evidence_of(world, tmp_path) as evidence:
        found = rank_labels(make_subject(world), evidence, kind)
        true = np.cumsum(world.wrong[found.order]) / np.arange(1, len(found.order) + 1)
        assert np.abs(found.precision - true)[200:].max() < 0.06
        at = found.num_flagged - 1
        threshold = float(found.suspicion[found.order[at]])
        flagged = (found.suspicion >= threshold).mean()
        interval = precision_interval(threshold, float(flagged), found.cases, found.noise)
        assert interval is not None
        assert interval.low - 0.02 <= true[at] <= interval.high + 0.02
        # Cases that forget which label is theirs know nothing of precision.
        forgetful = replace(found.cases, truth=(found.cases.truth + 1) % 5)
        assert np.abs(replace(found, cases=forgetful).precision - true)[200:].max() > 0.2


def test_a_corrector_that_copies_is_not_believed(tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.4), strength=3.0)
    copied = np.eye(5, dtype=np.float32)
    rows = np.arange(len(world.given))
    with evidence_of(world, tmp_path) as evidence:
        evidence.table.put(rows, world.probabilities, copied[world.given], evidence.table.suspicion / 2)
        found = rank_labels(
            make_subject(world), replace(evidence, cases=replace(evidence.cases, corrected=evidence.cases.label))
        )
        assert found.relabel != "corrector"
        figures = correction_figures(found, world.true)
        assert figures["corrector"] == {"wrong_labels_corrected": 0.0, "right_labels_kept": 1.0}
        assert figures["proposed"]["wrong_labels_corrected"] > 0.7
        assert rank_labels(make_subject(world), evidence, relabel="corrector").relabel == "corrector"


def test_without_trusted_images_there_is_a_ranking_and_no_precision(tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.3), num_trusted=0, strength=3.0)
    with findings_of(world, tmp_path) as found:
        assert (found.kind, found.relabel, found.noise.uses_trusted) == ("confidence", "corrector", False)
        assert np.isnan(found.precision).all()
        assert roc_auc_score(world.wrong, found.suspicion) > 0.9
    with (
        evidence_of(world, tmp_path) as evidence,
        pytest.raises(InputError, match="--scores posterior is not to be had"),
    ):
        rank_labels(make_subject(world), evidence, "posterior")


def test_means_over_epochs_are_taken_where_they_do_best(tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.3), strength=1.5)
    with evidence_of(world, tmp_path) as evidence:
        perfect = (world.wrong.astype(np.float32), (~evidence.cases.own).astype(np.float32))
        assert rank_labels(make_subject(world), replace(evidence, epochs=perfect)).kind == "epochs"
        inverted = tuple(1 - part for part in perfect)
        assert rank_labels(make_subject(world), replace(evidence, epochs=inverted)).kind != "epochs"
        assert rank_labels(make_subject(world), replace(evidence, epochs=inverted), "epochs").kind == "epochs"


def test_calibration_needs_two_images_of_each_class() -> None:
    world = make_world(uniform(3, 0.0), num_trusted=9)
    assert calibrate(world.trusted_probabilities, world.trusted_true) is not None
    assert calibrate(world.trusted_probabilities[:5], world.trusted_true[:5]) is None


def overconfident(rng: np.random.Generator, right: float, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of 5 classes with 0.96 on one of them, which is the true one as often as asked."""
    truth = np.arange(number) % 5
    predicted = np.where(rng.random(number) < right, truth, (truth + rng.integers(1, 5, number)) % 5)
    return np.where(np.eye(5, dtype=bool)[predicted], 0.96, 0.01).astype(np.float32), truth


def test_held_out_images_say_how_far_the_model_may_be_believed() -> None:
    rng = np.random.default_rng(7)
    (seen, seen_truth), (hidden, hidden_truth) = overconfident(rng, 0.95, 500), overconfident(rng, 0.6, 200)
    probabilities, truth = np.concatenate([seen, hidden]), np.concatenate([seen_truth, hidden_truth])
    unseen = np.arange(700) >= 500
    elsewhere, _ = overconfident(rng, 0.6, 2000)

    def confidence(held_out: np.ndarray | None) -> float:
        found = calibrate(probabilities, truth, held_out)
        assert found is not None
        ((_, calibrated),) = found.blocks(elsewhere)
        return float(calibrated.max(axis=1).mean())

    assert confidence(unseen) == pytest.approx(0.6, abs=0.08)
    assert confidence(None) > 0.75
    # Too few to say anything are taken like the others.
    assert confidence(np.arange(700) >= 690) == confidence(None)


def test_what_is_best_is_judged_on_held_out_images_where_there_are_any(tmp_path: Path) -> None:
    """A suspicion that is perfect on images that were trained on alone is not taken."""
    world = make_world(uniform(5, 0.3), strength=1.5)
    with evidence_of(world, tmp_path) as evidence:
        wrong = ~evidence.cases.own
        image = np.cumsum(evidence.cases.own) - 1
        unseen = np.arange(image.max() + 1) % 4 == 0
        blind = np.where(unseen[image], 0.5, wrong).astype(np.float32)
        tempting = replace(evidence, epochs=(world.wrong.astype(np.float32), blind))
        assert rank_labels(make_subject(world), tempting).kind == "epochs"
        findings = rank_labels(make_subject(world), replace(tempting, unseen=unseen))
        assert findings.kind != "epochs"
        assert len(np.unique(findings.cases.image)) == unseen.sum()


def test_figures_against_the_truth() -> None:
    suspicion, wrong = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, False, True, False])
    assert ranking_figures(suspicion, wrong, 2) == {
        "auroc": 0.75, "average_precision": pytest.approx(5 / 6), "num_flagged": 2, "precision": 0.5, "recall": 0.5
    }  # fmt: skip
    assert ranking_figures(suspicion, ~wrong & False, 0) == {
        "auroc": None, "average_precision": None, "num_flagged": 0, "precision": None, "recall": None
    }  # fmt: skip


def test_cases_are_weighted_to_what_the_noise_makes_of_them(tmp_path: Path) -> None:
    """The cases of a sample of labels stand for all of them."""
    world = make_world(uniform(8, 0.3), num_images=5000, num_trusted=1600, strength=2.5)
    with findings_of(world, tmp_path) as found:
        cases = found.cases
        drawn = np.random.default_rng(0).random(len(cases))
        order = np.lexsort((drawn, ~cases.own, cases.image))
        kept = np.sort(order.reshape(-1, 8)[:, :3].ravel())
        columns = {name: getattr(cases, name)[kept] for name in cases.__dataclass_fields__}
        weights = np.where(columns["truth"] == columns["label"], 1.0, 7 / 2)
        fewer = replace(found, cases=Cases(**(columns | {"weights": weights})))
        assert np.abs(fewer.precision - found.precision)[200:].max() < 0.05
