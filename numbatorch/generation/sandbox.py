"""Templates of strangers, rendered by jinja2 in its sandbox and within a budget of work.

The sandbox keeps a template from Python's objects. What keeps it from running for ever, or from
filling the memory, is here: each turn of a loop, each call and each value that is put together is
paid for from a budget before or as it is made.
"""

import json
import re
import threading
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from datetime import datetime
from functools import wraps
from typing import Any

import jinja2
from jinja2 import compiler, ext, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

BUDGET = 100_000_000  # units of about a nanosecond, and for each character that is given:
BUDGET_OF_CHARACTER = 1000
TURN = 200  # units of a turn of a loop
CALL = 1000
ITEM = 100  # units of an element of a list
BITS = 100_000  # of the largest integer

# Filters whose result may be as large as the product of what they are given, and slow ones.
_MULTIPLYING = frozenset("batch center format indent join replace round slice sum tojson".split())
_SHALLOW = frozenset("items list map reject rejectattr reverse select selectattr".split())
_AT_ONCE = frozenset("count d default first last length".split())
_SLOW = frozenset("pprint truncate urlize wordwrap xmlattr".split())
_CODECS = ("encode", "decode")
_COMPARING = "eq equalto == ne != lt lessthan < le <= gt greaterthan > ge >= in".split()
_WIDTHS = re.compile(r"%[^%a-zA-Z]*(\*|\d{4})|\{[^{}]*:[^{}]*(\d{4}|\{)")

_SIZED = (list, tuple, set, range, Mapping, KeysView, ValuesView, ItemsView)

_work = threading.local()


class OverBudget(Exception):
    """A template does more than any template of a chat has to."""


class Refused(TemplateError):
    """What a template raises by `raise_exception`: it does not want these messages."""


def pay(units: int) -> None:
    """Take units from the budget of the rendering that runs in this thread."""
    _work.left -= units
    if _work.left < 0:
        raise OverBudget


def weight(value: Any) -> int:
    """Size of a value as it would be written out, at most a little over what can be paid."""
    total, waiting = 1, [value]
    while waiting and total <= _work.left:
        item = waiting.pop()
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, _SIZED):
            total += ITEM * len(item)
            if isinstance(item, Mapping):
                total += ITEM * len(item)
                waiting += item.keys()
                waiting += item.values()
            elif not isinstance(item, range):
                waiting += item
    return total


def _length(value: Any) -> int:
    """Size of a value without what is in its elements."""
    if isinstance(value, str | bytes):
        return 1 + len(value)
    return 1 + ITEM * len(value) if isinstance(value, _SIZED) else 1


def _paid(value: Any) -> Any:
    pay(weight(value))
    return value


def _sliced(value: Any) -> Any:
    pay(len(value) if hasattr(value, "__len__") else 1)
    return value


def _joined(values: tuple[Any, ...]) -> str:
    for value in values:
        pay(weight(value))
    return "".join(map(str, values))


def _count(value: Any) -> int:
    """How often something may be repeated because of an argument."""
    return abs(value) if isinstance(value, int) else weight(value)


def _check_widths(text: Any) -> None:
    if isinstance(text, str) and _WIDTHS.search(text):
        raise OverBudget


def _product(first: Any, others: Iterable[Any]) -> int:
    units = weight(first)
    for other in others:
        units *= max(1, _count(other))
    return units


def _guarded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0  # arguments of jinja's own

    if name in _AT_ONCE:
        return function

    @wraps(function)
    def guarded(*args: Any, **named: Any) -> Any:
        own, given = args[:passed], list(args[passed:])
        if name in _MULTIPLYING and name != "tojson" and given and isinstance(given[0], Iterator):
            given[0] = list(given[0])  # what a generator gives has a size then
        first, others = (given or [None])[0], [*given[1:], *named.values()]
        if name in _MULTIPLYING:
            _check_widths(first if name == "format" else None)
            units = _product(first, others)
            pay(units * (len(given[0]) if name == "sum" and isinstance(first, list) else 1))
        else:
            size = _length if name in _SHALLOW else weight
            units = size(first) + sum(map(_count, others if name in _SLOW else ()))
            pay(units * (CALL if name in _SLOW else 1))
        return function(*own, *given, **named)

    return guarded


def _guarded_test(function: Any) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args: Any) -> Any:
        for value in args:
            pay(weight(value))
        return function(*args)

    return guarded


class _CodeGenerator(compiler.CodeGenerator):
    """Has what goes through whole values paid for before: joining, comparing, hashing them."""

    def _paying(self, node: Any, frame: Any) -> None:
        self.write("environment.paid(")
        self.visit(node, frame)
        self.write(")")

    def visit_Dict(self, node: Any, frame: Any) -> None:
        self.write("{")
        for item in node.items:
            self._paying(item.key, frame)
            self.write(": ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("}")

    def visit_Concat(self, node: Any, frame: Any) -> None:
        self.write("environment.joined((")
        for item in node.nodes:
            self.visit(item, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: Any, frame: Any) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        super().visit_Getitem(node, frame)
        self.write(")")

    def visit_Compare(self, node: Any, frame: Any) -> None:
        self.write("(")
        self._paying(node.expr, frame)
        for operand in node.ops:
            self.write(f" {compiler.operators[operand.op]} ")
            self._paying(operand.expr, frame)
        self.write(")")


