"""Whole files only, under names that cannot be foreseen, with the user's own permissions."""

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.operations import Operations, using
from ebomlc_dist.files.reading import read_bytes

KINDS = ["die", "die_short", "no_space", "io_error", "late_error", "short", "full", "broken"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_durable", [True, False])
def test_every_call_of_a_write_may_fail(
    memory_folder: Path, faulty: type, intercepted: type, run_in_child: Callable, kind: str, is_durable: bool
) -> None:
    path = memory_folder / "value.json"
    old, new = ["old"] * 10, ["new"] * 12

    def write() -> None:
        durable.write_json(path, new, durable=is_durable)

    with using(counted := intercepted()):
        write()
    failures = 0
    for k in range(1, len(counted.calls) + 1):
        durable.write_json(path, old)
        if kind.startswith("die"):
            failed = run_in_child(write, faulty(kind, k)) != 0
        else:
            try:
                with using(faulty(kind, k)):
                    write()
                failed = False
            except OSError:
                failed = True
        failures += failed
        assert json.loads(path.read_bytes()) in ([old, new] if failed else [new])
        if kind in ("no_space", "io_error", "full"):
            assert [p.name for p in memory_folder.iterdir()] == ["value.json"]
        durable.remove_litter(memory_folder)
        assert [p.name for p in memory_folder.iterdir()] == ["value.json"]
    assert failures > 0 or kind == "short"


class LostAnswer(Operations):
    """Links, and then says that the name was taken, as a request does that a network repeated."""

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        raise FileExistsError


def test_what_is_published_is_never_replaced(tmp_path: Path) -> None:
    place, path = tmp_path / "place", tmp_path / "value"
    place.mkdir()
    with using(LostAnswer()):
        assert durable.publish_bytes(path, b"first", workplace=place) is True
    assert durable.publish_bytes(path, b"second", workplace=place) is False
    assert path.read_bytes() == b"first"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_of_a_publication_may_fail(
    memory_folder: Path, faulty: type, intercepted: type, run_in_child: Callable, kind: str
) -> None:
    place, path = memory_folder / "place", memory_folder / "results" / "value"
    place.mkdir()
    path.parent.mkdir()

    def publish() -> None:
        assert durable.publish_bytes(path, b"whole", workplace=place)

    with using(counted := intercepted()):
        publish()
    for k in range(1, len(counted.calls) + 1):
        path.unlink()
        if kind.startswith("die"):
            run_in_child(publish, faulty(kind, k))
        else:
            with using(faulty(kind, k)), contextlib.suppress(OSError):
                publish()
        assert not path.exists() or path.read_bytes() == b"whole"
        durable.remove_litter(place)
        assert list(place.iterdir()) == []
        assert {p.name for p in path.parent.iterdir()} <= {path.name}
        durable.publish_bytes(path, b"whole", workplace=place)
        assert path.read_bytes() == b"whole"


def test_order_of_calls(tmp_path: Path, intercepted: type) -> None:
    with using(recorded := intercepted()):
        durable.write_bytes(tmp_path / "value", b"1")
    names = [name for name, _ in recorded.calls]
    assert names == ["open", "write", "fsync", "forget", "close", "rename", "open", "fsync", "close"]
    assert recorded.calls[6][1][0] == tmp_path
    with using(recorded := intercepted()):
        durable.write_bytes(tmp_path / "value", b"2", durable=False)
    assert [name for name, _ in recorded.calls] == ["open", "write", "close", "rename"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "value"
    target.write_text("mine")
    path.symlink_to(target)
    durable.write_bytes(path, b"new")
    assert target.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"


def test_a_planted_temporary_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a name were guessed, a link or a file under it would not be written through."""
    target = tmp_path / "target"
    target.write_text("mine")
    monkeypatch.setattr(durable, "temporary_name", lambda name: ".tmp-guessed")
    (tmp_path / ".tmp-guessed").symlink_to(target)
    with pytest.raises(FileExistsError):
        durable.write_bytes(tmp_path / "value", b"new")
    assert target.read_text() == "mine"


def test_temporary_names_differ_and_stay_short() -> None:
    names = {durable.temporary_name("é" * 300) for _ in range(100)}
    assert len(names) == 100
    assert all(durable.is_litter(name) and len(name.encode()) < 255 for name in names)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o007, 0o660)])
def test_the_umask_counts(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        durable.make_folder(tmp_path / "a" / "b")
        durable.write_bytes(tmp_path / "a" / "b" / "value", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "value").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode | (mode & 0o444) >> 2


def test_make_folder(tmp_path: Path, intercepted: type) -> None:
    with using(recorded := intercepted()):
        durable.make_folder(tmp_path / "a" / "b")
    assert [name for name, _ in recorded.calls] == ["mkdir", "open", "fsync", "close"] * 2
    with using(recorded := intercepted()):
        durable.make_folder(tmp_path / "a" / "b")
    assert recorded.calls == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        durable.make_folder(tmp_path / "file")


def test_remove_litter_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    litter = tmp_path / durable.temporary_name("x")
    (litter / "deep").mkdir(parents=True)
    (litter / "deep" / "link").symlink_to(precious)
    (tmp_path / durable.temporary_name("y")).symlink_to(precious)
    durable.remove_litter(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
    assert (precious / "file").exists()


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        durable.write_json(tmp_path / "value.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
    durable.write_json(tmp_path / "value.json", {"name": "é"})
    assert (tmp_path / "value.json").read_bytes() == '{\n  "name": "é"\n}\n'.encode()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(tmp_path / "file", 4) == b"1234"
    assert read_bytes(tmp_path / "link", 4) == b"1234"
    started = time.monotonic()
    for name, message in [
        ("zero", "not a regular file"),
        ("pipe", "not a regular file"),
        ("loop", "cannot be read"),
        ("", "not a regular file"),
        ("missing", "does not exist"),
    ]:
        with pytest.raises(InputError, match=message):
            read_bytes(tmp_path / name, 4)
    with pytest.raises(InputError, match="not a regular file"):
        read_bytes(tmp_path / "link", 4, follow_links=False)
    with pytest.raises(InputError, match="4 bytes, at most 3"):
        read_bytes(tmp_path / "file", 3)
    with pytest.raises(InputError, match="at most 10"):
        read_bytes(Path("/proc/self/maps"), 10)
    assert time.monotonic() - started < 2
