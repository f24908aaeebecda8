"""`package.module:Name`: what lies in a person's folder is found, what is wrong with it is said in one line."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ebomlc_dist
from ebomlc_dist import plugins
from ebomlc_dist.cli.profiler.profiled_rows import requested_rows
from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import config_from_mapping, method_class
from ebomlc_dist.methods.outside_method import outside_class
from ebomlc_dist.models import build_main_model
from tests.cli.conftest import Ended
from tests.plugins.conftest import PACKAGE
from tests.support.runs import tiny_config

METHOD, MODEL, DATASET = "mine.bootstrap:Bootstrap", "mine.perceptron:perceptron", "mine.stripes:stripes"
SMALL = ("--epochs", "1", "--set", "data.clean_size=20", "--device", "cpu", "-q")


@pytest.fixture
def mine(fresh: Path) -> Path:
    """The package's modules as they lie in the working folder, not installed."""
    shutil.copytree(PACKAGE / "noisy_extras", fresh / "mine", ignore=shutil.ignore_patterns("__pycache__"))
    return fresh


def written(folder: Path, text: str) -> None:
    (folder / "own.py").write_text(text)


def test_a_run_of_references_stores_names(mine: Path, ebomlc: Callable[..., Ended]) -> None:
    words = ("--model", MODEL, "--dataset", DATASET, "--set", "method.trust=0.7")
    ended = ebomlc("train", "--method", f"{METHOD},ce", *words, *SMALL[:-1], "-o", "runs")
    assert ended.code == 0, ended.err
    # A folder's name is plain, and the commands to go on with are such as work.
    folder = mine / "runs" / "mine.bootstrap-Bootstrap"
    allowed = "EBOMLC_PLUGINS=mine.bootstrap,mine.perceptron,mine.stripes "
    assert f"{allowed}ebomlc evaluate runs/mine.bootstrap-Bootstrap" in ended.out.replace(
        f"{Path(sys.executable).parent}/", ""
    )
    texts = [path.read_text() for path in folder.glob("*.json")]
    assert any(METHOD in text for text in texts)
    assert not any("soft_cross_entropy" in text for text in texts)
    again = ("train", "--method", METHOD, *words, *SMALL, "-o", str(folder), "--resume")
    assert ebomlc(*again).code == 0


