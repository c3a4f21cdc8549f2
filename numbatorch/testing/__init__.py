"""Tests for your own operators and models: `check_op`, `gradcheck`, `assert_close`, strategies.

`numbatorch.testing.strategies` needs hypothesis and is imported by itself.
"""

from numbatorch.testing.compare import assert_close, assert_launches, tolerance
from numbatorch.testing.gradcheck import gradcheck
from numbatorch.testing.properties import PROPERTIES, check_op

__all__ = [
    "PROPERTIES",
    "assert_close",
    "assert_launches",
    "check_op",
    "gradcheck",
    "tolerance",
]
