"""A machine for pickles that builds numbers, text and plain containers, and nothing else.

It runs no code: a name of a module is looked up in a table of functions of ours, never imported, no
attribute is set, and no method of what a pickle has made is called but those of plain containers.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from numbatorch.dtype import DType
from numbatorch.io.opcodes import Fail, steps
from numbatorch.io.reading import short

PROTOCOL = 5
KEY_PARTS = 64  # of a tuple that is a key: hashing one of tuples of tuples may never end
_MARK = object()
_ABSENT = object()
_SCALARS = (str, int, float, complex, bool, bytes, type(None), DType)
_PLAIN = (*_SCALARS, bytearray)

Call = Callable[[Any, Any], Any]  # (machine, arguments)


class Named:
    """What stands for a name of a module that is known here.

    Attributes:
        name: with its module.
        call: what calling it makes, or None where it is not called.
    """

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Call | None = None) -> None:
        self.name, self.call = name, call


class Machine:
    """Obeys the opcodes of one pickle.

    Args:
        data, start: the bytes, and where the pickle begins.
        fail: (problem, byte) raises FormatError.

    Attributes:
        names: what stands for "module.name"; anything else is refused by its name.
        leaves: types beside numbers and text that the result may hold.
        end: the first byte behind the pickle, once it has run.
    """

    names: Mapping[str, Any]
    leaves: tuple[type, ...] = ()

    def __init__(self, data: memoryview, start: int, fail: Fail) -> None:
        self._data, self._fail = data, fail
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._opcode, self._at = "PROTO", start
        self._copies = len(data) - start
        self.end = start

    def run(self) -> Any:
        """What the pickle stands for."""
        for name, argument, at, end in steps(self._data, self._at, self._fail):
            self._opcode, self._at, self.end = name, at, end
            _OBEY[name](self, argument)
        result = self._pop()
        if self._stack:
            self.refuse("leaves more than one object")
        self._check_result(result)
        return result

    def refuse(self, problem: str) -> NoReturn:
        """Raise FormatError with the opcode and its byte."""
        self._fail(f"{self._opcode} {problem}", self._at)
        raise AssertionError

    def spend(self, size: int) -> None:
        """Count what a call copies: of what was kept it may ask for a million copies.

        A pickle that somebody has written copies no more than it holds.
        """
        self._copies -= size
        if self._copies < 0:
            self.refuse("copies more than the pickle holds")

    # The stack.

    def _pop(self, kind: type | tuple[type, ...] = object) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            self.refuse("takes from an empty stack")
        value = self._stack.pop()
        if not isinstance(value, kind):
            self.refuse(f"does not take {shown(value)}")
        return value

    def _top(self, kind: type | tuple[type, ...]) -> Any:
        value = self._pop(kind)
        self._stack.append(value)
        return value

    def _marked(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        stack = self._stack
        place = len(stack) - 1
        while place >= 0 and stack[place] is not _MARK:
            place -= 1
        if place < 0:
            self.refuse("finds no mark")
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def push(self, value: Any) -> None:
        """Put a value onto the stack."""
        self._stack.append(value)

    # Containers.

    def put(self, target: Any, pairs: list[Any]) -> None:
        """Enter keys and values, one after the other, in a dict."""
        if len(pairs) % 2:
            self.refuse("has a key without a value")
        for place in range(0, len(pairs), 2):
            target[self.key(pairs[place])] = pairs[place + 1]

    def key(self, value: Any) -> Any:
        """`value`, if it can be a key of a dict or an element of a set."""
        waiting, parts = [value], 0
        while waiting:
            part = waiting.pop()
            parts += 1
            if type(part) in (tuple, frozenset) and parts + len(part) <= KEY_PARTS:
                waiting.extend(part)
            elif type(part) not in _SCALARS or (type(part) is int and part.bit_length() > 64):
                self.refuse(f"does not take {shown(value)} as a key")
        return value

    def _check_result(self, result: Any) -> None:
        """Everything in the result is plain: what stands for a name is no value."""
        waiting, seen = [result], {id(result)}
        while waiting:
            value = waiting.pop()
            kind = type(value)
            if kind in _PLAIN or isinstance(value, self.leaves):
                continue
            if kind in (dict, collections.OrderedDict, collections.Counter):
                parts = [*value.keys(), *value.values()]
                metadata = getattr(value, "_metadata", None)
                if kind is collections.OrderedDict and metadata is not None:
                    parts.append(metadata)
            elif kind in (list, tuple, set, frozenset):
                parts = list(value)
            else:
                self.refuse(f"leaves {shown(value)}, which is neither a tensor nor plain data")
            for part in parts:
                if type(part) not in _PLAIN and id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)

    # Names.

    def named(self, module: Any, name: Any) -> None:
        """Push what stands for a name of a module."""
        if type(module) is not str or type(name) is not str:
            self.refuse(f"asks for {shown(name)} of {shown(module)}, which are no names")
        whole = f"{_MOVED.get(module, module)}.{name}"
        found = self.names.get(whole, _ABSENT)
        if found is _ABSENT:
            self.refuse(f"asks for {short(whole)!a}, which this reader does not build")
        self._stack.append(found)

    def call(self, function: Any, arguments: Any) -> Any:
        """What calling one of the names that are known makes."""
        if type(function) is not Named or function.call is None:
            self.refuse(f"calls {shown(function)}")
        if type(arguments) is not tuple:
            self.refuse(f"calls {function.name} with {shown(arguments)}")
        return function.call(self, arguments)

    def build(self, state: Any) -> None:
        """Give an OrderedDict the `_metadata` of a state_dict; no other attribute is set."""
        target = self._top(object)
        plain = type(target) is collections.OrderedDict and type(state) is dict
        if not plain or list(state) != ["_metadata"] or not isinstance(state["_metadata"], dict):
            self.refuse(f"gives {shown(target)} attributes: {shown(state)}")
        target._metadata = state["_metadata"]

    def memorize(self, place: Any) -> None:
        """Keep the top of the stack."""
        if not isinstance(place, int) or place < 0:
            self.refuse(f"keeps at {shown(place)}")
        self._memo[place] = self._top(object)

    def recall(self, place: Any) -> None:
        """Push what was kept."""
        found = self._memo.get(place, _ABSENT)
        if found is _ABSENT:
            self.refuse(f"asks for object {shown(place)}, which was not kept")
        self._stack.append(found)

    def persistent(self, key: Any) -> Any:
        """What stands for an object outside of the pickle."""
        self.refuse(f"asks for {shown(key)}, which lies outside of the pickle")

    def number(self, text: str, kind: Callable[[str], Any]) -> Any:
        """A number that is spelled out."""
        try:
            return kind(text)
        except ValueError:
            self.refuse(f"has no number in {short(text)!a}")


def shown(value: Any) -> str:
    """What a value is, for a message: short whatever the value holds."""
    if type(value) is Named:
        return f"{short(value.name)}"
    if isinstance(value, str):
        return f"{short(value)!a}"
    if type(value) is int and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if type(value) in (int, float, bool, type(None)):
        return repr(value)
    if isinstance(value, dict | list | tuple | set | frozenset | bytes | bytearray):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def integer(text: str) -> Any:
    """What INT says: 00 and 01 are False and True."""
    return {"00": False, "01": True}[text] if text in ("00", "01") else int(text)


def quoted(machine: Machine, text: str) -> str:
    """What STRING says: text in quotes, with escapes."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        machine.refuse("has no text in quotes")
    return escaped(machine, text[1:-1], "unicode_escape")


