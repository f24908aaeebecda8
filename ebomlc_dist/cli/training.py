"""``ebomlc train``: from a request to trained runs, in this process or in several."""

import shlex
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ebomlc_dist.cli.audit import print_audit
from ebomlc_dist.cli.flags import describes_runs
from ebomlc_dist.cli.output import print_json, print_results, print_table
from ebomlc_dist.cli.start import Start, record_refusal
from ebomlc_dist.errors import InputError, TrainingFault

if TYPE_CHECKING:
    from ebomlc_dist.distributed.runtime import Runtime
    from ebomlc_dist.engine.packed import Begin, Ended
    from ebomlc_dist.engine.run import Data, RunOptions
    from ebomlc_dist.launch.processes import Processes
    from ebomlc_dist.recipes.assemble import Request, Resolved

_OUTPUT = "Where the run goes; of several runs, each has a folder in it. Default: runs/<time>-<recipe>-seed<N>."
_PACKED = "Train all runs at once in this process, a step of each in turn."
_PANELS = {
    "Output": ("output_dir", "resume", "audit", "quiet", "json", "dry_run", "time_steps"),
    "Processes": (
        *("device", "num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port"),
        *("restart", "packed"),
    ),
}


@describes_runs(_PANELS)
def train(
    request: "Request",
    context: typer.Context,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "--output", "-o", metavar="DIR", help=_OUTPUT, show_default=False),
    ] = None,
    resume: Annotated[
        Literal["auto"] | None,
        typer.Option(
            "--resume", help="Continue the run in --output-dir, or begin it.", metavar="[auto]", show_default=False
        ),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute.")] = "auto",
    num_processes: Annotated[
        int | None, typer.Option("--num-processes", help="Processes, all machines together.", show_default=False)
    ] = None,
    num_machines: Annotated[int, typer.Option("--num-machines", help="Machines; run this command on each.")] = 1,
    machine_rank: Annotated[int, typer.Option("--machine-rank", help="Which machine this one is.")] = 0,
    main_process_ip: Annotated[
        str | None, typer.Option("--main-process-ip", help="Address of machine 0.", show_default=False)
    ] = None,
    main_process_port: Annotated[
        int | None, typer.Option("--main-process-port", help="A free port of machine 0.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No panel, no progress, no hints.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summaries as JSON on stdout.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and leave.")] = False,
    time_steps: Annotated[
        bool, typer.Option("--time-steps", help="With --dry-run: take a few steps, and estimate time and memory.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Go on after a crash of several processes; 3 times without progress.")
    ] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Keep every epoch's label scores; audit each run.")] = False,
    packed: Annotated[bool, typer.Option("--packed", help=_PACKED)] = False,
) -> int:
    """Train the methods of a recipe, one after another, on the same split, noise and seeds.

    Several recipes, methods or seeds are as many runs; with --packed they are trained side by side.
    """
    from ebomlc_dist.files.holder import untouched_where_refused
    from ebomlc_dist.launch.environment import die_with_launcher, launched_world_size, under_launcher
    from ebomlc_dist.launch.processes import Processes

    die_with_launcher()
    from ebomlc_dist.recipes.assemble import resolve
    from ebomlc_dist.recipes.settings import Setting

    if audit:
        request = replace(request, flags=(*request.flags, Setting("train.epoch_scores", "true", "--audit")))
    try:
        if resume and output_dir is None:
            raise InputError("--resume needs --output-dir DIR, the folder of the run to continue")
        if time_steps and not dry_run:
            raise InputError("--time-steps is for a dry run, which trains nothing; give --dry-run too")
        total = 1 if num_processes is None else num_processes
        processes = Processes(total, num_machines, machine_rank, main_process_ip, main_process_port)
        if num_processes is not None or num_machines > 1:
            _check_processes(processes, num_processes, device, output_dir)
        start = Start(resolve(request), output_dir, bool(resume), device, audit, packed)
        if packed and (processes.total > 1 or launched_world_size() > 1):
            raise InputError("--packed trains all runs in one process; leave --num-processes and the launcher out")
        if processes.total > 1 and not under_launcher():
            output, arguments = start.output_dir or start.default_output(), context.find_root().obj
            start = replace(start, output_dir=output)
            with untouched_where_refused([output, *start.folders(output)] if machine_rank == 0 else []) as take_back:
                code = _train_in_several(start, processes, arguments, restart=restart, dry_run=dry_run)
                if code == 2:
                    take_back()
            return code
        return _describe(start, time_steps=time_steps) if dry_run else _train_here(start, quiet=quiet, as_json=json)
    except InputError as error:
        record_refusal(output_dir, str(error))
        raise