def test_a_stored_run_alone_imports_nothing(
    mine: Path, ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ebomlc("train", "--method", METHOD, "--model", MODEL, "--dataset", DATASET, *SMALL, "-o", "run")
    assert ended.code == 0, ended.err
    (mine / "mine" / "bootstrap.py").write_text("raise AssertionError('imported')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]
    outside_class.cache_clear()
    monkeypatch.setattr(plugins, "_named", set())
    for command in (("audit", "run"), ("evaluate", "run"), ("report", "run")):
        assert (
            "is code that a stored run names; where you trust it, allow it with EBOMLC_PLUGINS=mine."
            in ebomlc(*command).refused()
        )
    with pytest.raises(InputError, match=r"EBOMLC_PLUGINS=mine\.perceptron"):
        ebomlc_dist.load(mine / "run")
    shutil.copy(PACKAGE / "noisy_extras" / "bootstrap.py", mine / "mine" / "bootstrap.py")
    monkeypatch.setenv(plugins.ALLOWED, "others, mine")
    assert ebomlc("evaluate", "run").code == 0
    monkeypatch.setenv(plugins.ALLOWED, "min")
    assert "stored run" in ebomlc("evaluate", "run").refused()


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "nowhere.at_all:Name", "there is no module nowhere; install its package, or start in the folder"),
        ("", "own.deeper:Name", "there is no module own.deeper"),
        ("import not_there_either", "own:Name", "own cannot be imported: ModuleNotFoundError: No module named"),
        ("1 / 0", "own:Name", "own cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "own:Name", "own cannot be imported: SystemExit: 3"),
        ("def (", "own:Name", "own cannot be imported: SyntaxError"),
        ("Named = 1", "own:Name", "own has no 'Name' (did you mean 'Named'?)"),
        ("Name = 1", "own:Name", "is no subclass of ebomlc_dist.methods.contract.Method"),
        ("class Name: pass", "own:Name", "is no subclass of ebomlc_dist.methods.contract.Method"),
        ("class Name(Method): Config = MethodConfig", "own:Name", "has no step"),
        ("class Name(Method): step = None", "own:Name", "has no Config that is a subclass"),
        ("class Name(Method):\n step = None\n Config = Fixed", "own:Name", "has another name in its Config"),
        ("class Name(Method):\n step = None\n Config = Open", "own:Name", "has a setting without a default"),
        (
            "class Name(Method):\n step = None\n Config = MethodConfig\n networks = ('side',)",
            "own:Name",
            "has networks",
        ),
        (
            "class Name(Method):\n step = None\n Config = MethodConfig\n def __init__(self, config): 1 / 0",
            "own:Name",
            "fails with its default settings: ZeroDivisionError",
        ),
    ],
)
def test_a_method_that_cannot_be_had_is_refused(
    text: str, name: str, said: str, fresh: Path, ebomlc: Callable[..., Ended]
) -> None:
    head = (
        "from typing import Literal\n"
        "from ebomlc_dist.methods.contract import Method, MethodConfig\n"
        "class Fixed(MethodConfig):\n    name: Literal['fixed'] = 'fixed'\n"
        "class Open(MethodConfig):\n    share: float\n"
    )
    written(fresh, head + text if "Method" in text else text)
    line = ebomlc("train", "digits", "--method", name, "-o", "run").refused()
    assert f"method '{name}'" in line
    assert said in line
    assert not (fresh / "run").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Name = 1", "is no function of (num_classes, in_channels)"),
        ("from os import kill as Name", "is no function of (num_classes, in_channels)"),
        ("def Name(): pass", "fails for 10 classes and 1 channel(s): TypeError"),
        ("def Name(num_classes, in_channels): 1 / 0", "fails for 10 classes and 1 channel(s): ZeroDivisionError"),
        ("from torch import nn\ndef Name(k, c): return nn.Linear(c, k)", "gives a Linear; return ebomlc_dist.models."),
        (
            "from torch import nn\nfrom ebomlc_dist.models.main_model import MainModel\n"
            "def Name(k, c): return MainModel(nn.Flatten(), nn.Linear(64 * c, k + 1))",
            "gives 11 logits for 10 classes",
        ),
    ],
)
def test_a_model_that_cannot_be_had_is_refused(text: str, said: str, fresh: Path, ebomlc: Callable[..., Ended]) -> None:
    written(fresh, text)
    line = ebomlc("train", "digits", "--method", "ce", "--model", "own:Name", "-o", "run").refused()
    assert "model 'own:Name'" in line
    assert said in line