class _Generation(ext.Extension):
    """`{% generation %}`, which marks what the model said and renders as what is in it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Dict:
    """Python's `dict` without what leads to other objects of Python."""

    def __call__(self, *args: Any, **named: Any) -> dict[Any, Any]:
        return dict(*args, **named)


class _Namespace(Namespace):
    """jinja2's, whose attributes have no names that begin with an underscore."""

    def __init__(*args: Any, **named: Any) -> None:
        values = dict(*args[1:], **named)
        for name in values:
            _check_name(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no attribute {name!r}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(text: Any) -> None:
    raise Refused(str(text))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


@pass_context  # so that jinja2 evaluates nothing when it compiles
def _finalize(_context: Any, value: Any) -> Any:
    return _paid(value)


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox with what templates of chats may call, as transformers has it.

    Source: https://github.com/huggingface/transformers, utils/chat_template_utils.py
    """

    code_generator_class = _CodeGenerator
    intercepted_binops = frozenset(("+", "*", "**", "%"))
    paid = staticmethod(_paid)
    sliced = staticmethod(_sliced)
    joined = staticmethod(_joined)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, ext.loopcontrols],
            optimized=False,
            finalize=_finalize,
        )
        self.filters["tojson"] = _tojson
        self.filters = {name: _guarded_filter(name, f) for name, f in self.filters.items()}
        self.tests.update({name: _guarded_test(self.tests[name]) for name in _COMPARING})
        self.globals.pop("lipsum")
        self.globals.update(
            raise_exception=_raise_exception,
            strftime_now=_strftime_now,
            dict=_Dict(),
            namespace=_Namespace,
        )

    def tick(self) -> bool:
        """Pay for a turn of a loop."""
        pay(TURN)
        return True

    def concat(self, pieces: Iterable[str]) -> str:
        """Joined pieces of output."""
        kept = []
        for piece in pieces:
            pay(len(piece))
            kept.append(piece)
        return "".join(kept)

    def call(self, context: Any, function: Any, /, *args: Any, **named: Any) -> Any:
        """A call within a template."""
        if function == self.tick:
            return self.tick()
        pay(CALL)
        owner, given = getattr(function, "__self__", None), [*args, *named.values()]
        if isinstance(owner, str | bytes | int | float):
            pay(_product(owner, given))
            if getattr(function, "__name__", "") in _CODECS:
                pay(_length(owner) ** 2)  # as punycode may take
        elif not isinstance(function, Macro):
            pay(sum(map(weight, given)))
            pay(weight(owner) if isinstance(owner, list | tuple) else _length(owner))
        return super().call(context, function, *args, **named)

    def getitem(self, value: Any, key: Any) -> Any:
        """An element, or an attribute of the name."""
        if isinstance(key, tuple):
            pay(weight(key))
        return super().getitem(value, key)

    def wrap_str_format(self, value: Any) -> Any:
        """A method of strings that fills a form."""
        if getattr(value, "__name__", "") in ("format", "format_map"):
            _check_widths(getattr(value, "__self__", None))
        return super().wrap_str_format(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An arithmetic operation within a template."""
        numbers = isinstance(left, int) and isinstance(right, int)
        if numbers:
            bits = left.bit_length() * (abs(right) if operator == "**" else 1) + right.bit_length()
            if bits > BITS:
                raise OverBudget
        elif operator == "*":
            pay(_count(left) * _count(right))
        else:
            _check_widths(left if operator == "%" else None)
            size = _length if operator == "+" else weight
            pay(size(left) + size(right))
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        loops: Iterable[Any] = tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))
        for node in loops:
            node.body.insert(0, nodes.ExprStmt(_tick_call(node.lineno), lineno=node.lineno))
            if isinstance(node, nodes.For) and node.test is not None:
                node.test = nodes.And(_tick_call(node.lineno), node.test, lineno=node.lineno)
        return tree


def _tick_call(line: int) -> nodes.Call:
    called = nodes.EnvironmentAttribute("tick", lineno=line)
    return nodes.Call(called, [], [], None, None, lineno=line)


def render(template: jinja2.Template, given: dict[str, Any], characters: int) -> str:
    """The text of a template over values, of so many characters.

    Raises:
        OverBudget: it does too much.
    """
    before = getattr(_work, "left", 0)
    _work.left = BUDGET + BUDGET_OF_CHARACTER * characters
    try:
        return template.render(given)
    finally:
        _work.left = before
