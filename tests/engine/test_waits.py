"""`waits_are_errors` where torch warns of its mode as it does on a GPU; this needs none."""

import warnings

import pytest
import torch

from tests.gpu.waits import waits_are_errors


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mode is set first, and then torch warns, once in a process."""
    found: list[str] = []

    def set_mode(mode: str) -> None:
        found.append(mode)
        if found.count(mode) == 1 and mode == "error":
            warnings.warn(
                "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing "
                "operations (Triggered internally at …)",
                UserWarning,
                stacklevel=1,
            )

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    return found


def test_the_warning_is_none_of_ours(modes: list[str]) -> None:
    with waits_are_errors():
        assert modes == ["error"]
    assert modes == ["error", "default"]


def test_the_mode_ends_with_the_block_and_where_it_cannot_be_set(
    modes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="synchronizing"), waits_are_errors():
        raise RuntimeError("called a synchronizing CUDA operation")
    assert modes == ["error", "default"]
    set_mode = torch.cuda.set_sync_debug_mode

    def other_warning(mode: str) -> None:
        set_mode(mode)
        if mode == "error":
            warnings.warn("another one", UserWarning, stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", other_warning)
    with pytest.raises(UserWarning, match="another one"), waits_are_errors():
        pass
    assert modes[-1] == "default"
