"""The shipped batch scripts, as `ebomlc submit` writes them: ``python -m tests.launch.slurm_files`` renews them."""

from pathlib import Path

from ebomlc_dist.cli.submit import Job

FOLDER = Path(__file__).parents[2] / "launch_configs" / "slurm"
_EDIT = (
    "The job is told to stop two minutes before its limit, writes a checkpoint, goes back into the queue and goes on.",
    "`ebomlc status` and `ebomlc logs` read the run; logs/rank-N.log in its folder has each rank's own words.",
)
JOBS = {
    "one_node.sbatch": Job(
        verb="train",
        gpus=8,
        cpus=64,
        head=(
            "One node with eight GPUs:",
            "",
            "  sbatch launch_configs/slurm/one_node.sbatch cifar10-uniform40 --data-dir data",
            "",
            "Edit --gpus-per-node (a process each), --cpus-per-task, --time, and add what your cluster asks for",
            "(--partition, --account). The run goes to EBOMLC_OUTPUT (do not give -o).",
            *_EDIT,
        ),
    ),
    "nodes.sbatch": Job(
        verb="train",
        nodes=2,
        gpus=8,
        cpus=64,
        head=(
            "Several nodes with eight GPUs each:",
            "",
            "  sbatch --nodes 4 launch_configs/slurm/nodes.sbatch cifar10-uniform40 --data-dir data",
            "",
            "Edit --gpus-per-node (a process each), --cpus-per-task, --time, and add what your cluster asks for",
            "(--partition, --account). All nodes must see the data and the run's folder, EBOMLC_OUTPUT (do not",
            "give -o).",
            *_EDIT,
        ),
    ),
    "sweep_array.sbatch": Job(
        verb="sweep",
        gpus=1,
        cpus=8,
        array="0-7",
        requeues=20,
        head=(
            "A sweep by the eight tasks of an array, one GPU each; a task takes the next cell that nobody has:",
            "",
            "  sbatch --array 0-31 launch_configs/slurm/sweep_array.sbatch GRID --data-dir data",
            "",
            "Edit --array, --cpus-per-task, --time, and add what your cluster asks for (--partition, --account).",
            "Results go to EBOMLC_OUTPUT (do not give -o), which all tasks must see.",
            "A task is told to stop two minutes before its limit, keeps what it has done and goes back into the queue.",
        ),
    ),
}


def main() -> None:
    for name, job in JOBS.items():
        (FOLDER / name).write_text(job.script())


if __name__ == "__main__":
    main()
