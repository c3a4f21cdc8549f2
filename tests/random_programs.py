"""Random programs with state as Python text, and worlds in which they are run side by side.

A program is a function of two vectors, indices, an int and a float that uses the attributes of a
`State`. Each world has a state, arguments and results of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import numbatorch as nt
from numbatorch import nn
from numbatorch.nest import map_leaves
from numbatorch.tensor.capture import Compiled

Array = np.ndarray[Any, Any]

ROWS = 5  # of the table; an index of this size is out of range
SLOTS = 6  # of the ring

# Statements: {n} is a new vector, {a} and {b} are earlier ones, {c} is a number.
PLAIN = (
    "{n} = {a} * {c} + {b}",
    "{n} = nt.tanh({a}) - {b}",
    "{n} = nt.maximum({a}, {b}) * by",
    "{n} = {a} * by",
    "{n} = nt.sin({a}) * s.factor",
    "{n} = {a} + SCALE",
    "{n} = {a} + 1.0 if s.on else {b} * 0.5",
    "{n} = {a} - {b}.mean()",
    "{n} = nt.softmax({a}, 0) + {b}",
    "{n} = nt.tanh(({a}.reshape(-1, 4) @ s.square).reshape(-1))",
    "{n} = nt.cat([{a}[1:], {b}[:1]])",
)
ELEMENTWISE = 7  # the first ones, which take any shape and dtype
INDEXED = (
    "{n} = nn.functional.embedding(index, s.table).sum(0)",
    "{n} = s.table[index][0] * {a}",
    "{n} = {b} + {a}.gather(0, index).sum()",
    "{n} = s.table.index_select(0, index).mean(0) - {a}",
)
UPDATES = (
    "s.total.mul_(0.5).add_(nt.tanh({a}))",
    "s.total.copy_(nt.tanh(s.total + {a}))",
    "s.kept[...] = nt.tanh({a})",
    "s.kept.copy_(nt.tanh({a}) * 0.5 + s.total * 0.25)",
    "s.ring[start : start + 1] = nt.tanh({a})",
    "s.ring[1] = nt.tanh({a})",
    "s.row.mul_(0.5).add_(nt.tanh({a}))",
    "s.parts[0].copy_(s.parts[1] * 0.5 + nt.tanh({a}))",
    "s.parts[1].copy_(s.parts[0])",
    "s.count.add_(1)",
)
READS = (
    *("s.total", "s.kept", "s.row", "s.ring[0]", "s.ring.mean(0)", "s.parts[0]", "s.parts[1]"),
    *("s.named['bias']", "(s.count * y)"),
)
WEIGHTED = (
    "{n} = {a} * s.w",
    "{n} = nt.tanh(({a}.reshape(-1, 4) @ s.v).reshape(-1))",
    "{n} = {a} * {b}.detach()",
)
DRAWS = (
    "{n} = {a} * nt.rand(*{a}.shape, device={a}.device)",
    "{n} = {a} + nt.randn({a}.shape[0], device={a}.device)",
    "{n} = nn.functional.dropout({a}, 0.5, s.on)",
)
COUNTS = ("s.count.add_(1)",)
ASIDE = (
    "s.total.mul_(0.5).add_(nt.tanh({a}.detach()))",
    "s.ring[start : start + 1] = nt.tanh({a}.detach())",
    "s.count.add_(1)",
)
STEPS = (
    """\
loss.backward()
with nt.no_grad():
    s.w.sub_(s.w.grad * 0.1)
    s.w.grad = None""",
    """\
loss.backward()
s.optimizer.step()
s.optimizer.zero_grad()""",
    """\
