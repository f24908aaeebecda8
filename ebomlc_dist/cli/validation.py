"""Everything about runs that can be refused before any process is started for them."""

from collections.abc import Sequence
from pathlib import Path

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.trackers import check_trackers
from ebomlc_dist.engine.batch_sizes import check_batch_sizes
from ebomlc_dist.engine.build import make_method
from ebomlc_dist.engine.preflight import check_model, needs_clean
from ebomlc_dist.engine.resume import check_same_run
from ebomlc_dist.files.run_folder import RunFolder


def validate(configs: Sequence[RunConfig], folders: Sequence[Path], *, resume: bool, world_size: int = 1) -> None:
    """Raise `InputError` for the first thing that is wrong: method, trackers, data, model, another run's folder.

    Args:
        configs: of the runs; those that differ in their method alone have their data read once.
        folders: where they go, beside ``configs``; none where nothing will be written.
        resume: whether the folders' runs are to go on.
        world_size: how many processes are to train each.
    """
    alike: dict[str, list[RunConfig]] = {}
    for config in configs:
        make_method(config)
        check_trackers(config.train.trackers)
        alike.setdefault(config.model_dump_json(include={"data", "noise", "seeds", "model"}), []).append(config)
    for shared, *others in alike.values():
        needed = any(needs_clean(config) for config in (shared, *others))
        name = shared.model.name
        dataset = load_dataset(shared.data, shared.noise, shared.seeds, needs_clean=needed, model=name)
        check_model(shared, dataset)
        for config in (shared, *others):
            check_batch_sizes(config, dataset, world_size)
    if resume:
        for config, folder in zip(configs, folders, strict=False):
            check_same_run(RunFolder(folder), config)
