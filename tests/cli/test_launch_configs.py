"""The shipped launcher configurations: no warning, and really the number of processes they state."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ebomlc_dist.distributed.zero import installed
from ebomlc_dist.launch.accelerate_settings import launcher_settings

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "launch_configs" / "accelerate").glob("*.yaml"))
STAGES = sorted((ROOT / "launch_configs" / "deepspeed").glob("*.json"))
with_deepspeed = pytest.mark.skipif(not installed(), reason="DeepSpeed is not installed")
SPREAD = {"fsdp2": "FSDP", "deepspeed": "DEEPSPEED"}
WORKER = """
import os
line = f"{os.environ.get('WORLD_SIZE', '1')} {os.environ['CUDA_VISIBLE_DEVICES'].split(',')[0]}\\n"
with open("seen", "a") as file:
    file.write(line)
"""


def test_all_are_there() -> None:
    names = [
        "cpu.yaml",
        "cpu_2_processes.yaml",
        "deepspeed.yaml",
        "fsdp2.yaml",
        "gpu.yaml",
        "gpu_8.yaml",
        "nodes_gpu_8.yaml",
    ]
    assert [path.name for path in CONFIGS] == names
    assert [path.name for path in STAGES] == [f"zero{stage}.json" for stage in range(4)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_each_opens_with_its_command_and_decides_what_the_launcher_would_ask(path: Path) -> None:
    text = path.read_text()
    assert f"accelerate launch --config_file launch_configs/accelerate/{path.name} " in text.partition("\n\n")[0]
    assert text.startswith("# ")
    values = yaml.safe_load(text)
    several = values["num_processes"] > 1
    assert values["distributed_type"] == SPREAD.get(path.stem, "MULTI_GPU" if several else "NO")
    # With use_cpu the launcher counts threads itself and warns that it did.
    assert values["use_cpu"] is False
    if values["num_machines"] > 1:
        assert values["num_processes"] % values["num_machines"] == 0
        assert values["main_process_ip"]
        assert values["main_process_port"]
    elif several:
        assert values["main_process_port"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [("cpu.yaml", 1), ("cpu_2_processes.yaml", 2)])
def test_the_launcher_starts_that_many_without_a_warning(name: str, processes: int, place: Path) -> None:
    (place / "worker.py").write_text(WORKER)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    config = ROOT / "launch_configs" / "accelerate" / name
    ended = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, "worker.py"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=place,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (place / "seen").read_text() == f"{processes} -1\n" * processes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strategy"), [("fsdp2", "fsdp"), pytest.param("deepspeed", "zero2", marks=with_deepspeed)]
)
def test_a_configuration_for_spread_models_trains_one(name: str, strategy: str, place: Path) -> None:
    """The launcher's file as it stands, on two processes that see no GPU."""
    config = ROOT / "launch_configs" / "accelerate" / f"{name}.yaml"
    (place / "launch_configs").symlink_to(ROOT / "launch_configs")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    run = ["digits:tiny", "--method", "ebomlc", "--epochs", "1", "-o", "run"]
    ended = subprocess.run(
        [*launcher, "--num_processes", "2", "--gpu_ids=-1,-1", ROOT / "train.py", *run],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=place,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads((place / "run" / "config.json").read_text())["train"]["strategy"] == strategy
    assert json.loads((place / "run" / "summary.json").read_text())["finished"] is True


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.name)
def test_each_stage_is_what_its_name_says(path: Path) -> None:
    stage = path.stem[-1]
    chosen = launcher_settings({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)})
    assert chosen == {"train.strategy": "replicated" if stage == "0" else f"zero{stage}"}
