"""What a run finds wrong is told of with the function that was called, its operands and the rule.

The same on every device, also where the value is a gradient, of a batch or of a compiled function.
"""

from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.backends import planned
from numbatorch.nn import functional as F
from numbatorch.ops import caller

Made = Callable[..., nt.Tensor]


def text(operator: str, problem: str, *rows: str) -> str:
    return "\n  ".join((f"{operator}: {problem}", *rows))


def index_error(operator: str, number: int, rule: str, *rows: str) -> str:
    return text(operator, f"index {number} is out of range", *rows, f"it must be in {rule}")


X, ROW = "(3, 4) float32", "(1,) int64"
TAKEN = [f"input {X}", f"index {ROW}"]
ALONG = [f"input {X}", "index (1, 1) int64"]

INDICES: dict[str, tuple[Callable[[Made], Any], str]] = {
    "embedding": (
        lambda t: F.embedding(t([9]), t.x),
        index_error("embedding", 9, "[0, 3)", f"input {ROW}", f"weight {X}"),
    ),
    "indexing": (
        lambda t: t.x[t([-5])],
        index_error("indexing", -5, "[-3, 3)", f"tensor {X}", f"index {ROW}"),
    ),
    "indexing of two dimensions": (
        lambda t: t.x[t([0]), t([4])],
        text(
            "indexing",
            "index 4 is out of range",
            f"tensor {X}",
            f"index {ROW}",
            f"index {ROW}",
            "of its dimension, which is indexed together with others",
        ),
    ),
    "index_select of rows": (
        lambda t: nt.index_select(t.x, 0, t([-1])),
        index_error("index_select", -1, "[0, 3)", *TAKEN),
    ),
    "index_select of columns": (
        lambda t: t.x.index_select(1, t([4])),
        index_error("index_select", 4, "[0, 4)", *TAKEN),
    ),
    "take": (
        lambda t: nt.take(t.x, t([-13])),
        index_error("take", -13, "[-12, 12)", *TAKEN),
    ),
    "take_along_dim": (
        lambda t: nt.take_along_dim(t.x, t([[7]]), 1),
        index_error("take_along_dim", 7, "[-4, 4)", f"input {X}", "indices (1, 1) int64"),
    ),
    "gather": (
        lambda t: nt.gather(t.x, 1, t([[7]])),
        index_error("gather", 7, "[0, 4)", *ALONG),
    ),
    "scatter": (
        lambda t: nt.scatter(t.x, 1, t([[7]]), 1.0),
        index_error("scatter", 7, "[0, 4)", *ALONG),
    ),
    "scatter_reduce": (
        lambda t: nt.scatter_reduce(t.x, 1, t([[7]]), t([[1.0]]), "prod"),
        index_error("scatter_reduce", 7, "[0, 4)", *ALONG, "src (1, 1) float32"),
    ),
    "index_fill": (
        lambda t: nt.index_fill(t.x, 1, t([7]), 1.0),
        index_error("index_fill", 7, "[-4, 4)", *TAKEN),
    ),
    "index_add": (
        lambda t: t.x.index_add(1, t([7]), t([[1.0], [1.0], [1.0]])),
        index_error("index_add", 7, "[0, 4)", *TAKEN, "source (3, 1) float32"),
    ),
    "put": (
        lambda t: nt.put(t.x, t([12]), t([1.0])),
        index_error("put", 12, "[-12, 12)", *TAKEN, "source (1,) float32"),
    ),
    "one_hot": (
        lambda t: F.one_hot(t([0, 2]), 2),
        index_error("one_hot", 2, "[0, 2)", "tensor (2,) int64"),
    ),
    "cross_entropy": (
        lambda t: F.cross_entropy(t.x, t([0, 1, 5])),
        index_error("cross_entropy", 5, "[0, 4)", f"input {X}", "target (3,) int64"),
    ),
    "max_unpool1d": (
        lambda t: F.max_unpool1d(t.x, t([[0, 1, 2, 9]] * 3), 2),
        index_error("max_unpool1d", 9, "[0, 8)", f"input {X}", "indices (3, 4) int64"),
    ),
    "masked_scatter": (
        lambda t: nt.masked_scatter(t.x, t.x == 0, t([1.0, 2.0])),
        text(
            "masked_scatter",
            "the mask is True more often than the source has elements",
            f"input {X}",
            "mask (3, 4) bool",
            "source (2,) float32",
        ),
    ),
    "quantile": (
        lambda t: nt.quantile(t.x, t([0.1, float("nan")])),
        text("quantile", "an element of q is not in [0, 1]", f"input {X}", "q (2,) float32"),
    ),
    "histc": (
        lambda t: nt.histc(t([1.0, float("nan")])),
        text("histc", "[nan, nan] is no finite range", "input (2,) float32"),
    ),
}


