"""Where variables of a kernel are declared: C++ has blocks, Python has functions.

A variable is declared in the innermost block that holds all its uses and where no value can reach
a use around a loop; in that block by its first assignment, where that is a plain statement.
"""

import ast
from collections import Counter
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
    index = _Index()
    found = Places()
    counters = set(loops(tree))
    for name in sorted(index.uses(tree)[1]):
        if name not in parameters and name not in counters:
            index.place(tree.body, name, found)
    return found


def loops(tree: ast.AST) -> dict[str, list[ast.For]]:
    """The `for` statements inside, by their variables."""
    found: dict[str, list[ast.For]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            found.setdefault(node.target.id, []).append(node)
    return found


def assigned(nodes: list[ast.stmt]) -> set[str]:
    """Names that statements assign to."""
    index = _Index()
    return set().union(*(index.uses(node)[1] for node in nodes))


def read(node: ast.AST) -> set[str]:
    """Names that a statement or expression reads."""
    return _Index().uses(node)[0]


def separate_counters(tree: ast.FunctionDef) -> None:
    """Give loops a counter of their own where the variable is changed or used outside of them."""
    found_loops = loops(tree)
    if not found_loops:
        return
    total = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    inside: Counter[str] = Counter()
    for name, found in found_loops.items():
        nodes = (node for loop in found for node in ast.walk(loop))
        inside[name] = sum(isinstance(node, ast.Name) and node.id == name for node in nodes)
    for name, found in found_loops.items():
        changed = any(name in assigned(loop.body) for loop in found)
        bounds = any(name in read(loop.iter) for loop in found)
        if inside[name] == total[name] and not changed and not bounds:
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
    """The names that statements read and set, and by block the statements that touch a name."""

    def __init__(self) -> None:
        self._uses: dict[ast.AST, tuple[set[str], set[str]]] = {}
        self._touching: dict[int, dict[str, list[ast.stmt]]] = {}

    def uses(self, node: ast.AST) -> tuple[set[str], set[str]]:
        """The names that a node reads, and those it sets."""
        if node not in self._uses:
            reads: set[str] = set()
            sets: set[str] = set()
            for inner in ast.iter_child_nodes(node):
                if isinstance(inner, ast.Name):
                    (sets if isinstance(inner.ctx, ast.Store) else reads).add(inner.id)
                elif not isinstance(inner, ast.Constant | ast.operator | ast.expr_context):
                    found = self.uses(inner)
                    reads |= found[0]
                    sets |= found[1]
            match node:
                case ast.AugAssign(target=ast.Name(id=name)):
                    reads.add(name)
                case ast.Name(id=name, ctx=ctx):
                    (sets if isinstance(ctx, ast.Store) else reads).add(name)
            self._uses[node] = (reads, sets)
        return self._uses[node]

    def reads(self, node: ast.AST, name: str) -> bool:
        return name in self.uses(node)[0]

    def touching(self, block: Block, name: str) -> list[ast.stmt]:
        if id(block) not in self._touching:
            table: dict[str, list[ast.stmt]] = {}
            for node in block:
                for found in set().union(*self.uses(node)):
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
