"""The folder of one run: what lies where in it, who may write to it, and what its run is doing."""

import errno
import fcntl
import os
import shlex
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable, operations
from ebomlc_dist.files.inside import refuse_links
from ebomlc_dist.files.safe_json import read_json

State = Literal["running", "finished", "failed", "stopped"]

START = "EBOMLC_START"
"""Environment variable by which a command knows the runs that its processes have claimed."""
LOCKS_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)
_held_descriptors: set[int] = set()


class RunFolder:
    """Names and paths within a run folder; nothing is read or made.

    Attributes:
        config: the resolved configuration, which ``--config`` takes back.
        overrides: what the command line changed, one ``key=value`` a line.
        environment: versions, device and the allowed part of the environment.
        split: which images are trusted, which ``--split`` takes back.
        classes: class names in label order.
        metrics: the `journal.Journal` of metrics over steps.
        attempts: the `journal.Journal` of how each start of the run spent its time.
        summary: the run's figures, written when it ends.
        status: what the run is doing, see `write_status`.
        stop: a file that a person makes to ask the run to stop with a checkpoint.
        lock: held by the live run; says which one that is.
        logs: one log file a rank, see `log`.
        tensorboard: TensorBoard's event files.
        checkpoints: the folder of a `checkpoints.CheckpointStore`.
        model, peer_model, meta_model: the final weights, in hub layout.
        epoch_scores: label scores of each epoch, see `epoch_score_file`.
        audit: what ``ebomlc audit`` found.
        extractor: the run folder of the frozen extractor that the run trained for itself first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root = Path(root)
        self.config = root / "config.json"
        self.overrides = root / "overrides.txt"
        self.environment = root / "environment.json"
        self.split = root / "split.json"
        self.classes = root / "classes.json"
        self.metrics = root / "metrics.jsonl"
        self.attempts = root / "attempts.jsonl"
        self.summary = root / "summary.json"
        self.status = root / "status.json"
        self.stop = root / "STOP"
        self.lock = root / "run.lock"
        self.logs = root / "logs"
        self.tensorboard = root / "tensorboard"
        self.checkpoints = root / "checkpoints"
        self.model = root / "model"
        self.peer_model = root / "peer_model"
        self.meta_model = root / "meta_model"
        self.epoch_scores = root / "epoch_scores"
        self.audit = root / "audit"
        self.extractor = root / "extractor"

    @property
    def folders(self) -> list[Path]:
        """The folders in it that a run writes to."""
        models = [self.model, self.peer_model, self.meta_model]
        own = [self.logs, self.tensorboard, self.checkpoints, *models, self.epoch_scores, self.audit]
        return [*own, self.extractor]

    @property
    def files(self) -> list[Path]:
        """The files in it."""
        others = {self.root, *self.folders}
        return [path for path in vars(self).values() if path not in others]

    def log(self, rank: int) -> Path:
        """Return the log of one rank."""
        return self.logs / f"rank-{rank}.log"

    def epoch_score_file(self, epoch: int) -> Path:
        """Return the label scores of one epoch, counted from 1."""
        return self.epoch_scores / f"epoch-{epoch:05d}.safetensors"


@dataclass
class Claim:
    """The right to write to a run folder. It ends with `release` or with the process.

    Attributes:
        folder: the claimed folder.
        warnings: lines for the user: what could not be made sure.
    """

    folder: RunFolder
    warnings: list[str] = field(default_factory=list)
    _descriptor: int = -1

    def release(self) -> None:
        """Let another run have the folder."""
        if self._descriptor in _held_descriptors:
            _held_descriptors.discard(self._descriptor)
            operations.current().close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def claim(folder: Path, run_name: str, *, resume: bool = False) -> Claim:
    """Make a run folder, or take an existing one again, for this process alone. For the one writing rank.

    Args:
        folder: the run folder; missing ones above it are made too.
        run_name: what later messages call this run.
        resume: the folder may hold a run, which is to go on; a missing or empty folder is fine as well.

    Raises:
        InputError: the folder holds a run and ``resume`` is off; it holds other files; another process is running in
            it; it belongs to another user (only on a resume); a link or a special file is in the place of something
            that a run writes; it cannot be made or written.
        NoSpace: the disk is full.
    """
    run = RunFolder(folder)
    try:
        durable.make_folder(run.root)
        _check_content(run, resume)
        refuse_links((), [run.lock])
        result = _lock(run)
        try:
            # Again, now that nobody else can come in between.
            _check_content(run, resume)
            refuse_links(run.folders, run.files)
            for written_to in (run.root, run.model, run.peer_model, run.meta_model):
                if written_to.is_dir():
                    durable.remove_litter(written_to)
            _sign(result, run_name)
        except BaseException:
            result.release()
            raise
    except durable.NoSpace:
        raise
    except OSError as error:
        raise InputError(
            f"the run folder {run.root} cannot be written: {error.strerror or error}; choose another one with -o"
        ) from error
    return result


@dataclass(frozen=True)
class Status:
    """What a run is doing, or how it ended.

    Attributes:
        state: ``running``, ``finished``, ``failed``, or ``stopped`` (asked to stop; a checkpoint lies ready).
        reason: one line, where there is something to say.
        code: exit code that tells the truth where a launcher's own does not.
        rank: the rank at fault, where there is one.
        step: finished steps.
        heartbeat: wall time of this status, seconds since 1970. For people; nothing is ordered by it.
    """

    state: State
    reason: str | None = None
    code: int | None = None
    rank: int | None = None
    step: int | None = None
    heartbeat: float = 0.0


def write_status(
    folder: Path,
    *,
    state: State,
    reason: str | None = None,
    code: int | None = None,
    rank: int | None = None,
    step: int | None = None,
) -> None:
    """Replace ``status.json``, see `Status`. The heartbeats of a running run cost no flush to the disk.

    A disk without room for a second file has the first one overwritten: how a run ended is worth more than that a
    reader may see half of it.
    """
    path, ended = RunFolder(folder).status, state != "running"
    status = asdict(Status(state, reason, code, rank, step, heartbeat=time.time()))
    try:
        durable.write_json(path, status, durable=ended)
    except durable.NoSpace:
        if not ended or not path.exists():
            raise
        durable.overwrite(path, durable.json_bytes(status))


def read_status(folder: Path) -> Status:
    """Return the last status of a run.

    Raises:
        InputError: no run there, or a damaged ``status.json``.
    """
    path = RunFolder(folder).status
    if not path.exists():
        raise InputError(f"{folder} holds no run: there is no {path.name} in it")
    value = read_json(path)
    if not isinstance(value, dict) or not _fits(value):
        raise InputError(f"{path} is damaged: it is no status of a run")
    return Status(**value)


def _fits(value: dict[str, Any]) -> bool:
    numbers = [value.get(name) for name in ("code", "rank", "step")]
    return (
        set(value) <= set(Status.__dataclass_fields__)
        and value.get("state") in get_args(State)
        and isinstance(value.get("reason"), str | None)
        and all(number is None or type(number) is int for number in numbers)
        and type(value.get("heartbeat")) in (int, float)
    )


def _check_content(run: RunFolder, resume: bool) -> None:
    if all(path == run.lock or durable.is_litter(path.name) for path in run.root.iterdir()):
        return
    if not any(path.exists() for path in (run.lock, run.config, run.status)):
        raise InputError(f"{run.root} is not empty and holds no run; choose another folder with `-o FOLDER`")
    if not resume:
        raise InputError(
            f"{run.root} already holds the run {_name(run)}; continue it with "
            f"`--resume auto -o {shlex.quote(str(run.root))}`, or choose another folder with `-o FOLDER`"
        )
    for path in (run.root, run.checkpoints):
        if path.exists() and path.stat().st_uid != os.geteuid():
            raise InputError(
                f"{path} belongs to another user (uid {path.stat().st_uid}, you are {os.geteuid()}), so it is not "
                "resumed; copy the run to a folder of your own and give that with `-o FOLDER`"
            )


def _lock(run: RunFolder) -> Claim:
    descriptor = operations.current().open(run.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK)
    _held_descriptors.add(descriptor)
    result = Claim(run, _descriptor=descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        result.release()
        raise InputError(
            f"another process is running in {run.root}: {signature_of(run)}; stop it first, "
            "or choose another folder with `-o FOLDER`"
        ) from None
    except OSError as error:
        if error.errno not in LOCKS_UNSUPPORTED:
            result.release()
            raise
        result.warnings.append(f"{run.root} is on a file system without locks: take care that no other run uses it")
    return result


def _sign(claimed: Claim, run_name: str) -> None:
    # In place, as the lock belongs to this very file and not to its name.
    signature = {"run": run_name, "pid": os.getpid(), "host": socket.gethostname(), "start": os.environ.get(START)}
    with durable.explained(claimed.folder.lock, 0):
        operations.current().truncate(claimed._descriptor, 0)
        durable.write_all(claimed._descriptor, durable.json_bytes(signature))


def signature_of(run: RunFolder) -> str:
    """Return what the last claim wrote of itself, for people."""
    try:
        value = read_json(run.lock, follow_links=False)
        return f"{value['run']} (process {value['pid']} on {value['host']})"
    except (InputError, KeyError, TypeError):
        return "of an unknown name"


def _name(run: RunFolder) -> str:
    """Of the run that the folder holds. Its process is not named: it may have ended long ago."""
    return signature_of(run).partition(" (process ")[0]


def _close_inherited_locks() -> None:
    # A lock lives as long as any copy of its descriptor: a forked data worker must not outlive the run with one.
    for descriptor in _held_descriptors:
        os.close(descriptor)
    _held_descriptors.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)
