"""Death, a full disk and a failing disk at every single call of a save: the old state or the new one, never neither."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.files import durable
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.operations import Operations, using

# To the disk, "broken" is a death too: nothing is done any more. Real deaths cost a fork each, and are tried once.
KINDS = {
    "first": ["broken", "no_space", "io_error"],
    "next": ["die", "die_short", "no_space", "io_error", "late_error", "short", "full", "broken"],
    "again": ["broken", "io_error", "late_error"],
    "after a death": ["broken", "no_space"],
}
FEELABLE = {
    "die": {"mkdir", "open", "write", "fsync", "rename", "read", "close"},
    "die_short": {"write"},
    "no_space": {"mkdir", "open", "write", "fsync", "rename"},
    "io_error": {"mkdir", "open", "write", "fsync", "rename", "read", "close"},
    "late_error": {"mkdir", "fsync", "rename", "close"},
    "short": set(),
    "full": {"mkdir", "open", "write", "fsync"},
    "broken": {"mkdir", "open", "write", "fsync", "rename", "read", "close"},
}


def prepare(folder: Path, template: Path, situation: str) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.parent.mkdir()
    if situation != "first":
        shutil.copytree(template, folder)
    if situation == "after a death":
        half = folder / durable.temporary_name("step-00000004")
        half.mkdir()
        (half / "main.safetensors").write_bytes(b"half of it")


@pytest.mark.parametrize(("situation", "kind"), [(s, kind) for s, kinds in KINDS.items() for kind in kinds])
def test_every_call_of_a_save_may_fail(
    situation: str,
    kind: str,
    template: Path,
    memory_folder: Path,
    faulty: type,
    intercepted: type,
    saved_as: Callable,
    run_in_child: Callable,
) -> None:
    folder = memory_folder / "run" / "checkpoints"

    def save() -> None:
        saved_as(CheckpointStore(folder), 3 if situation == "again" else 4, note=situation)

    prepare(folder, template, situation)
    old = CheckpointStore(folder).load()
    with using(counted := intercepted()):
        save()
    new = CheckpointStore(folder).load()
    assert new != old
    felt, found_new = set(), set()
    for k, (name, _) in enumerate(counted.calls, start=1):
        if kind in ("short", "die_short") and name != "write":
            continue
        place = f"{kind} at call {k}, {name}"
        prepare(folder, template, situation)
        failed = fails(save, faulty(kind, k), run_in_child if kind.startswith("die") else None)
        felt |= {name} if failed else set()

        found = CheckpointStore(folder).load()
        assert found in (old, new), place
        assert found == new or failed, f"{place}: a save that returned is not there"
        found_new.add(found == new)
        if situation != "first":
            assert CheckpointStore(folder).load(best=True).step == 1, f"{place}: the best one is gone"
        if found != new and kind in ("no_space", "io_error", "full") and situation != "after a death":
            assert not litter(folder), place

        saved_as(CheckpointStore(folder), 5)
        assert CheckpointStore(folder).load().step == 5
        assert not litter(folder), place
        assert len(list(folder.iterdir())) <= 4, f"{place}: more than latest, the newest two and the best"
    # The faults must have been felt: otherwise nothing was tried.
    assert felt >= FEELABLE[kind]
    assert found_new == ({True} if kind == "short" else {False, True})


def fails(save: Callable[[], None], operations: Operations, run_in_child: Callable | None) -> bool:
    """Whether the save died or raised what it may raise."""
    if run_in_child is not None:
        code = run_in_child(save, operations)
        assert code in (0, 9)
        return code == 9
    try:
        with using(operations):
            save()
    except OSError:
        return True
    return False


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if durable.is_litter(path.name)] if folder.exists() else []


def test_a_death_that_overwrites_in_place_would_be_seen(
    memory_folder: Path, faulty: type, run_in_child: Callable
) -> None:
    """Control: a file written under its final name, as the layer never does, does lose the old state."""
    path = memory_folder / "value"
    path.write_bytes(b"old" * 100)

    def overwrite() -> None:
        path.unlink()
        durable.create_file(path, b"new" * 100)

    assert run_in_child(overwrite, faulty("die_short", 2)) == 9
    assert path.read_bytes() not in (b"old" * 100, b"new" * 100)


def test_order_of_calls(checkpoints: Path, intercepted: type, saved_as: Callable) -> None:
    """Each file is flushed before the rename, the manifest last, the folder too; nothing is removed before the end."""
    with using(recorded := intercepted()):
        path = saved_as(CheckpointStore(checkpoints), 4)
    names = [name for name, _ in recorded.calls]
    created = [args[0] for name, args in recorded.calls[: names.index("rename")] if name == "open"]
    assert [p.name for p in created[:-1]] == ["main.safetensors", "loop.json", "manifest.json"]
    assert created[-1].name.startswith(".tmp-")
    before = names[: names.index("rename")]
    assert before == [
        "free_bytes",
        "mkdir",
        *["open", "write", "fsync", "forget", "close"] * 3,
        "open",
        "fsync",
        "close",
    ]
    after = recorded.calls[names.index("rename") :]
    assert after[0][1][1] == path
    assert (after[1][0], after[1][1][0], after[2][0]) == ("open", checkpoints, "fsync")
    read_back = {args[0].name for name, args in after[3:] if name == "open" and args[0].parent == path}
    assert read_back == {"main.safetensors", "loop.json", "manifest.json"}
    renamed = [args for name, args in after if name == "rename"]
    assert [target.name for _, target in renamed[:2]] == [path.name, "latest"]
    assert renamed[2][0].name == "step-00000002"
    assert "unlink" not in names[: names.index("rename") + 4]
    assert names.index("unlink") > max(i for i, (n, a) in enumerate(recorded.calls) if n == "rename")
