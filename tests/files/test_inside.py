"""Links and special files in a run folder: refused, and nothing behind them is touched or waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.inside import open_to_append, refuse_links
from ebomlc_dist.files.run_folder import RunFolder, claim, read_status, write_status

FOLDERS = [path.name for path in RunFolder(Path("run")).folders]
FILES = [path.name for path in RunFolder(Path("run")).files]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A stopped run."""
    folder = tmp_path / "run"
    with claim(folder, "a"):
        write_status(folder, state="stopped")
    return RunFolder(folder)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of somebody else, with a file whose name looks like litter."""
    folder = tmp_path / "others"
    folder.mkdir()
    (folder / durable.temporary_name("thesis.tex")).write_text("mine")
    return folder


def texts(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.iterdir()]


def test_what_a_run_writes_to_is_all_there() -> None:
    assert {"logs", "tensorboard", "checkpoints", "model", "epoch_scores", "audit"} <= set(FOLDERS)
    assert {"status.json", "metrics.jsonl", "run.lock", "STOP"} <= set(FILES)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_linked_folder(name: str, run: RunFolder, others: Path) -> None:
    (run.root / name).symlink_to(others)
    with pytest.raises(InputError, match=f"{name} is a link where a folder belongs"):
        claim(run.root, "a", resume=True)
    assert texts(others) == ["mine"]


@pytest.mark.parametrize("name", FILES)
def test_a_linked_file(name: str, run: RunFolder, others: Path) -> None:
    (run.root / name).unlink(missing_ok=True)
    (run.root / name).symlink_to(next(others.iterdir()))
    with pytest.raises(InputError, match=f"{name} is a link where a regular file belongs"):
        claim(run.root, "a", resume=True)
    assert texts(others) == ["mine"]


@pytest.mark.parametrize(
    ("plant", "kind"),
    [(lambda path, target: path.symlink_to(target), "a link"), (lambda path, _: os.mkfifo(path), "a pipe")],
)
@pytest.mark.parametrize("name", FOLDERS)
def test_within_a_folder(
    name: str, plant: Callable[[Path, Path], None], kind: str, run: RunFolder, others: Path
) -> None:
    (run.root / name).mkdir()
    plant(run.root / name / "rank-0.log", next(others.iterdir()))
    with pytest.raises(InputError, match=f"{name}/rank-0.log is {kind}"):
        claim(run.root, "a", resume=True)


def test_a_run_folder_that_is_reached_by_a_link(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(run.root)
    claim(tmp_path / "latest", "a", resume=True).release()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(InputError, match="logs is a file where a folder belongs"):
        refuse_links([tmp_path / "logs"])


def test_appending(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for text in (b"one\n", b"two\n"):
        descriptor = open_to_append(tmp_path / "logs" / "rank-0.log", tmp_path)
        os.write(descriptor, text)
        os.close(descriptor)
    assert (tmp_path / "logs" / "rank-0.log").read_text() == "one\ntwo\n"


def test_appending_through_links_and_to_pipes(tmp_path: Path, others: Path) -> None:
    (tmp_path / "logs").symlink_to(others)
    with pytest.raises(InputError, match="logs is a link where a folder belongs"):
        open_to_append(tmp_path / "logs" / "rank-0.log", tmp_path)
    (tmp_path / "by-link").symlink_to(next(others.iterdir()))
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("by-link", "a link"), ("pipe", "a pipe"), ("others", "a folder")):
        with pytest.raises(InputError, match=f"{name} is {kind}"):
            open_to_append(tmp_path / name, tmp_path)
    assert texts(others) == ["mine"]


def test_a_link_in_the_place_of_a_tree_is_removed_alone(tmp_path: Path, others: Path) -> None:
    (tmp_path / "tree").symlink_to(others)
    durable.remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").is_symlink()
    assert texts(others) == ["mine"]


def test_a_shorter_status_over_a_longer_one(run: RunFolder) -> None:
    write_status(run.root, state="failed", reason="x" * 300, code=1)
    size = run.status.stat().st_size
    durable.overwrite(run.status, durable.json_bytes({"state": "stopped", "heartbeat": 1.0}))
    assert run.status.stat().st_size == size
    assert read_status(run.root).state == "stopped"
    with pytest.raises(durable.NoSpace):
        durable.overwrite(run.status, bytes(run.status.stat().st_blocks * 512 + 1))
    assert read_status(run.root).state == "stopped"
