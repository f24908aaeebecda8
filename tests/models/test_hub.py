"""Stored networks come back bit for bit, and tampered ones are refused before anything is built from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ebomlc_dist.errors import InputError
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.hub import load_model, save_model
from ebomlc_dist.models.label_corrector import LabelCorrector
from ebomlc_dist.models.state_tensors import load_state, state_tensors
from ebomlc_dist.numerics.flat import FlatNetwork

PREPROCESSING = {"mean": [0.3], "std": [0.25], "image_size": [8, 8], "max_side": None, "deep_low": 100, "deep_shift": 4}


def main_config(**changes: Any) -> dict[str, Any]:
    return {
        "model_type": "ebomlc-main",
        "format_version": 1,
        "name": "digits-cnn",
        "num_classes": 3,
        "in_channels": 1,
        "norm": "batch",
        "widths": None,
        "preprocessing": PREPROCESSING,
        "class_names": ["a", "b", "c"],
    } | changes


def trained(name: str = "digits-cnn", norm: str = "batch", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = build_main_model(name, num_classes=3, in_channels=1, norm=norm)
    model(torch.randn(4, 1, 32, 32))  # moves the running statistics
    return model


def equal(first: nn.Module, second: nn.Module) -> bool:
    left, right = first.state_dict(), second.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("digits-cnn", "batch"),
        ("resnet8", "group"),
        ("resnet8", "sync"),
        ("torchvision/squeezenet1_1", "batch"),
        ("torchvision/regnet_x_400mf", "batch"),
    ],
)
def test_round_trip_of_a_main_model(tmp_path: Path, name: str, norm: str) -> None:
    model = trained(name, norm)
    save_model(tmp_path / "run" / "model", model, main_config(name=name, norm=norm), "# card\n")
    random_state = torch.get_rng_state()
    loaded, config = load_model(tmp_path / "run" / "model")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert config == main_config(name=name, norm=norm, dtype="float32")
    assert equal(loaded, model)
    assert not equal(loaded, trained(name, norm, seed=1))
    assert not loaded.training
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(loaded(images)[0], model.eval()(images)[0])
    assert sorted(p.name for p in (tmp_path / "run" / "model").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert (tmp_path / "run" / "model" / "README.md").read_text() == "# card\n"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_of_a_label_corrector(tmp_path: Path, dtype: torch.dtype) -> None:
    fields = {
        "num_classes": 3,
        "feature_dim": 64,
        "embedding_dim": 5,
        "hidden_dim": 6,
        "dropout": 0.3,
        "batch_norm": True,
    }
    model = LabelCorrector(**fields).to(dtype)  # type: ignore[arg-type]
    save_model(tmp_path, model, {"model_type": "ebomlc-label-corrector", **fields}, "")
    loaded, config = load_model(tmp_path)
    assert config["dtype"] == str(dtype).removeprefix("torch.")
    assert {name: config[name] for name in fields} == fields
    assert equal(loaded, model)


def test_channels_last_and_views_of_one_vector_are_stored(tmp_path: Path) -> None:
    model = trained()
    expected = state_tensors(model)
    model.to(memory_format=torch.channels_last)
    assert not model.body[3].weight.is_contiguous()
    save_model(tmp_path / "channels_last", model, main_config(), "")
    FlatNetwork(model)
    save_model(tmp_path / "flat", model, main_config(), "")
    for name in ("channels_last", "flat"):
        loaded, _ = load_model(tmp_path / name)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.state_dict().items())


def test_loading_into_views_moves_the_vector() -> None:
    source, target = trained(), trained(seed=1)
    flat = FlatNetwork(target)
    load_state(target, state_tensors(source), "test")
    assert torch.equal(flat.vector, FlatNetwork(source).vector)
    assert equal(source, target)


@pytest.fixture
def no_memory_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that will be refused gets no memory: its size is a stranger's word."""

    def refuse(module: nn.Module, **_: object) -> nn.Module:
        raise AssertionError(f"memory was given to {type(module).__name__}")

    monkeypatch.setattr(nn.Module, "to_empty", refuse)


def stored(folder: Path) -> Path:
    save_model(folder, trained(), main_config(), "")
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "digits-cn"}, "unknown model 'digits-cn'"),
        ({"name": "resnet8"}, "does not fit the model: .* is missing"),
        ({"norm": "layer"}, "unknown norm"),
        ({"norm": "group"}, r"'body.1.running_mean' is unknown"),
        ({"num_classes": 4}, "3 class_names for num_classes 4"),
        ({"num_classes": 700_000, "class_names": ["x"] * 700_000}, r"'head.weight' is float32\[3, 64\] instead of"),
        ({"num_classes": 10**12}, "num_classes: Input should be less than"),
        ({"in_channels": 2}, "one number for each of 2 channels"),
        ({"preprocessing": PREPROCESSING | {"std": [0.0]}}, "preprocessing.std.0: Input should be greater than 0"),
        ({"preprocessing": PREPROCESSING | {"image_size": [8]}}, "preprocessing.image_size"),
        ({"dtype": "float64"}, r"is float32\[16, 1, 3, 3\] instead of float64"),
        ({"dtype": "int64"}, "dtype: Input should be"),
        ({"format_version": 2}, "format_version: Input should be 1"),
        ({"auto_map": "code.py"}, "auto_map: Extra inputs are not permitted"),
        ({"model_type": "bert"}, "'ebomlc-main', 'ebomlc-label-corrector'"),
    ],
)
@pytest.mark.usefixtures("no_memory_for_a_model")
def test_tampered_configuration_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = stored(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="does not describe a model"):
        load_model(tmp_path)
    folder = stored(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors does not exist"):
        load_model(folder)


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("head", "tail"): tensor for name, tensor in tensors.items()}


def reshaped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"head.bias": torch.zeros(4)}


def widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"head.bias": tensors["head.bias"].double()}


def joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {f"extra\n{i}": torch.zeros(1) for i in range(9)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "'head.weight' is missing; 'head.bias' is missing; 'tail.bias' is unknown"),
        (reshaped, r"'head.bias' is float32\[4\] instead of float32\[3\]"),
        (widened, r"'head.bias' is float64\[3\] instead of float32\[3\]"),
        (joined, r"'extra\\n0' is unknown; .*; and 4 more"),
    ],
)
@pytest.mark.usefixtures("no_memory_for_a_model")
def test_tampered_weights_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    path = stored(tmp_path) / "model.safetensors"
    path.write_bytes(safetensors.torch.save(change(safetensors.torch.load(path.read_bytes()))))
    with pytest.raises(InputError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04K\x01.", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"], ids=repr
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (stored(tmp_path) / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_model(tmp_path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path) / "model.safetensors"
    data = path.read_bytes()
    for length in (4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="not a readable safetensors file"):
            load_model(tmp_path)


def test_a_model_that_is_not_the_configurations_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the network does not fit the model"):
        save_model(tmp_path / "model", trained("resnet8"), main_config(), "")
    assert not (tmp_path / "model").exists()


def test_a_misfit_leaves_the_module_untouched() -> None:
    model = trained()
    before = state_tensors(model)
    with pytest.raises(InputError):
        load_state(model, state_tensors(trained(seed=1)) | {"head.bias": torch.zeros(9)}, "test")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
