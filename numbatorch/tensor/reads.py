"""What code reads beside arguments: names of globals, of cells and of attributes."""

from __future__ import annotations

import dis
from dataclasses import dataclass, field
from types import CodeType

# Names by which code reads attributes whose names it does not spell.
_ANY_ATTRIBUTE = frozenset(
    "getattr vars __dict__ attrgetter methodcaller asdict astuple getmembers __getattribute__ "
    "eval exec".split()
)

# Functions that read variables whose names code does not spell.
_ANY_VARIABLE = frozenset(("eval", "exec", "globals"))

# Names by which code finds modules whose names are texts.
_MODULES_BY_TEXT = tuple(map(frozenset, (("sys", "modules"), ("import_module",), ("__import__",))))

# Calls of these leave a container that they are called on unread.
_ADDERS = frozenset(("append", "add"))

# What may stand between reading a counter and writing it: `count += 1`, `counts["calls"] += 1`.
_COUNTING = frozenset(
    ("LOAD_CONST", "LOAD_SMALL_INT", "COPY", "SWAP", "BINARY_SUBSCR", "BINARY_OP", "NOP")
)


@dataclass(eq=False)
class Reads:
    """What a code object and those within it read.

    Attributes:
        variables: names of globals.
        cells: names of variables of enclosing functions.
        attributes: names after a dot, and strings that may be names of attributes.
        grown: names after which `append` or `add` is called, which may do no more than that.
        imports: modules that it imports, with how many packages up from its own.
        any_attribute: whether it may read attributes by names that it computes.
        any_variable: whether it may read globals by names that it computes.
    """

    variables: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)
    imports: set[tuple[int, str]] = field(default_factory=set)
    any_attribute: bool = False
    any_variable: bool = False


_known: dict[CodeType, Reads] = {}
_KEPT = 4096  # code objects whose reads are remembered


def reads_of(code: CodeType) -> Reads:
    """What `code` reads. What it only appends to or counts up is not read.

    >>> sorted(reads_of((lambda model, x: model.layer(x) * scale).__code__).attributes)
    ['layer']
    """
    found = _known.get(code)
    if found is None:
        found = Reads()
        _read(code, found)
        if len(_known) >= _KEPT:
            _known.clear()
        _known[code] = found
    return found


def names_of(code: CodeType) -> set[str]:
    """Every name that `code` and what stands within it spell; quicker than `reads_of`."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_of(constant)
        elif isinstance(constant, str):
            found.add(constant)
    return found


def _read(code: CodeType, found: Reads) -> None:
    steps = list(dis.get_instructions(code))
    for i, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            found.imports.add((steps[i - 2].argval, step.argval))
        elif step.opname == "IMPORT_FROM":
            found.attributes.add(step.argval)
        elif step.opname == "MATCH_CLASS":
            found.any_attribute = True
        if not step.opname.startswith("LOAD_") or not isinstance(step.argval, str):
            continue
        if step.opname == "LOAD_CONST":
            if step.argval.isidentifier():
                found.attributes.add(step.argval)
        elif _adds(steps, i):
            found.grown.add(step.argval)
        elif not _only_counts(steps, i):
            _kind(step.opname, found).add(step.argval)
    if any(names.issubset(code.co_names) for names in _MODULES_BY_TEXT):
        texts = (text for text in code.co_consts if isinstance(text, str))
        found.imports.update((0, text) for text in texts if text.replace(".", "").isidentifier())
    if not _ANY_VARIABLE.isdisjoint(code.co_names):
        found.any_variable = True
    if not _ANY_ATTRIBUTE.isdisjoint(code.co_names):
        found.any_attribute = True
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _read(constant, found)


def _kind(opname: str, found: Reads) -> set[str]:
    if opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
        return found.variables
    if "DEREF" in opname:
        return found.cells
    if opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
        return found.attributes
    return set()  # a local variable


def _adds(steps: list[dis.Instruction], i: int) -> bool:
    """Whether a method that adds to a container is called of what step `i` loads."""
    after = steps[i + 1]
    return after.opname in ("LOAD_ATTR", "LOAD_METHOD") and after.argval in _ADDERS


# How what is loaded is stored again.
_STORES = {
    "LOAD_GLOBAL": "STORE_GLOBAL",
    "LOAD_NAME": "STORE_NAME",
    "LOAD_DEREF": "STORE_DEREF",
    "LOAD_ATTR": "STORE_ATTR",
}


def _only_counts(steps: list[dis.Instruction], i: int) -> bool:
    """Whether what step `i` loads is only counted up, and what is counted not read on the way."""
    load, counted = steps[i], False
    for step in steps[i + 1 :]:
        if step.opname == "STORE_SUBSCR":
            return counted
        if step.opname.startswith("STORE_"):
            same = step.opname == _STORES.get(load.opname) and step.argval == load.argval
            return counted and same
        if step.opname not in _COUNTING or (counted and step.opname == "COPY"):
            return False
        counted = counted or step.opname == "BINARY_OP"
    return False