s.optimizer.zero_grad()
loss.backward()
s.optimizer.step()""",
    "loss.backward()",
)
RESULTS = (
    "{a}",
    "{a} * 1, {b}",
    "[{a}, ({b}, {{'sum': {a}.sum()}})]",
    "{{'one': {a}, 'other': {b}}}",
    "{a}.sum()",
    "None, {a}",
)

# Parameters, and how x and y are taken from them.
SIGNATURES = {
    "plain": ("x, y, index, start, by", ""),
    "keyword": ("x, y, *, index, start, by", ""),
    "list": ("pair, index, start, by", "x, y = pair"),
    "dict": ("pair, index, start, by", "x, y = pair.values()"),
    "gathered": ("*xs, index, start, by", "x, y = xs"),
    "defaults": ("x, y=OTHER, index=INDEX, start=1, by=0.5", ""),
    "object": ("x, y, index, start, by, model", "s = model"),
}


@dataclass(frozen=True)
class Program:
    """Text of a function `program`, and what it does.

    Attributes:
        kind: "state"; "gradient" of results; "training" within the function; "random", which draws
            numbers; "reading", which counts up at most; or "elementwise", of any shape and dtype.
        signature: key of `SIGNATURES`.
        dynamic: names of arguments that change without a new trace.
        indexed: whether indices may be out of range.
        size: elements of a vector.
        module: whether the state is a module.
    """

    text: str
    kind: str
    signature: str
    dynamic: tuple[str, ...]
    indexed: bool
    size: int
    module: bool

    @property
    def starts(self) -> bool:
        """Whether the number of a row to change may be out of range, which compiling refuses."""
        return "start" in self.dynamic and "[start :" in self.text

    def __str__(self) -> str:
        return f"{self.text}# {self.kind}, dynamic={self.dynamic}, vectors of {self.size}"


def random_program(rng: np.random.Generator, kind: str, size: int = 4) -> Program:
    """Up to six statements between parameters of one of the kinds and a result."""
    signature = _one(rng, list(SIGNATURES))
    parameters, taken = SIGNATURES[signature]
    values, lines = ["x", "y"], [taken] if taken else []
    choices = {
        "state": (PLAIN, PLAIN, INDEXED, UPDATES, UPDATES, UPDATES),
        "gradient": (PLAIN, INDEXED, WEIGHTED, WEIGHTED, ASIDE),
        "training": (PLAIN, WEIGHTED, WEIGHTED, ASIDE),
        "reading": (PLAIN, PLAIN, INDEXED, COUNTS),
        "random": (PLAIN, DRAWS, DRAWS, UPDATES),
        "elementwise": (PLAIN[:ELEMENTWISE],),
    }[kind]
    reads = READS if kind in ("state", "random") else ("s.named['bias']", "s.w")
    for number in range(int(rng.integers(2, 7))):
        name = f"v{number}"
        line = _filled(rng, _one(rng, _one(rng, choices)), values, reads, name)
        lines.append(line)
        if line.startswith(name):
            values.append(name)
    if kind == "training":
        lines.append(f"loss = ({values[-1]} * s.w - 1).square().mean()")
        lines += _one(rng, STEPS).splitlines()
        result = _one(rng, ("loss", "loss.detach(), x * 2"))
    else:
        result = _filled(rng, _one(rng, RESULTS), values[-3:], reads)
    body = "\n".join(f"        {line}" for line in [*lines, f"return {result}"])
    dynamic = _one(rng, (("start", "by"), ("start", "by"), ("start",), ()))
    indexed = any("index" in line for line in lines)
    text = f"def make(s):\n    def program({parameters}):\n{body}\n\n    return program\n"
    if rng.integers(2):  # the state as a global instead of a variable
        text = text.replace("make(s)", "make(_s)")
    return Program(text, kind, signature, dynamic, indexed, size, bool(rng.integers(2)))


def _one(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _filled(
    rng: np.random.Generator, template: str, values: list[str], reads: Any, name: str = ""
) -> str:
    """A template with random operands: values of the function, and now and then state."""
    a, b = (_one(rng, reads if rng.random() < 0.3 else values) for _ in range(2))
    return template.format(n=name, a=a, b=b, c=_one(rng, (0.5, -1.0, 0.25)))


def fill_state(s: Any, size: int, seed: int, device: str) -> None:
    """Give `s` what programs use: tensors, views of them, parameters, numbers and containers."""
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> nt.Tensor:
        array = rng.uniform(-1, 1, shape).astype(np.float32)
        found = nt.from_numpy(array.copy()).to(device)
        return found if rng.integers(3) == 0 else (found * 1).realize()  # memory of the pool

    s.total, s.kept, s.momentum = values(size), values(size), values(size)
    s.ring, s.table, s.square = values(SLOTS, size), values(ROWS, size), values(4, 4)
    s.row = s.ring[2]
    s.parts, s.named = [values(size), values(size)], {"bias": values(size)}
    s.count = nt.tensor([0], device=device)
    s.w, s.v = (x.detach().requires_grad_() for x in (values(size), values(4, 4)))
    s.optimizer = nt.optim.SGD([s.w, s.v], 0.1, momentum=0.5)
    s.factor, s.on = 0.75, True


def new_state(program: Program, seed: int, device: str) -> Any:
    """A state for a program, with values of its own."""
    found = type("State", (nn.Module if program.module else object,), {})()
    fill_state(found, program.size, seed, device)
    return found


def tensors_of(s: Any) -> dict[str, Any]:
    """All state by name."""
    found = {name: getattr(s, name) for name in ("total", "kept", "ring", "row", "table", "count")}
    found |= {"parts[0]": s.parts[0], "parts[1]": s.parts[1], "bias": s.named["bias"]}
    found |= {"w": s.w, "v": s.v, "square": s.square, "w.grad": s.w.grad, "v.grad": s.v.grad}
    return found


class Quick(Compiled):
    """Counts the calls that go the long way.

    Attributes:
        long: number of these.
    """

    long = 0

    def _find(self, *args: Any) -> Any:
        self.long += 1
        return super()._find(*args)


class Long(Quick):
    """Never takes the short way."""

    def _quicken(self, *args: Any) -> None:
        pass


class World:
    """A program with a state of its own, either plain or compiled.

    Attributes:
        call: the program.
        s: its state.
        held: results of calls, and what else somebody has.
        leaves: arguments that get gradients.
        last: an argument of a call before.
        read: arrays of values that were read, with copies.
    """

    def __init__(
        self, program: Program, seed: int, compiled: type[Compiled] | None, device: str = "cpu"
    ) -> None:
        self.program, self.device = program, device
        self.compiled = compiled is not None
        self.s = new_state(program, seed, device)
        self.names: dict[str, Any] = {
            "nt": nt,
            "nn": nn,
            "s": self.s,
            "SCALE": 0.25,
            "INDEX": self.tensor([1, 3]),
            "OTHER": self.tensor([0.5] * program.size),
        }
        exec(compile(program.text, "<random program>", "exec"), self.names)
        self.function = self.names["make"](self.s)
        self.call: Any = self.function
        if compiled is not None:
            self.call = compiled(self.function, program.dynamic)
        self.held: list[Any] = []
        self.leaves: list[nt.Tensor] = []
        self.last: nt.Tensor | None = None
        self.read: list[tuple[Array, Array]] = []

    def use(self, s: Any) -> None:
        """Have the function use another state from now on, in its variable or global."""
        self.s = self.names["s"] = s
        for cell in self.function.__closure__ or ():
            cell.cell_contents = s

    def run(self, arguments: Arguments, seed: int = 0) -> Any:
        """Call the program; results of a plain call are made values of their own.

        A compiled one makes a plain call where an argument is what it changes.
        """
        args, kwargs = arguments.made(self)
        nt.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the eighth trace
            found = self.call(*args, **kwargs)
        if self.compiled and not arguments.aliased:
            return found
        return map_leaves(lambda x: x.clone() if isinstance(x, nt.Tensor) else x, found)

    def tensor(self, values: Any) -> nt.Tensor:
        """A new tensor on the device."""
        return nt.tensor(values, device=self.device)

    def values(self) -> dict[str, Any]:
        """Copies of all state, and of gradients of arguments."""
        gradients = {f"leaf {i}.grad": x.grad for i, x in enumerate(self.leaves)}
        return {name: array_of(x) for name, x in (tensors_of(self.s) | gradients).items()}

    def leaf(self, array: Array) -> nt.Tensor:
        """A new leaf of the gradient."""
        self.leaves.append(self.tensor(array).requires_grad_())
        return self.leaves[-1]


def array_of(x: Any) -> Any:
    """A copy of the elements of a tensor."""
    return None if x is None else np.array(x.detach().numpy())


def leaves(value: Any) -> Iterator[Any]:
    """The tensors of a nest."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    elif value is not None:
        yield value


