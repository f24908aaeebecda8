"""From filled scores to findings: calibrate, estimate the noise, and let the trusted images choose.

Several suspicions and several proposed labels are to be had. The trusted images, under the labels that they could have
been given, show which suspicion tells wrong labels from right ones best (by AUROC) and whose labels are right most
often; a person may choose otherwise. Where some were held out from training, those alone are asked. Without trusted
images there is no posterior, the mean over epochs is taken where it was kept, and the corrector's labels are proposed.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.audit.findings import Findings, Kind, Relabel, Subject
from ebomlc_dist.audit.table import ScoreTable
from ebomlc_dist.errors import InputError
from ebomlc_dist.noise.calibration import Calibration, calibrate, enough
from ebomlc_dist.noise.precision import Cases, accuracy, auroc
from ebomlc_dist.noise.rates import NoiseEstimate, confusion, estimate_noise
from ebomlc_dist.noise.vouching import Proposals, vouched


@dataclass(frozen=True)
class Evidence:
    """What the models said.

    Attributes:
        table: of the noisy images.
        cases: of the trusted images, with the networks' own suspicion.
        trusted_probabilities: (Nc, K) float32, the main model's, beside `Cases.own`.
        unseen: (Nc,) bool, trusted images that the models were not trained on while they were on the others; None where
            there is no such difference.
        epochs: suspicion as the mean over epochs, of the noisy images (n,) and of the cases (m,), where it was kept.
        learnt: whether the models were trained on trusted images, but for the ``unseen`` ones.
    """

    table: ScoreTable
    cases: Cases
    trusted_probabilities: NDArray[np.float32]
    unseen: NDArray[np.bool_] | None = None
    epochs: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    learnt: bool = False

    @property
    def by_heart(self) -> bool:
        """Whether the models were trained on the very images that would vouch for them."""
        return self.learnt and not enough(self.unseen)


def rank_labels(
    subject: Subject, evidence: Evidence, kind: Kind | None = None, relabel: Relabel | None = None
) -> Findings:
    """Rank and relabel. Where ``kind`` or ``relabel`` is None, the trusted images choose.

    Raises:
        InputError: a choice that is not to be had.
    """
    table, cases = evidence.table, evidence.cases
    calibration = calibrate(evidence.trusted_probabilities, cases.truth[cases.own], evidence.unseen)
    noise = _noise(evidence, calibration)
    held_out = held_out_cases(evidence)
    suspicions: dict[Kind, Suspicion] = {"confidence": (table.suspicion, cases.suspicion)}
    labels: dict[Relabel, Proposals] = {
        "corrector": Proposals(
            table.corrected, table.corrected_probability, cases.corrected, cases.corrected_probability
        ),
        "prediction": Proposals(
            table.predicted, table.predicted_probability, cases.predicted, cases.predicted_probability
        ),
    }
    if evidence.epochs is not None:
        suspicions["epochs"] = evidence.epochs
    if calibration is not None:
        suspicions["posterior"], labels["posterior"] = _posterior(evidence, calibration)
    if kind is None:
        fallback: Kind = "epochs" if "epochs" in suspicions else "confidence"
        views = {name: replace(cases, suspicion=tried).only(held_out) for name, (_, tried) in suspicions.items()}
        quality = {name: auroc(view, noise) for name, view in views.items()}
        kind = _best(quality, fallback)
    if relabel is None:
        tried = cases.only(held_out)
        relabel = _best(
            {name: accuracy(tried, found.case_labels[held_out], noise) for name, found in labels.items()}, "corrector"
        )
    for flag, chosen, known in (("--scores", kind, suspicions), ("--relabel", relabel, labels)):
        if chosen not in known:
            raise InputError(f"{flag} {chosen} is not to be had here: {_REASONS[chosen]}; known: {', '.join(known)}")
    suspicion, case_suspicion = suspicions[kind]
    cases = replace(cases, suspicion=case_suspicion).only(held_out)
    proposals = labels[relabel].of_cases(held_out)
    return Findings(
        subject=subject,
        table=table,
        noise=noise,
        kind=kind,
        suspicion=suspicion,
        cases=cases,
        order=np.argsort(-suspicion, kind="stable"),
        relabel=relabel,
        proposed=proposals.labels,
        proposed_probability=proposals.probability,
        vouched=None if evidence.by_heart else vouched(proposals, table.given, cases, noise),
        by_heart=evidence.by_heart,
    )


Name = TypeVar("Name", bound=str)
Suspicion = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of the noisy images (n,) and of the cases (m,)."""
_REASONS = {
    "epochs": "the run kept no scores of its epochs (train --audit does), or the scores are cross-fitted",
    "posterior": "it needs two trusted images of every class, and at most 100 classes",
}


def held_out_cases(evidence: Evidence) -> NDArray[np.bool_]:
    """(m,) the cases that a choice rests on: of images that were held out, where there are enough."""
    cases, unseen = evidence.cases, evidence.unseen
    return unseen[cases.number] if enough(unseen) else np.ones(len(cases), dtype=np.bool_)


def _noise(evidence: Evidence, calibration: Calibration | None) -> NoiseEstimate:
    """From the calibrated labels where there are any, which err less; else from the main model's.

    How often the model is right is counted on trusted images that it was not trained on. Where it was trained on all of
    them, it is right less often elsewhere, and the rate is at most what follows.
    """
    table, cases, size = evidence.table, evidence.cases, evidence.table.num_classes
    asked = evidence.unseen if enough(evidence.unseen) else np.ones(int(cases.own.sum()), dtype=np.bool_)
    truth = cases.truth[cases.own][asked]
    if calibration is None:
        counts = confusion(table.given, table.predicted, size)
        found = estimate_noise(counts, confusion(truth, cases.predicted[cases.own][asked], size))
    else:
        counts = np.zeros((size, size), dtype=np.int64)
        for rows, calibrated in calibration.blocks(table.probabilities):
            counts += confusion(table.given[rows], calibrated.argmax(axis=1), size)
        found = estimate_noise(counts, confusion(truth, calibration.trusted[asked].argmax(axis=1), size))
    return found.at_most() if evidence.by_heart else found


def _posterior(evidence: Evidence, calibration: Calibration) -> tuple[Suspicion, Proposals]:
    """The posterior's suspicion, and its labels."""
    table, cases = evidence.table, evidence.cases
    priors = calibration.priors(table.probabilities, table.given)
    doubt, sure = np.zeros((2, len(table)), np.float32)
    best = np.zeros(len(table), np.int32)
    for rows, calibrated in calibration.blocks(table.probabilities):
        given = table.given[rows]
        found = calibration.posterior(calibrated, given, priors)
        doubt[rows] = 1 - found[np.arange(len(given)), given]
        best[rows], sure[rows] = found.argmax(axis=1), found.max(axis=1)
    of_cases = calibration.posterior(calibration.trusted[cases.number], cases.label, priors)
    case_doubt = (1 - of_cases[np.arange(len(cases)), cases.label]).astype(np.float32)
    return (doubt, case_doubt), Proposals(best, sure, of_cases.argmax(axis=1), of_cases.max(axis=1))


def _best(quality: dict[Name, float], fallback: Name) -> Name:
    """The name with the highest figure; the first of equals. Without figures the fallback."""
    known = {name: value for name, value in quality.items() if not np.isnan(value)}
    return max(known, key=lambda name: known[name]) if known else fallback
