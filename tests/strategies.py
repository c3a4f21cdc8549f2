"""Hypothesis strategies of the tests: those that users of `numbatorch.testing` get."""

from numbatorch.testing.strategies import arrays, broadcast_groups, op_cases, shapes, tensors

__all__ = ["arrays", "broadcast_groups", "op_cases", "shapes", "tensors"]
