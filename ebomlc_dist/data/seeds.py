"""Named random streams: one ``--seed`` for all, each stream with an override of its own.

Streams are told apart by ``SeedSequence``'s spawn key, so that they are independent of each other, and a stream that is
set alone changes nothing in the others: two methods can be compared on the same split and the same noise.
"""

import numpy as np

from ebomlc_dist.config import SeedConfig

STREAMS = ("split", "noise", "order", "augmentation", "initialisation", "draws")


def seed_sequence(seeds: SeedConfig, stream: str) -> np.random.SeedSequence:
    """Return the seed of one named stream: from its own field of ``seeds`` where set, else from ``seeds.seed``.

    Setting a stream's field to the value of ``seeds.seed`` therefore changes nothing. Raises `KeyError` for a name that
    is not in `STREAMS`.
    """
    if stream not in STREAMS:
        raise KeyError(stream)
    own: int | None = getattr(seeds, stream)
    return np.random.SeedSequence(seeds.seed if own is None else own, spawn_key=(STREAMS.index(stream),))


def child(sequence: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """Return an independent descendant of ``sequence``, a pure function of ``key`` (unlike ``SeedSequence.spawn``)."""
    return np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, *key))