def escaped(machine: Machine, text: str, codec: str) -> str:
    """Text without its escapes."""
    if "\\" not in text:
        return text
    try:
        return text.encode("latin-1").decode(codec)
    except ValueError:
        machine.refuse(f"has a text with a broken escape: {short(text)!a}")


def _protocol(machine: Machine, number: int) -> None:
    if number > PROTOCOL:
        machine.refuse(f"{number} is above the protocol {PROTOCOL}")


def _refused(what: str) -> Call:
    def obey(machine: Machine, argument: Any) -> None:
        name = ".".join(argument) if isinstance(argument, tuple) else ""
        machine.refuse(f"asks for {short(name)!a}, {what}" if name else what)

    return obey


def _obj(machine: Machine, _: Any) -> None:
    found = machine._marked()
    machine.refuse(f"makes an object of {shown(found[0]) if found else 'nothing'}")


def _new_with_keywords(machine: Machine, _: Any) -> None:
    machine._pop(), machine._pop()
    machine.refuse(f"makes an object of {shown(machine._pop())} with keywords")


def _tuple(size: int) -> Call:
    def obey(machine: Machine, _: Any) -> None:
        items = [machine._pop() for _ in range(size)]
        machine.push(tuple(reversed(items)))

    return obey


def _long(machine: Machine, text: str) -> None:
    machine.push(machine.number(text.removesuffix("L"), int))


def _append(machine: Machine, _: Any) -> None:
    value = machine._pop()
    machine._top(list).append(value)


def _appends(machine: Machine, _: Any) -> None:
    items = machine._marked()
    machine._top(list).extend(items)


def _set_item(machine: Machine, _: Any) -> None:
    pair = [machine._pop(), machine._pop()]
    machine.put(machine._top(dict), pair[::-1])


def _set_items(machine: Machine, _: Any) -> None:
    pairs = machine._marked()
    machine.put(machine._top(dict), pairs)


def _dict(machine: Machine, _: Any) -> None:
    found: dict[Any, Any] = {}
    machine.put(found, machine._marked())
    machine.push(found)


def _add_items(machine: Machine, _: Any) -> None:
    items = machine._marked()
    machine._top(set).update(map(machine.key, items))


def _pop(machine: Machine, _: Any) -> None:
    if machine._stack and machine._stack[-1] is _MARK:
        machine._stack.pop()
    else:
        machine._pop()


def _call(machine: Machine, _: Any) -> None:
    arguments = machine._pop()
    machine.push(machine.call(machine._pop(), arguments))


def _stack_global(machine: Machine, _: Any) -> None:
    name = machine._pop()
    machine.named(machine._pop(), name)


def _push(machine: Machine, value: Any) -> None:
    machine.push(value)


