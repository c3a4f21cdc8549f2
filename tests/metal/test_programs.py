"""Random programs in kernels' language: the printed kernel does what Python does with the text."""

import random
from typing import Any

import numpy as np
import pytest

from numbatorch.language.kernel import EmittedKernel
from tests.metal.device import AVAILABLE
from tests.metal.run import compiled, launch

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no C++ compiler, or no Linux")

PROGRAMS = 64
SIZE = 8
HEADER = """from numbatorch.language.kernel import Pointer, helper


@helper
def twice(x: int, y: int) -> int:
    if x > y:
        return x * 2
    z = y - x
    for k in range(z):
        if k == 5:
            return k
        z += k
    return z


@helper
def swapped(x: int, y: int):
    return y, x + 1


def kernel(out: Pointer["int64"], n: int, part: int, parts: int) -> None:
    a, b, c = n, 3, n - 7
"""


class Writer:
    """Makes one program: variables a, b, c are always set, others where a block sets them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fresh = 0
        self.budget = 40

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def value(self, names: list[str], depth: int = 2) -> str:
        """An expression of an integer."""
        kind = self.random.randrange(12 if depth else 3)
        if kind == 0:
            return str(self.pick(-7, -2, -1, 0, 1, 2, 3, 8, 10))
        if kind < 3:
            return str(self.random.choice(names))
        one, two = self.value(names, depth - 1), self.value(names, depth - 1)
        match kind:
            case 3 | 4:
                return f"{one} {self.pick('+', '-')} {two}"
            case 5:
                return f"({one} + {two}) * {self.pick(2, -3, one)} % 1000"
            case 6:
                return f"({one}) {self.pick('//', '%')} {self.pick(1, 2, 3, 4, -3, -4, 16)}"
            case 7:
                return f"({one}) {self.pick('&', '|', '^')} ({two})"
            case 8:
                return f"{self.pick('min', 'max')}({one}, {two})"
            case 9:
                return f"({one} if {self.condition(names)} else {two})"
            case 10:
                return self.pick(f"-({one})", f"~({one})", f"abs({one})", f"(({one}) >> 2)")
            case _:
                call = f"twice(({one}) % 50, ({two}) % 90) % 100"
                return str(self.pick(f"out[({one}) % {SIZE}]", call))

    def condition(self, names: list[str]) -> str:
        """A truth value."""
        one, two, three = (self.value(names, 1) for _ in range(3))
        sign = self.pick("<", "<=", ">", ">=", "==", "!=")
        text = self.pick(
            f"{one} {sign} {two}", f"{one} {sign} {two} < {three}", f"({one}) % 2", f"not {one}"
        )
        if self.random.random() < 0.3:
            text = f"({text}) {self.pick('and', 'or')} {self.value(names, 0)} > 1"
        return str(text)

    def block(self, names: list[str], depth: int, loops: int) -> list[str]:
        """Statements; `names` is what they may read."""
        names = list(names)
        lines = []
        for _ in range(self.random.randint(1, 5)):
            self.budget -= 1
            lines += self.statement(names, depth, loops)
        return lines

    def statement(self, names: list[str], depth: int, loops: int) -> list[str]:
        kind = self.random.randrange(14)
        if depth == 0 or self.budget < 0:
            kind %= 6
        target = self.pick("a", "b", "c", *names)
        value = self.value(names)
        match kind:
            case 0 | 1:
                return [f"{target} = ({value}) % 1000"]
            case 2:
                self.fresh += 1
                names.append(f"v{self.fresh}")
                return [f"v{self.fresh} = {value}"]
            case 3:
                return [f"{target} {self.pick('+', '-', '&', '//')}= {self.pick(1, 2, 5)}"]
            case 4:
                one, two = self.random.sample(["a", "b", "c"], 2)
                return [
                    self.pick(
                        f"{one}, {two} = {two}, {one} - 1",
                        f"{one}, {two} = swapped({two}, {self.value(names, 0)})",
                        f"{one}, out[{one} % {SIZE}] = out[0], {two}",
                    )
                ]
            case 5:
                return [f"out[({self.value(names, 1)}) % {SIZE}] = {value}"]
            case 6 | 7 | 8:
                return self.branch(names, depth, loops)
            case 9 | 10 | 11:
                return self.loop(names, depth, loops)
            case 12:
                return self.while_loop(names, depth, loops)
            case _:
                leave = self.pick("break", "continue") if loops else "return"
                return [f"if {self.condition(names)}:", f"    {leave}"]

    def branch(self, names: list[str], depth: int, loops: int) -> list[str]:
        self.fresh += 1
        both = f"v{self.fresh}"
        lines = [f"if {self.condition(names)}:"]
        lines += indented([*self.block(names, depth - 1, loops), f"{both} = 1"])
        if self.random.random() < 0.5:
            lines += [f"elif {self.condition(names)}:"]
            lines += indented(
                [f"{both} = {self.value(names)}", *self.block(names, depth - 1, loops)]
            )
        lines += ["else:", *indented([*self.block(names, depth - 1, loops), f"{both} = a"])]
        names.append(both)
        return lines

    def loop(self, names: list[str], depth: int, loops: int) -> list[str]:
        name = self.pick("i", "j", "k")
        count = self.pick("5", "n", "n, 12, 3", "6, 0, -1", "a % 7", "b % 3, a % 9, 1 + n % 2")
        inner = self.block([*names, name], depth - 1, loops + 1)
        lines = [f"for {name} in range({count}):", *indented(inner)]
        if self.random.random() < 0.3:
            lines = [f"{name} = 4", *lines]
            names.append(name)
        return lines

    def while_loop(self, names: list[str], depth: int, loops: int) -> list[str]:
        self.fresh += 1
        count = f"v{self.fresh}"
        inner = self.block(names, depth - 1, loops + 1)
        head = [f"{count} = 0", f"while {count} < 6 and ({self.condition(names)}):"]
        return [*head, *indented([f"{count} += 1", *inner])]


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def program(seed: int) -> str:
    lines = Writer(seed).block(["a", "b", "c", "n"], 3, 0)
    ends = ["out[0] += a * 3 + b * 5 + c * 7", ""]
    return HEADER + "\n".join(indented([*lines, *ends]))


def expected(text: str, n: int) -> list[int] | None:
    """What Python makes of the program; None if a number does not fit 64 bits."""
    namespace: dict[str, Any] = {}
    exec(text.replace("@helper", ""), namespace)
    out = list(range(SIZE))
    namespace["kernel"](out, n, 0, 1)
    return out if max(map(abs, out)) < 1 << 62 else None


def test_random_programs_mean_what_python_means() -> None:
    texts = [program(seed) for seed in range(PROGRAMS)]
    specs = [
        EmittedKernel(f"program{i}", (text,), ["pointer", "int"], lambda text=text: text)
        for i, text in enumerate(texts)
    ]
    compared = 0
    for text, function in zip(texts, compiled([(s, None) for s in specs]), strict=True):
        for n in (0, 3, 10):
            numbers = expected(text, n)
            if numbers is None:
                continue
            out = np.arange(SIZE)
            launch(function, (out, n), groups=1, threads=1)
            assert out.tolist() == numbers, f"n = {n} in {function.path}:\n{text}"
            compared += 1
    assert compared > 2 * PROGRAMS
