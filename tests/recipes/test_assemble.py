"""Which of several values counts, where it says it comes from, and that a configuration comes back as it went."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import flatten, keys_of, nest, plain
from ebomlc_dist.methods import METHODS
from ebomlc_dist.recipes import RECIPES
from ebomlc_dist.recipes.assemble import Request, resolve
from ebomlc_dist.recipes.settings import Setting


def flag(key: str, value: str) -> tuple[Setting, ...]:
    return (Setting(key, value, "--flag"),)


def written(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_the_later_source_wins_and_says_so(tmp_path: Path) -> None:
    """Every step adds one source above the ones before it; the precision passes through all of them."""
    file = written(tmp_path / "c.json", {"train": {"precision": "fp16"}})
    steps: list[tuple[dict[str, Any], str, str]] = [
        ({"recipe": "digits"}, "no", "default"),
        ({"config_file": file}, "fp16", str(file)),
        ({"launcher": {"train.precision": "bf16"}}, "bf16", "launcher"),
        ({"assignments": ("train.precision=fp16",)}, "fp16", "--set"),
        ({"flags": flag("train.precision", "no")}, "no", "--flag"),
    ]
    asked: dict[str, Any] = {}
    for more, value, source in steps:
        asked |= more
        for run in resolve(Request(**asked)):
            assert run.config.train.precision == value
            assert run.sources["train.precision"] == source


def test_a_recipes_values_name_the_recipe_and_every_key_has_a_source() -> None:
    for run in resolve(Request(recipe="digits")):
        assert run.sources["noise.rate"] == "recipe digits"
        assert run.sources["optim.momentum"] == "default"
        assert set(run.sources) == set(plain(run.config))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_configuration_comes_back_from_its_file(recipe: str, tmp_path: Path) -> None:
    for run in resolve(Request(recipe=recipe)):
        file = tmp_path / "config.json"
        file.write_text(run.config.model_dump_json())
        (again,) = resolve(Request(config_file=file))
        assert again.config == run.config


@given(
    rate=st.floats(0, 1),
    lr=st.floats(1e-12, 1e12),
    milestones=st.lists(st.floats(0, 1), max_size=3),
    seed=st.none() | st.integers(0, 2**40),
    column=st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
    mixture=st.floats(0, 1),
)
def test_any_configuration_comes_back_from_its_file(tmp_path_factory: pytest.TempPathFactory, **drawn: Any) -> None:
    config = RunConfig.model_validate(
        {
            "method": {"name": "ebomlc", "mixture": drawn["mixture"]},
            "noise": {"kind": "human", "rate": drawn["rate"], "human_column": drawn["column"]},
            "optim": {"main_lr": drawn["lr"], "milestones": drawn["milestones"]},
            "seeds": {"noise": drawn["seed"]},
        }
    )
    # The one text that stands for "no value", on a command line as in a file.
    if drawn["column"] == "null":
        return
    file = tmp_path_factory.mktemp("config") / "config.json"
    file.write_text(config.model_dump_json())
    (again,) = resolve(Request(config_file=file))
    assert again.config == config


@given(st.dictionaries(st.sampled_from(sorted(keys_of("ebomlc"))), st.integers()))
def test_nest_undoes_flatten(values: dict[str, int]) -> None:
    assert flatten(nest(values)) == values


def test_methods_by_flag_replace_the_recipes_and_share_everything_else() -> None:
    runs = resolve(Request(methods=("ce-oracle,ebomlc-released", "ce"), assignments=("seeds.seed=7",)))
    assert [run.config.method.name for run in runs] == ["ce-oracle", "ebomlc-released", "ce"]
    assert len({run.config.model_copy(update={"method": None}).model_dump_json() for run in runs}) == 1
    assert runs[0].config.seeds.seed == 7
    assert runs[0].sources["method.name"] == "--method"


def test_a_methods_key_reaches_the_methods_that_have_it() -> None:
    ebomlc, ce = resolve(Request(methods=("ebomlc", "ce"), assignments=("method.inner_steps=3",)))
    assert plain(ebomlc.config)["method.inner_steps"] == 3
    assert ebomlc.overrides == ["method.inner_steps=3"]
    assert ce.overrides == []
    with pytest.raises(InputError, match=r"unknown key 'method\.inner_steps'"):
        resolve(Request(methods=("ce",), assignments=("method.inner_steps=3",)))


def test_a_recipes_method_settings_are_not_carried_to_another_method() -> None:
    own, other = resolve(Request(recipe="cifar100-released-flip20", methods=("ebomlc-released", "ebomlc")))
    assert own.config.method.model_dump()["gap_as_step"] is True
    assert "gap_as_step" not in other.config.method.model_dump()


def test_a_file_may_name_several_methods_each_with_its_settings(tmp_path: Path) -> None:
    file = written(
        tmp_path / "c.json", {"method": ["ce", {"name": "ebomlc", "inner_steps": 2}], "noise": {"rate": 0.2}}
    )
    ce, ebomlc = resolve(Request(config_file=file))
    assert ce.config.method.name == "ce"
    assert plain(ebomlc.config)["method.inner_steps"] == 2
    assert ebomlc.sources["method.inner_steps"] == ebomlc.sources["noise.rate"] == str(file)


def test_yaml_is_typed_by_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "method: ce\ntrain: {precision: no, trackers: [wandb]}\noptim:\n  main_lr: 1e-3\ndata: {split: null}\n"
    )
    (run,) = resolve(Request(recipe="digits", config_file=file))
    assert run.config.train.precision == "no"
    assert run.config.train.trackers == ("wandb",)
    assert run.config.optim.main_lr == 1e-3
    assert run.config.data.split is None
    assert run.config.noise.rate == 0.4, "what the file leaves out comes from the recipe"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("optim.milestones=0.5,0.75", (0.5, 0.75)),
        ("optim.milestones=[0.5, 0.75]", (0.5, 0.75)),
        ("optim.milestones=0.5", (0.5,)),
        ("optim.milestones=[]", ()),
        ("train.trackers=tensorboard,wandb", ("tensorboard", "wandb")),
        ("data.noisy_size=null", None),
        ("data.skip_unreadable=true", True),
        ("noise.kind=none", "none"),
        ("noise.human_column=1", "1"),
    ],
)
def test_a_text_becomes_its_keys_type(text: str, value: Any) -> None:
    (run,) = resolve(Request(methods=("ce",), assignments=(text,)))
    section, key = text.partition("=")[0].split(".")
    assert getattr(getattr(run.config, section), key) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noise.rate=1.4", ["noise.rate", "'1.4'", "--set", "≥ 0 and ≤ 1"]),
        ("noise.rate=high", ["noise.rate", "'high'", "valid number"]),
        ("noise.rate=nan", ["noise.rate", "'nan'"]),
        ("optim.main_lr=inf", ["optim.main_lr", "finite"]),
        ("optim.milestones=0.5,2", ["optim.milestones", "less than or equal to 1"]),
        ("noise.kind=unifrm", ["noise.kind", "'uniform'", "did you mean 'uniform'"]),
        ("train.precision=fp8", ["'no', 'tf32', 'bf16', 'fp16' or 'auto'"]),
        ("data.pad=1.5", ["data.pad", "valid integer"]),
        ("data.pad=100000", ["data.pad", "'100000'", "4096"]),
        ("data.image_size=1000000", ["data.image_size", "4096"]),
        ("train.start_timeout_s=1e300", ["train.start_timeout_s", "10000000"]),
        ("train.global_noisy_batch_size=99999999999", ["train.global_noisy_batch_size", "1048576"]),
        ("train.global_clean_batch_size=99999999999", ["train.global_clean_batch_size", "1048576"]),
        ("data.num_workers=100000", ["data.num_workers", "1024"]),
        ("data.split=", ["data.split", "empty"]),
        ("optim.lr=0.1", ["unknown key 'optim.lr'", "did you mean 'optim.main_lr' or 'optim.meta_lr'?"]),
        ("optim.learning_rate=0.1", ["did you mean 'optim.main_lr' or"]),
        ("train.batch_size=8", ["did you mean 'train.global_noisy_batch_size' or 'train.global_clean_batch_size'?"]),
        ("epochs=8", ["did you mean 'train.epochs'?"]),
        ("noise.rte=0.1", ["unknown key 'noise.rte'", "did you mean 'noise.rate'"]),
        ("rate=0.1", ["unknown key 'rate'", "show-config"]),
        ("noise=0.1", ["'noise'", "section"]),
        ("method.name=ce", ["--method"]),
        ("noise.rate", ["key=value"]),
        ("method.features=frozen", ["extractor"]),
    ],
)
def test_a_bad_value_is_named_in_one_line_with_what_is_allowed(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        resolve(Request(assignments=(text,)))
    line = str(error.value)
    assert "\n" not in line
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(methods=("eblmc",)), "unknown method 'eblmc'.*did you mean 'ebomlc'"),
        (Request(methods=("ce,ce",)), "'ce' is asked for twice"),
        (Request(methods=("ce,",)), "unknown method ''"),
        (Request(launcher={"train.precision": "fp8"}), r"train.precision = 'fp8' \(launcher\)"),
    ],
)
def test_a_bad_request_is_refused(request_: Request, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolve(request_)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"noise": {"rate": 0.1}}, "names no method"),
        ({"method": {"nam": "ce"}}, "mapping with a name"),
        ({"method": ["ce", "ce"]}, "stands twice"),
        ({"method": {"name": "ce", "inner_steps": 2}}, "unknown key 'method.inner_steps'"),
        ({"method": "ce", "noise": 3}, "section"),
        ({"method": "ce", "noise": {"rate": {"a": 1}}}, "noise.rate = .*valid number"),
        ({"method": "ce", "data": {"datset": "x"}}, "did you mean 'data.dataset'"),
        ([], "must hold a mapping"),
    ],
)
def test_a_bad_file_is_refused(values: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        resolve(Request(config_file=written(tmp_path / "c.json", values)))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_complete_by_its_name_alone(method: str) -> None:
    (run,) = resolve(Request(methods=(method,)))
    assert run.config.method.name == method