SOURCE = """
import torch
from ebomlc_dist.data.dataset import Source
def Name(config):
    images, labels = torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 2
    values = dict(images=images, labels=labels, ids=[str(i) for i in range(8)], test_images=images[:2],
                  test_labels=labels[:2], class_names=["a", "b"])
    return Source(**values | {changed})
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Name = 1", "is no function of (config)"),
        ("def Name(config): return 3", "gives a int; return an ebomlc_dist.data.dataset.Source"),
        ("def Name(config): raise KeyError('x')", "fails: KeyError: 'x'"),
        (SOURCE.replace("{changed}", "dict(images=images.float())"), "torch.float32; they are (N, 1 or 3, H, W) uint8"),
        (SOURCE.replace("{changed}", "dict(images=images[:, 0])"), "gives images of (8, 8, 8)"),
        (SOURCE.replace("{changed}", "dict(images=images[:, 0, 0])"), "torch.uint8; features are (N, D) finite floats"),
        (SOURCE.replace("{changed}", "dict(images=images[:, 0, 0] / 0.0)"), "features are (N, D) finite floats"),
        (
            SOURCE.replace("{changed}", "dict(images=images[:, 0, 0].float())"),
            "test_images of another kind than images",
        ),
        (SOURCE.replace("{changed}", "dict(labels=labels[:7])"), "gives labels of (7,)"),
        (SOURCE.replace("{changed}", "dict(labels=labels + 1)"), "labels beyond 0…1 for images"),
        (SOURCE.replace("{changed}", "dict(test_labels=labels[:2] - 1)"), "labels beyond 0…1 for test_images"),
        (SOURCE.replace("{changed}", "dict(ids=['a'] * 8)"), "1 different ids for 8 images"),
        (SOURCE.replace("{changed}", "dict(class_names=['a', 'a'])"), "class_names of which some are alike"),
        (SOURCE.replace("{changed}", "dict(trusted=torch.tensor([8]))"), "trusted indices that are beyond its images"),
    ],
)
def test_a_data_set_that_cannot_be_trained_on_is_refused(
    text: str, said: str, fresh: Path, ebomlc: Callable[..., Ended]
) -> None:
    written(fresh, text)
    line = ebomlc("train", "digits", "--method", "ce", "--dataset", "own:Name", "-o", "run").refused()
    assert "dataset 'own:Name'" in line
    assert said in line


def test_a_data_set_may_give_features(fresh: Path, ebomlc: Callable[..., Ended], one_thread: None) -> None:
    rows = "images[:, 0, 0].float() + labels[:, None]"
    written(fresh, SOURCE.replace("{changed}", f"dict(images={rows}, test_images=({rows})[:2])"))
    settings = ["--model", "linear", "--augment", "none", "--clean-size", "2", "--batch-size", "2", "--epochs", "1"]
    ended = ebomlc(
        "train", "digits", "--method", "ce", "--dataset", "own:Name", *settings, "--noise", "none", "-o", "run"
    )
    assert ended.code == 0, ended.err
    assert (fresh / "run" / "model" / "model.safetensors").exists()


def test_a_data_set_follows_the_size_that_is_asked_for(mine: Path) -> None:
    plugins.named_by_a_person(DATASET)
    from ebomlc_dist.data.datasets import load_source

    data = tiny_config().data.model_copy(update={"dataset": DATASET, "image_size": 12})
    source = load_source(data)
    assert source.images.shape[2:] == source.test_images.shape[2:] == (12, 12)
    assert load_source(data.model_copy(update={"image_size": None})).images.shape[2:] == (8, 8)


def test_names_from_two_packages_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tuple(plugins.Registered("twice", f"{name}:Method", f"{name} 1.0") for name in ("one", "two"))
    monkeypatch.setattr(plugins, "registered", lambda kind: {"twice": points, "ce": points[:1]})
    with pytest.raises(
        InputError, match=r"registered by one 1\.0 and two 1\.0; name the one you mean: one:Method or two"
    ):
        config_from_mapping({"name": "twice"})
    # What is built in keeps its name.
    assert method_class("ce").__module__ == "ebomlc_dist.methods.cross_entropy"


def test_a_file_of_the_folder_hides_nothing_that_is_installed(fresh: Path) -> None:
    (fresh / "colorsys.py").write_text("raise AssertionError")
    plugins.named_by_a_person("colorsys:rgb_to_hls")
    assert plugins.load("models", "colorsys:rgb_to_hls").__module__ == "colorsys"


def test_unknown_names_tell_of_references() -> None:
    for kind, call in (
        ("method", lambda: method_class("cee")),
        ("model", lambda: build_main_model("resnet9", num_classes=2, in_channels=1, norm="batch")),
    ):
        with pytest.raises(InputError, match=f"unknown {kind} .* or your own as package.module:Name"):
            call()


def test_a_configuration_of_references_makes_the_round_trip(mine: Path) -> None:
    plugins.named_by_a_person(METHOD)
    config = tiny_config().model_copy(update={"method": config_from_mapping({"name": METHOD, "trust": 0.25})})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_the_profiler_tells_references_from_settings(mine: Path) -> None:
    from ebomlc_dist.recipes.assemble import Request

    rows = requested_rows(Request(recipe="digits", methods=(f"{METHOD}:trust=0.5,mlc:double_backward,{METHOD}",)))
    assert [row.config.method.name for row in rows] == [METHOD, "mlc", METHOD]
    assert [row.settings for row in rows] == [{"method.trust": "0.5"}, {"method.hypergradient": "double_backward"}, {}]
