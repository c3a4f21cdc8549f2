"""Fusion is a contract: how many kernels each pattern launches, forward and backward."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.nn import functional
from numbatorch.passes.fuse import MOST_FUSED
from tests.compare import assert_close, assert_launches


def rand(*shape: int) -> Any:
    """A realized float32 tensor on the CPU."""
    data = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    return nt.tensor(data, device="cpu")


def test_elementwise_chain_of_any_length_is_one_launch() -> None:
    x, y = rand(5, 7), rand(7)
    out = x
    for _ in range(30):
        out = (out * y + x).tanh()
    assert_launches(out, 1)
    assert_launches((x * y + x).gelu(), 1)


def test_chain_of_thousands_is_cut_into_equal_kernels() -> None:
    x = rand(4)
    out = x
    for _ in range(900):
        out = out * 0.999 + 0.001
    kernels = debug.kernels(out)
    assert len(kernels) == -(-1800 // (MOST_FUSED + 1))
    assert len({kernel.spec.key for kernel in kernels}) <= 3
    expected = x.numpy() * 0.999**900 + (1 - 0.999**900)
    assert_close(out, expected, kind="composite")


def test_views_between_elementwise_operators_cost_nothing() -> None:
    x = rand(4, 6)
    assert_launches((x.exp().transpose(0, 1) * 2).reshape(6, 4)[1:, ::2] + 1, 1)


def test_reduction_takes_prologue_and_epilogue() -> None:
    x, y = rand(8, 33), rand(8, 33)
    assert_launches(((x - y) ** 2).mean(-1).sqrt() + 1, 1)
    assert_launches((x * 2).sum(0) * 3, 1)
    assert_launches((x.exp()).sum(), 1)


def test_matmul_takes_bias_activation_and_residual() -> None:
    x, w, b, r = rand(3, 9, 16), rand(24, 16), rand(24), rand(3, 9, 24)
    assert_launches(functional.linear(x, w, b).gelu() + r, 1)


def test_gated_mlp_is_three_launches() -> None:
    x, gate, up, down = rand(9, 16), rand(40, 16), rand(40, 16), rand(16, 40)
    hidden = functional.linear(x, gate).silu() * functional.linear(x, up)
    assert_launches(functional.linear(hidden, down) + x, 3)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_one_launch_forward_and_one_backward(name: str) -> None:
    x = rand(8, 33).requires_grad_()
    y = getattr(x, name)(-1)
    assert_launches(y, 1)
    store = y.backward(rand(8, 33))
    assert len(debug.kernels([y, store[x]])) <= 2


def test_norm_is_one_launch_forward_and_one_backward() -> None:
    x, w = rand(8, 32).requires_grad_(), rand(32).requires_grad_()
    y = functional.rms_norm(x, (32,), w)
    assert_launches(y, 1)
    store = y.backward(rand(8, 32))
    assert_launches([store[x], store[w]], 1)
    backward = debug.kernels([store[x] * 2, store[w] * 2])  # what reads the gradients comes on top
    assert len(backward) == 3


def test_attention_is_one_launch() -> None:
    q, k, v = rand(1, 4, 9, 8), rand(1, 2, 9, 8), rand(1, 2, 9, 8)
    assert_launches(
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), 1
    )


@pytest.mark.parametrize("core", ["product", "sum"])
def test_core_that_its_group_sees_through_two_views_is_stored(core: str) -> None:
    x, y = rand(5, 4, 6), rand(6, 5)

    def twice() -> Any:  # when it returns, nobody holds the core
        product = x[:, 0] @ y if core == "product" else (x[:, None, 0] * y.T[None]).sum(-1)
        return (product - 1) * 2 + (product - 1).exp().T

    out = twice()
    assert len(debug.kernels(out)) == 2
    expected = x[:, 0].numpy() @ y.numpy() - 1
    assert_close(out, expected * 2 + np.exp(expected.T), kind="composite")


@pytest.mark.parametrize("target", ["cpu", "cuda", "metal"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradient_of_attention_is_one_launch(target: str, dtype: str) -> None:
    q, k, v = (rand(1, 4, 9, 8).to(dtype).detach().requires_grad_() for _ in range(3))
    g = rand(1, 4, 9, 8).to(dtype)
    nt.realize(q, k, v, g)
    store = functional.scaled_dot_product_attention(q, k, v).backward(g)
    kernels = debug.kernels([store[x] for x in (q, k, v)], target)
    assert [kernel.fused for kernel in kernels] == [("attention_backward",)]


def test_one_parameter_of_an_optimizer_step_is_one_launch() -> None:
    p, g, m, v = rand(40), rand(40), rand(40), rand(40)
    m = m * 0.9 + g * 0.1
    v = v * 0.99 + g * g * 0.01
    p = p * 0.999 - 0.1 * m / (v.abs().sqrt() + 1e-8)
    assert len(debug.kernels([p, m, v])) == 1


def test_value_used_twice_is_computed_once() -> None:
    x = rand(16, 16)
    shared = (x @ x).exp()
    kernels = debug.kernels([shared.sum(0), shared.sum(1)])
    assert sum("exp" in kernel.fused for kernel in kernels) == 1


def test_equal_expressions_are_computed_once() -> None:
    x = rand(16, 16)
    assert_launches((x @ x) + (x @ x), 1)


def test_constants_and_random_numbers_are_computed_where_they_are_read() -> None:
    x = rand(16)
    assert_launches(x + nt.arange(16, device="cpu") + nt.full((16,), 3.0, device="cpu"), 1)
    assert_launches(x + nt.rand(16, device="cpu"), 1)


def test_an_output_of_a_chain_is_written_on_the_way() -> None:
    x = rand(16)
    y = x.exp()
    z = y * 2 + 1
    assert len(debug.kernels([y, z])) == 1


def test_group_that_would_depend_on_itself_is_split() -> None:
    x = rand(8, 8)
    a = x.exp()
    b = a + (a @ a)  # a is read by the product that b reads
    assert_close(b, (np.exp(x.numpy()) + np.exp(x.numpy()) @ np.exp(x.numpy())), kind="matmul")


def test_new_shapes_do_not_compile_new_kernels() -> None:
    def keys(*shape: int) -> set[str]:
        x = rand(*shape)
        return {k.spec.key for k in debug.kernels((x * 2 + x.sum(-1, keepdim=True)).exp())}

    assert keys(3, 50) == keys(7, 91) == keys(40, 64)


def test_learning_rate_is_an_argument_and_not_compiled_in() -> None:
    x = rand(9)
    (one,), (other,) = (debug.kernels(x * rate + 1) for rate in (0.123, 0.456))
    assert one.spec.key == other.spec.key


def test_no_fuse_gives_each_operator_a_launch() -> None:
    x = rand(9)
    with debug.no_fuse():
        assert len(debug.kernels((x * 2 + 1).exp())) == 3


def test_validate_passes_right_kernels() -> None:
    x = rand(9, 9)
    with debug.validate():
        ((x @ x).softmax(-1) * 2 + x.sum(0)).realize()


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "int64", "complex64"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_parts_of_one_shape_are_one_launch(dtype: str, count: int) -> None:
    parts = [(rand(5, 37) * 3 + i).to(getattr(nt, dtype)) for i in range(count)]
    arrays = [part.numpy() for part in parts]
    for dim in (0, 1, -1):
        joined, stacked = nt.cat(parts, dim), nt.stack(parts, dim)
        assert_launches(joined, 1)
        assert_launches(stacked, 1)
        assert np.array_equal(joined.numpy(), np.concatenate(arrays, dim))
        assert np.array_equal(stacked.numpy(), np.stack(arrays, dim))


def test_only_parts_that_are_apart_and_unread_share_a_launch() -> None:
    x, y = rand(6, 4), rand(6, 4)
    assert_launches(nt.cat([x.exp(), y * 2, x, y, x]), 2)  # four streams at most
    assert_launches(nt.cat([x, y[1:]]), 2)
    halves = nt.zeros(6, 8)
    halves[:, ::2] = x
    halves[:, 1::2] = y
    assert np.array_equal(halves.numpy(), np.stack([x.numpy(), y.numpy()], 2).reshape(6, 8))
    crossing = nt.zeros(6, 8)
    crossing[:, :4] = x
    crossing[:, 2:6] = y
    expected = np.zeros((6, 8), np.float32)
    expected[:, :4], expected[:, 2:6] = x.numpy(), y.numpy()
    assert np.array_equal(crossing.numpy(), expected)
    swapped = x.clone()
    swapped[:3], swapped[3:] = swapped[3:], swapped[:3]  # the second reads what the first wrote
    once = np.concatenate([x.numpy()[3:], x.numpy()[3:]])
    assert np.array_equal(swapped.numpy(), once)
    first = nt.zeros(6, 8)
    first[:, :4] = x
    seen = first * 1
    first[:, 4:] = y
    assert np.array_equal(seen.numpy()[:, 4:], np.zeros((6, 4), np.float32))


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "float64", "complex64"])
def test_strides_that_are_shuffled_read_and_write_the_same(dtype: str) -> None:
    x = (rand(7, 131) * 3).to(getattr(nt, dtype))
    array = x.numpy()
    for step in (1, 2, 3, 4, 5):
        assert np.array_equal(x[:, 1::step].contiguous().numpy(), array[:, 1::step])
        assert np.array_equal(x.flip(1)[:, ::step].contiguous().numpy(), array[:, ::-1][:, ::step])
        if array.dtype != np.float16:
            assert_close(x[:, ::step].sum(1), array[:, ::step].sum(1), kind="composite")


@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "int64", "complex64"])
@pytest.mark.parametrize("shape", [(15, 16), (16, 17), (65, 129), (3, 40, 600), (2, 3, 33, 70)])
def test_copies_that_exchange_dimensions(dtype: str, shape: tuple[int, ...]) -> None:
    x = (rand(*shape) * 3).to(getattr(nt, dtype))
    array = x.numpy()
    rank = len(shape)
    for order in {tuple(np.roll(range(rank), i)) for i in range(rank)} | {(*range(rank),)[::-1]}:
        dims = [int(d) for d in order]
        turned = x.permute(dims)
        assert_launches(turned.contiguous(), int(dims != sorted(dims)))
        assert np.array_equal(turned.contiguous().numpy(), array.transpose(dims))
        assert np.array_equal(turned.flip(0, -1).numpy(), np.flip(array.transpose(dims), (0, -1)))
        wide = nt.zeros(*turned.shape, 2, dtype=x.dtype)
        wide[..., 1] = turned
        assert np.array_equal(wide.numpy()[..., 1], array.transpose(dims))
        beside = nt.cat([turned, turned], -1)
        assert np.array_equal(beside.numpy(), np.concatenate([array.transpose(dims)] * 2, -1))
    assert np.array_equal(nt.rot90(x).numpy(), np.rot90(array))
    assert np.array_equal(nt.rot90(x, 3)[1:].contiguous().numpy(), np.rot90(array, 3)[1:])


def test_a_result_that_shows_a_copy_in_another_shape_is_copied_once() -> None:
    x = rand(4, 6, 8)
    turned = x.permute(2, 0, 1).reshape(8, 24)
    overlapping = x.unfold(2, 3, 1).reshape(4, 6, 18)
    assert_launches(turned, 1)
    assert_launches([overlapping, overlapping.flatten()], 1)
    expected = np.lib.stride_tricks.sliding_window_view(x.numpy(), 3, 2).reshape(4, 6, 18)
    assert_close(overlapping, expected, "exact")
    assert_close(turned, x.numpy().transpose(2, 0, 1).reshape(8, 24), "exact")
