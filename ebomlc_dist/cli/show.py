"""Commands that look and change nothing: ``show-config``, ``status``, ``env``, and the version."""

import json as json_format
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ebomlc_dist import __version__
from ebomlc_dist.cli.flags import describes_a_run
from ebomlc_dist.cli.output import print_json, print_table
from ebomlc_dist.errors import InputError

if TYPE_CHECKING:
    from ebomlc_dist.files.run_folder import Status
    from ebomlc_dist.recipes.assemble import Request, Resolved

_REPORTED = ("torch", "torchvision", "accelerate", "numpy", "pydantic", "safetensors", "typer", "ffcv", "deepspeed")


@describes_a_run
def show_config(
    request: "Request",
    sources: Annotated[bool, typer.Option("--sources", help="Print where each value comes from.")] = False,
) -> int:
    """Print the complete configuration as JSON, which --config takes back; one for each run where a recipe has many."""
    from ebomlc_dist.keys import plain
    from ebomlc_dist.recipes.assemble import resolve

    runs = resolve(request)
    methods = [run.config.method.name for run in runs]
    if len(set(methods)) < len(methods):
        if not sources:
            print_json({_named(run): run.config.model_dump(mode="json") for run in runs})
            return 0
        rows = [
            [_named(run), key, json_format.dumps(value), run.sources[key]]
            for run in runs
            for key, value in plain(run.config).items()
        ]
        print_table(["run", "key", "value", "source"], rows)
        return 0
    if not sources:
        document = runs[0].config.model_dump(mode="json")
        if len(runs) > 1:
            document["method"] = [run.config.method.model_dump(mode="json") for run in runs]
        print_json(document)
        return 0
    rows = []
    for own in (True, False):
        # The method's keys differ from run to run, all others are the same.
        for run in runs if own else runs[:1]:
            label = f" ({run.config.method.name})" if own and len(runs) > 1 else ""
            for key, value in plain(run.config).items():
                if key.startswith("method.") is own:
                    rows.append([f"{key}{label}", json_format.dumps(value), run.sources[key]])
    print_table(["key", "value", "source"], rows)
    return 0


def _named(run: "Resolved") -> str:
    return f"{run.config.method.name}-{run.variant}" if run.variant else run.config.method.name


def env(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Print versions and devices, for a bug report."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    from torch.utils.collect_env import get_pretty_env_info

    found = {"ebomlc_dist": __version__}
    for name in _REPORTED:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            found[name] = "-"
    system = get_pretty_env_info()
    if json:
        print_json({"versions": found, "system": system})
    else:
        print_table(["package", "version"], list(found.items()))
        print(f"\n{system}")
    return 0


def status(
    run: Annotated[Path, typer.Argument(help="A run folder, or the folder of several.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with the run's own exit code, or 1 if it has none.")
    ] = False,
) -> int:
    """Show what a run is doing, or how it ended."""
    from ebomlc_dist.files.run_folder import RunFolder, read_status
    from ebomlc_dist.monitoring.goodput import goodput_text

    folders = [run]
    if run.is_dir() and not RunFolder(run).status.exists():
        folders = sorted(path for path in run.iterdir() if RunFolder(path).status.exists()) or [run]
    found = {folder: read_status(folder) for folder in folders}
    code = _worst_code(list(found.values())) if exit_code else 0
    accounts = {folder: _account(RunFolder(folder).attempts) for folder in folders}
    if json:
        print_json({str(folder): asdict(value) | {"goodput": accounts[folder]} for folder, value in found.items()})
        return code
    rows = []
    for folder, value in found.items():
        age = f"{max(0.0, time.time() - value.heartbeat):.0f} s ago" if value.heartbeat else "-"
        step = "-" if value.step is None else str(value.step)
        account = accounts[folder]
        goodput = "-" if account is None else goodput_text(account)
        rows.append([str(folder), value.state, step, age, goodput, value.reason or ""])
    print_table(["run", "state", "step", "last seen", "goodput", "reason"], rows)
    return code


def _account(attempts: Path) -> dict[str, Any] | None:
    """The goodput of one run; a damaged file costs this figure alone, and a line on stderr."""
    from ebomlc_dist.monitoring.goodput import read_goodput

    try:
        return read_goodput(attempts)
    except InputError as error:
        print(f"ebomlc: no goodput: {error}", file=sys.stderr)
        return None


def _worst_code(found: "list[Status]") -> int:
    """A failure before a stop, a stop before success. One that is still said to run has died, or goes on elsewhere."""
    codes = [1 if value.state == "running" or value.code is None else value.code for value in found]
    return next((code for code in codes if code not in (0, 75)), max(codes))
