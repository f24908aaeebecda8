"""The shipped batch scripts on a real SLURM: ``python -m pytest -m slurm tests/cluster``, as root, in a few minutes."""

import os
import signal
from pathlib import Path

import pytest

from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.run_folder import read_status
from tests.cluster.slurm import Cluster
from tests.support.commands import is_training, wait_for
from tests.support.runs import assert_same

pytestmark = pytest.mark.slurm

SHORT = (
    "digits:tiny",
    "--method",
    "ebomlc",
    "--norm",
    "group",
    "--set",
    "train.trackers=[]",
    "--set",
    "train.step_timeout_s=20",
)
# Long enough to be met in the middle.
LONG = (*SHORT, "--epochs", "40")
ONE_EACH = ("--gpus-per-node=1",)
TWO = ("--gpus-per-node=2", "--cpus-per-task=2")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Path:
    """The long run on two nodes, left alone."""
    job = cluster.submit("nodes.sbatch", *LONG, options=ONE_EACH, output="undisturbed")
    assert cluster.ended(job) == "COMPLETED", cluster.log()
    return cluster.run("undisturbed")


def test_two_nodes_end_as_one_node_does(cluster: Cluster, undisturbed: Path) -> None:
    """Two processes with the same global batch, once on two nodes and once on one: the same bits."""
    job = cluster.submit("one_node.sbatch", *LONG, options=TWO, output="one-node")
    assert cluster.ended(job) == "COMPLETED", cluster.log()
    assert_same(cluster.run("one-node"), undisturbed)


def test_a_failing_node_ends_the_job_which_can_go_on(cluster: Cluster, undisturbed: Path) -> None:
    folder = cluster.run("failing")
    job = cluster.submit("nodes.sbatch", *LONG, options=ONE_EACH, output="failing")
    wait_for("the first checkpoint", lambda: is_training(folder) and any(folder.glob("checkpoints/step-*")))
    for pid in cluster.processes(job, SLURM_NODEID="1"):
        os.kill(pid, signal.SIGKILL)
    assert cluster.ended(job, 60.0) == "FAILED"
    status = read_status(folder)
    assert (status.state, status.code) == ("failed", 1), cluster.log()
    assert status.reason
    assert not cluster.processes(job)

    again = cluster.submit("nodes.sbatch", *LONG, options=ONE_EACH, output="failing")
    assert cluster.ended(again) == "COMPLETED", cluster.log()
    assert_same(folder, undisturbed)


def test_a_preempted_job_goes_back_and_goes_on(cluster: Cluster, undisturbed: Path) -> None:
    """The signal that SLURM sends before a job's limit, sent early; nothing else is done by hand."""
    folder = cluster.run("preempted")
    job = cluster.submit("nodes.sbatch", *LONG, options=ONE_EACH, output="preempted")
    wait_for("the first step", lambda: is_training(folder))
    cluster.tell("scancel", "--batch", "--signal=USR2", job)
    took = wait_for("a stop", lambda: read_status(folder).state == "stopped")
    assert took < 30.0
    checkpoint = CheckpointStore(folder / "checkpoints").load()
    assert checkpoint is not None
    assert checkpoint.step == read_status(folder).step
    assert cluster.ended(job) == "COMPLETED", cluster.log()
    assert cluster.job(job)["Restarts"] == "1"
    assert_same(folder, undisturbed)


def test_a_job_that_may_not_go_back_ends_with_its_code(cluster: Cluster) -> None:
    folder = cluster.run("capped")
    job = cluster.submit("nodes.sbatch", *LONG, options=(*ONE_EACH, "--no-requeue"), output="capped")
    wait_for("the first step", lambda: is_training(folder))
    cluster.tell("scancel", "--batch", "--signal=USR2", job)
    assert cluster.ended(job) == "FAILED"
    assert cluster.job(job)["ExitCode"] == "75:0", cluster.log()
