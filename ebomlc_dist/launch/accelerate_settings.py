"""What a launcher was configured for, as settings of a run.

``accelerate launch`` hands its configuration to workers through the environment. Its own FSDP and DeepSpeed wrappers do
not serve bilevel steps; a configuration for one of them chooses the strategy of the same name here, and whatever else
it asks for is honoured or refused.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.safe_json import read_json

_FSDP, _DEEPSPEED, _MEGATRON = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM"
_REPEAT = "FSDP_ACTIVATION_CHECKPOINTING"
# Variable → the values that say nothing else than what is done here.
_OF_FSDP = {
    "FSDP_VERSION": ("2",),
    "FSDP_OFFLOAD_PARAMS": ("false",),
    "FSDP_RESHARD_AFTER_FORWARD": ("true",),
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": ("false",),
}
_OF_DEEPSPEED = {
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": ("none",),
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": ("none",),
    "ACCELERATE_GRADIENT_CLIPPING": ("none", "0", "0.0"),
}
_OF_FILE: dict[str, tuple[Any, ...]] = {
    "gradient_clipping": (0,),
    "gradient_accumulation_steps": (1, "auto"),
    "train_batch_size": ("auto",),
    "train_micro_batch_size_per_gpu": ("auto",),
    "zero_allow_untested_optimizer": (True, False),
}


def launcher_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Key → value that the launcher's configuration chose; empty where it chose nothing.

    Raises:
        InputError: it asks for what is not done here.
    """
    chosen = {}
    # It is always exported; only one other than its default says something.
    if (precision := environment.get("ACCELERATE_MIXED_PRECISION", "no")) != "no":
        chosen["train.precision"] = precision
    if _on(environment, _MEGATRON):
        raise InputError(
            "Megatron-LM is not among the strategies; choose FSDP in `accelerate config`, or give --strategy fsdp"
        )
    if _on(environment, _FSDP):
        _check(environment, _OF_FSDP, "the launcher's FSDP configuration")
        chosen["train.strategy"] = "fsdp"
        if _on(environment, _REPEAT):
            chosen["train.activation_checkpointing"] = "true"
    if _on(environment, _DEEPSPEED):
        _check(environment, _OF_DEEPSPEED, "the launcher's DeepSpeed configuration")
        stage = _stage(environment)
        chosen["train.strategy"] = f"zero{stage}" if stage else "replicated"
    return chosen


def check_strategy_of_launcher(strategy: str) -> None:
    """Raise `InputError` where the launcher was configured for another strategy than the run's."""
    configured = launcher_settings().get("train.strategy", strategy)
    if configured != strategy:
        raise InputError(
            f"the launcher is configured for {configured} and the run for {strategy}; give --strategy {configured}, or "
            "start with a configuration without FSDP and DeepSpeed, or with --num-processes in place of the launcher"
        )


def set_wrappers_aside() -> None:
    """Let Accelerate start processes without its wrappers."""
    for name in (_FSDP, _DEEPSPEED):
        os.environ.pop(name, None)


def _stage(environment: Mapping[str, str]) -> int:
    name = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if name == "none":
        # The launcher's own default.
        stage: Any = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        where = "the launcher's DeepSpeed configuration"
    else:
        where = name
        values = read_json(Path(name))
        zero = values.get("zero_optimization", {}) if isinstance(values, dict) else None
        if not isinstance(zero, dict):
            raise InputError(
                f"{name} is no DeepSpeed configuration; give JSON such as "
                '{"gradient_clipping": 0.0, "zero_optimization": {"stage": 2}}'
            )
        for key, found in _further(values, zero):
            mend = 'give "gradient_clipping": 0.0' if key == "gradient_clipping" else "leave it out"
            raise InputError(f"{name} sets {key} to {found!r}, which is not done here; {mend}")
        stage = zero.get("stage", 0)
    if str(stage) not in ("0", "1", "2", "3"):
        raise InputError(f"{where} asks for ZeRO stage {stage}; stages are 0, 1, 2 and 3")
    return int(stage)


def _further(values: Mapping[str, Any], zero: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a DeepSpeed file asks for beyond a stage."""
    for key, found in values.items():
        if key != "zero_optimization" and found not in _OF_FILE.get(key, ()):
            yield key, found
    if "gradient_clipping" not in values:
        # DeepSpeed's own default clips at 1.
        yield "gradient_clipping", "its default 1.0"
    yield from ((f"zero_optimization.{key}", found) for key, found in zero.items() if key != "stage")


def _check(environment: Mapping[str, str], known: Mapping[str, tuple[str, ...]], where: str) -> None:
    for name, allowed in known.items():
        found = environment.get(name, allowed[0]).lower()
        if found not in allowed:
            raise InputError(f"{where} sets {name}={found}, which is not done here; it must be {allowed[0]}")


def _on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true")
