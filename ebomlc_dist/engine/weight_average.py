"""A moving average of a network's weights, by which the run predicts (Tarvainen & Valpola 2017).

    ā ← d·ā + (1 − d)·a after each step that is not skipped,  d = min(decay, (1 + t) / (10 + t)) at its t-th step

Early weights are forgotten quickly, so that a short run has an average of its own. Running statistics are averaged
alike. Training itself never sees the average.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ebomlc_dist.numerics.network import Network


class WeightAverage:
    """The average of one network.

    Attributes:
        vector: (P,) of the parameters, or of this rank's part of them.
        statistics: (B,) of the running statistics, this rank's own.
        steps: 0-dim float32, t.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._network = network
        self._decay = decay
        self.vector = network.vector.detach().clone()
        self.statistics = network.statistics.clone()
        self.steps = torch.zeros((), device=self.vector.device)

    def update(self, skipped: Tensor) -> None:
        """Take the network's present weights in, unless ``skipped`` (0-dim bool). No host sync."""
        taken = (~skipped).float()
        weight = taken * (1 - torch.clamp((1 + self.steps) / (10 + self.steps), max=self._decay))
        self.vector.lerp_(self._network.vector.detach(), weight)
        self.statistics.lerp_(self._network.statistics, weight)
        self.steps += taken

    def restart(self) -> None:
        """Begin anew from the network as it is."""
        self.vector.copy_(self._network.vector.detach())
        self.statistics.copy_(self._network.statistics)
        self.steps.zero_()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the network has the averaged weights; its own come back at the end, bit for bit."""
        network = self._network
        own = network.vector.detach().clone(), network.statistics.clone()
        self._put(self.vector, self.statistics)
        try:
            yield
        finally:
            self._put(*own)

    def _put(self, vector: Tensor, statistics: Tensor) -> None:
        with torch.no_grad():
            self._network.vector.copy_(vector)
            self._network.statistics.copy_(statistics)
