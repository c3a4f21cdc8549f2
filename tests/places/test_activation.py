"""Adding an activation with an attribute is one function in one file: its body is its interface."""

import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import graph
from numbatorch.testing import assert_close, check_op

FILE = '''
import numpy as np

from numbatorch.dtype import FLOATS
from numbatorch.ops.registry import elementwise
from numbatorch.ops.activation import ACTIVATION


@elementwise(
    numpy=lambda x, *, threshold: np.where(abs(x) > threshold, x, 0),
    dtypes=FLOATS,
    places=ACTIVATION,
)
def places_shrink(x, *, threshold: float = 0.5):
    """x where |x| > threshold, 0 elsewhere."""
    return x if abs(x) > threshold else 0


@places_shrink.vjp
def _(g, y, x, *, threshold):
    return g * (y / y.op.apply(x, threshold=-1.0))
'''
X = np.linspace(-2, 2, 10, dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The file, imported as the module of another package."""
    path = tmp_path_factory.mktemp("places") / "places_shrink_module.py"
    path.write_text(FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, Path(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    graph.forget("places_shrink")


def test_function_method_and_functional_take_the_attribute_by_place_and_by_name() -> None:
    x = nt.tensor(X)
    expected = np.where(abs(X) > 1, X, 0)
    for place in (nt, nt.Tensor, nt.nn.functional):
        assert_close(place.places_shrink(x, 1.0), expected)
        assert_close(place.places_shrink(x, threshold=1), expected)
        assert_close(place.places_shrink(input=x, threshold=1.0), expected)
    assert_close(x.places_shrink(), np.where(abs(X) > 0.5, X, 0))
    signature = inspect.signature(nt.nn.functional.places_shrink)
    assert [(p.name, p.default) for p in signature.parameters.values()][1] == ("threshold", 0.5)


def test_a_wrong_attribute_is_refused_where_it_is_given() -> None:
    x = nt.tensor(X)
    with pytest.raises(TypeError, match="threshold is 'wide', not float"):
        x.places_shrink("wide")
    with pytest.raises(TypeError, match="places_shrink: has no argument 'treshold'"):
        nt.nn.functional.places_shrink(x, treshold=1.0)
    with pytest.raises(TypeError, match="takes 2 arguments, not 3"):
        nt.places_shrink(x, 1.0, True)


def test_it_has_every_property(module: Any, device: str) -> None:
    assert check_op(module.places_shrink, device, examples=2) > 0
