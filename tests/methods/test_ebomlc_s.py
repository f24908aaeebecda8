"""EBOMLC-S: EBOMLC where the labels shown are the true ones, and a corrector that corrects where they are not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.data.split import held_out
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import config_from_mapping, ebomlc_s_measurement
from ebomlc_dist.methods.contract import Batch, Task
from ebomlc_dist.methods.ebomlc import value_gap
from ebomlc_dist.noise.matrices import uniform_matrix
from ebomlc_dist.noise.moments import transition_by_counts, transition_by_moments
from ebomlc_dist.noise.posterior import NoisePosterior, transition_by_posterior
from ebomlc_dist.noise.reliability import LITTLE, corrected_share, information_share, information_told, margin
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.testing import problem
from ebomlc_dist.testing.lockstep import over_shards
from ebomlc_dist.testing.problem import (
    NUM_CLEAN,
    NUM_NOISY,
    OLD_LABELS,
    WholeDatasetReducer,
    local_batch,
    make_learner,
    run_steps,
)
from tests.support.pool import RankPool
from tests.support.runs import alone, runtime_of, tiny_config

CPU = torch.device("cpu")
IDENTITY = torch.eye(4).tolist()
PAPER = {"barrier_strength": 0.25, "noisy_scale": 0.5, "settings": "fixed", "mixture_kind": "probability"}


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates are made although the problem's networks have learnt nothing."""
    monkeypatch.setattr(ebomlc_s_measurement, "above_chance", lambda _: True)


def after(method: str, **settings: object) -> torch.Tensor:
    """All parameters after four steps."""
    learner = make_learner(method, Communicator(CPU), **settings)
    run_steps(learner, 4)
    return torch.cat([network.vector.detach() for network in learner.networks.values()])


