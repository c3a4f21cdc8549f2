"""Statements of kernels, translated into lines of MSL."""

import ast
from collections import Counter
from collections.abc import Iterator

from numbatorch import dtype as dt
from numbatorch.language.words import Word
from numbatorch.metal import scopes, values, words
from numbatorch.metal.expressions import Expressions
from numbatorch.metal.msl import Static, TupleType, Type, variable_name
from numbatorch.metal.scope import Variable
from numbatorch.metal.values import (
    NOTHING,
    Expr,
    Refused,
    assigned,
    constant,
    convert,
    store,
    truth,
    unify,
)

PASSES = 12  # in which types that widen around loops become stable


class Body:
    """The statements of a function.

    Attributes:
        scope: of its expressions.
        result: the type that it returns.
        arrays: lines that declare arrays of the thread whose names are assigned to again.
    """

    def __init__(self, scope: Expressions) -> None:
        self.scope = scope
        self.result: Type | None = None
        self.arrays: dict[str, str] = {}
        self._tree = scope.source.tree
        self._places = scopes.places(self._tree, set(scope.source.parameters))
        names = (n for n in ast.walk(self._tree) if isinstance(n, ast.Name))
        self._stores = Counter(n.id for n in names if _is_store(n))

    def lines(self) -> list[str]:
        """The text of the statements, once the types of all variables are stable."""
        for _ in range(PASSES):
            self.scope.changed = False
            lines = self.block(self._tree.body)
            if not self.scope.changed:
                return [*self.arrays.values(), *lines]
        raise self.scope.source.error(self._tree, "the types of its variables do not settle")

    def block(self, nodes: list[ast.stmt]) -> list[str]:
        """The lines of statements of one block."""
        lines = []
        for node in nodes:
            try:
                body = list(self.statement(node))
                lines += [*self._declared_before(node), *body]
            except Refused as err:
                raise self.scope.source.located(node, err) from err
        return lines

    def _declared_before(self, node: ast.stmt) -> list[str]:
        names = self._places.before.get(node, [])
        found = [self.scope.variables.get(name) for name in names]
        return [f"{variable.declaration};" for variable in found if variable is not None]

    def statement(self, node: ast.stmt) -> Iterator[str]:
        """The lines of one statement."""
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from self.assign(node, targets, value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                yield from self.assign(node, [target], value)
            case ast.AugAssign():
                yield from self.augment(node)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=value):
                text = self.scope.evaluate(value).text
                if text:
                    yield f"{text};"
            case ast.If():
                yield from self.branch(node)
            case ast.While(test=test, body=body, orelse=[]):
                condition = truth(self.scope.evaluate(test))
                yield from _braced(f"while ({condition.text})", self.block(body))
            case ast.For(orelse=[]):
                yield from self.loop(node)
            case ast.Return(value=value):
                yield self.returned(value)
            case ast.Break():
                yield "break;"
            case ast.Continue():
                yield "continue;"
            case _:
                raise Refused("is not in the language of kernels")

    def assign(self, node: ast.stmt, targets: list[ast.expr], value: ast.expr) -> Iterator[str]:
        """Assignment to names, elements, and tuples of them."""
        if len(targets) > 1:
            for target in reversed(targets):
                yield from self.assign(node, [target], value)
            return
        (target,) = targets
        if isinstance(target, ast.Tuple):
            yield from self.unpack(node, target.elts, value)
            return
        if isinstance(target, ast.Name) and self._is_local(value):
            assert isinstance(value, ast.Call)
            yield from self.local(node, target.id, value)
            return
        if isinstance(target, ast.Name):
            self.scope.target = target.id
        yield self.set(node, target, self.scope.evaluate(value))

    def set(self, node: ast.stmt, target: ast.expr, value: Expr) -> str:
        """The statement that assigns a value to a name or an element."""
        match target:
            case ast.Name(id=name):
                variable = self.scope.assign(name, value)
                start = variable.name
                if name in self._places.at.get(node, ()):
                    start = variable.declaration
                return f"{start} = {_fitted(value, variable)};"
            case ast.Subscript(value=owner, slice=index):
                return store(self.scope.evaluate(owner), self.scope.index(index), value)
            case _:
                raise Refused(f"{ast.unparse(target)} cannot be assigned to")

    def unpack(self, node: ast.stmt, targets: list[ast.expr], value: ast.expr) -> Iterator[str]:
        """Assignment to a tuple: of values, or of what a function returns."""
        if isinstance(value, ast.Tuple):
            if len(value.elts) != len(targets):
                raise Refused(f"{len(value.elts)} values for {len(targets)} names")
            yield from self._in_parallel(node, targets, value.elts)
            return
        whole = self.scope.evaluate(value)
        if not isinstance(whole.type, TupleType) or len(whole.type.items) != len(targets):
            raise Refused(f"has not {len(targets)} values")
        text = whole.text
        if not isinstance(value, ast.Name):
            names = "_".join(t.id for t in targets if isinstance(t, ast.Name))
            text = self.scope.temporary(node, names or "items")
            yield f"const {whole.type.text} {text} = {whole.text};"
        for i, target in enumerate(targets):
            yield self.set(node, target, Expr(f"{text}.item{i}", whole.type.items[i]))

    def _in_parallel(
        self, node: ast.stmt, targets: list[ast.expr], sources: list[ast.expr]
    ) -> Iterator[str]:
        later = ([*sources[i + 1 :], *targets[i + 1 :]] for i in range(len(targets)))
        if not any(map(_feeds, targets, later)):
            for target, source in zip(targets, sources, strict=True):
                yield self.set(node, target, self.scope.evaluate(source))
            return
        found = [self.scope.evaluate(source) for source in sources]
        for i, (target, value) in enumerate(zip(targets, found, strict=True)):
            stem = target.id if isinstance(target, ast.Name) else "element"
            name = self.scope.temporary(node, f"{stem}_before{i}")
            yield f"const {Variable(name, value.type).declaration} = {value.text};"
            found[i] = Expr(name, value.type, bits=value.bits, positive=value.positive)
        for target, value in zip(targets, found, strict=True):
            yield self.set(node, target, value)

    def augment(self, node: ast.AugAssign) -> Iterator[str]:
        """`x += v` and the like."""
        value = ast.BinOp(_loaded(node.target), node.op, node.value)
        ast.copy_location(value, node)
        result = self.scope.evaluate(value)
        text = self.set(node, node.target, result)
        if isinstance(node.target, ast.Name) and result.level < values.ATOM:
            name, rest = text.split(" = ", 1)
            for sign in ("+", "-", "*"):
                if rest.startswith(f"{name} {sign} "):
                    text = f"{name} {sign}= {rest[len(name) + 3 :]}"
        yield text

    def _is_local(self, value: ast.expr) -> bool:
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name | ast.Attribute):
            return False
        kind = self.scope.evaluate(value.func).type
        found = kind.value if isinstance(kind, Static) else None
        return isinstance(found, Word) and found.__name__ == "local"

    def local(self, node: ast.stmt, name: str, call: ast.Call) -> Iterator[str]:
        """An array of the thread."""
        kind, size = words.local_array([self.scope.evaluate(a) for a in call.args])
        text = variable_name(name)
        if self._stores[name] == 1:
            if name not in self.scope.variables:
                self.scope.changed = True
            variable = Variable(text, kind, array=size)
            self.scope.variables[name] = variable
            if name in self._places.at.get(node, ()):
                yield f"{variable.declaration};"
            return
        array = Variable(self.scope.temporary(node, f"{name}_array"), kind, array=size)
        self.arrays[array.name] = f"{array.declaration};"
        yield self.set(node, ast.Name(name, ast.Store()), Expr(array.name, kind))

    def branch(self, node: ast.If) -> Iterator[str]:
        """`if`, and of a known condition only the branch that runs."""
        condition = truth(self.scope.evaluate(node.test))
        if condition.number is not None:
            yield from self.block(node.body if condition.number else node.orelse)
            return
        body, other = self.block(node.body), self.block(node.orelse)
        if not body and not other and not any(isinstance(n, ast.Call) for n in ast.walk(node.test)):
            return
        *lines, end = _braced(f"if ({condition.text})", body)
        yield from lines
        chained = len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
        if chained and other and other[0].startswith("if ("):
            yield f"}} else {other[0]}"
            yield from other[1:]
        elif other:
            yield from _braced("} else", other)
        else:
            yield end

    def loop(self, node: ast.For) -> Iterator[str]:
        """`for` over a range, whose bounds are computed once."""
        call = node.iter
        if not isinstance(call, ast.Call) or self.scope.evaluate(call.func).type != Static(range):
            raise Refused("a loop runs over a range")
        if not isinstance(node.target, ast.Name):
            raise Refused("a loop has one variable")
        bounds = [convert(self.scope.evaluate(a), dt.int64) for a in call.args]
        if not 1 <= len(bounds) <= 3:
            raise Refused("range takes 1 to 3 arguments")
        first = bounds[0] if len(bounds) > 1 else constant(0)
        last = bounds[0] if len(bounds) == 1 else bounds[1]
        step = bounds[2] if len(bounds) == 3 else constant(1)
        changed = scopes.assigned(node.body)
        fixed = [
            bound.number is not None or _is_fixed(argument, changed)
            for bound, argument in zip(bounds, call.args, strict=True)
        ]
        name = node.target.id
        counter = Variable(variable_name(name), dt.int64)
        outer = self.scope.variables.get(name)
        self.scope.variables[name] = counter
        starts = [f"{counter.declaration} = {first.text}"]
        if not fixed[0 if len(fixed) == 1 else 1]:
            end = self.scope.free(f"{name}_end")
            starts.append(f"{end} = {last.text}")
            last = Expr(end, dt.int64)
        if len(fixed) == 3 and not fixed[2]:
            stride = self.scope.free(f"{name}_step")
            starts.append(f"{stride} = {step.text}")
            step = Expr(stride, dt.int64, positive=step.positive)
        head = f"{', '.join(starts)}; {_going(counter.name, last, step)}; "
        yield from _braced(f"for ({head}{_stepping(counter.name, step)})", self.block(node.body))
        if outer is not None:
            self.scope.variables[name] = outer

    def returned(self, value: ast.expr | None) -> str:
        """A `return`."""
        found = NOTHING if value is None else self.scope.evaluate(value)
        if found == NOTHING:
            kind: Type = NOTHING.type
        else:
            kind = found.type
        if self.result is not None and self.result != kind:
            kind = unify(self.result, kind)
        if self.result != kind:
            self.scope.changed = True
            self.result = kind
        if isinstance(kind, Static):
            return "return;"
        if isinstance(kind, dt.DType):
            return f"return {assigned(found, kind)};"
        return f"return {found.text};"