@dataclass(frozen=True)
class Arguments:
    """What a program is called with, in any world.

    Attributes:
        x, y: an array, and how a tensor is made of it (a key of `WAYS`).
        index: rows of the table.
        named: how many of the last arguments are passed by keyword.
        left: how many of the last arguments are left out, where there are defaults.
    """

    x: tuple[Array, str]
    y: tuple[Array, str]
    index: tuple[int, ...]
    start: int
    by: float
    named: int
    left: int

    @property
    def aliased(self) -> bool:
        """Whether a tensor argument is state."""
        return self.x[1] in ALIASES or self.y[1] in ALIASES

    def made(self, world: World) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as tensors of a world."""
        x = WAYS[self.x[1]](world, self.x[0])
        if self.x[1] in ("fresh", "shared", "lazy", "view"):
            world.last = x
        y = x if self.y[1] == "same" else WAYS[self.y[1]](world, self.y[0])
        values = {"index": world.tensor(self.index), "start": self.start, "by": self.by}
        match world.program.signature:
            case "list":
                return _by_keyword({"pair": [x, y], **values}, self.named)
            case "dict":
                pair = {"x": x, "y": y} if self.index[0] == 3 else {"y": y, "x": x}
                return _by_keyword({"pair": pair, **values}, self.named)
            case "gathered":
                return (x, y), values
            case "keyword":
                return _by_keyword({"x": x, "y": y, **values}, max(3, self.named))
            case "defaults":
                every = {"x": x, "y": y, **values}
                given = dict(list(every.items())[: len(every) - self.left])
                return _by_keyword(given, min(self.named, len(given)))
            case "object":
                return _by_keyword({"x": x, "y": y, **values, "model": world.s}, self.named)
        return _by_keyword({"x": x, "y": y, **values}, self.named)


def _by_keyword(values: dict[str, Any], named: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The last `named` arguments by keyword."""
    items = list(values.items())
    first = len(items) - named
    return tuple(value for _name, value in items[:first]), dict(items[first:])


