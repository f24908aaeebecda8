"""The command ``ebomlc``: verbs in, exit codes out.

Exit codes: 0 done, 1 failed, 2 bad input, 75 stopped with a checkpoint, 130 Ctrl-C. Bad input is one line on stderr,
under a launcher from the first rank alone. Nothing here imports torch before a command needs it.
"""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from ebomlc_dist import __version__
from ebomlc_dist.cli import (
    audit,
    doctor,
    figures,
    list_known,
    logs,
    packing,
    profile,
    show,
    submit,
    sweep,
    sweep_status,
    tables,
    training,
    use,
)
from ebomlc_dist.cli.flags import usual_name
from ebomlc_dist.cli.panels import GroupedCommand
from ebomlc_dist.errors import InputError, LoneError, TrainingFault
from ebomlc_dist.launch.signals import REQUESTS


def make_app(*, completion: bool = False) -> typer.Typer:
    """Return an application with the habits of ``ebomlc``: -h, underscores in flags, plain help.

    ``completion``: whether it has ``--install-completion`` and ``--show-completion``.
    """
    return typer.Typer(
        add_completion=completion,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "token_normalize_func": usual_name,
        },
    )


app = make_app(completion=True)
app.command(cls=GroupedCommand)(training.train)
app.command(cls=GroupedCommand)(packing.pack)
app.command(cls=GroupedCommand)(show.show_config)
app.command("list")(list_known.list_known)
app.command()(use.evaluate)
app.command()(use.predict)
app.command()(audit.audit)
app.command()(figures.figures)
app.command()(figures.report)
sweeps = make_app()
sweeps.command("run")(sweep.run)
sweeps.command("status")(sweep_status.status)
app.add_typer(sweeps, name="sweep", help="Run a grid of runs (`ebomlc sweep GRID`), or show its status.")
app.command(cls=GroupedCommand)(profile.profile)
app.command()(tables.tables)
app.command()(show.status)
app.command()(logs.logs)
app.command(context_settings={"allow_interspersed_args": False})(submit.submit)
app.command()(doctor.doctor)
app.command()(show.env)

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``ebomlc`` with these arguments, by default the process's own, and leave the process."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    # What was to be done is done: a request to stop, late as it is, must not turn its exit code into a signal's.
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run ``ebomlc`` and return the exit code. Exceptions that nobody foresaw pass through, with their traceback."""
    return run_app(app, "ebomlc", "`ebomlc --help` and `ebomlc COMMAND --help`", in_full(arguments))


def run_app(application: typer.Typer, name: str, hint: str, arguments: list[str]) -> int:
    """Run an application and return the exit code. Its root context's ``obj`` holds the arguments."""
    with _warnings_shown():
        try:
            return application(args=arguments, prog_name=name, standalone_mode=False, obj=arguments) or 0
        except InputError as error:
            _say(str(error), alone=isinstance(error, LoneError))
            return 2
        except TrainingFault as error:
            _say(str(error))
            return 1
        except _USAGE_ERROR as error:
            # Choices come one a line, each with a tab.
            line = " ".join(error.format_message().split())  # type: ignore[attr-defined]
            _say(f"{line} (see {hint})")
            return 2


@app.callback(invoke_without_command=True)
def ebomlc(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> int:
    """Train image classifiers on noisy labels with a small trusted set, on one process or on many."""
    if version:
        print(f"ebomlc {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
    return 0


def in_full(arguments: list[str]) -> list[str]:
    """Short forms written out: ``--resume`` alone is ``--resume auto``, ``sweep GRID`` is ``sweep run GRID``."""
    if arguments[:1] == ["sweep"] and arguments[1:] and arguments[1] not in ("-h", "--help", *sweep.VERBS):
        arguments = ["sweep", "run", *arguments[1:]]
    found = []
    for place, word in enumerate(arguments):
        found.append(word)
        if word == "--resume" and arguments[place + 1 : place + 2] != ["auto"]:
            found.append("auto")
    return found


class _Warnings(logging.Handler):
    """Shows the package's warnings, such as a checkpoint that was passed over, as lines like any other."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


@contextmanager
def _warnings_shown() -> Iterator[None]:
    handler, logger = _Warnings(logging.WARNING), logging.getLogger("ebomlc_dist")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _say(line: str, *, alone: bool = False) -> None:
    """One line on stderr, from the first rank, or from one that is ``alone`` in knowing it."""
    from ebomlc_dist.launch.environment import launched_rank

    if alone or launched_rank() == 0:
        print(f"ebomlc: {_one_line(line)}", file=sys.stderr)


def _one_line(text: str) -> str:
    """Names of files and classes come from others: what could move the cursor or break the line is shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.strip())