def _is_store(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _fitted(value: Expr, variable: Variable) -> str:
    """The text of a value in the type of the variable that takes it."""
    if isinstance(variable.type, dt.DType):
        return assigned(value, variable.type)
    return value.text


def _feeds(target: ast.expr, later: list[ast.expr]) -> bool:
    """Whether what is assigned first changes what is evaluated later."""
    if isinstance(target, ast.Name):
        return any(target.id in scopes.read(node) for node in later)
    return any(isinstance(n, ast.Subscript | ast.Call) for node in later for n in ast.walk(node))


def _loaded(target: ast.expr) -> ast.expr:
    """The expression that reads what a target sets."""
    if isinstance(target, ast.Name):
        found: ast.expr = ast.Name(target.id, ast.Load())
    elif isinstance(target, ast.Subscript):
        found = ast.Subscript(target.value, target.slice, ast.Load())
    else:
        raise Refused(f"{ast.unparse(target)} cannot be assigned to")
    return ast.copy_location(found, target)


def _is_fixed(node: ast.expr, changed: set[str]) -> bool:
    """Whether a bound is cheap and stays as it is while the loop runs."""
    if isinstance(node, ast.Call) and not node.args:  # threads(), groups()
        return True
    plain = ast.Name | ast.Constant | ast.BinOp | ast.Add | ast.Sub | ast.Load
    nodes = list(ast.walk(node))
    return all(isinstance(n, plain) for n in nodes) and not changed & scopes.read(node)


def _going(name: str, last: Expr, step: Expr) -> str:
    end = last.at(values.ORDER + 1)
    if step.positive:
        return f"{name} < {end}"
    if step.number is not None:
        return f"{name} > {end}"
    return f"{step.at(values.ORDER + 1)} > 0 ? {name} < {end} : {name} > {end}"


def _stepping(name: str, step: Expr) -> str:
    if step.number == 1:
        return f"{name}++"
    if step.number is not None and step.number < 0:
        return f"{name} -= {-step.number}" if step.number != -1 else f"{name}--"
    return f"{name} += {step.text}"


def _braced(head: str, lines: list[str]) -> Iterator[str]:
    """A statement with a block."""
    yield f"{head} {{"
    yield from (f"    {line}" for line in lines)
    yield "}"
