"""Figures gathered on the device during training, read by the host once an interval."""

from collections.abc import Mapping

import torch
from torch import Tensor


class StepMeter:
    """Means and maxima of step metrics over the steps that were not skipped, and the count of those that were.

    Everything is one tensor, so that adding a step launches a handful of kernels and a checkpoint holds one entry.
    """

    def __init__(self, device: torch.device, names: list[str], max_names: list[str]) -> None:
        self.names = names
        self.max_names = max_names
        # sums | steps | skipped | skipped in a row | longest such row, since the run's start for the last two
        self.totals = torch.zeros(len(names) + 4, dtype=torch.float64, device=device)
        self.maxima = torch.full((len(max_names),), -torch.inf, dtype=torch.float64, device=device)
        self._latest = torch.full((len(names),), torch.nan, dtype=torch.float64, device=device)

    def add(self, metrics: Mapping[str, Tensor], maxima: Mapping[str, Tensor], skipped: Tensor) -> None:
        """Add one step's 0-dim values."""
        values = torch.stack([metrics[name].double() for name in self.names])
        n = len(self.names)
        self.totals[:n] += torch.where(skipped, 0.0, values)
        self._latest = torch.where(skipped, self._latest, values)
        self.totals[n] += ~skipped
        self.totals[n + 1] += skipped
        self.totals[n + 2] = torch.where(skipped, self.totals[n + 2] + 1, 0.0)
        self.totals[n + 3] = torch.maximum(self.totals[n + 3], self.totals[n + 2])
        if self.max_names:
            new = torch.stack([maxima[name].double() for name in self.max_names])
            self.maxima = torch.maximum(self.maxima, torch.where(skipped, -torch.inf, new))

    def read(self) -> tuple[dict[str, float], int, int]:
        """Return means and ``<name>_max`` since the last `reset`, steps skipped since, longest row of skips."""
        totals, maxima = self.totals.tolist(), self.maxima.tolist()
        *sums, steps, skipped, _, longest = totals
        means = {name: value / steps if steps else float("nan") for name, value in zip(self.names, sums, strict=True)}
        means |= {f"{name}_max": value for name, value in zip(self.max_names, maxima, strict=True)}
        return means, int(skipped), int(longest)

    def latest(self) -> dict[str, float]:
        """Return the values of the latest step that was not skipped: of one step, so that they belong together."""
        return dict(zip(self.names, self._latest.tolist(), strict=True))

    def reset(self) -> None:
        """Begin a new interval. The row of skips goes on."""
        self.totals[: len(self.names) + 2] = 0.0
        self.maxima.fill_(-torch.inf)


class LabelMeter:
    """How labels a method believes compare with the truth, where the truth is known. Integer counts on the device.

    The truth lives here and nowhere in a method's reach.
    """

    def __init__(self, device: torch.device, num_classes: int) -> None:
        self.num_classes = num_classes
        # correction matrix [true, believed] | wrong, wrong corrected, right, right kept
        self.counts = torch.zeros(num_classes**2 + 4, dtype=torch.int64, device=device)

    def add(self, believed: Tensor, given: Tensor, truth: Tensor, keep: Tensor | None = None) -> None:
        """Add samples: believed, given and true labels, each (n,) int64. ``keep``: which to add, 0-dim or (n,) bool."""
        weight = torch.ones_like(believed) if keep is None else keep.to(torch.int64).expand(len(believed))
        self.counts.index_add_(0, truth * self.num_classes + believed, weight)
        wrong, hit = given != truth, believed == truth
        tallies = torch.stack([wrong, wrong & hit, ~wrong, ~wrong & hit]) * weight
        self.counts[-4:] += tallies.sum(dim=1)

    def reset(self) -> None:
        """Forget all counts."""
        self.counts.zero_()


def label_figures(counts: Tensor, num_classes: int) -> dict[str, float | list[list[int]] | None]:
    """Return readable figures of (global) `LabelMeter` counts; shares in per cent, None where there is nothing to
    share.
    """
    wrong, corrected, right, kept = counts[-4:].tolist()
    return {
        "wrong_labels_corrected": 100.0 * corrected / wrong if wrong else None,
        "right_labels_kept": 100.0 * kept / right if right else None,
        "correction_matrix": counts[:-4].view(num_classes, num_classes).tolist(),
    }
