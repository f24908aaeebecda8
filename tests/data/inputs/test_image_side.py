"""The side of a folder's images where nobody says: their own, within what is usual for the model."""

from pathlib import Path

import pytest

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.inputs.image_side import side_for
from ebomlc_dist.models import MODELS, build_main_model, usual_sides
from ebomlc_dist.models.meta_device import check_inputs, on_meta_device
from ebomlc_dist.recipes import recipe
from tests.data.support import write_image


def folder(root: Path, *sizes: tuple[int, int]) -> DataConfig:
    for number, size in enumerate(sizes):
        for label, name in enumerate(("ant", "bee")):
            write_image(root / "train" / name / f"{number}.png", size, seed=10 * number + label)
    return DataConfig(dataset="folder", data_dir=root, image_size="auto")


@pytest.mark.parametrize(
    ("shorter", "model", "side"),
    [
        (8, "resnet32", 32),
        (28, "resnet32", 32),
        (48, "resnet32", 48),
        (256, "resnet32", 64),
        (8, "digits-cnn", 8),
        (256, "torchvision/resnet50", 224),
        (100, "torchvision/resnet50", 100),
        (100, "torchvision/vit_b_16", 224),
        (500, "torchvision/vit_b_16", 224),
        (20, "torchvision/inception_v3", 75),
    ],
)
def test_side_by_images_and_model(shorter: int, model: str, side: int) -> None:
    assert side_for(shorter, model) == side


IMAGE_MODELS = [name for name, info in MODELS.items() if not info.summary.startswith("for features")]


@pytest.mark.parametrize(
    "name", [*IMAGE_MODELS, "torchvision/vit_b_16", "torchvision/inception_v3", "torchvision/resnet18"]
)
def test_models_take_their_usual_sides(name: str) -> None:
    model = on_meta_device(lambda: build_main_model(name, num_classes=3, in_channels=3, norm="batch"))
    for side in usual_sides(name):
        check_inputs(model, name, (3, side, side))


def test_photographs_are_reduced_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = folder(tmp_path, (300, 200), (256, 320), (220, 210))
    assert load_source(config, model="resnet32").images.shape[2:] == (64, 64)
    assert "median of the shorter side: 210 pixels) are reduced to 64×64 for resnet32" in caplog.text
    assert "folder-resnet50" in caplog.text


def test_small_images_keep_their_size_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = folder(tmp_path, (40, 50), (48, 40), (60, 44))
    assert load_source(config, model="resnet32").images.shape[2:] == (40, 40)
    assert caplog.text == ""


def test_test_images_decide_nothing(tmp_path: Path) -> None:
    config = folder(tmp_path, (40, 40))
    for number in range(5):
        write_image(tmp_path / "test" / "ant" / f"{number}.png", (60, 60), seed=100 + number)
    assert load_source(config, model="resnet32").test_images.shape[2:] == (40, 40)


def test_auto_needs_the_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="follows the model"):
        load_source(folder(tmp_path, (40, 40)))


def test_the_recipe_for_own_images_asks_for_it() -> None:
    assert recipe("folder").config.data.image_size == "auto"
    assert recipe("folder-resnet50").config.data.image_size == 224
    assert recipe("folder:tiny").config.data.image_size == 32
