"""What the declarations of the fields say, and what is derived from them."""

from pathlib import Path
from typing import Any, get_args

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine.resume import check_same_run
from ebomlc_dist.errors import InputError
from ebomlc_dist.fields import ALWAYS, Role, about, before, role
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.keys import cost_keys, deciding, keys_of, nest, plain
from ebomlc_dist.methods import METHODS
from ebomlc_dist.recipes.settings import Setting, typed
from ebomlc_dist.reports.figures.series import differences
from ebomlc_dist.sweeps.cells import key_of
from tests.support.runs import tiny_config

FIELDS = {key: field for method in METHODS for key, field in keys_of(method).items()}
FREE = [key for key, field in FIELDS.items() if role(field) is not Role.FRAME]
OF_EBOMLC_S = keys_of("ebomlc-s")
# Rules that join keys, for which another value of one alone is refused.
JOINED = {
    "method.features": {"method.extractor": "RUN/model"},
    "method.extractor": {"method.features": "frozen"},
    "method.extractor_images": {"method.features": "frozen"},
    "method.transition": {"method.noise_process": "known"},
    "method.noise_process": {"method.transition": [[0.9, 0.1], [0.2, 0.8]]},
}
# Texts for fields of which no other value follows from the type.
TEXTS = {"method.transition": "[[0.9, 0.1], [0.2, 0.8]]", "method.followed": "mixture"}


def other(key: str, config: RunConfig) -> RunConfig:
    """The run with another value of one key."""
    values, field = plain(config), OF_EBOMLC_S[key]
    for text in (TEXTS.get(key), *_words(field.annotation), "33", "0.25", "true", "false", "elsewhere"):
        if text is None:
            continue
        try:
            value = typed(Setting(key, text, "test"), field)
            made = RunConfig.model_validate(nest(values | JOINED.get(key, {}) | {key: value}))
        except (InputError, ValueError):
            continue
        if plain(made)[key] != values[key]:
            return made
    raise AssertionError(f"no other value of {key}")


def _words(kind: Any) -> list[str]:
    return [word for part in (kind, *get_args(kind)) for word in (part, *get_args(part)) if isinstance(word, str)]


@pytest.mark.parametrize("method", METHODS)
def test_every_field_is_declared_with_a_role_and_help(method: str) -> None:
    for key, field in keys_of(method).items():
        assert about(field) is not None, f"{key} has no role: declare it by frame, place or habit"
        assert field.description, f"{key} has no help"


def test_the_json_schema_of_a_run_says_the_roles() -> None:
    schema = RunConfig.model_json_schema()["$defs"]["TrainConfig"]["properties"]
    assert schema["epochs"]["about"]["role"] == "frame"
    assert schema["cuda_graph"]["about"]["role"] == "habit"


def test_what_may_change_is_where_things_lie_and_how_a_run_is_carried_out() -> None:
    assert sorted(FREE) == [
        "data.data_dir",
        "data.download",
        "data.inputs_csv",
        "data.loader",
        "data.num_workers",
        "data.pack_dir",
        "recipe",
        "train.activation_checkpointing",
        "train.checkpoint_steps",
        "train.cuda_graph",
        "train.log_interval",
        "train.max_skipped_in_a_row",
        "train.rendezvous_timeout_s",
        "train.replica_check_steps",
        "train.start_timeout_s",
        "train.step_timeout_s",
        "train.strategy",
        "train.trackers",
    ]


@pytest.mark.parametrize("key", OF_EBOMLC_S)
def test_the_role_decides_for_resume_series_and_cells_alike(key: str, tmp_path: Path) -> None:
    config = tiny_config("ebomlc-s")
    made, found = other(key, config), about(OF_EBOMLC_S[key])
    assert found is not None
    (tmp_path / "config.json").write_text(config.model_dump_json())
    same_cell = key_of(deciding(made)) == key_of(deciding(config))
    if found.role is Role.FRAME:
        with pytest.raises(InputError, match=f"{key} was .* and is now"):
            check_same_run(RunFolder(tmp_path), made)
        assert (key in differences(config, made)) is not found.draw
        assert not same_cell
    else:
        check_same_run(RunFolder(tmp_path), made)
        assert differences(config, made) == []
        assert same_cell is not found.keyed


def test_draws_are_the_seeds_and_a_split_that_was_drawn_before() -> None:
    draws = {key for key, field in FIELDS.items() if (found := about(field)) is not None and found.draw}
    assert draws == {key for key in FIELDS if key.startswith("seeds.")} | {"data.split"}


def test_the_time_of_a_run_follows_its_sizes() -> None:
    assert set(cost_keys()) == {
        *("data.dataset", "data.noisy_size", "data.image_size", "data.augment", "model.name"),
        *("data.development_size", "model.widths"),
        *("train.epochs", "train.global_noisy_batch_size", "train.global_clean_batch_size", "train.precision"),
    }


def test_a_younger_key_names_a_cell_only_where_it_says_something_new() -> None:
    config = tiny_config("ebomlc-s")
    younger = [key for key, field in OF_EBOMLC_S.items() if before(field) is not ALWAYS]
    assert "train.epoch_scores" in younger
    assert not set(younger) & set(deciding(config))
    for key in younger:
        assert key in deciding(other(key, config))
