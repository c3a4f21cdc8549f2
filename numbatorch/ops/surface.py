"""Public functions: the interface of an operator, written once, on nodes, with PyTorch's spelling.

`public` says where users find the function: nt.f, Tensor.f, nt.nn.functional.f and the like. What
they find is that function, which takes tensors as well; tensor/core.py says what a tensor is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from numbatorch.errors import RENAMED, message, rename
from numbatorch.graph import Node, Op, load_own, runs, thread_mode
from numbatorch.ops import caller
from numbatorch.ops.known_calls import KnownCalls
from numbatorch.ops.signature import NumpyName, Parameters, given_as

Function = TypeVar("Function", bound=Callable[..., Any])

PLACES = ("nt", "Tensor", "nn.functional", "linalg", "fft", "special")
EVERYWHERE = ("nt", "Tensor")

# Where a method of PyTorch's Tensor takes its arguments in another way than the function: sizes one
# by one as well (x.reshape(2, 3)), or itself at another place (x.where(condition, other)).
SPREAD: dict[str, str] = {
    name: text
    for text, names in {
        "shape": "reshape",
        "dims": "permute flip tile",
        "size": "expand broadcast_to sum_to_size",
        "repeats": "repeat",
    }.items()
    for name in names.split()
}
SELF_AT = {"where": 1, "polygamma": 1}

# Where a function of a place is found again, by which it is pickled.
MODULES = {"nt": "numbatorch", **{p: f"numbatorch.{p}" for p in PLACES if p not in EVERYWHERE}}

_MODE = thread_mode()
_functions: dict[str, dict[str, Callable[..., Any]]] = {place: {} for place in PLACES}


class _NoHandle:
    """Stands for the class of tensors' handles until tensor/core.py names it."""

    @staticmethod
    def _note() -> None:
        """There is nothing to note."""


_handles: Any = _NoHandle


def handles_are(kind: type) -> None:
    """Let public functions take objects of this class, and give what its `_wrap` makes of nodes.

    Within a run they call its `_note` before they look at what it holds.
    """
    global _handles
    _handles = kind


def public(
    *places: str, aliases: tuple[str, ...] = (), remembered: bool = False
) -> Callable[[Function], Function]:
    """Decorator: users find this function on nodes at `places`, and there it takes tensors as well.

    Its name, without a trailing underscore, arguments, defaults and docstring are what users see,
    so they are PyTorch's. Annotations say `Node`, which users see as `Tensor`; other arguments are
    checked against theirs.

    Args:
        places: of PLACES; nt and Tensor unless given.
        aliases: other names of the function.
        remembered: whether what it builds depends on its arguments alone (ops/known_calls.py).
    """

    def decorate(function: Function) -> Function:
        name = function.__name__.rstrip("_")
        call = on_tensors(function, name, known=KnownCalls() if remembered else None)
        if "inplace" in function.__code__.co_varnames:
            call = _with_inplace(call, name)
        for spelled in (name, *aliases):
            enter(call, spelled, places or EVERYWHERE)
        return call

    return decorate


def _with_inplace(call: Function, name: str) -> Function:
    """`call`, whose last argument `inplace` lets the tensor that is given first hold the result."""
    place = inspect.unwrap(call).__code__.co_varnames.index("inplace")

    @functools.wraps(call)
    def change(*args: Any, **options: Any) -> Any:
        wanted = args[place] if len(args) > place else options.get("inplace")
        named = given_as("input", options)
        first = args[0] if args else options[named[0]] if named else None
        if wanted is True and isinstance(first, _handles):
            return first._become(name, call, args, options)
        return call(*args, **options)

    return change  # type: ignore[return-value]


def in_place(
    place: str, name: str, function: Callable[..., Any] | None, alone: bool
) -> Callable[..., Any] | None:
    """The function `name` that changes its first argument, as PyTorch has relu_; None without one.

    It is the method of that name, or has its first argument hold what `function` gives.

    Args:
        function: of the name without the underscore.
        alone: whether it serves without such a method.
    """
    kinds: tuple[type, ...] = getattr(_handles, "_tensor", _handles).__mro__
    method = next((kind.__dict__[name] for kind in kinds if name in kind.__dict__), None)
    if name[:-1] in SELF_AT or (method is None and (function is None or not alone)):
        return None
    shown = inspect.signature(function or method)  # type: ignore[arg-type]
    parameters = [p for p in shown.parameters.values() if p.name != "inplace"]
    parameters[0] = parameters[0].replace(name="input")

    def change(*args: Any, **options: Any) -> Any:
        named = given_as("input", options)
        if len(named) + bool(args) > 1:
            told = f"it is {name}{change.__signature__}"  # type: ignore[attr-defined]
            raise TypeError(message(name, "input is given twice", told))
        given = args[0] if args else options[named[0]] if named else None
        if not isinstance(given, _handles):
            kind = type(given).__name__ if args or named else "not given"
            raise TypeError(message(name, f"input is {kind}, not Tensor"))
        if method is None:
            return given._become(name, function, args, options)
        for key in named:
            del options[key]
        return getattr(given, name)(*args[1:], **options)

    change.__name__ = change.__qualname__ = name
    change.__module__ = MODULES[place]
    change.__doc__ = f"`{name[:-1]}` in place: input, and what shares its memory, change."
    change.__signature__ = shown.replace(parameters=parameters)  # type: ignore[attr-defined]
    return change


