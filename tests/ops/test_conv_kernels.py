"""CPU kernels of convolutions beyond their thresholds: panels, packed taps, blocks, phases."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.ops.conv import convolution, convolution_input, convolution_weight
from numbatorch.ops.structured import Structured
from numbatorch.testing import assert_launches
from tests.compare import assert_close
from tests.run_kernel import run_op

Array = np.ndarray[Any, Any]

# images of x, filters, and attributes other than the size of the result.
CASES = {
    "packed taps in blocks of filters": ((2, 200, 15, 11), (1009, 200, 1, 1), {}),
    "packed windows": ((2, 50, 9, 10), (50, 50, 3, 3), {"padding": (1, 1)}),
    "packed phases": ((1, 40, 46, 47), (25, 40, 3, 3), {"stride": (2, 2), "padding": (1, 1)}),
    "whole panels": ((1, 3, 16, 16), (13, 3, 1, 1), {}),
    "rows that share zeros": ((2, 3, 9, 17), (20, 3, 3, 3), {"padding": (1, 1)}),
    "phases": ((1, 2, 40, 19), (7, 2, 3, 5), {"stride": (2, 3), "padding": (2, 1)}),
    "dilated": ((1, 4, 30, 21), (6, 2, 2, 3), {"dilation": (3, 2), "groups": 2}),
    "cut off": ((1, 2, 12, 33), (3, 2, 3, 3), {"padding": (-2, -1)}),
    "far outside": ((1, 2, 3, 2), (3, 2, 3, 3), {"padding": (5, 7)}),
    "three dimensions": ((2, 3, 5, 6, 7), (4, 3, 2, 3, 3), {"padding": (1, 1, 1)}),
    "one channel a filter": ((2, 5, 9, 150), (5, 1, 3, 3), {"padding": (1, 1), "groups": 5}),
    "one channel of volumes": ((2, 4, 3, 6, 13), (4, 1, 2, 3, 3), {"groups": 4}),
    "one channel of rows": ((1, 3, 7, 27), (6, 1, 3, 3), {"padding": (1, 1), "groups": 3}),
    "one channel of a line": ((2, 3, 300), (3, 1, 5), {"padding": (2,), "groups": 3}),
    "two filters a channel": ((2, 3, 11, 8), (6, 1, 3, 2), {"stride": (2, 2), "groups": 3}),
    "filters apart": ((1, 300, 7, 7), (110, 300, 3, 3), {"padding": (1, 1)}),
}


def filled(x: tuple[int, ...], w: tuple[int, ...], given: dict[str, Any]) -> dict[str, Any]:
    """All attributes; a result as large as padding on both sides makes it."""
    rank = len(x) - 2
    whole = {"stride": (1,) * rank, "padding": (0,) * rank, "dilation": (1,) * rank, "groups": 1}
    attrs = whole | given
    sizes = zip(x[2:], w[2:], attrs["stride"], attrs["padding"], attrs["dilation"], strict=True)
    attrs["size"] = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return attrs


def check(op: Structured, arrays: list[Array], attrs: dict[str, Any], name: str) -> None:
    """The reference's result, the same bits into however many parts the work is shared."""
    kind = np.dtype(getattr(ml_dtypes, name, name))
    arrays = [x.astype(kind) for x in arrays]
    found = run_op(op, arrays, attrs, 1)
    for parts in (2, 3):
        assert run_op(op, arrays, attrs, parts).tobytes() == found.tobytes(), (op, parts)
    expected = op.reference(*(x.astype(np.float64) for x in arrays), **attrs)
    size = np.abs(expected).max(initial=0.0) * 2.0**-20
    assert_close(
        found, expected, "composite", dtype=name, operator=op.name, absolute=max(size, 1e-6)
    )


@pytest.mark.drawn(2)
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_kernels_equal_the_reference(case: str, name: str) -> None:
    x, w, given = CASES[case]
    attrs = filled(x, w, given)
    rng = np.random.default_rng(0)
    image, weight = rng.standard_normal(x), rng.standard_normal(w)
    g = rng.standard_normal((x[0], w[0], *attrs["size"]))
    check(convolution, [image, weight], attrs, name)
    check(convolution_weight, [image, g], attrs | {"size": w[2:]}, name)


@pytest.mark.parametrize("case", CASES)
def test_transpose_equals_the_reference(case: str) -> None:
    x, w, given = CASES[case]
    attrs = filled(x, w, given)
    rng = np.random.default_rng(0)
    g, weight = rng.standard_normal((x[0], w[0], *attrs["size"])), rng.standard_normal(w)
    attrs["size"] = x[2:]
    arrays = [array.astype(np.float32) for array in (g, weight)]
    nodes = [nt.from_numpy(array).node for array in arrays]
    found = nt.Tensor(convolution_input.apply(*nodes, **attrs)).numpy()
    expected = convolution_input.reference(*(x.astype(np.float64) for x in arrays), **attrs)
    size = np.abs(expected).max() * 2.0**-20
    assert_close(found, expected, "composite", operator="convolution_input", absolute=size)


def test_what_follows_a_convolution_is_done_on_its_tiles() -> None:
    F = nt.nn.functional
    shapes = ((1, 4, 9, 9), (8, 4, 3, 3), (8,), (8, 1, 1))
    x, w, b, scale = (nt.from_numpy(np.ones(shape, np.float32)) for shape in shapes)
    out = F.relu(F.conv2d(x, w, b, padding=1) * scale + 1.0)
    assert_launches(out, 1)
    assert out.max().item() == 38.0
    assert_launches(F.relu(F.conv2d(x, w[:4, :1], padding=1, groups=4) + 1.0), 1)
