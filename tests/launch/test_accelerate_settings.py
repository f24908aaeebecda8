"""A launcher's configuration chooses settings of a run; what is not done here is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.launch.accelerate_settings import (
    check_strategy_of_launcher,
    launcher_settings,
    set_wrappers_aside,
)

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true"}
FILE: dict[str, Any] = {"gradient_clipping": 0.0, "zero_optimization": {"stage": 1}}


def from_file(folder: Path, values: Any) -> dict[str, str]:
    path = folder / "zero.json"
    path.write_text(json.dumps(values))
    return launcher_settings(DEEPSPEED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)})


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({}, {}),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, {}),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {"train.precision": "bf16"}),
        ({"ACCELERATE_USE_FSDP": "false"}, {}),
        (FSDP, {"train.strategy": "fsdp"}),
        (
            FSDP | {"FSDP_ACTIVATION_CHECKPOINTING": "true"},
            {"train.strategy": "fsdp", "train.activation_checkpointing": "true"},
        ),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {"train.strategy": "zero3"}),
        (DEEPSPEED, {"train.strategy": "zero2"}),
    ],
)
def test_what_a_launcher_chooses(environment: dict[str, str], chosen: dict[str, str]) -> None:
    assert launcher_settings(environment) == chosen


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (FSDP | {"FSDP_VERSION": "1"}, "FSDP_VERSION=1.*must be 2"),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "FSDP_OFFLOAD_PARAMS=true"),
        (FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "false"}, "FSDP_RESHARD_AFTER_FORWARD=false"),
        (DEEPSPEED | {"ACCELERATE_GRADIENT_CLIPPING": "1.0"}, "ACCELERATE_GRADIENT_CLIPPING=1.0"),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu"}, "OFFLOAD_PARAM_DEVICE=cpu"),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "4"}, "stage 4; stages are 0, 1, 2 and 3"),
        (DEEPSPEED | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": "absent.json"}, "absent.json"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
    ],
)
def test_what_is_not_done_here_is_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        launcher_settings(environment)


def test_a_file_chooses_the_stage(tmp_path: Path) -> None:
    assert from_file(tmp_path, FILE) == {"train.strategy": "zero1"}
    assert from_file(tmp_path, FILE | {"zero_optimization": {}}) == {"train.strategy": "replicated"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (FILE | {"gradient_clipping": 1.0}, "gradient_clipping to 1.0"),
        ({"zero_optimization": {"stage": 1}}, "gradient_clipping to 'its default 1.0'"),
        (FILE | {"optimizer": {"type": "Adam"}}, "sets optimizer to"),
        (
            FILE | {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}},
            "zero_optimization.offload_param",
        ),
        (FILE | {"zero_optimization": 3}, "no DeepSpeed configuration"),
        ([], "no DeepSpeed configuration"),
    ],
)
def test_a_file_that_asks_for_more_is_refused(tmp_path: Path, values: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_file(tmp_path, values)


def test_a_run_of_another_strategy_than_its_launchers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    check_strategy_of_launcher("fsdp")
    with pytest.raises(InputError, match="configured for fsdp and the run for zero2; give --strategy fsdp"):
        check_strategy_of_launcher("zero2")
    set_wrappers_aside()
    assert "ACCELERATE_USE_FSDP" not in os.environ
    check_strategy_of_launcher("zero2")