def of_tensors(*places: str) -> Callable[[Function], Function]:
    """Decorator: users find this function of tensors, some of which it changes, at `places`."""

    def decorate(function: Function) -> Function:
        call = names_itself(function)
        enter(call, function.__name__, places)
        return call

    return decorate


def names_itself(function: Function) -> Function:
    """Decorator: errors of a function of tensors name it, also those of what it is made of.

    An argument is held against its annotation where something goes wrong, which costs others
    nothing.
    """
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (*RENAMED, AttributeError) as error:
            if isinstance(error, TypeError | AttributeError):
                _check_arguments(function, name, args, options)
            rename(error, name)
            raise

    return call  # type: ignore[return-value]


def _check_arguments(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Raise TypeError or ValueError for an argument that an annotation of a function rules out."""
    parameters = Parameters(function)
    for place, value in enumerate(args):
        parameters.check_at(name, place, value.node if isinstance(value, _handles) else value)
    for key, value in options.items():
        parameters.check(name, key, value.node if isinstance(value, _handles) else value)


def enter(function: Callable[..., Any], name: str, places: tuple[str, ...]) -> None:
    """Let users find a function of tensors at `places` under `name`."""
    for place in places:
        load_own(place, name, function)
        if name in _functions[place]:
            raise ValueError(message(name, f"{place} has a function of this name"))
        _functions[place][name] = function


def entered(place: str) -> dict[str, Callable[..., Any]]:
    """The functions that `public` has put at a place so far."""
    return _functions[place]


def as_method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The method of Tensor that a public function is; but for SPREAD and SELF_AT the function."""
    if name in SPREAD:
        known = KnownCalls() if getattr(function, "known", None) else None
        method: Callable[..., Any] = on_tensors(
            inspect.unwrap(function), name, spread=True, known=known
        )
        return method
    if name in SELF_AT:
        place = SELF_AT[name]

        @functools.wraps(function)
        def placed(self: Any, *operands: Any, **options: Any) -> Any:
            return function(*operands[:place], self, *operands[place:], **options)

        return placed
    return function


def of_nodes(function: Callable[..., Any]) -> Callable[..., Any]:
    """A user's function of tensors that gives one, as a function of nodes."""

    def call(*nodes: Node) -> Any:
        found = caller.apart(function, *map(_handles._fresh, nodes))
        return found.node if isinstance(found, _handles) else found

    return call


_NUMBERS = frozenset((int, float, bool))


def on_tensors(
    function: Function, name: str, spread: bool = False, known: KnownCalls | None = None
) -> Function:
    """`function` of nodes, as a function of tensors too: if one is given, results are tensors.

    Args:
        spread: whether the arguments after the first are the parts of the second.
        known: the calls whose graphs are remembered.
    """
    parameters: Parameters | None = None

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        nonlocal parameters
        if runs:
            _handles._note()
        if parameters is None:
            parameters = Parameters(function)
        if spread and len(args) != 2 and not options:
            args = (args[0], args[1:])
        held: list[Any] = []
        operands: list[Any] = []
        if known is not None:
            asked = known.ask(args, options, _handles)
            if asked is not None and asked.recipe is not None:
                return _wrapped(asked.recipe.make(asked.nodes), asked.held)
        for place, value in enumerate(args):
            kind = value.__class__
            if isinstance(value, _handles):
                held.append(value)
                value, kind = value.node, Node
            elif kind not in _NUMBERS:
                value = _unwrapped(name, value, held)
                kind = value.__class__
            if place < len(parameters.ordered):
                takes = parameters.ordered[place]
                if takes is not None and kind not in takes.exact:
                    parameters.check_at(name, place, value)
            operands.append(value)
        if options:
            options = _by_name(parameters, name, len(args), options, held)
        mode = _MODE.__dict__  # of this thread, at half the cost of its attributes
        outer = mode.get("caller")
        if held and (outer is None or outer.__class__ is str):
            mode["caller"] = (outer or name, parameters.named, operands, options)
        try:
            out = function(*operands, **options)
        except RENAMED as error:
            rename(error, name)
            raise
        finally:
            mode["caller"] = outer
        if not held:
            return out
        if known is not None and asked is not None:
            known.note(asked, out)
        return _handles._wrap(out, held) if isinstance(out, Node) else _wrapped(out, held)

    call.known = known  # type: ignore[attr-defined]
    return _shown(call, function, name)


def _shown(call: Callable[..., Any], function: Function, name: str) -> Function:
    """`call` under a name, with annotations as users read them."""
    call.__name__ = name
    call.__annotations__ = function.__annotations__ = {
        key: text.replace("Node", "Tensor") if isinstance(text, str) else text
        for key, text in function.__annotations__.items()
    }
    return call  # type: ignore[return-value]


def _by_name(
    parameters: Parameters, name: str, given: int, options: dict[str, Any], held: list[Any]
) -> dict[str, Any]:
    """Arguments that a call gives by name, as nodes under the function's own names."""
    try:
        for key, value in options.items():
            options[key] = value = _unwrapped(name, value, held)
            parameters.check(name, key, value)
    except NumpyName:
        spelled = parameters.spelled(name, options, given)
        return _by_name(parameters, name, given, spelled, held)
    return options


def _unwrapped(operator: str, value: Any, held: list[Any]) -> Any:
    """The node of a tensor, or of each in a sequence of them, which `held` gets; else `value`."""
    if value is None or value.__class__ in _NUMBERS:
        return value
    if isinstance(value, _handles):
        held.append(value)
        return value.node
    if isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, _handles):
                return type(value)([_unwrapped(operator, item, held) for item in value])
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        problem = f"an operand is a NumPy array {value.shape} {value.dtype}"
        raise TypeError(message(operator, problem, hint="nt.from_numpy(array) is a tensor"))
    return value


