"""The contract of every main model, and the registry's manners."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ebomlc_dist.errors import InputError
from ebomlc_dist.models import MODELS, build_main_model
from ebomlc_dist.models.main_model import MainModel
from ebomlc_dist.models.meta_device import check_inputs, on_meta_device
from tests.models.rows import ROWS, num_parameters

if set(ROWS) != set(MODELS):
    raise AssertionError(f"tests/models/rows.py and MODELS differ in {sorted(set(ROWS) ^ set(MODELS))}")

NAMES = sorted(ROWS)


def built(name: str, seed: int = 0, norm: str = "batch") -> MainModel:
    torch.manual_seed(seed)
    return build_main_model(name, num_classes=10, in_channels=ROWS[name].images[0], norm=norm)


@pytest.mark.parametrize("name", NAMES)
def test_size(name: str) -> None:
    row, model = ROWS[name], built(name)
    assert num_parameters(model) == row.parameters
    assert row.published is None or round(row.parameters / 1e6, 2) == row.published
    assert model.feature_dim == row.feature_dim


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", ["digits-cnn", "fast-cnn", "linear", "mlp", "resnet8"])
def test_logits_are_the_head_on_the_features_and_every_parameter_learns(name: str, norm: str) -> None:
    model = built(name, norm=norm)
    logits, features = model(torch.randn(3, *ROWS[name].images))
    assert torch.equal(logits, nn.functional.linear(features, model.head.weight, model.head.bias))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_pass_asks_no_value(name: str) -> None:
    # Meta tensors have no values: a pass that works on them can be captured.
    with torch.device("meta"):
        model = built(name)
        logits, features = model(torch.randn(5, *ROWS[name].images))
        logits.sum().backward()
    assert logits.shape == (5, 10)
    assert features.shape == (5, ROWS[name].feature_dim)


def test_a_training_pass_that_asks_a_value_is_found() -> None:
    with torch.device("meta"):
        model = built("digits-cnn")
        norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
        norm.momentum, norm.num_batches_tracked = None, torch.tensor(0)
        with pytest.raises(RuntimeError, match="meta"):
            model(torch.randn(5, *ROWS["digits-cnn"].images))


@pytest.mark.parametrize("name", ["digits-cnn", "resnet8", "torchvision/squeezenet1_1"])
def test_initialisation_is_a_function_of_the_seed(name: str) -> None:
    def parameters(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = build_main_model(name, num_classes=10, in_channels=1, norm="batch")
        return nn.utils.parameters_to_vector(model.parameters())

    first = parameters(3)
    assert torch.equal(first, parameters(3))
    assert not torch.equal(first, parameters(4))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reznet32", r"unknown model 'reznet32' \(did you mean 'resnet32'\?\); known: digits-cnn, fast-cnn"),
        ("resnet50", r"did you mean 'torchvision/resnet50'\?"),
        ("torchvision/resnet51", r"has no model 'resnet51' \(did you mean 'resnet50'\?\)"),
        ("torchvision/fcn_resnet50", "'fcn_resnet50' is a model for segmentation, not an image classifier"),
        ("torchvision/raft_small", "'raft_small' is a model for optical flow, not an image classifier"),
        ("torchvision/../resnet18", "has no model '../resnet18'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_main_model(name, num_classes=10, in_channels=3, norm="batch")
    assert "\n" not in str(caught.value)


@pytest.mark.process
def test_the_table_needs_no_torch() -> None:
    code = "import sys; from ebomlc_dist.models import MODELS; assert MODELS; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_image_sizes_are_checked_without_a_trace() -> None:
    model = built("resnet8").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    check_inputs(model, "resnet8", (3, 32, 32))
    with pytest.raises(InputError, match=r"model 'resnet8' does not take images of 1×32×32: .*--image-size"):
        check_inputs(model, "resnet8", (1, 32, 32))
    assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["resnet8", "torchvision/regnet_x_400mf"])
def test_an_outline_has_shapes_but_neither_memory_nor_chance(name: str) -> None:
    def build() -> MainModel:
        return build_main_model(name, num_classes=10, in_channels=3, norm="batch")

    random_state = torch.get_rng_state()
    drawn = on_meta_device(build)
    assert torch.equal(torch.get_rng_state(), random_state)
    tensors, real = drawn.state_dict(), build().state_dict()
    assert {key: tensor.shape for key, tensor in tensors.items()} == {key: t.shape for key, t in real.items()}
    assert all(tensor.is_meta for tensor in tensors.values())
    check_inputs(drawn, name, (3, 32, 32))
