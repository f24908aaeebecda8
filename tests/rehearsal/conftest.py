"""A GPU that is played, and runs on it."""

from collections.abc import Iterator

import pytest

from tests.support.fake_gpu import FakeGpu


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """The device is a GPU for the package, and nothing that crosses its border is noted yet."""
    fake = FakeGpu()
    fake.install(monkeypatch)
    with fake.border:
        yield fake
