"""What the methods share that train two main models side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ebomlc_dist.methods.contract import MAIN_MODELS, Method, Reducer, joined_streams
from ebomlc_dist.numerics.network import Network, gradients


class TwoNetworks(Method):
    """Two main models of one architecture, each from its own initial values, on the same stream of batches."""

    networks = MAIN_MODELS
    main_optimizers = ("sgd", "adam")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.streams = joined_streams(config.clean_images)


def both_directions(
    networks: Mapping[str, Network],
    loss_sums: Sequence[Tensor],
    figures: Sequence[Tensor],
    count: int,
    reducer: Reducer,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Each model's gradient of its own loss, and means of ``figures``, in one reduction.

    Args:
        loss_sums: this rank's sums, of the main and of the peer model.
        figures: further sums, without a graph.
        count: how many samples they run over.
    """
    sums = [gradients(loss, [networks[name]])[0] for name, loss in zip(MAIN_MODELS, loss_sums, strict=True)]
    main, peer, *means = reducer.mean_of_sums([*sums, *figures], count).wait()
    return {"main": main, "peer": peer}, means
