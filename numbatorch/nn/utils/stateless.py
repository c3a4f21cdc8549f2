"""Modules that are called with other tensors in the places of their own."""

from numbatorch.tensor.stateless import functional_call

__all__ = ["functional_call"]
