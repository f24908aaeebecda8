"""Methods from outside: what makes a class one, and the line that the listing has of it."""

import inspect
from functools import cache

from pydantic import ValidationError

from ebomlc_dist import plugins
from ebomlc_dist.methods import MethodInfo
from ebomlc_dist.methods.contract import Method, MethodConfig
from ebomlc_dist.models.meta import META_MODELS

NETWORKS = ("main", "peer", "meta", "extractor")


@cache
def outside_class(name: str) -> type[Method]:
    """The class that a name from outside stands for. Raises `InputError` where it is no method."""
    found = plugins.load("methods", name)
    check_class(found, name)
    return found


def check_class(found: object, name: str) -> None:
    """Raise `InputError` where ``found``, which is called ``name``, is no method."""
    if fault := _fault(found, name):
        raise plugins.wrong_kind("methods", name, fault)


def outside_info(name: str) -> MethodInfo:
    """The registry's line of a method from outside, read off its class and what it makes of its default settings."""
    cls = outside_class(name)
    method = cls(cls.Config.model_validate({"name": name}))
    streams = []
    for epoch in (0, 1):
        method.enter_epoch(epoch, 2)
        streams.append(method.streams)
    held = "no" if method.backward_twice else "yes"
    return MethodInfo(
        target=name,
        summary=plugins.first_line(cls),
        paper=cls.paper,
        needs_clean=any(each.needs_clean for each in streams),
        networks=tuple(method.networks),
        noisy_units=cls.noisy_units,
        clean_units=cls.clean_units,
        capturable=held,
        compilable=held,
    )


def _fault(found: object, name: str) -> str:
    """What is wrong with a class, in words that follow its name; nothing for a method."""
    if not (inspect.isclass(found) and issubclass(found, Method)):
        return "is no subclass of ebomlc_dist.methods.contract.Method"
    if inspect.isabstract(found):
        return f"has no {', '.join(sorted(found.__abstractmethods__))}"
    config = getattr(found, "Config", None)
    if not (inspect.isclass(config) and issubclass(config, MethodConfig)):
        return "has no Config that is a subclass of ebomlc_dist.methods.contract.MethodConfig"
    try:
        values = config.model_validate({"name": name})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if key == "name":
            return f"has another name in its Config ({first['msg']}); declare `name: str` there, or leave it out"
        return f"has a setting without a default, or with one that is not allowed: {key}: {first['msg']}"
    try:
        return _fault_of_instance(found(values))
    except Exception as error:
        return f"fails with its default settings: {plugins.failure(error)}"


def _fault_of_instance(method: Method) -> str:
    networks = tuple(method.networks)
    if "main" not in networks or not set(networks) <= set(NETWORKS):
        return f"has networks {', '.join(map(str, networks))}; they are main and any of {', '.join(NETWORKS[1:])}"
    if method.meta_model not in META_MODELS:
        return f"has meta_model {method.meta_model!r}; known: {', '.join(META_MODELS)}"
    if not set(method.ensemble) <= set(networks):
        return f"has an ensemble of networks that it does not train: {', '.join(map(str, method.ensemble))}"
    return ""
