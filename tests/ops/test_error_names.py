"""Every public function, called with wrong operands, names itself in the error that it raises.

Arguments follow from the signatures: tensors of shapes and dtypes that do not fit, numbers that no
dimension has, objects of other classes, too many and too few of them. What is accepted is realized.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.ops import families
from numbatorch.ops.surface import PLACES


def made(shape: tuple[int, ...], dtype: nt.DType = nt.float32, value: Any = None) -> nt.Tensor:
    """Ascending numbers, or one number; on device "numpy", which has no kernels to compile."""
    count = int(np.prod(shape))
    array = np.arange(count) + 0.5 if value is None else np.full(count, value)
    return nt.from_numpy(array.reshape(shape)).to(dtype).to("numpy")


INTEGERS = (3, 3), nt.int64, 99

# By name: the tensor at a place among the arguments.
TENSORS: dict[str, Callable[[int], nt.Tensor]] = {
    "of one shape": lambda _place: made((2, 3)),
    "of different shapes": lambda place: made([(2, 3), (4, 5), (7,)][place % 3]),
    "0-d": lambda _place: made(()),
    "of five dimensions": lambda _place: made((1, 2, 3, 1, 2)),
    "empty": lambda _place: made((0, 3)),
    "complex": lambda _place: made((3, 3), nt.complex64),
    "bool": lambda _place: made((3, 3), nt.bool, True),
    "of large integers": lambda _place: made(*INTEGERS),
    "of negative integers": lambda _place: made((3,), nt.int64, -99),
    "floats first": lambda place: made((3, 3)) if place == 0 else made(*INTEGERS),
    "floats but for the second": lambda place: (
        made((3,), nt.int64, 99) if place == 1 else made((3, 3))
    ),
    "floats last": lambda place: made((3, 3)) if place else made(*INTEGERS),
    "NaN": lambda _place: made((3, 3), nt.float32, float("nan")),
    "zeros": lambda _place: made((3, 3), nt.float32, 0.0),
}


def value_for(parameter: inspect.Parameter, place: int, kind: str) -> Any:
    """What fits the annotation of a parameter, tensors of the kind."""
    text = str(parameter.annotation)
    tensor = TENSORS[kind]
    if "Sequence[Tensor" in text:
        return [tensor(place), tensor(place + 1)]
    if "Tensor" in text or "Any" in text or parameter.annotation is parameter.empty:
        return tensor(place)
    if "Literal" in text:
        return re.findall(r"Literal\['?\"?([^'\",\]]+)", text)[0]
    if "bool" in text and "int" not in text:
        return False
    if any(name in text for name in ("Sequence[int]", "Sizes", "tuple[int")):
        return (1, 1)
    return 0.5 if "float" in text and "int" not in text else 1


Call = tuple[str, list[Any], dict[str, Any]]


def wrong_calls(function: Callable[..., Any], method: bool) -> Iterator[Call]:
    """Calls of which most are refused: what is wrong, arguments, keywords."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = [p for p in named if p.default is p.empty]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    several = [p for p in parameters if p.kind is p.VAR_POSITIONAL]

    def call(kind: str) -> tuple[list[Any], dict[str, Any]]:
        args = [value_for(p, place, kind) for place, p in enumerate(needed)]
        args[:method] = [TENSORS[kind](0)] * method
        args += [value_for(p, place, kind) for p in several for place in (0, 1)]
        return args, {p.name: value_for(p, 9, kind) for p in keywords}

    for kind in TENSORS:
        yield kind, *call(kind)
    args, options = call("of one shape")
    for place, parameter in enumerate(needed):
        if method and place == 0:
            continue
        takes_numbers = "int" in str(parameter.annotation)
        for value in (object(), "x", *((99, -99) if takes_numbers else ())):
            changed = [*args[:place], value, *args[place + 1 :]]
            yield f"{value} for {parameter.name}", changed, options
    for parameter in parameters:
        if parameter.default is parameter.empty:
            continue
        takes_numbers = "int" in str(parameter.annotation)
        for value in (object(), *((99, -99) if takes_numbers else ())):
            yield f"{value} for {parameter.name}", args, {**options, parameter.name: value}
    yield "an argument that there is not", args, {**options, "nonsense": 1}
    if len(needed) > method:
        yield "too few", args[:1] if method else [], {}


# What changes the state of the process, is given functions, or is no function of users.
OTHERS = set("compile hold let_views_go load manual_seed save seed vmap".split())
SETTINGS = ("set_", "use_")


def function_of(place: str, name: str) -> Any:
    if place == "Tensor":
        return getattr(nt.Tensor, name, None)
    return families.function(place, name) or getattr(nt, name)


def places_and_names() -> Iterator[tuple[str, str]]:
    for place in PLACES:
        more = {"nt": nt.__all__, "Tensor": dir(nt.Tensor)}.get(place, [])
        for name in sorted({*families.names(place), *more} - OTHERS):
            function = function_of(place, name)
            hidden = name.startswith(("_", *SETTINGS))
            if callable(function) and not inspect.isclass(function) and not hidden:
                yield place, name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("place", "name"), list(places_and_names()))
def test_an_error_begins_with_the_name_of_the_function(place: str, name: str) -> None:
    function = function_of(place, name)
    names = f"{re.escape(name)}|{function.__name__}"  # an alias is the function itself
    begins = re.compile(rf"((linalg|Tensor|{re.escape(place)})\.)?({names})(:|\(\) )")
    refused = 0
    for what, args, options in wrong_calls(function, place == "Tensor"):
        try:
            found = function(*args, **options)
            for tensor in found if isinstance(found, tuple) else (found,):
                if isinstance(tensor, nt.Tensor):
                    tensor.realize()
        except Exception as error:
            refused += 1
            assert begins.match(str(error)), f"{what}: {type(error).__name__}: {error}"
    assert refused


def test_errors_of_a_function_that_is_given_keep_their_names() -> None:
    def broken(x: nt.Tensor, y: nt.Tensor) -> nt.Tensor:
        raise ValueError("config: broken")

    def unfit(x: nt.Tensor, y: nt.Tensor) -> nt.Tensor:
        return x.flatten() @ y

    x = nt.ones(2, 3)
    loss = nt.nn.functional.triplet_margin_with_distance_loss
    with pytest.raises(ValueError, match=r"^config: broken$"):
        loss(x, x, x, distance_function=broken)
    with pytest.raises(nt.ShapeError, match=r"^matmul: inner dimensions differ"):
        loss(x, x, x, distance_function=unfit)
    with pytest.raises(nt.OutOfRange, match=r"^triplet_margin_with_distance_loss: margin is 0"):
        loss(x, x, x, margin=0)
    torch = pytest.importorskip("torch")
    y = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"^config: broken$"):
        torch.nn.functional.triplet_margin_with_distance_loss(y, y, y, distance_function=broken)
