"""The command line of `tests.cli`, in an empty working folder, with an engine that only notes what it was asked for."""

from tests.cli.conftest import ebomlc, engine, place

__all__ = ["ebomlc", "engine", "place"]
