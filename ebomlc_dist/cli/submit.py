"""``ebomlc submit``: a batch script for SLURM, printed or handed to sbatch. Nothing here imports torch."""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Annotated

import typer

from ebomlc_dist.errors import InputError, nearest

VERBS = ("train", "sweep")
_WORD = re.compile(r"[A-Za-z0-9._,:%@=/+-]+")
_OUTPUT_FLAGS = ("-o", "--output", "--output-dir")
# Time for a step, a checkpoint and SLURM's own grain of a minute.
WARNING_S = 120


@dataclass(frozen=True)
class Job:
    """What a batch script asks for.

    Attributes:
        verb: ``train``, on all nodes together, or ``sweep``, each task of the array for itself.
        arguments: of the verb; empty for a script that takes them on sbatch's command line.
        head: lines of the comment that the script opens with.
        nodes: machines of the job.
        gpus: of each node; with 0 the job computes on the CPU.
        cpus: cores of each node.
        time: limit in SLURM's notation.
        array: which tasks, such as ``0-7``; none for a single job.
        processes: on each node; by default one a GPU, or one.
        requeues: how often a job that was asked to stop goes back into the queue.
        extra: further ``#SBATCH --key=value``.
    """

    verb: str
    arguments: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    name: str = "ebomlc"
    nodes: int = 1
    gpus: int = 0
    cpus: int = 8
    time: str = "24:00:00"
    array: str | None = None
    processes: int | None = None
    requeues: int = 20
    extra: dict[str, str] = field(default_factory=dict)

    def script(self) -> str:
        """The batch script. Raises `InputError` for what it cannot ask for."""
        self._check()
        from ebomlc_dist.pages.templating import templates_of

        environment = templates_of("ebomlc_dist.cli", keep_trailing_newline=True)
        arguments, output = _without_output(self.arguments)
        default = "sweeps/$SLURM_JOB_NAME" if self.verb == "sweep" else "runs/$SLURM_JOB_NAME-$SLURM_JOB_ID"
        values = vars(self) | {
            "arguments": shlex.join(arguments),
            "output": f'"${{EBOMLC_OUTPUT:-{default}}}"' if output is None else shlex.quote(output),
            "warning": WARNING_S,
        }
        return environment.get_template("job.sbatch.j2").render(values)

    def _check(self) -> None:
        if self.verb not in VERBS:
            raise InputError(
                f"'{self.verb}' is no command for a cluster{nearest(self.verb, list(VERBS))}; "
                "give `train RECIPE …` or `sweep GRID …` last"
            )
        if self.verb == "sweep" and self.nodes > 1:
            raise InputError("a sweep needs no --nodes: give it --array, whose tasks share the cells")
        if self.verb == "train" and self.array is not None:
            raise InputError("--array is for `sweep`; all tasks of the array would train the same run")
        processes = 1 if self.processes is None else self.processes
        for number, name in ((self.nodes, "--nodes"), (self.cpus, "--cpus"), (processes, "--processes")):
            if number < 1:
                raise InputError(f"{name} {number}: give at least 1")
        if self.gpus < 0 or self.requeues < 0:
            raise InputError("--gpus and --requeues cannot be negative")
        for value in (self.name, self.time, self.array or "-", *self.extra, *self.extra.values()):
            if not _WORD.fullmatch(value):
                raise InputError(
                    f"{value!r} cannot stand in a batch script; use letters, digits and . _ , : % @ = / + -"
                )


def submit(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="train RECIPE … | sweep GRID …", help="The command that the job runs.", show_default=False
        ),
    ],
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", help="Number of machines.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", help="GPUs per machine; 0 for the CPU.")] = 0,
    cpus: Annotated[int, typer.Option("--cpus", metavar="N", help="Cores per machine.")] = 8,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", metavar="N", help="Processes per machine. Default: one per GPU.", show_default=False
        ),
    ] = None,
    time: Annotated[str, typer.Option("--time", metavar="LIMIT", help="Time limit, in SLURM's notation.")] = "24:00:00",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the job.")] = "ebomlc",
    array: Annotated[
        str | None,
        typer.Option("--array", metavar="TASKS", help="Array tasks of a sweep, such as 0-7.", show_default=False),
    ] = None,
    requeues: Annotated[int, typer.Option("--requeues", metavar="N", help="Requeue the job at most this often.")] = 20,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch", metavar="KEY=VALUE", help="Any option of sbatch, such as partition=gpu.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Submit the script instead of printing it.")] = False,
) -> int:
    """Print a SLURM batch script for a run on any number of nodes, or submit it."""
    extra = dict(_pair(text) for text in sbatch or ())
    job = Job(
        verb=command[0],
        arguments=tuple(command[1:]),
        head=("Written by `ebomlc submit`.",),
        name=name,
        nodes=nodes,
        gpus=gpus,
        cpus=cpus,
        time=time,
        array=array,
        processes=processes,
        requeues=requeues,
        extra=extra,
    )
    if not job.arguments:
        raise InputError(f"`{job.verb}` needs something to run: `ebomlc submit {job.verb} NAME …`")
    script = job.script()
    if job.verb == "train":
        _check_names(job.arguments)
    if not yes:
        print(script, end="")
        return 0
    if shutil.which("sbatch") is None:
        raise InputError("sbatch is not on this machine's path; print the script without --yes and submit it elsewhere")
    ended = subprocess.run(["sbatch"], input=script, text=True, check=False)
    return 1 if ended.returncode else 0


def _check_names(arguments: tuple[str, ...]) -> None:
    """Refuse what `train` would refuse only when the job starts: unknown flags, recipes and methods."""
    from ebomlc_dist.cli import make_app
    from ebomlc_dist.cli.training import train
    from ebomlc_dist.methods import check_method
    from ebomlc_dist.recipes import check_recipe

    reader = make_app()
    reader.command()(train)
    given = typer.main.get_command(reader).make_context("train", list(arguments)).params
    for name in given["recipe"] or ():
        check_recipe(name)
    for word in given["method"] or ():
        for name in map(str.strip, word.split(",")):
            check_method(name)


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"--sbatch {text}: give KEY=VALUE, such as partition=gpu")
    return key.removeprefix("--"), value


def _without_output(arguments: tuple[str, ...]) -> tuple[list[str], str | None]:
    """The arguments without their output folder, which the script has to know, and that folder."""
    kept: list[str] = []
    output, words = None, iter(arguments)
    for word in words:
        flag, separator, value = word.partition("=")
        if flag in _OUTPUT_FLAGS:
            output = value if separator else next(words, "")
            if not output:
                raise InputError(f"{flag} needs a folder")
        else:
            kept.append(word)
    return kept, output