_OBEY: dict[str, Call] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"), _push),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"), _push),
    **dict.fromkeys(("BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _push),
    "INT": lambda machine, text: machine.push(machine.number(text, integer)),
    "LONG": _long,
    "FLOAT": lambda machine, text: machine.push(machine.number(text, float)),
    "STRING": lambda machine, text: machine.push(quoted(machine, text)),
    "UNICODE": lambda m, text: m.push(escaped(m, text, "raw_unicode_escape")),
    "BYTEARRAY8": lambda machine, raw: machine.push(bytearray(raw)),
    "NEXT_BUFFER": _refused("takes a buffer from outside of the pickle"),
    "READONLY_BUFFER": _refused("takes a buffer from outside of the pickle"),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "APPEND": _append,
    "APPENDS": _appends,
    "LIST": lambda machine, _: machine.push(machine._marked()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine._marked())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
    "FROZENSET": lambda m, _: m.push(frozenset(map(m.key, m._marked()))),
    "POP": _pop,
    "DUP": lambda machine, _: machine.push(machine._top(object)),
    "MARK": lambda machine, _: machine.push(_MARK),
    "POP_MARK": lambda machine, _: [machine._marked(), None][1],
    "GET": lambda machine, text: machine.recall(machine.number(text, int)),
    "BINGET": lambda machine, place: machine.recall(place),
    "LONG_BINGET": lambda machine, place: machine.recall(place),
    "PUT": lambda machine, text: machine.memorize(machine.number(text, int)),
    "BINPUT": lambda machine, place: machine.memorize(place),
    "LONG_BINPUT": lambda machine, place: machine.memorize(place),
    "MEMOIZE": lambda machine, _: machine.memorize(len(machine._memo)),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _refused("asks for a number of a registry")),
    "GLOBAL": lambda machine, names: machine.named(*names),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": lambda machine, _: machine.build(machine._pop()),
    "INST": _refused("of which it would make an object"),
    "OBJ": _obj,
    "NEWOBJ_EX": _new_with_keywords,
    "PROTO": _protocol,
    "STOP": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "PERSID": lambda machine, key: machine.push(machine.persistent(key)),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine._pop())),
}

# What Python 2 called its modules.
_MOVED = {"__builtin__": "builtins"}


def _pairs(machine: Machine, arguments: tuple[Any, ...], kind: type) -> Any:
    """A dict of a class, empty, of pairs or of another dict."""
    made = kind()
    if not arguments:
        return made
    given = arguments[0] if len(arguments) == 1 else None
    if not isinstance(given, dict | list | tuple):
        machine.refuse(f"makes {kind.__name__} of {shown(given)}")
    machine.spend(len(given))
    items: Any = given.items() if isinstance(given, dict) else given
    for pair in items:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            machine.refuse(f"makes {kind.__name__} of {shown(pair)}, which is no pair")
        made[machine.key(pair[0])] = pair[1]
    return made


def _elements(machine: Machine, arguments: tuple[Any, ...], kind: type) -> Any:
    if not arguments:
        return kind()
    if len(arguments) != 1 or type(arguments[0]) not in (list, tuple):
        machine.refuse(f"makes {kind.__name__} of {shown(arguments)}")
    machine.spend(len(arguments[0]))
    return kind(map(machine.key, arguments[0]))


def _encoded(machine: Machine, arguments: tuple[Any, ...]) -> bytes:
    """bytes, as protocols before 3 spell them."""
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        machine.refuse("encodes something else than text in latin1")
    machine.spend(len(arguments[0]))
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError:
        machine.refuse("encodes a text in latin1 that it cannot hold")


def _bytearray(machine: Machine, arguments: tuple[Any, ...]) -> bytearray:
    if not arguments:
        return bytearray()
    if len(arguments) == 1 and type(arguments[0]) is bytes:
        machine.spend(len(arguments[0]))
        return bytearray(arguments[0])
    if len(arguments) != 2 or arguments[1] != "latin-1":
        machine.refuse(f"makes a bytearray of {shown(arguments)}")
    return bytearray(_encoded(machine, (arguments[0], "latin1")))


def _complex(machine: Machine, arguments: tuple[Any, ...]) -> complex:
    if len(arguments) != 2 or not all(type(part) is float for part in arguments):
        machine.refuse(f"makes a complex number of {shown(arguments)}")
    return complex(*arguments)


def _container(name: str, make: Callable[..., Any], kind: type) -> Named:
    return Named(name, lambda machine, arguments: make(machine, arguments, kind))


NAMES: dict[str, Any] = {
    "collections.OrderedDict": _container(
        "collections.OrderedDict", _pairs, collections.OrderedDict
    ),
    "collections.Counter": _container("collections.Counter", _pairs, collections.Counter),
    "builtins.set": _container("builtins.set", _elements, set),
    "builtins.frozenset": _container("builtins.frozenset", _elements, frozenset),
    "builtins.bytearray": Named("builtins.bytearray", _bytearray),
    "builtins.complex": Named("builtins.complex", _complex),
    "_codecs.encode": Named("_codecs.encode", _encoded),
}

Machine.names = NAMES
