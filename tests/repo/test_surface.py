"""Public functions: one object at every place, written files up to date, late families."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import numbatorch as nt

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


def test_numbers_are_operands_on_either_side() -> None:
    x = nt.tensor([1.0, 2.0])
    for function in (nt.add, nt.sub, nt.mul, nt.div, nt.pow, nt.maximum, nt.remainder, nt.lt):
        expected = function(nt.tensor([2.0, 2.0]), x)
        assert function(2, x).tolist() == expected.tolist()
        assert function(input=2.0, **{_second(function): x}).tolist() == expected.tolist()


def _second(function) -> str:  # type: ignore[no-untyped-def]
    return list(inspect.signature(function).parameters)[1]


@pytest.mark.parametrize("name", ["buffer", "take", "cast", "slice", "gelu_tanh", "random_bits"])
def test_records_are_no_public_names(name: str) -> None:
    assert not hasattr(nt, name)
    assert not hasattr(nt.Tensor, name)
