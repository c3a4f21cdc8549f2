"""The public function that a run names when it finds something wrong: its name, its operands.

An index out of range is found by the kernel of one of the operators that a function is made of,
when a value is read, which may be much later. Nodes of operators that report such things
(`Structured.reports`) carry who was called as the attribute `caller`. Plans depend on it; kernels,
rules and references do not (`arguments`). Fallbacks and gradients of a node have its caller too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from numbatorch.errors import OutOfRange, leave_named, message
from numbatorch.graph import Node, thread_mode
from numbatorch.shape import list_shape
from numbatorch.variable import counts_as_itself

MOST_ROWS = 8
KEPT = 4096
_MODE = thread_mode()


class Caller:
    """A call of a public function, as errors tell of it; those of calls alike are equal.

    Attributes:
        name: of the function.
        rows: its tensors, a row of an error for each.
        from_end: whether its indices may be negative, and then count from the end.
        problem: what an index out of range means, where it is none that the caller has given.
    """

    __slots__ = ("_hash", "_others", "from_end", "name", "problem", "rows")

    def __init__(
        self, name: str, rows: tuple[str, ...], from_end: bool = False, problem: str = ""
    ) -> None:
        self.name = name
        self.rows = rows
        self.from_end = from_end
        self.problem = problem
        self._others: dict[Any, Caller] = {}
        self._hash = hash((name, rows, from_end, problem))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caller) and self._told() == other._told()

    def _told(self) -> tuple[Any, ...]:
        return self.name, self.rows, self.from_end, self.problem

    def __repr__(self) -> str:
        return self.name

    def change(self, from_end: bool, problem: str) -> Caller:
        """The same call, with these attributes."""
        key = from_end, problem
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = Caller(self.name, self.rows, *key)
        return found


counts_as_itself(Caller)

_callers: dict[tuple[Any, ...], Caller] = {}


def of_call(name: str, operands: Iterable[tuple[str, Any]]) -> Caller:
    """The caller of a name; of (name, value) pairs the nodes, and those in sequences, are shown."""
    key: list[Any] = [name]
    for label, value in operands:
        if isinstance(value, Node):
            key += (label, value.shape, value.dtype.name)
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value[:MOST_ROWS]):
                if isinstance(item, Node):
                    key += (f"{label}[{i}]", item.shape, item.dtype.name)
    found = tuple(key)
    known = _callers.get(found)
    if known is None:
        if len(_callers) >= KEPT:
            _callers.clear()
        parts = zip(key[1::3], key[2::3], key[3::3], strict=True)
        rows = [f"{label} {list_shape(shape)} {dtype}" for label, shape, dtype in parts]
        if len(rows) > MOST_ROWS:
            rows[MOST_ROWS:] = ["..."]
        known = _callers.setdefault(found, Caller(name, tuple(rows)))
    return known


def of_operands(name: str, operands: Iterable[tuple[str, Any]]) -> Caller:
    """Who is called, or where it is the operator `name` itself the caller that `of_call` gives."""
    call = _MODE.__dict__.get("caller")
    if call is None or call.__class__ is str:
        return of_call(call or name, operands)
    found = current()
    assert found is not None
    return found


def current() -> Caller | None:
    """Who is called in this thread; None outside of all public functions."""
    mode = _MODE.__dict__
    call = mode.get("caller")
    if call is None or call.__class__ is Caller:
        return call
    if call.__class__ is str:
        return of_call(call, ())
    name, labels, values, options = call
    shown = zip(labels, values, strict=False)
    found = mode["caller"] = of_call(name, [*shown, *options.items()] if options else shown)
    return found


def note(attrs: dict[str, Any]) -> None:
    """Let a node of these attributes carry who is called."""
    called = current()
    if called is not None:
        attrs["caller"] = called


def of_node(node: Node) -> Caller | None:
    """Who made a node, if it carries that."""
    return node.attrs.get("caller")


def arguments(node: Node) -> dict[str, Any]:
    """The attributes that the operator of a node has named itself: all but the caller."""
    attrs = node.attrs
    if "caller" not in attrs:
        return attrs
    return {name: value for name, value in attrs.items() if name != "caller"}


def applied(function: Callable[..., Any], node: Node, *args: Any) -> Any:
    """`function(*args)` with the attributes of a node; what it makes has the caller of the node."""
    before = _MODE.caller
    _MODE.caller = node.attrs.get("caller")
    try:
        return function(*args, **arguments(node))
    finally:
        _MODE.caller = before


def called_for(who: Caller | str, function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, whose nodes are made for a caller, or for the next one of this name.

    No call stands between what is set here and what takes it back, so no interrupt comes there.
    """
    mode = _MODE.__dict__
    before = mode.get("caller")
    mode["caller"] = who
    try:
        return function(*args)
    finally:
        mode["caller"] = before


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """Call what users have written, which has callers of its own, and errors that keep theirs."""
    before = _MODE.caller
    _MODE.caller = None
    try:
        return function(*args)
    except Exception as error:
        leave_named(error)
        raise
    finally:
        _MODE.caller = before


def note_from_end() -> None:
    """The indices of the function that is called may be negative."""
    found = current()
    if found is not None:
        _MODE.caller = found.change(True, found.problem)


def explained(name: str, problem: str, function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, in which an index out of range is told as a problem of another kind.

    Args:
        name: of the function, where nodes have called it.
    """
    found = current() or of_call(name, ())
    return called_for(found.change(found.from_end, problem), function, *args)


OUTSIDE = 1 << 40  # less than this stand indices that leave one of several dimensions


class Outside(IndexError):
    """Raised by references: an index that is not in [least, bound)."""

    def __init__(self, index: int, bound: int, least: int = 0) -> None:
        super().__init__(f"index {index} is not in [{least}, {bound})")
        self.index, self.bound, self.least = index, bound, least


def out_of_range(
    name: str, caller: Caller | None, index: int, bound: int, least: int
) -> OutOfRange:
    """The error for an index that a run met.

    Args:
        name: of the operator, for a node that nobody has called for.
    """
    rows: tuple[str, ...] = ()
    if caller is not None:
        if caller.problem:
            return OutOfRange(message(caller.name, caller.problem, *caller.rows))
        name, rows = caller.name, caller.rows
        least = -bound if caller.from_end else least
    rule = f"it must be in [{least}, {bound})"
    if index < -(OUTSIDE >> 1):
        index, rule = index + OUTSIDE, "of its dimension, which is indexed together with others"
    return OutOfRange(message(name, f"index {index} is out of range", *rows, rule))


def reported(
    error: type[Exception],
    name: str,
    caller: Caller | None,
    problem: str,
    rows: Iterable[str] = (),
) -> Exception:
    """The error for another problem that a run met.

    Args:
        name, rows: of the operator and its operands, for a node that nobody has called for.
    """
    if caller is not None:
        name, rows = caller.name, caller.rows
    return error(message(name, problem, *rows))
