"""The whole state of a run as named tensors and plain values: captured and restored.

Names follow the networks' parameters, not the flat layout, so that a checkpoint says nothing about how the run was
spread. What differs by rank (running statistics between evaluations, generators, unfinished counts) is stored for every
rank; at another world size statistics are averaged, counts are summed and generators are seeded anew.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.optimizers import Unit
from ebomlc_dist.engine.weight_average import WeightAverage
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.models.state_tensors import check_state
from ebomlc_dist.monitoring.meters import LabelMeter, StepMeter
from ebomlc_dist.numerics.network import Network

Groups = dict[str, dict[str, Tensor]]


def capture(training: Training, step_meter: StepMeter | None, label_meter: LabelMeter | None) -> Groups:
    """Name → tensor, in groups. Collective: every rank must call it; all get the same result."""
    gather = training.runtime.communicator.gather
    groups: Groups = {}
    for name, network in training.networks.items():
        groups[name] = network.state()
        groups[f"ranks-{name}"] = {"statistics": gather(network.statistics)}
    for name, average in training.averages.items():
        groups[f"average-{name}"] = _averaged(training.networks[name], average)
        groups[f"ranks-{name}"]["averaged_statistics"] = gather(average.statistics)
    for name, optimizer in training.optimizers.items():
        groups[f"optimizer-{name}"] = _named(training.networks[name], optimizer.state())
    if training.method.state:
        groups["method"] = dict(training.method.state)
    ranks = {"cpu_generator": gather(torch.get_rng_state().to(training.runtime.device))}
    if on_gpu(training.runtime.device):
        ranks["cuda_generator"] = gather(torch.cuda.get_rng_state(training.runtime.device).to(training.runtime.device))
    if label_meter is not None:
        ranks["label_counts"] = gather(label_meter.counts)
    groups["ranks"] = ranks
    engine: dict[str, Tensor] = {}
    if step_meter is not None:
        engine |= {"meter_totals": step_meter.totals, "meter_maxima": step_meter.maxima}
    if training.loss_scale is not None:
        engine |= {"loss_scale": training.loss_scale.value, "good_steps": training.loss_scale.good_steps}
    if engine:
        groups["engine"] = engine
    return groups


def restore(
    training: Training,
    groups: Mapping[str, Mapping[str, Tensor]],
    done: Mapping[Unit, int],
    label_meter: LabelMeter | None,
) -> None:
    """Put captured state back; ``done`` is how far its stage went.

    Raises:
        InputError: what was captured does not fit. Nothing is touched then.
    """
    _check(training, groups)
    runtime = training.runtime
    for name, network in training.networks.items():
        network.load(groups[name])
        if network.statistics.numel():
            network.statistics.copy_(_own(groups[f"ranks-{name}"]["statistics"], training, torch.mean))
    for name, average in training.averages.items():
        stored = groups[f"average-{name}"]
        average.vector.copy_(training.networks[name].flattened(stored))
        average.steps.copy_(stored["steps"])
        average.statistics.copy_(_own(groups[f"ranks-{name}"]["averaged_statistics"], training, torch.mean))
    for name, optimizer in training.optimizers.items():
        optimizer.load(_flattened(training.networks[name], groups[f"optimizer-{name}"]), done[optimizer.unit])
    for name, tensor in training.method.state.items():
        tensor.copy_(groups["method"][name])
    ranks = groups["ranks"]
    if len(ranks["cpu_generator"]) == runtime.world_size:
        # Cloned: torch 2.15 reads a state that is a view at its storage's beginning, and crashes.
        torch.set_rng_state(ranks["cpu_generator"][runtime.rank].clone())
        if "cuda_generator" in ranks and on_gpu(runtime.device):
            torch.cuda.set_rng_state(ranks["cuda_generator"][runtime.rank].clone(), runtime.device)
    if label_meter is not None and "label_counts" in ranks:
        counts = _own(ranks["label_counts"], training, torch.sum)
        # At another world size the sum so far is carried by the first rank alone.
        foreign = len(ranks["label_counts"]) != runtime.world_size and not runtime.is_main
        label_meter.counts.copy_(torch.zeros_like(counts) if foreign else counts)
    if training.loss_scale is not None:
        training.loss_scale.value.copy_(groups["engine"]["loss_scale"])
        training.loss_scale.good_steps.copy_(groups["engine"]["good_steps"])


def _named(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Optimiser state with vectors split under parameter names: ``momentum_buffer/stem.weight``."""
    named: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if tensor.shape == network.vector.shape:
            named |= {f"{key}/{name}": piece for name, piece in network.named(tensor).items()}
        else:
            named[key] = tensor
    return named


def _averaged(network: Network, average: WeightAverage) -> dict[str, Tensor]:
    return {**network.named(average.vector), "steps": average.steps}


def _flattened(network: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    keys = dict.fromkeys(name.split("/", 1)[0] for name in state)
    flat = {}
    for key in keys:
        if key in state:
            flat[key] = state[key]
        else:
            flat[key] = network.flattened({name: state[f"{key}/{name}"] for name in network.shapes})
    return flat


def _own(rows: Tensor, training: Training, combine: Callable[..., Tensor]) -> Tensor:
    if len(rows) == training.runtime.world_size:
        return rows[training.runtime.rank]
    return combine(rows, dim=0)


def _check(training: Training, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    expected: dict[str, Mapping[str, Tensor]] = {n: network.state() for n, network in training.networks.items()}
    for name, optimizer in training.optimizers.items():
        expected[f"optimizer-{name}"] = _named(training.networks[name], optimizer.state())
    for name, average in training.averages.items():
        expected[f"average-{name}"] = _averaged(training.networks[name], average)
    if training.method.state:
        expected["method"] = training.method.state
    for group, tensors in expected.items():
        check_state(tensors, groups.get(group, {}), f"{group} in the checkpoint")
