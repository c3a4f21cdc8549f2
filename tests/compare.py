"""`assert_close`, the table of tolerances and `assert_launches`: those of `numbatorch.testing`."""

from numbatorch.testing.compare import (
    Tolerance,
    as_numpy,
    assert_close,
    assert_launches,
    tolerance,
)

__all__ = ["Tolerance", "as_numpy", "assert_close", "assert_launches", "tolerance"]