def _check_processes(processes: "Processes", asked: int | None, device: str, output_dir: Path | None) -> None:
    from ebomlc_dist.launch.environment import launched_world_size, under_launcher

    if under_launcher():
        world = launched_world_size()
        if asked is not None and asked != world:
            raise InputError(f"--num-processes {asked} under a launcher that started {world}; leave the flag out")
        return
    if asked is None:
        raise InputError("--num-machines needs --num-processes, the number on all machines together")
    processes.check(device)
    if processes.machines > 1 and output_dir is None:
        raise InputError("several machines need --output-dir DIR, a folder that all of them see")


def _train_in_several(
    start: Start, processes: "Processes", arguments: list[str], *, restart: bool, dry_run: bool
) -> int:
    """Validate here, where one line and exit code 2 still reach the person; then start the launcher."""
    from ebomlc_dist.cli.validation import validate
    from ebomlc_dist.files.holder import sole_command
    from ebomlc_dist.files.run_folder import RunFolder
    from ebomlc_dist.launch.processes import Requests, launch
    from ebomlc_dist.launch.restarts import start_until_it_ends

    output = start.output_dir or start.default_output()
    start = replace(start, output_dir=output)
    folders = [] if dry_run else start.folders(output)
    validate([run.config for run in start.runs], folders, resume=start.resume, world_size=processes.total)
    # Right after the verb: what the person gave comes later and stands.
    watched = [*folders, *(RunFolder(folder).audit for folder in folders if start.audit)]
    words = ["--output-dir", str(output), *arguments[1:]]

    with ExitStack() as stack:
        if processes.machine_rank == 0 and not dry_run:
            stack.enter_context(sole_command(output))
            start.claimable_output()
        requests = stack.enter_context(Requests())

        def begin(again: bool = False) -> int:
            resume = ["--resume", "auto"] if again else []
            limit_s = start.runs[0].config.train.rendezvous_timeout_s
            command = [arguments[0], *resume, *words]
            return launch(processes, command, start.device, watched, limit_s=limit_s, requests=requests)

        if dry_run or not restart:
            return begin()
        return start_until_it_ends(begin, folders, lambda: requests.first is not None)


def _train_here(start: Start, *, quiet: bool, as_json: bool) -> int:
    """Train in this process, which may be one of several that a launcher started."""
    from ebomlc_dist.audit.trusted import FOLDER as TRUSTED
    from ebomlc_dist.audit.trusted import chooser
    from ebomlc_dist.distributed.runtime import Runtime
    from ebomlc_dist.engine.preflight import check_further_data
    from ebomlc_dist.engine.run import train as train_one
    from ebomlc_dist.engine.run_status import Stopped
    from ebomlc_dist.files.holder import untouched_where_refused
    from ebomlc_dist.launch.signals import Signals, say_last

    # Until all ranks are there, a signal ends each of them at once and costs nothing.
    runtime = Runtime.start(start.runs[0].config.train, start.device)
    try:
        # Before the data are read, and until the models are exported: between the runs' own blocks too.
        with Signals() as signals:
            # Chosen once, as clocks differ between processes.
            output = Path(runtime.on_first_rank(lambda: str(start.output_dir or start.default_output())))
            # A launcher loses the exit code, which ``status.json`` then keeps.
            kept = runtime.world_size > 1 or (runtime.under_launcher and start.output_dir is not None)
            start = replace(start, output_dir=output)
            folders = start.folders(output)
            with nullcontext() if kept else untouched_where_refused([output, *folders]):
                runtime.on_first_rank(lambda: str(start.claimable_output()))
                check_further_data([run.config for run in start.runs], runtime)
                if start.packed:
                    return _train_side_by_side(start, output, runtime, quiet=quiet, as_json=as_json)
                summaries = []
                for run, folder in zip(start.runs, folders, strict=True):
                    data = chooser(run.config, output / TRUSTED, runtime, quiet=quiet)
                    options = _options(start, run, data, quiet=quiet)
                    summaries.append(train_one(run.config, folder, runtime=runtime, **options))
            if runtime.under_launcher and not start.audit:
                signals.ignore_later_ones()
        audits = _audit_all(folders, runtime, quiet=quiet) if start.audit else []
        if runtime.is_main:
            _report(summaries, output, audits, quiet=quiet, as_json=as_json)
        return 0
    except Stopped as stopped:
        if runtime.is_main:
            again = f"the same command with `--resume auto -o {shlex.quote(str(output))}` goes on"
            line = f"ebomlc: stopped at step {stopped.step} ({stopped.reason}); {again}"
            say_last(line, interrupted=stopped.reason == "SIGINT")
        # A launcher would take any other code for a failure, and may start the worker again.
        return 0 if runtime.under_launcher else stopped.code
    finally:
        runtime.close()


