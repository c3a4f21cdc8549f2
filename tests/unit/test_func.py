"""vmap, Jacobians and products with them, against NumPy's loop or the formula."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import func
from numbatorch.errors import DTypeError, GradientError, OutOfRange, ShapeError

RNG = np.random.default_rng(0)


def normal(*shape: int) -> nt.Tensor:
    return nt.from_numpy(RNG.standard_normal(shape))


def test_a_mapped_function_is_one_graph_without_a_loop() -> None:
    x, w = normal(50, 3, 4), normal(4, 2)
    found = nt.vmap(lambda x: (x @ w).softmax(-1).sum(0))(x)
    assert len(nt.debug.kernels(found)) <= 3
    np.testing.assert_allclose(
        found.numpy(), np.stack([(x[i] @ w).softmax(-1).sum(0).numpy() for i in range(50)])
    )


@pytest.mark.parametrize(("in_dim", "out_dim"), [(0, 0), (1, 0), (-1, 1), (2, -1)])
def test_dimensions_of_examples(in_dim: int, out_dim: int) -> None:
    x, y = normal(3, 3, 3), normal(3)
    found = nt.vmap(lambda a, b: a.cumsum(0) * b, (in_dim, None), out_dim)(x, y)
    array = np.moveaxis(x.numpy(), in_dim, 0)
    rows = np.stack([np.cumsum(row, 0) * y.numpy() for row in array])
    np.testing.assert_allclose(found.numpy(), np.moveaxis(rows, 0, out_dim))


def test_maps_within_maps_and_with_gradients() -> None:
    x, y = normal(4, 3), normal(5, 3)
    outer = nt.vmap(nt.vmap(lambda a, b: (a * b).sum(), (None, 0)), (0, None))(x, y)
    np.testing.assert_allclose(outer.numpy(), x.numpy() @ y.numpy().T)
    per_example = nt.vmap(nt.grad(lambda w, a: (a @ w).tanh().sum()), (None, 0))(normal(3), x)
    assert per_example.shape == (4, 3)


def test_gradients_flow_through_a_mapped_function() -> None:
    x = normal(4, 3).requires_grad_()
    nt.vmap(lambda row: (row * row).sum())(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


def test_nests_of_arguments_and_results() -> None:
    batch = {"x": normal(4, 3), "k": normal(4)}
    found = nt.vmap(lambda d, s: (d["x"] * d["k"], [d["k"] + s]), (0, None), (1, [0]))(batch, 2.0)
    assert found[0].shape == (3, 4)
    np.testing.assert_allclose(found[1][0].numpy(), batch["k"].numpy() + 2)


def test_chunks_give_what_the_whole_gives() -> None:
    x = normal(7, 3)
    whole, chunks = nt.vmap(nt.exp)(x), nt.vmap(nt.exp, chunk_size=3)(x)
    np.testing.assert_array_equal(whole.numpy(), chunks.numpy())


def test_random_numbers_are_as_they_are_asked_for() -> None:
    x = nt.zeros(4, 3)
    with pytest.raises(RuntimeError, match="a random number is drawn"):
        nt.vmap(lambda row: row + nt.rand(3))(x)
    same = nt.vmap(lambda row: row + nt.rand(3), randomness="same")(x).numpy()
    different = nt.vmap(lambda row: row + nt.rand(3), randomness="different")(x).numpy()
    assert len(np.unique(same)) == 3
    assert len(np.unique(different)) == 12


def test_reading_a_value_within_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"vmap: bool reads .*\n  value \(\) bool of each"):
        nt.vmap(lambda row: row * 2 if row.sum() > 0 else row)(normal(4, 3))
    for name, read in {"item": lambda row: row.sum().item(), "nonzero": nt.nonzero}.items():
        with pytest.raises(RuntimeError, match=f"vmap: {name} reads a value that depends"):
            nt.vmap(read)(normal(4, 3))


def test_a_value_of_an_example_is_not_left_in_a_tensor_from_outside() -> None:
    kept, left = nt.zeros(3, dtype=nt.float64), []
    with pytest.raises(RuntimeError, match="vmap: add_ changes a tensor from outside by a value"):
        nt.vmap(lambda row: (kept.add_(row), row)[1])(normal(4, 3))
    assert kept.tolist() == [0.0] * 3
    nt.vmap(lambda row: (left.append(row * 2), row)[1])(normal(4, 3))
    with pytest.raises(RuntimeError, match=r"the function has ended\n  example \(3,\) float64"):
        left[0].tolist()


class Doubled(nt.autograd.Function):
    """A gradient that is written by hand."""

    @staticmethod
    def forward(ctx: Any, x: nt.Tensor) -> nt.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: nt.Tensor) -> nt.Tensor:
        return g * 2


def test_a_gradient_of_its_own_is_refused_not_cut() -> None:
    x = normal(4, 3)
    np.testing.assert_array_equal(nt.vmap(Doubled.apply)(x).numpy(), 2 * x.numpy())
    within = nt.vmap(nt.grad(lambda row: Doubled.apply(row).sum()))(x)
    np.testing.assert_array_equal(within.numpy(), np.full((4, 3), 2.0))
    with pytest.raises(GradientError, match="has no batch"):
        nt.vmap(Doubled.apply)(x.requires_grad_())


def test_errors_name_the_arguments() -> None:
    with pytest.raises(ShapeError, match="different numbers of examples"):
        nt.vmap(lambda a, b: a + b)(normal(3), normal(4))
    with pytest.raises(ShapeError, match="nothing is mapped"):
        nt.vmap(lambda a: a, None)(normal(3))
    with pytest.raises(ShapeError, match="no dimension"):
        nt.vmap(lambda a: a)(normal())
    with pytest.raises(ValueError, match="2 dimensions for 1"):
        nt.vmap(lambda a: a, (0, 0))(normal(3))
    with pytest.raises(TypeError, match="gives tensors, not int"):
        nt.vmap(lambda a: 1)(normal(3))
    with pytest.raises(ValueError, match="randomness"):
        nt.vmap(lambda a: a, randomness="some")


def test_jacobians_equal_the_formula() -> None:
    A, x = normal(3, 4), normal(4)
    np.testing.assert_allclose(func.jacrev(lambda x: A @ x)(x).numpy(), A.numpy())
    first, second = func.jacfwd(lambda x, y: x[:, None] * y, (0, 1))(x, normal(2))
    assert first.shape == (4, 2, 4)
    assert second.shape == (4, 2, 2)
    found = func.hessian(lambda x: (x @ (A.T @ A) @ x) / 2)(x)
    np.testing.assert_allclose(found.numpy(), A.numpy().T @ A.numpy())


def test_products_with_jacobians_equal_the_formula() -> None:
    x, v, g = normal(4), normal(4), normal(4)

    def function(x: nt.Tensor) -> Any:
        return x.sin(), {"a": x * x}

    value, slope = func.jvp(function, (x,), (v,))
    np.testing.assert_allclose(slope[0].numpy(), np.cos(x.numpy()) * v.numpy())
    np.testing.assert_allclose(slope[1]["a"].numpy(), 2 * (x * v).numpy())
    value, pull = func.vjp(function, x)
    assert not value[0].requires_grad
    (found,) = pull((g, {"a": g}))
    np.testing.assert_allclose(found.numpy(), g.numpy() * (np.cos(x.numpy()) + 2 * x.numpy()))
    with pytest.raises(ShapeError, match="a tangent has another shape"):
        func.jvp(function, (x,), (normal(3),))


def test_derivatives_compose() -> None:
    x = nt.tensor(0.7, dtype=nt.float64)

    def slope(x: nt.Tensor) -> nt.Tensor:
        found: nt.Tensor = func.jvp(lambda y: y * y * y, (x,), (nt.ones_like(x),))[1]
        return found

    assert func.grad(slope)(x).item() == pytest.approx(6 * 0.7)
    assert func.jvp(slope, (x,), (nt.ones_like(x),))[1].item() == pytest.approx(6 * 0.7)
    gradient, value = func.grad_and_value(lambda y: y * y)(x)
    assert (gradient.item(), value.item()) == pytest.approx((1.4, 0.49))


def test_places_that_depend_on_the_example_are_read_and_written() -> None:
    def moved(row: nt.Tensor, place: nt.Tensor) -> nt.Tensor:
        out = row.clone()
        out[place] = row[place] + 1
        return out

    found = nt.vmap(moved)(nt.zeros(2, 3), nt.tensor([0, -1]))
    assert found.tolist() == [[1, 0, 0], [0, 0, 1]]
    found = nt.vmap(moved)(nt.zeros(2, 3), nt.tensor([[0, 1], [2, 1]]))
    assert found.tolist() == [[1, 1, 0], [0, 1, 1]]


def test_jacobians_by_nests_have_their_form() -> None:
    a, b = nt.tensor([1.0, 2.0]), nt.tensor([3.0, 4.0])
    found = func.jacrev(lambda p: p["a"] * p["b"])({"a": a, "b": b})
    assert found["a"].tolist() == [[3.0, 0.0], [0.0, 4.0]]
    assert found["b"].tolist() == [[1.0, 0.0], [0.0, 2.0]]
    second = func.hessian(lambda p: (p["a"] * p["b"]).sum())({"a": a, "b": b})
    assert second["a"]["b"].tolist() == second["b"]["a"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert not second["a"]["a"].any() and not second["b"]["b"].any()


def test_what_all_examples_share_is_handed_on_and_given_once() -> None:
    x, shared = nt.tensor([1.0, 2.0]), nt.tensor([3.0, 4.0])
    mapped = nt.vmap(lambda x, k: (x * k.sum(), shared), out_dims=(0, None))
    assert [y.tolist() for y in mapped(x, k=shared)] == [[7.0, 14.0], [3.0, 4.0]]
    with pytest.raises(ValueError, match="depends on the example"):
        nt.vmap(lambda x: x, out_dims=None)(x)


def test_gradients_flow_through_the_array_namespace() -> None:
    x = nt.tensor([1.0, 2.0], requires_grad=True)
    xp = x.__array_namespace__()
    xp.sum(xp.exp(x) * xp.asarray(x)).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1, 2]) * [2, 3], rtol=1e-6)


@pytest.mark.parametrize("calls", [0, 1, 5])
def test_a_compiled_function_is_mapped_as_it_was_written(calls: int) -> None:
    x, w = normal(5, 3), normal(3)
    step = nt.compile(lambda row, w: (row * w).sum())
    for _ in range(calls):
        step(x[0].clone(), w)
    once = nt.compile(nt.vmap(step, (0, None)))
    for mapped in (nt.vmap(step, (0, None)), once, once):
        np.testing.assert_allclose(mapped(x, w).numpy(), x.numpy() @ w.numpy())
    np.testing.assert_allclose(step(x[1], w).item(), x.numpy()[1] @ w.numpy())


def squared(x: nt.Tensor, y: Any = None) -> nt.Tensor:
    return (x * x).sum()


OF_ARGNUMS = (
    nt.grad,
    nt.value_and_grad,
    func.grad_and_value,
    func.jacrev,
    func.jacfwd,
    func.hessian,
)


@pytest.mark.parametrize("transform", OF_ARGNUMS, ids=lambda f: f.__name__)
def test_arguments_that_are_not_there_are_refused_by_number(transform: Any) -> None:
    x = normal(3)
    with pytest.raises(OutOfRange, match="argnums has 1, but 1 argument came by position"):
        transform(squared, argnums=1)(x)
    with pytest.raises(OutOfRange, match="argnums has -3, but 2 arguments came by position"):
        transform(squared, argnums=(0, -3))(x, x)
    with pytest.raises(OutOfRange, match="argnums has 0, but 0 arguments came by position"):
        transform(squared)()
    for twice in ((0, 0), (0, -1)):
        with pytest.raises(ValueError, match=r"argnums .* has an argument twice"):
            transform(squared, argnums=twice)(x)
    with pytest.raises(ValueError, match="argnums names no argument"):
        transform(squared, argnums=())
    for wrong in (True, 1.0, "x", (0, 1.5), None):
        with pytest.raises(TypeError, match=r"argnums is .*, not the number of an argument"):
            transform(squared, argnums=wrong)
    found, last = transform(squared)(x), transform(squared, argnums=-1)(x)
    assert str(found) == str(last)


TRANSFORMS = (
    *OF_ARGNUMS,
    nt.vmap,
    nt.checkpoint,
    func.vjp,
    lambda f: func.jvp(f, (normal(),), (normal(),)),
)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_is_no_function_is_refused_at_once(transform: Any) -> None:
    with pytest.raises(TypeError, match=r"^\w+: takes a function, not int"):
        transform(5)


@pytest.mark.parametrize("result", [normal(2), (1, 2, 3), [normal()], 7])
def test_what_comes_beside_the_value_is_the_second_of_two(result: Any) -> None:
    x = normal(3)
    for call in (
        lambda f: nt.grad(f, has_aux=True)(x),
        lambda f: func.jacrev(f, has_aux=True)(x),
        lambda f: func.vjp(f, x, has_aux=True),
        lambda f: func.jvp(f, (x,), (x,), has_aux=True),
    ):
        with pytest.raises(TypeError, match=r"the function gives .*, not \(value, anything\)"):
            call(lambda _x: result)


def test_arguments_of_jvp_and_vmap_have_their_forms() -> None:
    x = normal(2)
    with pytest.raises(TypeError, match="jvp: primals are a tuple of arguments, not Tensor"):
        func.jvp(squared, x, x)
    with pytest.raises(TypeError, match="jvp: tangents are a tuple of arguments, not Tensor"):
        func.jvp(squared, (x,), x)
    for dims in (1.5, "a", True, {}):
        with pytest.raises(TypeError, match="in_dims is"):
            nt.vmap(squared, in_dims=dims)(x)
    with pytest.raises(ValueError, match=r"out_dims 1\.5 has not the form"):
        nt.vmap(squared, out_dims=1.5)(x)
    for size in (1.5, "a", True):
        with pytest.raises(TypeError, match=r"chunk_size is .*, not an int"):
            nt.vmap(squared, chunk_size=size)
    with pytest.raises(DTypeError, match="jacrev: only floats and complex numbers"):
        func.jacrev(squared)(x.int())


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "grad_and_value"])
def test_derivatives_name_themselves_in_errors(name: str) -> None:
    derive = getattr(func, name)
    with pytest.raises(TypeError, match=rf"^{name}: an argument .* int, not a tensor"):
        derive(lambda x: x)(3)
    with pytest.raises(DTypeError, match=rf"^{name}: only floats"):
        derive(lambda x: x)(nt.tensor(3))
    with pytest.raises(GradientError, match=rf"^{name}: the function returned int"):
        derive(lambda x: 1)(nt.tensor(3.0))
    with pytest.raises(GradientError, match=rf"^{name}: only a tensor of one element"):
        derive(lambda x: x)(nt.ones(2))
    with pytest.raises(TypeError, match=rf"^{name}: the function gives Tensor"):
        derive(lambda x: x, has_aux=True)(nt.tensor(3.0))
    with pytest.raises(TypeError, match=rf"^{name}: "):
        derive(3)
