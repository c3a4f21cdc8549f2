"""Where variables of a kernel are declared: C++ has blocks, Python has functions.

A variable is declared in the innermost block that holds all its uses and where no value can reach
a use around a loop; in that block by its first assignment, where that is a plain statement.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

Block = list[ast.stmt]


@dataclass
class Places:
    """Declarations of a function's variables.

    Attributes:
        before: names declared without a value before a statement.
        at: names that an assignment declares.
    """

    before: dict[ast.stmt, list[str]] = field(default_factory=dict)
    at: dict[ast.stmt, set[str]] = field(default_factory=dict)


def places(tree: ast.FunctionDef, parameters: set[str]) -> Places:
    """Where the variables other than parameters and counters of loops are declared."""
    counters = {n.target.id for n in loops(tree) if isinstance(n.target, ast.Name)}
    index = _Index()
    found = Places()
    for name in dict.fromkeys(name for name, stored in _names(tree) if stored):
        if name not in parameters and name not in counters:
            index.place(tree.body, name, found)
    return found


def loops(tree: ast.AST) -> Iterator[ast.For]:
    """The `for` statements inside."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.For))


def assigned(nodes: list[ast.stmt]) -> set[str]:
    """Names that statements assign to."""
    return {name for node in nodes for name, stored in _names(node) if stored}


def read(node: ast.AST) -> set[str]:
    """Names that a statement or expression reads."""
    names = {name for name, stored in _names(node) if not stored}
    for inner in ast.walk(node):
        if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Name):
            names.add(inner.target.id)
    return names


def _names(node: ast.AST) -> Iterator[tuple[str, bool]]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id, isinstance(inner.ctx, ast.Store)


def separate_counters(tree: ast.FunctionDef) -> None:
    """Give loops a counter of their own where the variable is changed or used outside of them."""
    total = Counter(name for name, _stored in _names(tree))
    for name in {n.target.id for n in loops(tree) if isinstance(n.target, ast.Name)}:
        found = [n for n in loops(tree) if isinstance(n.target, ast.Name) and n.target.id == name]
        inside = sum(inner == name for loop in found for inner, _stored in _names(loop))
        changed = any(name in assigned(loop.body) for loop in found)
        bounds = any(name in read(loop.iter) for loop in found)
        if inside == total[name] and not changed and not bounds:
            continue
        counter = name + "_next"
        while counter in total:
            counter += "_"
        for loop in found:
            target = ast.Name(name, ast.Store())
            copy = ast.Assign([target], ast.Name(counter, ast.Load()))
            for node in (target, copy, copy.value):
                ast.copy_location(node, loop)
            loop.target = ast.copy_location(ast.Name(counter, ast.Store()), loop)
            loop.body.insert(0, copy)


class _Index:
    """The names that statements read and touch, and by block the statements that touch a name."""

    def __init__(self) -> None:
        self._read: dict[ast.AST, set[str]] = {}
        self._touching: dict[int, dict[str, list[ast.stmt]]] = {}

    def reads(self, node: ast.AST, name: str) -> bool:
        if node not in self._read:
            self._read[node] = read(node)
        return name in self._read[node]

    def touching(self, block: Block, name: str) -> list[ast.stmt]:
        if id(block) not in self._touching:
            table: dict[str, list[ast.stmt]] = {}
            for node in block:
                for found in {inner for inner, _stored in _names(node)}:
                    table.setdefault(found, []).append(node)
            self._touching[id(block)] = table
        return self._touching[id(block)].get(name, [])

    def place(self, block: Block, name: str, found: Places) -> None:
        touching = self.touching(block, name)
        first = touching[0]
        if len(touching) == 1:
            inner = self._only_block(first, name)
            if inner is not None and not self._flow(inner, name)[0]:
                self.place(inner, name, found)
                return
        if _assigns(first, name) and not self.reads(first, name):
            found.at.setdefault(first, set()).add(name)
        else:
            found.before.setdefault(first, []).append(name)

    def _only_block(self, node: ast.stmt, name: str) -> Block | None:
        """The block of a compound statement that holds all uses of the name, if one does."""
        match node:
            case ast.If():
                blocks = [node.body, node.orelse]
                outside = self.reads(node.test, name)
            case ast.While():
                blocks = [node.body]
                outside = self.reads(node.test, name)
            case ast.For():
                blocks = [node.body]
                outside = self.reads(node.iter, name)
            case _:
                return None
        holding = [block for block in blocks if self.touching(block, name)]
        return holding[0] if len(holding) == 1 and not outside else None

    def _flow(self, block: Block, name: str) -> tuple[bool, bool]:
        """Whether the name may be read before it is set, and whether it is set at the end."""
        done = False
        for node in self.touching(block, name):
            exposed, sets = self._flow_of(node, name)
            if exposed and not done:
                return True, False
            done = done or sets
        ends = bool(block) and isinstance(block[-1], ast.Return | ast.Break | ast.Continue)
        return False, done or ends

    def _flow_of(self, node: ast.stmt, name: str) -> tuple[bool, bool]:
        match node:
            case ast.If():
                one, two = self._flow(node.body, name), self._flow(node.orelse, name)
                return self.reads(node.test, name) or one[0] or two[0], one[1] and two[1]
            case ast.For():
                return self.reads(node.iter, name) or self._flow(node.body, name)[0], False
            case ast.While():
                return self.reads(node.test, name) or self._flow(node.body, name)[0], False
            case _:
                return self.reads(node, name), _assigns(node, name)


def _assigns(node: ast.stmt, name: str) -> bool:
    """Whether a plain assignment sets the name."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    else:
        return False
    plain = [t for target in targets for t in getattr(target, "elts", [target])]
    return any(isinstance(t, ast.Name) and t.id == name for t in plain)
