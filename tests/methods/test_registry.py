"""What the table says of a method is what the method is."""

import pytest

from ebomlc_dist.methods import METHODS, method_class
from ebomlc_dist.methods.contract import Streams
from ebomlc_dist.models.meta import META_MODELS


@pytest.mark.parametrize("name", METHODS)
def test_a_row_tells_the_truth(name: str) -> None:
    info, cls = METHODS[name], method_class(name)
    method = cls(cls.Config())
    assert method.config.name == name
    assert info.networks == method.networks
    assert set(method.ensemble) <= set(method.networks)
    assert method.meta_model in META_MODELS
    assert ("hypergradient" in cls.Config.model_fields) == (info.capturable != "yes")
    streams = set()
    for epoch in (0, 1):
        method.enter_epoch(epoch, 1)
        streams.add(method.streams)
    assert any(each.needs_clean for each in streams) == info.needs_clean


@pytest.mark.parametrize("name", [name for name, info in METHODS.items() if not info.needs_clean])
def test_trusted_images_join_only_where_asked_for(name: str) -> None:
    cls = method_class(name)
    if name == "ce-oracle":
        assert cls(cls.Config()).streams == Streams(noisy_labels="true")
        return
    assert cls(cls.Config()).streams == Streams()
    assert cls(cls.Config(clean_images="labelled")).streams == Streams(noisy_images="union")
