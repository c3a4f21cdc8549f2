"""Public functions: one object at every place, written files up to date, errors of arguments."""

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import numbatorch as nt
from numbatorch.ops import families

ROOT = Path(__file__).parents[2]


def test_table_and_stubs_are_up_to_date() -> None:
    command = [sys.executable, ROOT / "tools" / "surface.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"run `make surface`, which writes\n{done.stdout}{done.stderr}"


def test_function_method_and_name_are_one_object() -> None:
    assert nt.gelu is nt.Tensor.gelu
    assert nt.subtract is nt.sub


def test_help_shows_the_signature_of_torch() -> None:
    parameters = inspect.signature(nt.gelu).parameters
    assert list(parameters) == ["input", "approximate"]
    assert parameters["input"].annotation == "Tensor"
    assert parameters["approximate"].default == "none"
    assert "Phi" in (nt.gelu.__doc__ or "")
    assert str(inspect.signature(nt.leaky_relu)).startswith("(input: 'Tensor', negative_slope")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: nt.gelu(x, approximate="tahn"), ValueError, "'none' or 'tanh'"),
        (lambda x: nt.relu(x, foo=1), TypeError, "relu: has no argument 'foo'"),
        (lambda x: x.leaky_relu("steep"), TypeError, "negative_slope is 'steep', not float"),
        (lambda x: nt.exp(x, x), TypeError, "exp"),
        (lambda x: nt.exp(2.0), TypeError, "exp: input is 2.0, not Tensor"),
        (lambda x: x.matmul(2), TypeError, "matmul: other is 2, not Tensor"),
        (lambda x: nt.gather(x, 0, [0]), TypeError, r"gather: index is \[0\], not Tensor"),
        (lambda x: nt.nn.functional.layer_norm(x, (2,), 1.0), TypeError, "weight is 1.0"),
        (lambda x: nt.cat(x), TypeError, r"tensors is a tensor \(2,\) float32, not Sequence"),
        (lambda x: x.sum(x), TypeError, r"dim is a tensor \(2,\) float32"),
        (lambda x: x.sum(True), TypeError, "dim is True"),
        (lambda x: x.softmax(True), TypeError, "dim is True, not int"),
        (lambda x: nt.div(x, 2, rounding_mode="up"), ValueError, "'floor' or 'trunc'"),
        (lambda x: nt.pow(x.int(), -1), nt.DTypeError, "no integers"),
        (lambda x: x.int().pow(-1), nt.DTypeError, "no integers"),
    ],
)
def test_a_wrong_argument_is_an_error_of_the_call(call, error, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=says):
        call(nt.tensor([1.0, 2.0]))


def test_each_function_is_found_again_by_pickle_and_copy() -> None:
    for place in ("nt", "nn.functional", "linalg"):
        for name in families.table(place):
            function = families.function(place, name)
            assert pickle.loads(pickle.dumps(function)) is function, name
            assert copy.deepcopy(function) is function, name


@pytest.mark.parametrize("dim", [99, "a", 1.5, (0, 99), (0, "a")])
def test_a_wrong_dimension_is_an_error_of_the_function_that_was_called(dim: object) -> None:
    tried = 0
    for name in sorted(families.table("nt")):
        function = families.function("nt", name)
        parameters = inspect.signature(function).parameters if function else {}
        if "dim" not in parameters:
            continue
        given: dict[str, object] = {"dim": dim}
        for parameter in list(parameters.values()):
            if parameter.name != "dim" and parameter.default is parameter.empty:
                made = _argument(parameter)
                given[parameter.name] = made
        with pytest.raises((nt.ShapeError, nt.OutOfRange, TypeError)) as caught:
            function(**given)
        assert str(caught.value).startswith(f"{function.__name__}: "), f"{name}: {caught.value!r}"
        tried += 1
    assert tried > 30


def _argument(parameter: inspect.Parameter) -> object:
    if "Sequence[Tensor]" in str(parameter.annotation):
        return [nt.ones(2, 2)]
    if "Tensor" in str(parameter.annotation):
        return nt.zeros(2, 2, dtype=nt.int64 if parameter.name == "index" else nt.float32)
    return (1, 2) if "size" in parameter.name else 1


def test_no_dimensions_are_all_of_them_as_in_torch() -> None:
    x = nt.arange(12.0).reshape(3, 4)
    for name in ("sum", "mean", "prod", "amax", "amin", "std", "var", "norm", "nansum", "nanmean"):
        assert getattr(x, name)(dim=()).shape == (), name
    assert x.count_nonzero(()).item() == 11
    assert x.any(dim=()).shape == x.all(dim=()).shape == (3, 4)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: nt.cat([nt.ones(2), None]), TypeError, r"cat: tensors\[1\] is None"),
        (lambda: nt.stack([1, 2]), TypeError, r"stack: tensors\[0\] is int"),
        (lambda: nt.manual_seed("x"), TypeError, "the seed is 'x'"),
        (lambda: nt.rand(2, generator=5), TypeError, "5 is not an nt.Generator"),
        (lambda: nt.linspace(0, 1, -1), nt.ShapeError, "linspace"),
        (lambda: nt.tensor(1.0).unbind(), nt.OutOfRange, "unbind: a 0-d tensor"),
        (lambda: None in nt.ones(2), TypeError, "in: None is neither"),
        (lambda: nt.arange(3).add_(1.5), nt.DTypeError, "add_"),
        (lambda: nt.zeros(True), TypeError, r"zeros: \(True,\) are not integers"),
        (lambda: nt.ones(3).unflatten(0, (2, 2)), nt.ShapeError, "unflatten: the number"),
        (lambda: nt.ones(3).sort(dim=9), nt.OutOfRange, "sort: dimension 9"),
        (lambda: nt.ones(3).max(dim=9), nt.OutOfRange, "max: dimension 9"),
    ],
)
def test_errors_name_what_was_called(call, error, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=says):
        call()


def test_numbers_are_operands_on_either_side() -> None:
    x = nt.tensor([1.0, 2.0])
    for function in (nt.add, nt.sub, nt.pow, nt.remainder, nt.xlogy, nt.float_power):
        expected = function(nt.tensor([2.0, 2.0]), x)
        assert function(2, x).tolist() == expected.tolist()
        assert function(input=2.0, **{_second(function): x}).tolist() == expected.tolist()


def _second(function) -> str:  # type: ignore[no-untyped-def]
    return list(inspect.signature(function).parameters)[1]


@pytest.mark.parametrize("name", ["buffer", "compact", "cast", "slice", "gelu_tanh", "random_bits"])
def test_records_are_no_public_names(name: str) -> None:
    assert not hasattr(nt, name)
    assert not hasattr(nt.Tensor, name)