class Maker:
    """Makes tensors on a device; x is zeros."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.x = nt.zeros(3, 4, device=device)

    def __call__(self, data: Any) -> nt.Tensor:
        return nt.tensor(data, device=self.device)


@pytest.mark.parametrize("name", INDICES)
def test_an_index_out_of_range_names_the_call(name: str, device: str) -> None:
    call, expected = INDICES[name]
    for _ in range(3):  # built by the rules, noted, remembered
        with pytest.raises(nt.OutOfRange) as caught:
            call(Maker(device)).realize()
        assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["index_add", "index_copy"])
def test_a_method_in_place_is_named_as_it_is_called(name: str, device: str) -> None:
    made = Maker(device)
    with pytest.raises(nt.OutOfRange, match=f"^{name}_: index 7 is out of range"):
        getattr(made.x, f"{name}_")(1, made([7]), made([[1.0], [1.0], [1.0]])).realize()


@pytest.mark.parametrize(
    ("name", "rows"),
    {
        "floor_divide": ["input (2,) int64", "other (2,) int64"],
        "remainder": ["input (2,) int64", "other (2,) int64"],
        "floor_divide_": ["input (2,) int64", "other (2,) int64"],
    }.items(),
)
def test_a_division_by_zero_names_the_call(name: str, rows: list[str], device: str) -> None:
    x = nt.tensor([1, 2], device=device)
    with pytest.raises(nt.DivisionByZero) as caught:
        getattr(x, name)(nt.tensor([1, 0], device=device)).realize()
    assert str(caught.value) == text(name, "an integer is divided by 0", *rows)


def test_a_matrix_without_a_result_names_the_call(device: str) -> None:
    for name in ("inv", "pinv", "cholesky"):
        A = nt.full((2, 2), float("nan") if name == "pinv" else 0.0, device=device)
        with pytest.raises(nt.LinAlgError) as caught:
            getattr(nt.linalg, name)(A).realize()
        assert str(caught.value).startswith(f"{name}: ")
        assert str(caught.value).splitlines()[1:] == ["  A (2, 2) float32"]


def test_a_gradient_names_the_call_that_it_is_of(device: str) -> None:
    weight = nt.zeros(3, 4, device=device, requires_grad=True)
    F.embedding(nt.tensor([1, 9], device=device), weight).sum().backward()
    assert weight.grad is not None
    with pytest.raises(nt.OutOfRange, match=r"^embedding: index 9 [\s\S]*\n  weight \(3, 4\)"):
        weight.grad.tolist()


def test_batches_and_compiled_functions_name_the_call(device: str) -> None:
    weight = nt.zeros(3, 4, device=device)
    index = nt.tensor([[1], [9]], device=device)
    expected = r"^embedding: index 9 [\s\S]*\n  weight \(3, 4\) float32\n"
    with pytest.raises(nt.OutOfRange, match=expected):
        nt.vmap(lambda row: F.embedding(row, weight))(index).tolist()
    step = nt.compile(lambda rows: F.embedding(rows, weight) * 2)
    assert step(index.clamp(max=2)).shape == (2, 1, 4)
    with pytest.raises(nt.OutOfRange, match=expected):
        step(index).tolist()


def test_calls_of_other_shapes_that_share_a_graph_name_their_own() -> None:
    index, weight = nt.tensor([9]), nt.zeros(3, 4)
    with pytest.raises(nt.OutOfRange, match=r"^embedding: "):
        F.embedding(index, weight).realize()
    with pytest.raises(nt.OutOfRange, match=r"^index_select: [\s\S]*\n  input \(3, 4\)"):
        nt.index_select(weight, 0, index).realize()


def test_what_a_function_is_given_has_callers_of_its_own() -> None:
    far = nt.zeros(1, 2)

    def distance(a: nt.Tensor, _b: nt.Tensor) -> nt.Tensor:
        return F.embedding(nt.tensor([5]), nt.zeros(3, 2)).sum(-1) + a.sum(-1)

    loss = F.triplet_margin_with_distance_loss(far, far, far, distance_function=distance)
    with pytest.raises(nt.OutOfRange, match=r"^embedding: index 5"):
        loss.item()


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda x: x.int().fill_(1.5), nt.DTypeError, "fill_: 1.5 is no value of int32"),
        (lambda x: x.copy_(nt.ones(4)), nt.ShapeError, "copy_: .*\n  tensor (3,) float32"),
        (lambda x: x.view(2), nt.ShapeError, "view: the number of elements differs\n  input (3,)"),
        (lambda x: x.requires_grad_().zero_(), nt.GradientError, "zero_: a leaf"),
        (lambda x: x.add_(nt.ones(4)), nt.ShapeError, "add_: shapes do not broadcast"),
        (lambda x: nt.mv(nt.ones(2, 4), x), nt.ShapeError, "mv: .*\n.*\n.*\n.* but rhs.shape[-1]"),
        (
            lambda x: nt.cat([x.sum(), x.sum()]),
            nt.ShapeError,
            "cat: 0-d .*\n.*0 () .*\n.*1 ()",
        ),
        (lambda _x: nt.Tensor(2, 3), TypeError, "Tensor: .*\n  hint: nt.empty(2, 3)"),
    ],
)
def test_an_error_of_the_call_names_it(call: Any, error: Any, expected: str) -> None:
    pattern = "".join(f"\\{c}" if c in "()[]" else c for c in expected)
    with pytest.raises(error, match="^" + pattern):
        call(nt.ones(3))


def test_a_value_larger_than_any_memory_is_out_of_memory(device: str) -> None:
    large = nt.ones(2**31, 2**31, device=device)
    for read in (nt.exp, nt.sum, nt.Tensor.realize, nt.Tensor.tolist):
        with pytest.raises(nt.OutOfMemory, match=r"out of memory[\s\S]*requested .*bytes"):
            found = read(large)
            found.realize()
    with pytest.raises(nt.ShapeError, match=r"ones: .* has 2\*\*63 elements or more"):
        nt.ones(2**31, 2**31, 2, device=device)


def test_callers_alike_are_equal_after_others_have_displaced_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan is found again by a caller that was made anew."""
    monkeypatch.setattr(caller, "KEPT", 2)
    plans: list[Any] = []
    own = planned.make_plan
    monkeypatch.setattr(planned, "make_plan", lambda *args: plans.append(args) or own(*args))
    index = nt.tensor([1], device="cpu").realize()
    weights = [nt.zeros(size, 3, device="cpu").realize() for size in (21, 22, 23, 24)]
    for _ in range(3):
        for weight in weights:
            F.embedding(index, weight).realize()
    assert len([roots for roots, *_ in plans if roots[0].op.name == "take"]) == len(weights)
    shown = caller.of_call("f", ())
    assert shown == caller.Caller("f", ()) and hash(shown) == hash(caller.Caller("f", ()))
    for other in (shown.change(True, ""), shown.change(False, "p"), caller.Caller("g", ()), "f"):
        assert shown != other
