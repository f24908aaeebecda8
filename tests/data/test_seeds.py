"""Named streams: apart from each other, each with an override of its own."""

import pytest

from ebomlc_dist.config import SeedConfig
from ebomlc_dist.data.seeds import STREAMS, child, seed_sequence


def state(seeds: SeedConfig, stream: str) -> tuple[int, ...]:
    return tuple(seed_sequence(seeds, stream).generate_state(4).tolist())


def test_streams_are_those_of_the_configuration() -> None:
    assert set(STREAMS) == set(SeedConfig.model_fields) - {"seed"}


def test_streams_and_seeds_differ() -> None:
    assert len({state(SeedConfig(seed=seed), stream) for seed in range(5) for stream in STREAMS}) == 5 * len(STREAMS)


@pytest.mark.parametrize("stream", STREAMS)
def test_override_changes_its_own_stream_alone(stream: str) -> None:
    before, after = SeedConfig(seed=3), SeedConfig.model_validate({"seed": 3, stream: 4})
    assert {name for name in STREAMS if state(before, name) != state(after, name)} == {stream}


@pytest.mark.parametrize("stream", STREAMS)
def test_override_equals_the_seed_it_names(stream: str) -> None:
    assert state(SeedConfig.model_validate({"seed": 3, stream: 7}), stream) == state(SeedConfig(seed=7), stream)


def test_unknown_stream() -> None:
    with pytest.raises(KeyError, match="shuffle"):
        seed_sequence(SeedConfig(), "shuffle")


def test_children_are_functions_of_their_key() -> None:
    parent = seed_sequence(SeedConfig(), "order")
    states = [tuple(child(parent, *key).generate_state(4).tolist()) for key in ((0,), (1,), (0, 0), (0,))]
    assert states[0] == states[3]
    assert len(set(states)) == 3
