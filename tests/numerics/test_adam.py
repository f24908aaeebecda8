"""Adam's rule against what torch's fused Adam really does."""

import pytest
import torch

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.engine.optimizers import make_meta_optimizer
from ebomlc_dist.numerics.flat import FlatNetwork


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_rule_says_where_the_optimiser_goes(amsgrad: bool, weight_decay: float) -> None:
    torch.manual_seed(0)
    network = FlatNetwork(torch.nn.Linear(5, 3).double())
    config = OptimConfig(meta_lr=0.05, meta_weight_decay=weight_decay, meta_amsgrad=amsgrad)
    optimizer = make_meta_optimizer(network, config, 10)
    for step in range(6):
        # A large gradient first, so that AMSGrad's maximum matters later.
        gradient = torch.randn_like(network.vector) * (10.0 if step == 0 else 1.0)
        point = network.vector.detach().clone()
        expected = point - optimizer.rule().step(gradient, point)
        again = optimizer.rule().step(gradient, point)
        optimizer.apply(gradient, torch.zeros(()))
        torch.testing.assert_close(network.vector.detach(), expected, rtol=1e-6, atol=1e-9)
        assert torch.equal(point - again, expected)
        assert not torch.allclose(network.vector.detach(), point - 0.05 * gradient, rtol=1e-3)


def test_amsgrad_is_another_rule() -> None:
    found = []
    for amsgrad in (False, True):
        torch.manual_seed(0)
        network = FlatNetwork(torch.nn.Linear(5, 3).double())
        optimizer = make_meta_optimizer(network, OptimConfig(meta_amsgrad=amsgrad), 10)
        for scale in (100.0, 0.1, 0.1, 0.1):
            optimizer.apply(torch.full_like(network.vector, scale), torch.zeros(()))
        found.append(network.vector.detach().clone())
    assert not torch.equal(*found)
