"""The contract that every method is held to, for whoever writes one: ``check_method(MyMethod)``."""

from ebomlc_dist.testing.method_contract import ContractError, check_method

__all__ = ["ContractError", "check_method"]