def test_with_the_identity_and_the_papers_constants_it_is_ebomlc_bit_for_bit() -> None:
    plain = after("ebomlc", barrier_strength=0.25, noisy_scale=0.5)
    assert torch.equal(after("ebomlc-s", noise_process="known", transition=IDENTITY, **PAPER), plain)
    noisy = [[0.6, 0.4, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    assert not torch.equal(after("ebomlc-s", noise_process="known", transition=noisy, **PAPER), plain)


def test_with_old_labels_that_were_right_it_is_ebomlc_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = after("ebomlc", barrier_strength=0.25, noisy_scale=0.5)
    observed = {"noise_process": "observed", **PAPER}
    assert not torch.equal(after("ebomlc-s", **observed), plain)
    monkeypatch.setattr(problem, "_with_old_labels", lambda clean: replace(clean, old_labels=clean.labels))
    assert torch.equal(after("ebomlc-s", **observed), plain)


def test_old_labels_are_shown_where_they_are_known_and_others_are_drawn() -> None:
    def shown(process: str) -> tuple[torch.Tensor, Batch]:
        learner = make_learner("ebomlc-s", Communicator(CPU), noise_process=process)
        batch = local_batch(learner.method, 3, 0, 1)
        return learner.method.objectives.shown_labels(batch), batch.clean

    (observed, clean), (counted, _) = shown("observed"), shown("counted")
    known = clean.old_labels >= 0
    assert 0 < int(known.sum()) < len(known)
    assert torch.equal(observed[known], clean.old_labels[known])
    assert torch.equal(observed[~known], counted[~known])
    assert not torch.equal(observed, counted)


def test_the_noise_process_follows_what_is_known() -> None:
    complete = OLD_LABELS + torch.eye(4, dtype=torch.int64)[:, [0, 1, 2, 3]] * torch.tensor([1, 0, 1, 0])
    assert int(complete.sum()) == NUM_CLEAN
    found = {name: make_learner("ebomlc-s", Communicator(CPU), old_labels=old).method for name, old in (
        ("all", complete), ("some", OLD_LABELS), ("none", None))}  # fmt: skip
    assert {name: method.report()["noise_process"] for name, method in found.items()} == {
        "all": "counted", "some": "estimated", "none": "estimated"
    }  # fmt: skip
    assert torch.equal(found["all"].state["transition"], transition_by_counts(complete))
    assert [method.streams.held_out for method in found.values()] == [0.2, 0.2, 0.2]
    # Nothing is held out where nothing is measured.
    fixed = make_learner("ebomlc-s", Communicator(CPU), old_labels=complete, settings="fixed")
    assert fixed.method.streams.held_out == 0.0
    for process in ("observed", "counted"):
        with pytest.raises(InputError, match="needs the labels that trusted images had"):
            make_learner("ebomlc-s", Communicator(CPU), noise_process=process, old_labels=None)


@pytest.mark.usefixtures("sure")
def test_settings_by_given_labels_are_known_from_the_first_step_and_renewed_with_the_estimate() -> None:
    def found(process: str, epoch: int, **more: object) -> dict[str, float]:
        learner = make_learner(
            "ebomlc-s", Communicator(CPU), epoch=epoch, noise_process=process, settings="given", **more
        )
        reliability = learner.method.state["transition"].diagonal().mean()
        share = float(information_share(reliability, 4, NUM_NOISY, NUM_CLEAN))
        values = learner.method.step_weights()
        return {"share": share, **{name: float(value) for name, value in vars(values).items()}}

    first, second = (found("estimated", epoch) for epoch in (0, 1))
    # Half of the labels right in four classes: τ = (1/2 − 1/4) / (1 − 1/4).
    assert first["share"] == pytest.approx(NUM_NOISY / 9 / (NUM_NOISY / 9 + NUM_CLEAN))
    assert second["share"] != pytest.approx(first["share"], abs=1e-3)
    for values in (first, second, found("counted", 0)):
        assert 0 < values["share"] < 1
        assert values["mixture"] == pytest.approx(1 - values["share"])
        assert values["barrier_strength"] == values["noisy_scale"] == pytest.approx(values["share"] ** 0.5)
    mixed = found("counted", 0, mixture_kind="probability", followed=["mixture"])
    assert mixed["mixture"] == pytest.approx((1 - mixed["share"]) / 2)
    assert (mixed["barrier_strength"], mixed["noisy_scale"]) == (1.0, 1.0)


def test_noisy_images_weigh_by_what_their_labels_tell() -> None:
    def found(**more: Any) -> tuple[list[float], torch.Tensor]:
        learner = make_learner("ebomlc-s", Communicator(CPU), **{"settings": "informed", **more})
        values = learner.method.step_weights()
        return [float(value) for value in vars(values).values()], learner.method.state["transition"]

    nearly = uniform_matrix(4, 0.7)
    assert 0 < float(information_told(nearly)) < LITTLE
    settings, transition = found(noise_process="counted", epoch=1)
    told = float(information_told(transition))
    assert 0 < told < 0.9
    assert settings == pytest.approx([1 / (1 + told), told / (1 + told), 1.0])
    # A T that was not estimated yet says nothing: batches weigh alike, as without the rule.
    assert found(noise_process="estimated", epoch=0)[0] == [0.5, 0.5, 1.0]
    rows = uniform_matrix(4, 0.2)
    known, _ = found(noise_process="known", transition=rows.tolist(), epoch=0)
    assert known[0] == pytest.approx(float(1 / (1 + information_told(rows))))
    for epoch in (0, 1):
        assert found(noise_process="known", transition=nearly.tolist(), epoch=epoch)[0] == [1.0, 0.0, 0.0]
    assert found(noise_process="counted", epoch=1, settings="measured")[0] == [0.5, 0.5, 1.0]
    assert found(noise_process="counted", epoch=1, followed=["noisy_scale"], mixture=0.3)[0][0] == 0.3


def test_the_weight_of_the_corrected_label_follows_from_how_far_both_labels_lead() -> None:
    learner = make_learner("ebomlc-s", Communicator(CPU), noise_process="counted", settings="given")
    memory = learner.method.state
    expected = float(corrected_share(memory["measured"][3], margin(memory["transition"])))
    assert 0 < expected < 1
    assert float(memory["settings"][3]) == learner.method.report()["corrected_share"] == expected
    kept = make_learner("ebomlc-s", Communicator(CPU), noise_process="counted", followed=["mixture"])
    assert float(kept.method.state["settings"][3]) == 1.0


def test_the_lower_objective_asks_for_the_corrected_and_the_given_label() -> None:
    def asked(share: float) -> torch.Tensor:
        learner = make_learner("ebomlc-s", Communicator(CPU), settings="fixed", corrected_share=share)
        return learner.method.objectives.soft_labels(answers, torch.zeros_like(answers), labels)

    answers = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)
    labels = torch.tensor([2, 0])
    assert torch.equal(asked(1.0), answers)
    assert torch.equal(asked(0.0), torch.eye(4, dtype=torch.float64)[labels])
    torch.testing.assert_close(asked(0.25)[0], torch.tensor([0.025, 0.05, 0.825, 0.1], dtype=torch.float64))


def test_without_any_corrected_label_the_noisy_images_are_those_of_cross_entropy() -> None:
    """∇_αQ vanishes with κ, and ∇_wQ is the gradient of plain cross entropy on the given labels."""
    learner = make_learner("ebomlc-s", Communicator(CPU), settings="fixed", corrected_share=0.0, batch_norm=False)
    batch = local_batch(learner.method, 0, 0, 1)
    rate, reducer = torch.tensor(0.1), Communicator(CPU)
    gap = value_gap(learner.method.objectives, learner.method.config, learner.networks, rate, batch, reducer)
    main = learner.networks["main"]
    logits, _ = main(batch.noisy.images)
    (plain,) = gradients(torch.nn.functional.cross_entropy(logits, batch.noisy.labels), [main])
    torch.testing.assert_close(gap.main, plain)
    assert not gap.meta.any()


def test_settings_by_corrected_labels_follow_from_the_second_epoch_on_and_stand_still_within_one() -> None:
    fixed = {"noise_process": "observed", "mixture": 0.3, **PAPER}
    follow = {**fixed, "settings": "corrected", "followed": ["mixture", "barrier_strength", "noisy_scale"]}
    # The held-out share changes the data, not this problem's batches.
    assert torch.equal(after("ebomlc-s", epoch=0, **follow), after("ebomlc-s", epoch=0, **fixed))
    assert not torch.equal(after("ebomlc-s", epoch=1, **follow), after("ebomlc-s", epoch=1, **fixed))
    assert torch.equal(after("ebomlc-s", epoch=1, **{**follow, "followed": []}), after("ebomlc-s", epoch=1, **fixed))
    learner = make_learner("ebomlc-s", Communicator(CPU), epoch=1, **follow)
    first, *_, last = run_steps(learner, 3)
    reliability = float(first.metrics["held_out_reliability"])
    signal = max(0.0, (reliability - 1 / 4) / (1 - 1 / 4))
    share = NUM_NOISY * signal**2 / (NUM_NOISY * signal**2 + NUM_CLEAN)
    for outcome in (first, last):
        assert float(outcome.metrics["noisy_scale"]) == pytest.approx(share**0.5)
        assert float(outcome.metrics["barrier_strength"]) == pytest.approx(share**0.5)
        assert float(outcome.metrics["mixture"]) == pytest.approx((1 - share) / 2)
    one = make_learner("ebomlc-s", Communicator(CPU), epoch=1, **{**follow, "followed": ["mixture"]})
    values = one.method.step_weights()
    assert (float(values.barrier_strength), float(values.noisy_scale)) == (0.25, 0.5)
    assert float(values.mixture) == pytest.approx((1 - share) / 2)


def test_what_is_measured_is_what_a_loop_over_images_and_labels_finds() -> None:
    learner = make_learner("ebomlc-s", Communicator(CPU), noise_process="counted", settings="corrected")
    main, meta = (learner.networks[name] for name in ("main", "meta"))
    whole = WholeDatasetReducer(learner.networks)
    transition, found = learner.method.state["transition"], torch.zeros(4, dtype=torch.float64)
    only = int(whole.held_out_labels[0])
    answers = torch.zeros(4, dtype=torch.float64)
    main.module.eval()
    with torch.no_grad():
        for image in whole.held_out_images:
            logits, features = main(image[None])
            found[0] += float(int(logits.argmax()) == only)
            for given in range(4):
                answer = meta(features, torch.tensor([given])).softmax(dim=1)[0]
                weight = transition[only, given]
                found[1] += weight * answer[only]
                found[2] += weight * (answer.max() - float(int(answer.argmax()) == only))
                answers += weight * answer
    # Of three classes no image is held out.
    rival = max(answers[other] for other in range(4) if other != only)
    found[3] = (answers[only] - rival) / 4
    torch.testing.assert_close(learner.method.state["measured"], found / 4)
    assert float(found[3]) > 0


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize(
    ("way", "estimate"), [("posterior", transition_by_posterior), ("moments", transition_by_moments)]
)
def test_what_is_estimated_comes_from_predictions_down_and_given_labels_across(
    way: str, estimate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    learner = make_learner("ebomlc-s", Communicator(CPU), noise_process="estimated", estimate=way, epoch=1)
    run_steps(learner, 6)
    whole = WholeDatasetReducer(learner.networks)
    # More of one class, so that predictions and given labels are counted differently.
    whole.labels[:10] = 1
    whole.held_out_labels = torch.arange(len(whole.held_out_labels))
    learner.method.begin_epoch(learner.networks, whole)
    main = learner.networks["main"]
    joint, confusion = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    main.module.eval()
    with torch.no_grad():
        for image, label in zip(whole.images[:NUM_NOISY], whole.labels[:NUM_NOISY], strict=True):
            joint[main(image[None])[0].argmax(), label] += 1
        for image, label in zip(whole.held_out_images, whole.held_out_labels, strict=True):
            confusion[label, main(image[None])[0].argmax()] += 1
    found = learner.method.state["transition"]
    torch.testing.assert_close(found, estimate(joint, confusion))
    assert not torch.allclose(found, estimate(joint.t(), confusion), atol=1e-3)


@pytest.mark.parametrize(
    ("until", "epochs", "renewed"),
    [
        (0.5, 8, [1, 2, 4]),
        (0.5, 120, [1, 2, 4, 8, 16, 32, 60]),
        (1.0, 8, [1, 2, 4, 7]),
        (0.5, 1, []),
        (0.1, 20, [1, 2]),
    ],
)
def test_the_noise_is_estimated_ever_more_rarely_and_once_more_before_it_is_kept(
    until: float, epochs: int, renewed: list[int]
) -> None:
    learner = make_learner("ebomlc-s", Communicator(CPU), noise_process="estimated", held_out_until=until)
    counting = CountingDatasetReducer(learner.networks)
    found = []
    for epoch in range(epochs):
        learner.method.enter_epoch(epoch, epochs)
        before = counting.looks_at_noisy
        learner.method.begin_epoch(learner.networks, counting)
        found += [epoch] if counting.looks_at_noisy > before else []
    assert found == renewed


class CountingDatasetReducer(WholeDatasetReducer):
    """Counts how often the whole noisy set is looked at."""

    looks_at_noisy = 0

    def gather_noisy(self, values: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        self.looks_at_noisy += 1
        return super().gather_noisy(values)


@pytest.mark.usefixtures("sure")
def test_above_a_hundred_classes_the_noise_is_estimated_by_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(way: str) -> torch.Tensor:
        learner = make_learner("ebomlc-s", Communicator(CPU), noise_process="estimated", estimate=way, epoch=1)
        return learner.method.state["transition"]

    assert not torch.equal(found("posterior"), found("moments"))
    monkeypatch.setattr(ebomlc_s_measurement, "MOST_CLASSES", 3)
    assert torch.equal(found("posterior"), found("moments"))


@pytest.mark.parametrize(
    ("settings", "step"), [("corrected", (0.2, 1.0, 1.0)), ("informed", (20 / 276, 256 / 276, 1.0))]
)
def test_with_nothing_held_out_no_corrector_is_trusted(
    settings: str, step: tuple[float, float, float], tmp_path: Path
) -> None:
    """Two trusted images a class are too few to keep one back."""
    config = tiny_config("ebomlc-s")
    method = config_from_mapping({"name": "ebomlc-s", "settings": settings})
    summary = train(config.model_copy(update={"method": method}), tmp_path / "run", quiet=True, runtime=alone())
    report = summary["method_report"]
    assert report["noise_process"] == "counted"
    assert (report["mixture"], report["barrier_strength"], report["noisy_scale"]) == pytest.approx(step)
    assert report["corrected_share"] == report.get("posterior_share", 0.0) == 0.0


def test_the_labels_shown_depend_on_place_and_step_not_on_the_rank() -> None:
    def shown(rank: int, world_size: int, step: int = 3) -> torch.Tensor:
        learner = make_learner("ebomlc-s", Communicator(CPU), epoch=0)
        return learner.method.objectives.shown_labels(local_batch(learner.method, step, rank, world_size))

    whole = shown(0, 1)
    assert torch.equal(torch.cat(over_shards(2, lambda rank, _: shown(rank, 2))), whole)
    assert not torch.equal(shown(0, 1, step=4), whole)


def test_what_is_held_out_is_not_trained_on_and_each_class_has_its_share() -> None:
    config = tiny_config("ebomlc-s", data={"noisy_size": None, "clean_size": 100})
    method = config_from_mapping({"name": "ebomlc-s", "noise_process": "estimated"})
    config = config.model_copy(update={"method": method})
    dataset = load_dataset(config.data, config.noise, config.seeds)
    training = build(config, dataset, alone())
    begin_epoch(training, 0)
    rows = held_out(dataset.clean_labels, 0.2)
    assert torch.equal(dataset.clean_labels[rows].bincount(), torch.full((10,), 2))
    kept = dataset.clean_labels[~rows]
    positions = torch.cat([training.loader.batch(step).clean.positions for step in range(30)])
    assert set(positions.tolist()) == set(range(len(kept)))
    batch = training.loader.batch(0).clean
    assert torch.equal(batch.labels, kept[batch.positions])
    assert torch.equal(batch.old_labels, dataset.clean_old_labels[~rows][batch.positions])
    assert not held_out(dataset.clean_labels, 0.0).any()
    assert held_out(torch.tensor([0, 0, 1]), 0.9).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("until", "epochs", "kept"), [(0.5, 8, 5), (1.0, 8, 8), (0.5, 3, 2), (0.5, 1, 1), (0.01, 8, 1)]
)
def test_what_is_held_out_is_trained_on_once_the_noise_is_known(until: float, epochs: int, kept: int) -> None:
    method = make_learner("ebomlc-s", Communicator(CPU), noise_process="estimated", held_out_until=until).method
    shares = []
    for epoch in range(epochs):
        method.enter_epoch(epoch, epochs)
        shares.append(method.streams.held_out)
    assert shares == [0.2] * kept + [0.0] * (epochs - kept)


def test_labels_that_tell_nothing_leave_the_held_out_images_to_training() -> None:
    for rate, kept in ((0.7, [0.0, 0.0, 0.0]), (0.3, [0.2, 0.2, 0.2])):
        rows = uniform_matrix(4, rate).tolist()
        chosen = {"settings": "informed", "noise_process": "known", "transition": rows}
        method = make_learner("ebomlc-s", Communicator(CPU), **chosen).method
        found = []
        for epoch in range(3):
            method.enter_epoch(epoch, 8)
            found.append(method.streams.held_out)
        assert found == kept


@pytest.mark.parametrize(("settings", "kept"), [({}, 0.2), ({"held_out_until": 0.5}, 0.0)], ids=str)
def test_where_labels_are_audited_images_stay_held_out_to_the_end(settings: dict, kept: float) -> None:
    learner = make_learner("ebomlc-s", Communicator(CPU), noise_process="estimated", **settings)
    learner.method.allocate(learner.networks, Task(4, NUM_NOISY, NUM_CLEAN, audited=True))
    learner.method.enter_epoch(7, 8)
    assert learner.method.streams.held_out == kept


def test_impossible_matrices_are_refused() -> None:
    for settings in ({"noise_process": "known"}, {"transition": IDENTITY}):
        with pytest.raises(ValidationError, match="go together"):
            config_from_mapping({"name": "ebomlc-s", **settings})
    with pytest.raises(ValidationError, match="K rows of K numbers"):
        config_from_mapping({"name": "ebomlc-s", "noise_process": "known", "transition": [[0.5, 0.4], [0.0, 1.0]]})
    with pytest.raises(InputError, match="2 rows and there are 4 classes"):
        make_learner("ebomlc-s", Communicator(CPU), noise_process="known", transition=torch.eye(2).tolist())


def report_on_a_rank(communicator: Communicator, config: RunConfig, folder: Path) -> dict:
    return train(config, folder, quiet=True, runtime=runtime_of(communicator))["method_report"]


def test_what_follows_in_a_run_is_the_same_on_every_rank(two_ranks: RankPool, tmp_path: Path) -> None:
    config = tiny_config("ebomlc-s", data={"noisy_size": 512, "clean_size": 50}, train={"epochs": 3})
    method = config_from_mapping({"name": "ebomlc-s", "noise_process": "estimated"})
    config = config.model_copy(update={"method": method})
    first, second = two_ranks.run(report_on_a_rank, config, tmp_path / "run")
    assert first == second
    assert 0 < first["held_out_reliability"] < 1
    assert first["corrected_share"] + first["posterior_share"] > 0


def test_the_target_is_what_makes_held_out_labels_likeliest_and_the_label_itself_until_then() -> None:
    def shares(epoch: int) -> tuple[float, float]:
        learner = make_learner("ebomlc-s", Communicator(CPU), epoch=epoch, noise_process="counted")
        memory = learner.method.state
        return float(memory["settings"][3]), float(memory["posterior_share"])

    assert shares(0) == (0.0, 0.0)
    corrected, posterior = shares(1)
    assert corrected >= 0
    assert posterior >= 0
    assert 0 < corrected + posterior < 1


def test_the_main_models_posterior_joins_the_target_without_a_gradient() -> None:
    transition = torch.tensor([[0.6, 0.2, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.0, 0.1, 0.8, 0.1], [0.1, 0.1, 0.1, 0.7]])
    learner = make_learner(
        "ebomlc-s", Communicator(CPU), noise_process="known", transition=transition.double().tolist()
    )
    method = learner.method
    method.state["settings"][3], method.state["posterior_share"] = 0.25, torch.tensor(0.5).double()
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    answers = torch.full((1, 4), 0.25, dtype=torch.float64)
    found = method.objectives.soft_labels(answers, logits, torch.tensor([1]))
    product = logits.detach()[0].softmax(dim=0) * transition.double()[:, 1]
    expected = 0.25 * 0.25 + 0.5 * product / product.sum() + 0.25 * torch.tensor([0.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(found[0], expected)
    assert not found.requires_grad
    # A given label that no class has, as T says, is met nevertheless.
    method.state["transition"][:, 1] = 0.0
    assert bool(method.objectives.soft_labels(answers, logits, torch.tensor([1])).isfinite().all())


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize(("wrong", "estimate", "refused"), [(0, 0.45, True), (4, 0.05, False), (4, 0.2, False)])
def test_pairs_that_are_cleaner_than_the_estimate_allows_give_way_to_it(
    wrong: int, estimate: float, refused: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Confirmed images are no sample. Images that look worse than the estimate may be one."""
    pairs = torch.eye(4, dtype=torch.int64) * 6
    pairs[0, :2] = torch.tensor([6 - wrong, wrong])
    monkeypatch.setattr("ebomlc_dist.testing.problem.NUM_CLEAN", int(pairs.sum()))
    found = NoisePosterior(uniform_matrix(4, estimate), estimate, (estimate - 0.05, estimate + 0.05), estimate - 0.05)
    monkeypatch.setattr(ebomlc_s_measurement, "noise_posterior", lambda *_: found)
    learner = make_learner("ebomlc-s", Communicator(CPU), epoch=1, old_labels=pairs)
    method = learner.method
    assert method.report()["noise_process"] == ("estimated" if refused else "counted")
    expected = found.transition if refused else transition_by_counts(pairs)
    torch.testing.assert_close(method.state["transition"], expected)
    assert ("no random sample" in caplog.text) == refused
    # The choice survives a resume: it is part of what a checkpoint holds.
    assert bool(method.state["pairs_refused"]) == refused


def test_a_model_at_chance_is_not_asked_for_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> torch.Tensor:
        learner = make_learner("ebomlc-s", Communicator(CPU), epoch=1, noise_process="estimated")
        return learner.method.state["transition"]

    blind = found()
    assert float(blind.diagonal().mean()) == 0.5
    monkeypatch.setattr(ebomlc_s_measurement, "above_chance", lambda _: True)
    assert not torch.equal(found(), blind)


@pytest.mark.usefixtures("sure")
def test_pairs_of_very_many_classes_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The posterior's work grows with the cube of the classes."""
    pairs = torch.eye(4, dtype=torch.int64) * (NUM_CLEAN // 4)
    pairs[0, 0] += NUM_CLEAN - int(pairs.sum())
    asked: list[None] = []
    found = NoisePosterior(uniform_matrix(4, 0.1), 0.1, (0.0, 0.9), 0.0)
    monkeypatch.setattr(ebomlc_s_measurement, "noise_posterior", lambda *_: asked.append(None) or found)
    make_learner("ebomlc-s", Communicator(CPU), epoch=1, old_labels=pairs)
    assert asked
    asked.clear()
    monkeypatch.setattr(ebomlc_s_measurement, "MOST_CLASSES", 3)
    make_learner("ebomlc-s", Communicator(CPU), epoch=1, old_labels=pairs)
    assert not asked


def test_a_share_that_does_not_follow_stays_where_it_was_set() -> None:
    chosen = {"followed": ["mixture"], "corrected_share": 0.3}
    learner = make_learner("ebomlc-s", Communicator(CPU), epoch=1, noise_process="counted", **chosen)
    memory = learner.method.state
    assert (float(memory["settings"][3]), float(memory["posterior_share"])) == (0.3, 0.0)


@pytest.mark.usefixtures("sure")
def test_an_estimate_below_the_interval_of_the_one_before_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that memorises labels finds ever fewer of them wrong."""
    learner = make_learner("ebomlc-s", Communicator(CPU), epoch=0, noise_process="estimated")
    interlude, rates = WholeDatasetReducer(learner.networks), []
    for epoch, (rate, low) in {1: (0.4, 0.3), 2: (0.35, 0.33), 4: (0.2, 0.15)}.items():
        found = NoisePosterior(uniform_matrix(4, rate), rate, (0.0, 1.0), low)
        monkeypatch.setattr(ebomlc_s_measurement, "noise_posterior", lambda *_, found=found: found)
        learner.method.enter_epoch(epoch, 8)
        learner.method.begin_epoch(learner.networks, interlude)
        rates.append(round(float(1 - learner.method.state["transition"].diagonal().mean()), 6))
    assert rates == [0.4, 0.35, 0.35]


CASES = {
    "estimated": {"noise_process": "estimated"},
    "reliability": {"noise_process": "observed", "settings": "corrected"},
    "copy": {},
}


@pytest.fixture(scope="module")
def on_digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Summaries of 25 epochs on the digits with 40 % uniform noise; ``copy`` is EBOMLC as printed."""
    found = {}
    for name, settings in CASES.items():
        changes = {"data": {"noisy_size": None, "clean_size": 100}, "optim": {"meta_lr": 1e-3}}
        config = tiny_config("ebomlc", train={"epochs": 25, "global_noisy_batch_size": 100}, **changes)
        method = config_from_mapping({"name": "ebomlc" if name == "copy" else "ebomlc-s", **settings})
        config = config.model_copy(update={"method": method})
        found[name] = train(config, tmp_path_factory.mktemp(name) / "run", quiet=True, runtime=alone())
    return found


@pytest.mark.parametrize("name", ["estimated", "reliability"])
def test_the_corrector_learns_to_correct_digits_where_ebomlcs_learns_to_copy(
    on_digits: dict[str, dict], name: str
) -> None:
    """Most wrong labels are corrected and most right ones kept; EBOMLC corrects none."""
    assert on_digits[name]["wrong_labels_corrected"] > 50
    assert on_digits[name]["right_labels_kept"] > 80
    assert on_digits["copy"]["wrong_labels_corrected"] < 5


def test_what_it_says_of_the_noise_and_of_itself_is_true(on_digits: dict[str, dict]) -> None:
    """40.6 % of the labels are wrong; the reliability is that of the noisy set, measured on 20 held-out images."""
    summary = on_digits["reliability"]
    report, wrong = summary["method_report"], summary["noise_rate_realised"]
    assert report["noise_rate"] == pytest.approx(0.406, abs=0.1)
    reliable = (wrong * summary["wrong_labels_corrected"] + (100 - wrong) * summary["right_labels_kept"]) / 100
    assert 100 * report["held_out_reliability"] == pytest.approx(reliable, abs=15)
    assert 0.5 < report["noisy_scale"] < 1
    assert on_digits["copy"]["method_report"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("a_class", [1, 2, 5])
def test_with_few_trusted_images_it_is_not_below_plain_cross_entropy(a_class: int, tmp_path: Path) -> None:
    """Digits, whole trainings, three seeds: its mean is at most one standard deviation of ``ce`` below ``ce``."""
    found: dict[str, list[float]] = {"ebomlc-s": [], "ce": []}
    for seed in range(3):
        for name, scores in found.items():
            data = {"noisy_size": None, "clean_size": 10 * a_class}
            train_for = {"epochs": 25, "global_noisy_batch_size": 100}
            config = tiny_config(name, data=data, train=train_for, seeds={"seed": seed})
            summary = train(config, tmp_path / f"{name}-{seed}", quiet=True, runtime=alone())
            scores.append(summary["accuracy_last"])
    plain = np.asarray(found["ce"])
    assert plain.min() > 80
    # Three scores may be equal by chance; each is a share of 355 test images, which has a deviation of its own.
    of_a_share = 100 * np.sqrt(plain.mean() / 100 * (1 - plain.mean() / 100) / 355)
    assert np.mean(found["ebomlc-s"]) >= plain.mean() - max(plain.std(ddof=1), of_a_share)