def _result(world: World, array: Array) -> nt.Tensor:
    """A result of a call before that nobody holds any more."""
    for i, held in enumerate(world.held):
        if isinstance(held, nt.Tensor) and held.shape == array.shape and not held.requires_grad:
            return world.held.pop(i)
    return world.tensor(array)


def _again(world: World, array: Array) -> nt.Tensor:
    """The argument of a call before."""
    if world.last is None or world.last.shape != array.shape:
        return world.tensor(array)
    return world.last


# How a tensor argument comes about.
WAYS: dict[str, Callable[[World, Array], nt.Tensor]] = {
    "fresh": lambda world, array: world.tensor(array),
    "shared": lambda world, array: nt.from_numpy(array).to(world.device),
    "lazy": lambda world, array: world.tensor(array) * 1,
    "view": lambda world, array: world.tensor(np.repeat(array, 2, 0))[::2],
    "result": _result,
    "again": _again,
    "captured": lambda world, array: world.s.named["bias"],
    "copy": lambda world, array: world.s.total.clone(),
    "leaf": lambda world, array: world.leaf(array),
    "with history": lambda world, array: world.leaf(array) * 0.5,
}
ALIASES: dict[str, Callable[[World, Array], nt.Tensor]] = {
    "state": lambda world, array: world.s.total,
    "view of state": lambda world, array: world.s.ring[1],
    "detached state": lambda world, array: world.s.kept.detach(),
}
WAYS |= ALIASES


def random_arguments(
    rng: np.random.Generator,
    program: Program,
    bad: bool,
    like: Arguments | None,
    steady: bool = False,
) -> Arguments:
    """Arguments; those that make a new trace are as in `like`, as a rule (steady: always)."""
    differentiated = ("leaf", "with history")
    ways = [way for way in WAYS if way not in differentiated or program.kind == "gradient"]
    if bad:  # a plain call fails late, when its state has changed
        ways = [way for way in ways if way not in ALIASES]

    def vector(extra: tuple[str, ...] = ()) -> tuple[Array, str]:
        shape: tuple[int, ...] = (program.size,)
        dtype: Any = np.float32
        if program.kind == "elementwise" and rng.random() < 0.3:
            shape = _one(rng, ((program.size,), (1,), *(() if extra else ((2, 4), (0, 4)))))
            dtype = _one(rng, (np.float32, np.float64, np.int64))
        array = rng.uniform(-4, 4, shape) if dtype is np.int64 else rng.uniform(-1, 1, shape)
        return array.astype(dtype), _one(rng, [*ways, *extra])

    index = tuple(int(i) for i in rng.integers(0, 4, 2))
    fixed = like if like is not None and (steady or rng.random() < 0.96) else None
    start, by = int(rng.integers(0, SLOTS)), float(np.float32(rng.uniform(-1, 1)))
    if fixed is not None:
        start = start if "start" in program.dynamic else fixed.start
        by = by if "by" in program.dynamic else fixed.by
    if bad and program.starts and rng.integers(2):
        start = _one(rng, (SLOTS, -1, 10**9))
    elif bad:
        index = (index[0], _one(rng, (ROWS, -1, 77)))
    named, left = (
        (fixed.named, fixed.left) if fixed else (int(n) for n in rng.integers(-2, 3, 2).clip(0))
    )
    left = 0 if bad else left
    return Arguments(vector(), vector(("same",)), index, start, by, named, left)
