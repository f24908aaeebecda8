"""The table of recipes: every row is a complete configuration, and the paper's settings are all there."""

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.datasets import DATASETS
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import METHODS
from ebomlc_dist.models import MODELS
from ebomlc_dist.models.torchvision_classifier import classifier_names
from ebomlc_dist.recipes import PAPER_SETTINGS, RECIPES, recipe
from ebomlc_dist.recipes.assemble import Request, resolve

LARGE = ("torchvision/resnet50", "torchvision/vit_b_16")
EVERY = [*RECIPES, *(f"{name}:tiny" for name in RECIPES)]


@pytest.mark.parametrize("name", EVERY)
def test_every_recipe_is_a_complete_configuration(name: str) -> None:
    found = recipe(name)
    assert RunConfig.model_validate_json(found.config.model_dump_json()) == found.config
    assert found.config.recipe == found.name == name
    assert found.config.data.dataset in DATASETS
    assert found.config.model.name in MODELS or found.config.model.name in LARGE
    assert set(found.methods) <= set(METHODS)
    assert found.config.method.name == found.methods[0]


def test_the_papers_fourteen_settings_are_there_in_the_papers_frame() -> None:
    assert len(set(PAPER_SETTINGS)) == 14
    for dataset, kind, percent in PAPER_SETTINGS:
        config = recipe(f"{dataset}-{kind}{percent}").config
        assert (config.data.dataset, config.noise.kind, config.noise.rate) == (dataset, kind, percent / 100)
        assert (config.model.name, config.train.epochs, config.data.clean_size) == ("resnet32", 120, 1000)
        assert (config.optim.main_lr, config.optim.meta_lr, config.optim.weight_decay) == (0.1, 3e-4, 5e-4)
        assert [round(share * 120) for share in config.optim.milestones] == [80, 100]


@pytest.mark.parametrize("name", [name for name, info in RECIPES.items() if info.tiny is None])
def test_a_tiny_variant_is_small_and_keeps_what_is_being_compared(name: str) -> None:
    whole, tiny = recipe(name).config, recipe(f"{name}:tiny").config
    assert tiny.train.epochs <= 2 < whole.train.epochs
    assert tiny.model.name in ("resnet8", "digits-cnn") or max(tiny.model.widths or ()) <= 32
    assert (tiny.noise, tiny.method, tiny.data.dataset) == (whole.noise, whole.method, whole.data.dataset)
    num_classes = DATASETS[tiny.data.dataset].num_classes
    if num_classes is not None:
        assert tiny.data.noisy_size is not None
        assert tiny.data.noisy_size <= 256
        assert tiny.data.clean_size >= num_classes


def test_the_recipes_as_printed_and_as_released_say_what_the_sources_say() -> None:
    for dataset, kind, percent in PAPER_SETTINGS:
        printed = recipe(f"{dataset}-printed-{kind}{percent}").config
        common = recipe(f"{dataset}-{kind}{percent}").config
        assert printed.data.augment == "none"
        assert printed.optim.meta_schedule == "main"
        method = printed.method
        assert (method.name, method.features, method.extractor_images) == ("ebomlc", "frozen", "clean")
        assert method.value_gradient == "difference"
        rest = {"recipe": common.recipe, "method": common.method, "data": common.data, "optim": common.optim}
        assert printed.model_copy(update=rest) == common, "nothing else differs"

        released = recipe(f"{dataset}-released-{kind}{percent}").config
        assert (released.data.split_kind, released.data.validation_size) == ("leaky", released.data.clean_size)
        assert released.method.gap_as_step == (dataset == "cifar100")
        assert released.noise.flip_pairs == "released"


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("mlc", {"features": "frozen", "extractor_images": "clean"}),
        ("mlc-d", {"features": "frozen", "extractor_images": "clean", "value_gradient": "difference"}),
        ("ebomlc-s", {"features": "main", "extractor_images": None}),
        ("coteaching-plus", {"forget_rate": 0.4}),
        ("ce", {}),
    ],
)
def test_as_printed_holds_for_the_papers_own_methods(method: str, settings: dict) -> None:
    (run,) = resolve(Request(recipe="cifar10-printed-uniform40", methods=(method,)))
    assert {key: getattr(run.config.method, key) for key in settings} == settings
    assert run.config.data.augment == "none"


@pytest.mark.parametrize("name", ["folder-resnet50", "folder-vit-b16"])
def test_a_large_model_is_a_classifier_of_torchvision_at_224_in_half_precision(name: str) -> None:
    whole, tiny = recipe(name).config, recipe(f"{name}:tiny").config
    assert (whole.data.image_size, whole.train.precision) == (224, "bf16")
    assert whole.model.name.removeprefix("torchvision/") in classifier_names()
    assert whole.optim.main_optimizer == "sgd", "the step of EBOMLC needs it"
    assert (tiny.data.image_size, tiny.data.loader) == (32, whole.data.loader)


def test_digits_trains_what_proved_best_and_the_papers_rule_beside_it() -> None:
    assert recipe("digits").methods == ("ebomlc-s", "ebomlc", "ce")


@pytest.mark.parametrize(
    ("name", "hint"), [("digts", "'digits'"), ("cifar10-unform40", "'cifar10-uniform40'"), ("digits:tny", "'digits'")]
)
def test_an_unknown_recipe_offers_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"unknown recipe '{name}'.*{hint}"):
        recipe(name)


FIGURES = [name for name in RECIPES if name.startswith("figure-")]


def test_every_figure_has_its_runs() -> None:
    assert [f"figure-{number}" for number in range(1, 10)] == FIGURES


@pytest.mark.parametrize("name", FIGURES)
def test_a_small_figure_has_the_runs_of_the_whole_one_on_the_bundled_digits(name: str) -> None:
    whole, tiny = (resolve(Request(recipe=one)) for one in (name, f"{name}:tiny"))
    assert {run.config.data.dataset for run in tiny} == {"digits"}
    assert all(run.config.train.epochs <= 20 < other.config.train.epochs for run in tiny for other in whole)
    assert len({run.config for run in tiny}) == len(tiny)
    methods = [run.config.method for run in whole if run.config.data.dataset == "cifar10"]
    assert {run.config.method.name for run in tiny} == {method.name for method in methods}


def test_a_variant_sets_its_keys_and_those_that_follow_from_them() -> None:
    runs = {f"{run.config.method.name}-{run.variant}": run for run in resolve(Request(recipe="figure-4"))}
    assert len(runs) == 2 * 9
    assert runs["dividemix-cifar10"].config.method.unlabelled_weight == 25
    assert runs["dividemix-cifar100"].config.method.unlabelled_weight == 150
    assert runs["dividemix-cifar100"].sources["data.dataset"] == "recipe figure-4"


def test_a_variants_key_reaches_every_method_that_has_it() -> None:
    runs = resolve(Request(recipe="figure-7", methods=("mlc-d", "ce")))
    steps = [run.config.method.inner_steps for run in runs if run.config.method.name == "mlc-d"]
    assert sorted(set(steps)) == [1, 3, 5]


def test_what_sets_the_runs_apart_is_not_set_for_all_of_them() -> None:
    with pytest.raises(InputError, match=r"noise\.rate \(--set\) is what sets the runs of figure-7 apart"):
        resolve(Request(recipe="figure-7", assignments=("noise.rate=0.1",)))
