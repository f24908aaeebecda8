"""The meta model."""

import pytest
import torch
from torch import nn

from ebomlc_dist.models.label_corrector import LabelCorrector, ReleasedCorrector


def built(seed: int = 0, **options: float | bool | int) -> LabelCorrector:
    torch.manual_seed(seed)
    return LabelCorrector(10, 64, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_network_of_the_paper(dtype: torch.dtype) -> None:
    model = built().to(dtype)
    features, labels = torch.randn(5, 64, dtype=dtype), torch.tensor([0, 3, 9, 3, 1])
    first, second, last = (m for m in model.layers if isinstance(m, nn.Linear))
    expected = last(torch.tanh(second(torch.tanh(first(torch.cat([model.embedding.weight[labels], features], 1))))))
    logits = model(features, labels)
    assert logits.dtype == dtype
    assert torch.equal(logits, expected)
    assert model.feature_dim == 64
    assert first.weight.shape == (128, 128 + 64)
    assert sum(p.numel() for p in model.parameters()) == 10 * 128 + (192 * 128 + 128) + (128 * 128 + 128) + 1290


def test_label_and_features_both_count() -> None:
    model, features = built(), torch.randn(3, 64)
    labels = torch.tensor([1, 2, 3])
    assert not torch.allclose(model(features, labels), model(features, labels.flip(0)))
    assert not torch.allclose(model(features, labels), model(features + 1, labels))


def test_starts_from_xavier_and_zero_biases() -> None:
    model = built()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            bound = (6 / sum(module.weight.shape)) ** 0.5
            assert 0.98 * bound < module.weight.abs().max() <= bound
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
    assert torch.equal(model.embedding.weight, built().embedding.weight)
    assert not torch.equal(model.embedding.weight, built(seed=1).embedding.weight)


def test_widths() -> None:
    model = built(embedding_dim=5, hidden_dim=7)
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [(10, 5), (7, 69), (7, 7), (10, 7)]


def test_dropout_acts_in_training_alone() -> None:
    features, labels = torch.randn(64, 64), torch.arange(64) % 10
    plain, model = built().eval(), built(dropout=0.3)
    assert not torch.equal(model(features, labels), model(features, labels))
    assert torch.equal(model.eval()(features, labels), plain(features, labels))


def test_batch_norm_normalises_before_each_tanh() -> None:
    model = built(batch_norm=True)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    inputs: list[torch.Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.Tanh):
            module.register_forward_hook(lambda _module, given, _output: inputs.append(given[0]))
    model(3 + torch.randn(64, 64), torch.arange(64) % 10)
    assert [norm.num_batches_tracked for norm in norms] == [None, None]
    assert len(inputs) == 2
    for given in inputs:
        assert given.mean(0).abs().max() < 1e-5
        assert (given.std(0, correction=0) - 1).abs().max() < 1e-2


def test_the_released_one_starts_from_normal_weights_and_sees_features_first() -> None:
    torch.manual_seed(0)
    model = ReleasedCorrector(200, 64)
    assert [type(layer) for layer in model.layers] == [
        *(nn.Linear, nn.Tanh, nn.Dropout, nn.Linear, nn.Tanh, nn.BatchNorm1d, nn.Linear)
    ]
    assert float(model.embedding.weight.detach().std()) == pytest.approx(1.0, abs=0.02)
    for layer in (m for m in model.layers if isinstance(m, nn.Linear)):
        deviation = (2 / sum(layer.weight.shape)) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.05)
        assert float(layer.weight.detach().abs().max()) > 3 * deviation, "a uniform start ends at 1.73 deviations"
        assert not layer.bias.any()
    model.eval()
    features, labels = torch.randn(5, 64), torch.arange(5)
    expected = model.layers(torch.cat([features, model.embedding(labels)], dim=1))
    assert torch.equal(model(features, labels), expected)
