"""Attention's kernels of groups of threads, on each GPU that runs here, against NumPy."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.backends.base import backend, install
from numbatorch.backends.gpu import GPUBackend
from numbatorch.graph import Node
from numbatorch.nn import functional
from numbatorch.ops.attention import attention_, attention_backward
from numbatorch.ops.operands import expanded
from numbatorch.ops.structured import Structured
from numbatorch.ops.view import permute
from numbatorch.tensor.base import host_array, host_node
from tests.compare import assert_close

Array = np.ndarray[Any, Any]

HALVES = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
IN_ORDER, BY_TOKEN, REVERSED = (0, 1, 2, 3), (0, 2, 1, 3), (3, 2, 1, 0)


def operands(*sizes: int, mask: tuple[int, ...] = (), seed: int = 0) -> list[Array]:
    """g, q, k, v and maybe a mask that repeats; the sizes are B, G, H / G, T, S, D, E."""
    B, G, repeat, T, S, D, E = sizes
    rng = np.random.default_rng(seed)
    shapes = ((B, G * repeat, T, E), (B, G * repeat, T, D), (B, G, S, D), (B, G, S, E))
    arrays = [rng.standard_normal(shape) for shape in shapes]
    return arrays + [rng.random(mask) < 0.6 for _ in mask[:1]]


def on_device(arrays: list[Array], device: str, order: tuple[int, ...]) -> list[Node]:
    """The arrays on a device, with dimensions that lie in memory in another order."""
    nodes = []
    for x in arrays:
        stored = np.ascontiguousarray(x.transpose(order))
        node = host_node(stored, dt.from_numpy(x.dtype), nt.device(device))
        nodes.append(permute.apply(node, dims=tuple(int(i) for i in np.argsort(order))))
    return nodes


def check(
    device: str,
    arrays: list[Array],
    *,
    dtype: str = "float32",
    order: tuple[int, ...] = IN_ORDER,
    ops: tuple[Structured, ...] = (attention_, attention_backward),
    **attrs: Any,
) -> None:
    """Attention, or its gradient, is what NumPy computes in float64."""
    kind = dt.by_name[dtype].numpy
    narrow = [x.astype(kind) if x.dtype.kind == "f" else x for x in arrays]
    attrs = {"scale": 0.4, "causal": False, "position": 0, **attrs}
    for op in ops:
        used = narrow if op is attention_backward else narrow[1:]
        wide = [x if x.dtype == bool else x.astype(np.float64) for x in used]
        nodes = on_device(used, device, order)
        if used[-1].dtype == bool:
            seen = (*arrays[0].shape[:3], arrays[2].shape[2])
            nodes[-1] = expanded(nodes[-1], seen)
            wide[-1] = np.broadcast_to(wide[-1], seen)
        with np.errstate(all="ignore"):
            found = op.reference(*wide, **attrs)
        outputs = found if isinstance(found, tuple) else (found,)
        for node, expected in zip(op.parts(*nodes, **attrs), outputs, strict=True):
            assert_close(
                host_array(node),
                np.asarray(expected),
                "gradient" if op is attention_backward else "composite",
                dtype=node.dtype.name,
                operator=op.name,
                inputs=tuple(used),
                device=device,
            )


SIZES = {
    "one number": (1, 1, 1, 1, 1, 1, 1),
    "one tile": (1, 1, 1, 5, 7, 4, 6),
    "heads in groups": (2, 2, 3, 2, 5, 3, 2),
    "several tiles": (1, 1, 2, 9, 33, 5, 3),
    "wide heads": (1, 1, 1, 2, 17, 70, 131),
    "wider queries": (1, 1, 1, 2, 17, 131, 2),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes(gpu: str, sizes: tuple[int, ...]) -> None:
    check(gpu, operands(*sizes))


@pytest.mark.parametrize("order", [BY_TOKEN, REVERSED], ids=["by token", "reversed"])
@pytest.mark.parametrize("mask", [(), (2, 1, 4, 17), (1, 2, 1, 1)], ids=["", "keys", "heads"])
def test_strides(gpu: str, order: tuple[int, ...], mask: tuple[int, ...]) -> None:
    check(gpu, operands(2, 1, 2, 4, 17, 3, 2, mask=mask), order=order, causal=True, position=9)


@pytest.mark.parametrize("position", [0, 1, 14])
def test_a_query_sees_the_keys_up_to_its_own(gpu: str, position: int) -> None:
    check(gpu, operands(1, 1, 3, 6, 20, 4, 3), causal=True, position=position)


@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("window", [None, 1, 5])
def test_a_window_and_capped_scores(gpu: str, window: int | None, softcap: float | None) -> None:
    arrays = operands(1, 1, 3, 6, 40, 4, 3, mask=(1, 3, 1, 40) if window == 5 else ())
    check(gpu, arrays, causal=True, position=30, window=window, softcap=softcap)


@pytest.mark.parametrize("dtype", HALVES)
def test_narrow_types_are_rounded_once(gpu: str, dtype: str) -> None:
    check(gpu, operands(1, 1, 2, 3, 19, 4, 3), dtype=dtype)


def test_float64_is_computed_in_float64(gpu: str) -> None:
    if gpu == "metal":
        pytest.skip("Metal has no float64")
    check(gpu, operands(1, 1, 2, 9, 19, 4, 3), dtype="float64")


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("empty", ["batch", "heads", "keys", "D", "E"])
def test_attention_over_nothing(gpu: str, empty: str, tokens: int) -> None:
    B, repeat, S, D, E = (
        0 if empty == name else 2 for name in ("batch", "heads", "keys", "D", "E")
    )
    check(gpu, operands(B, 2, repeat, tokens, S, D, E))


def test_a_query_that_sees_nothing_gives_zeros(gpu: str) -> None:
    arrays = operands(1, 1, 2, 3, 4, 2, 3, mask=(1, 2, 3, 4))
    arrays[-1][0, 1, 1] = False
    check(gpu, arrays)


def test_nan_in_a_query_reaches_its_output_only(gpu: str) -> None:
    arrays = operands(1, 1, 2, 3, 20, 4, 3)
    arrays[1][0, 1, 0, 2] = np.nan
    check(gpu, arrays, ops=(attention_,))


def test_scores_that_exp_cannot_hold(gpu: str) -> None:
    arrays = operands(1, 1, 1, 3, 40, 4, 3)
    arrays[1] *= 300
    check(gpu, arrays, ops=(attention_,))


@pytest.mark.parametrize("window", [None, 150])
@pytest.mark.parametrize("position", [0, 130, 299])
def test_only_the_seen_part_of_a_long_cache_is_read(
    gpu: str, position: int, window: int | None
) -> None:
    _, q, k, v = (x.astype(np.float32) for x in operands(1, 2, 2, 1, 300, 4, 3))
    seen = slice(max(0, position + 1 - (window or 300)), position + 1)
    wide = [x.astype(np.float64) for x in (q, k[:, :, seen], v[:, :, seen])]
    expected = attention_.reference(*wide, scale=0.4, causal=False, position=0)
    for x in (k, v):
        x[:, :, : seen.start] = x[:, :, seen.stop :] = np.nan
    nodes = on_device([q, k, v], gpu, BY_TOKEN)
    attrs = {"causal": True, "position": position, "window": window}
    out = host_array(attention_.apply(*nodes, scale=0.4, **attrs))
    assert_close(out, expected, "composite", device=gpu)


def test_results_do_not_depend_on_the_order_of_threads(gpu: str) -> None:
    if gpu != "metal":
        pytest.skip("only through C++ is the order chosen")
    from tests.metal.device import CppRuntime

    arrays = operands(1, 2, 2, 9, 33, 70, 5, mask=(1, 1, 9, 33))
    arrays[-1] = np.broadcast_to(arrays[-1], (1, 4, 9, 33))
    typed = [x if x.dtype == bool else x.astype(np.float32) for x in arrays]
    device = nt.device("metal")
    before, found = backend(device), []
    attrs = {"scale": 0.4, "causal": True, "position": 20}
    try:
        for seed in range(3):
            install(device, GPUBackend(CppRuntime(seed)))
            nodes = on_device(typed, gpu, IN_ORDER)
            found.append(host_array(attention_.apply(*nodes[1:], **attrs)).tobytes())
            for part in attention_backward.parts(*nodes, **attrs):
                found[-1] += host_array(part).tobytes()
    finally:
        install(device, before)
    assert found[0] == found[1] == found[2]


def test_the_position_moves_between_replays(gpu: str) -> None:
    _, q, k, v = (x.astype(np.float32) for x in operands(1, 1, 2, 1, 300, 4, 3))

    @nt.compile(dynamic=["position"])
    def step(q: nt.Tensor, k: nt.Tensor, v: nt.Tensor, position: int) -> nt.Tensor:
        return functional.attention(q, k, v, causal=True, position=position, scale=0.4)

    tensors = [nt.tensor(x, device=gpu) for x in (q, k, v)]
    for position in (5, 299, 20):
        wide = [x.astype(np.float64) for x in (q, k, v)]
        expected = attention_.reference(*wide, scale=0.4, causal=True, position=position)
        assert_close(step(*tensors, position=position), expected, "composite", device=gpu)