def _wrapped(out: Any, held: list[Any]) -> Any:
    """The tensor of a node, one of `held` or a view of one if it is; of each in a tuple."""
    if isinstance(out, Node):
        return _handles._wrap(out, held)
    if isinstance(out, tuple):
        found = [_wrapped(item, held) for item in out]
        return type(out)(*found) if hasattr(out, "_fields") else tuple(found)
    return out


def function_of(
    op: Op,
    operands: tuple[str, ...],
    attributes: Parameters,
    place: str,
    short: Callable[[Node], Node | None] | None = None,
    numbers: int = 0,
) -> Callable[..., Any]:
    """The public function of an operator that needs none written: operands, then attributes.

    Args:
        place: one where users find it.
        short: what makes the node of a call with one operand, or None where `op.apply` has to.
        numbers: how many of the last operands may be numbers.
    """
    kinds, either = inspect.Parameter, "Tensor | Number"
    last = operands[len(operands) - numbers :]
    shown = inspect.Signature(
        [
            *(
                kinds(
                    name,
                    kinds.POSITIONAL_OR_KEYWORD,
                    annotation=either if name in last else "Tensor",
                )
                for name in operands
            ),
            *(
                parameter.replace(kind=kinds.POSITIONAL_OR_KEYWORD)
                for name, parameter in attributes.signature.parameters.items()
                if name in attributes.named
            ),
        ],
        return_annotation="Tensor",
    )
    names = tuple(shown.parameters)

    def function(*args: Any, **options: Any) -> Node:
        if options or len(args) != len(operands):
            args, options = _bound(op.name, operands, names, shown, args, options)
        return op.apply(*args, **options)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__
    function.__module__ = getattr(op, "function", op.reference).__module__
    function.__signature__ = shown  # type: ignore[attr-defined]
    known = KnownCalls() if len(operands) > 2 or attributes.named else None
    found = on_tensors(function, op.name, known=known)
    if short is not None:
        found = _quick(short, found)
    found.__module__ = MODULES.get(place, function.__module__)
    return found


def _quick(short: Callable[[Node], Node | None], general: Callable[..., Any]) -> Callable[..., Any]:
    """The function of one operand, with a short way for a tensor alone."""

    @functools.wraps(general)
    def call(*args: Any, **options: Any) -> Any:
        if len(args) == 1 and not options and isinstance(args[0], _handles):
            if runs:
                _handles._note()
            node = short(args[0].node)
            if node is not None:
                return _handles._fresh(node)
        return general(*args, **options)

    return call


def _bound(
    name: str,
    operands: tuple[str, ...],
    names: tuple[str, ...],
    shown: inspect.Signature,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Operands and attributes out of the arguments of a call, each of them given once."""
    takes = f"it is {name}{shown}"
    if len(args) > len(names):
        raise TypeError(message(name, f"takes {len(names)} arguments, not {len(args)}", takes))
    given = dict(zip(names, args, strict=False))
    for twice in given.keys() & options.keys():
        raise TypeError(message(name, f"{twice} is given twice", takes))
    given.update(options)
    for operand in operands:
        if operand not in given:
            raise TypeError(message(name, f"needs {operand}", takes))
    return tuple(given.pop(operand) for operand in operands), given
