"""The loop: batches in, steps out, figures at intervals, evaluation and a checkpoint at each epoch's end."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.cuda_graph import make_program
from ebomlc_dist.engine.epochs import begin_epoch, resume_epoch
from ebomlc_dist.engine.evaluate import (
    evaluate_clean_set,
    evaluate_test_set,
    evaluate_validation_set,
    share_statistics,
)
from ebomlc_dist.engine.replicas import check_replicas
from ebomlc_dist.engine.scores import epoch_scores
from ebomlc_dist.engine.state import capture, restore
from ebomlc_dist.engine.step import StepOutcome
from ebomlc_dist.engine.stop import AgreedFlag, StopRequests
from ebomlc_dist.errors import TrainingFault
from ebomlc_dist.files.checkpoints import Checkpoint
from ebomlc_dist.methods.contract import Batch
from ebomlc_dist.monitoring.goodput import Stopwatch
from ebomlc_dist.monitoring.meters import LabelMeter, StepMeter, label_figures
from ebomlc_dist.monitoring.record import RunRecord, SilentRecord


@dataclass
class Progress:
    """Where a run stands, as plain values; stored with every checkpoint.

    Attributes:
        step: steps done.
        train_seconds: time spent in steps, evaluation and checkpoints left out.
        accuracies: test accuracy after each finished epoch, in per cent; empty without a test set.
        skipped: steps skipped because they were not finite.
        validations: accuracy on the validation images after each finished epoch, in per cent; empty without any.
    """

    step: int = 0
    train_seconds: float = 0.0
    accuracies: list[float] = field(default_factory=list)
    skipped: int = 0
    validations: list[float] = field(default_factory=list)


class Trainer:
    """Runs a `Training` from where it stands to its end, or to an agreed stop."""

    def __init__(self, training: Training, record: RunRecord | SilentRecord, watch: Stopwatch) -> None:
        self.training = training
        self.record = record
        self.progress = Progress()
        self._program = make_program(training)
        device = training.runtime.device
        self.step_meter: StepMeter | None = None
        self.label_meter: LabelMeter | None = None
        if training.dataset.true_labels is not None and training.method.streams.noisy_labels == "noisy":
            self.label_meter = LabelMeter(device, training.dataset.num_classes)
            self._truth = training.dataset.true_labels.to(device)
        self._stored_meter: Mapping[str, Tensor] | None = None
        self._watch = watch
        self._earlier_seconds = 0.0
        self._interval_began = (0, 0.0)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a verified checkpoint, from the middle of an epoch too."""
        progress = Progress(**checkpoint.document("progress"))
        groups = {name: checkpoint.tensors(name) for name in checkpoint.groups}
        steps_per_epoch, epochs = self.training.loader.steps_per_epoch, self.training.config.train.epochs
        # The schedule begins anew with every stage.
        steps = progress.step % (steps_per_epoch * epochs)
        restore(self.training, groups, {"epoch": steps // steps_per_epoch, "step": steps}, self.label_meter)
        self._stored_meter = groups.get("engine")
        self.progress = progress
        self._earlier_seconds = progress.train_seconds
        self._interval_began = (progress.step, progress.train_seconds)

    def steps(self, requests: StopRequests) -> Generator[None, None, bool]:
        """Train, a step at a time. True when finished, False when stopped on request, with a checkpoint either way."""
        training, progress = self.training, self.progress
        communicator = training.runtime.communicator
        agreed = AgreedFlag(training.runtime.device)
        steps_per_epoch, total = training.loader.steps_per_epoch, training.total_steps
        checkpoint_steps = training.config.train.checkpoint_steps
        check_steps = training.config.train.replica_check_steps
        # Until its first step is done, ranks wait for each other's compilers: the limit of a start holds.
        training.runtime.wait_counter.step = None
        self._watch.switch("step")
        if progress.step % steps_per_epoch:
            resume_epoch(training, progress.step // steps_per_epoch)
        while progress.step < total:
            if progress.step % steps_per_epoch == 0:
                begin_epoch(training, progress.step // steps_per_epoch)
            if requests.asked():
                communicator.ask_to_stop()
            self._step(progress.step)
            progress.step += 1
            for optimizer in training.optimizers.values():
                optimizer.end("step")
            training.runtime.wait_counter.step = progress.step
            with communicator.waiting():
                stop = agreed.read(communicator.stop_asked)
            epoch_ends = progress.step % steps_per_epoch == 0
            if epoch_ends or progress.step % training.config.train.log_interval == 0:
                self._log_interval()
            if epoch_ends:
                with self._watch.within("evaluation"):
                    best = self._end_epoch()
                self._save(best=best)
            elif stop or (checkpoint_steps is not None and progress.step % checkpoint_steps == 0):
                self._save()
            elif check_steps and progress.step % check_steps == 0:
                training.runtime.synchronise()
                check_replicas(training, progress.step)
            self.record.step(progress.step)
            if stop and progress.step < total:
                return False
            yield
        return True

    def close(self) -> None:
        """Let go of what a recorded step holds; see `Program.close`."""
        self._program.close()

    def _step(self, step: int) -> None:
        batch, outcome = self._program(step)
        if self.step_meter is None:
            self.step_meter = self._make_meter(outcome)
        self.step_meter.add(outcome.metrics, outcome.maxima, outcome.skipped)
        if self.label_meter is not None and outcome.corrected is not None and batch.noisy.count:
            self._count_labels(self.label_meter, batch.noisy, outcome, outcome.corrected)

    def _count_labels(self, meter: LabelMeter, noisy: Batch, outcome: StepOutcome, corrected: Tensor) -> None:
        assert noisy.positions is not None
        keep, positions = ~outcome.skipped, noisy.positions
        if noisy.trusted is not None:
            keep, positions = keep & ~noisy.trusted, positions.where(~noisy.trusted, 0)
        meter.add(corrected, noisy.labels, self._truth[positions], keep=keep)

    def _make_meter(self, outcome: StepOutcome) -> StepMeter:
        meter = StepMeter(self.training.runtime.device, sorted(outcome.metrics), sorted(outcome.maxima))
        if self._stored_meter is not None and "meter_totals" in self._stored_meter:
            meter.totals.copy_(self._stored_meter["meter_totals"])
            meter.maxima.copy_(self._stored_meter["meter_maxima"])
        return meter

    def _log_interval(self) -> None:
        assert self.step_meter is not None
        # Reading waits for the device as well, but where nobody watches.
        self.training.runtime.synchronise()
        means, skipped, longest = self.step_meter.read()
        self.step_meter.reset()
        progress, training = self.progress, self.training
        progress.skipped += skipped
        first_step, first_second = self._interval_began
        self._interval_began = (progress.step, self._train_seconds())
        steps, seconds = progress.step - first_step, max(self._interval_began[1] - first_second, 1e-9)
        rates = {f"train/{name}_lr": float(optimizer.rate) for name, optimizer in training.optimizers.items()}
        images = steps * training.config.train.global_noisy_batch_size
        self.record.metrics(
            progress.step,
            self._epoch(),
            {f"train/{name}": value for name, value in means.items()} | rates | {"train/skipped_steps": skipped},
            {"perf/images_per_second": images / seconds, "perf/step_ms": 1000.0 * seconds / max(steps, 1)},
        )
        if longest >= training.config.train.max_skipped_in_a_row:
            raise TrainingFault(
                f"{longest} steps in a row were not finite (seen at step {progress.step}); the last checkpoint is "
                "kept. A smaller optim.main_lr or precision 'no' usually helps"
            )

    def _end_epoch(self) -> bool:
        """Evaluate; whether the epoch is the best so far of its stage, on validation images or else on the test set."""
        training, progress = self.training, self.progress
        for optimizer in training.optimizers.values():
            optimizer.end("epoch")
        share_statistics(training)
        figures: dict[str, Any] = {f"eval/{name}": value for name, value in evaluate_test_set(training).items()}
        figures |= {f"eval/clean_{name}": value for name, value in evaluate_clean_set(training).items()}
        validation = evaluate_validation_set(training, self._epoch() - 1)
        figures |= {f"eval/validation_{name}": value for name, value in validation.items()}
        if self.step_meter is not None:
            figures |= {f"step/{name}": value for name, value in self.step_meter.latest().items()}
        if self.label_meter is not None:
            counts = training.runtime.communicator.sum(self.label_meter.counts.clone())
            if int(counts[-4:].sum()):
                labels = label_figures(counts, training.dataset.num_classes)
                figures |= {f"label/{name}": value for name, value in labels.items()}
            self.label_meter.reset()
        best = False
        # The last one that is there decides.
        for key, history in (("accuracy", progress.accuracies), ("validation_accuracy", progress.validations)):
            if f"eval/{key}" in figures:
                stage = len(history) // training.config.train.epochs * training.config.train.epochs
                best = figures[f"eval/{key}"] > max(history[stage:], default=-math.inf)
                history.append(figures[f"eval/{key}"])
        self.record.metrics(progress.step, self._epoch(), figures, {})
        if training.config.train.epoch_scores:
            self.record.epoch_scores(self._epoch(), epoch_scores(training))
        return best

    def _save(self, best: bool = False) -> None:
        with self._watch.within("checkpoint"):
            if self.training.config.train.replica_check_steps:
                # So that no checkpoint holds what one rank alone believes.
                check_replicas(self.training, self.progress.step)
            self.progress.train_seconds = self._train_seconds()
            groups = capture(self.training, self.step_meter, self.label_meter)
            self.record.checkpoint(self.progress.step, groups, vars(self.progress), best=best)

    def _epoch(self) -> int:
        """Return epochs begun, from 1."""
        return -(-self.progress.step // self.training.loader.steps_per_epoch)

    def _train_seconds(self) -> float:
        """In steps, over all attempts."""
        return self._earlier_seconds + self._watch.read("step")