def _train_side_by_side(start: Start, output: Path, runtime: "Runtime", *, quiet: bool, as_json: bool) -> int:
    """Train all runs at once. Returns the exit code of the first that did not end well."""
    from ebomlc_dist.audit.trusted import FOLDER as TRUSTED
    from ebomlc_dist.audit.trusted import chooser
    from ebomlc_dist.engine.packed import train_packed
    from ebomlc_dist.engine.run import steps_of
    from ebomlc_dist.engine.run_status import Stopped

    def begun(run: "Resolved", folder: Path) -> "Begin":
        choose = chooser(run.config, output / TRUSTED, runtime, quiet=quiet)
        # Of several runs before the first one begins: a choice is trained by itself. A single one's folder is its own.
        data = choose() if choose is not None and len(start.runs) > 1 else choose
        options = _options(start, run, data, quiet=quiet)
        return lambda place, signals: steps_of(run.config, folder, runtime=place, signals=signals, **options)

    def tell(ended: "Ended") -> None:
        error = ended.error
        if error is not None:
            known = isinstance(error, InputError | TrainingFault | Stopped)
            line = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"ebomlc: {ended.folder}: {line}", file=sys.stderr)

    runs = zip(start.runs, start.folders(output), strict=True)
    every = train_packed([(folder, begun(run, folder)) for run, folder in runs], runtime, tell)
    finished = [ended for ended in every if ended.summary is not None]
    audits = _audit_all([ended.folder for ended in finished], runtime, quiet=quiet) if start.audit else []
    if finished or as_json:
        _report([ended.summary for ended in finished if ended.summary], output, audits, quiet=quiet, as_json=as_json)
    errors = [ended.error for ended in every if ended.error is not None]
    failures = [error for error in errors if not isinstance(error, Stopped)]
    if failures:
        return 2 if all(isinstance(error, InputError) for error in failures) else 1
    return errors[0].code if errors and isinstance(errors[0], Stopped) else 0


def _options(start: Start, run: "Resolved", data: "Data | None", *, quiet: bool) -> "RunOptions":
    return {
        "resume": start.resume,
        "quiet": quiet,
        "overrides": run.overrides,
        "sources": run.sources,
        "dataset": data,
    }


def _describe(start: Start, *, time_steps: bool) -> int:
    """Say what would happen, run by run, and write nothing. What training would refuse is refused."""
    from ebomlc_dist.distributed.runtime import Runtime
    from ebomlc_dist.engine.dry_run import preview

    runtime = Runtime.start(start.runs[0].config.train, start.device)
    try:
        for run, folder in zip(start.runs, start.folders(start.output_dir or start.default_output()), strict=True):
            rows = preview(run.config, folder, runtime, run.sources, time_steps=time_steps)
            if runtime.is_main:
                print_table(["", ""], rows)
                print()
        return 0
    finally:
        runtime.close()


def _audit_all(folders: list[Path], runtime: "Runtime", *, quiet: bool) -> list[dict[str, Any]]:
    """An audit of every run, with the scores that its epochs left."""
    from ebomlc_dist.audit.run_audit import Options
    from ebomlc_dist.audit.run_audit import audit as audit_one

    return [audit_one(folder, Options(), runtime, quiet=quiet) for folder in folders]


def _report(
    summaries: list[dict[str, Any]], output: Path, audits: list[dict[str, Any]], *, quiet: bool, as_json: bool
) -> None:
    if as_json:
        print_json(
            [summary | {"audit": found} for summary, found in zip(summaries, audits, strict=True)]
            if audits
            else summaries
        )
        return
    print_results(summaries, output, hints=not quiet)
    for found in audits:
        print()
        print_audit(found, Path(found["run"]) / "audit", hints=not quiet)
