"""One cluster for all tests of this folder."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import Cluster, install


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    install()
    # A socket's path has room for a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ebomlc-slurm-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()
