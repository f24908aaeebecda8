"""The numbers of a method's golden file: five steps in float64, seen through a few projections of every vector."""

import json
from pathlib import Path

import torch

from ebomlc_dist.methods.contract import Reducer
from ebomlc_dist.testing.problem import make_learner, run_steps
from tests.methods.rows import CASES
from tests.support.vectors import in_order

STEPS = 5
FOLDER = Path(__file__).parent
Values = dict[str, dict[str, list[float]]]


def values_of(method: str, reducer: Reducer, rank: int = 0, world_size: int = 1) -> Values:
    """Variant → name of a vector or metric → its numbers. Without batch statistics: the same at every world size."""
    found = {}
    for name, settings in CASES:
        if name != method:
            continue
        learner = make_learner(method, reducer, batch_norm=False, **settings)
        outcome = run_steps(learner, STEPS, rank, world_size)[-1]
        numbers = {f"metric {name}": [float(value)] for name, value in outcome.metrics.items()}
        for name, tensor in learner.state().items():
            network = learner.networks.get(name.split(".")[0])
            if network is not None and tensor.shape == network.vector.shape and not name.endswith(".statistics"):
                tensor = in_order(network, tensor)
            if tensor.is_floating_point() and tensor.numel():
                numbers[name] = _projections(tensor.double().flatten())
        found[json.dumps(settings)] = numbers
    return found


def _projections(vector: torch.Tensor) -> list[float]:
    """Norm, first and last number, and products with three fixed directions."""
    generator = torch.Generator().manual_seed(len(vector))
    directions = torch.randn(3, len(vector), generator=generator, dtype=torch.float64)
    return [float(vector.norm()), float(vector[0]), float(vector[-1]), *(directions @ vector).tolist()]
