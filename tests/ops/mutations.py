"""Breaks a kernel, a record or an emitted text on purpose, so that tests of the tests can run."""

import inspect
import linecache
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from numbatorch.backends.base import backend
from numbatorch.backends.planned import PlanBackend
from numbatorch.device import Device
from numbatorch.language.kernel import EmittedKernel, Kernel, digest
from numbatorch.ops import known_calls

_numbers = iter(range(10**6))


def rewritten(function: FunctionType, old: str, new: str) -> FunctionType:
    """The function with `old`, which its text has once, replaced; its text can be read again."""
    lines, _ = inspect.getsourcelines(function)
    text = textwrap.dedent("".join(lines))
    text = text[text.index("def ") :]
    assert text.count(old) == 1, f"{function.__name__} has {text.count(old)} times {old!r}"
    text = text.replace(old, new)
    path = f"<broken {function.__name__} {next(_numbers)}>"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    found: dict[str, Any] = {}
    exec(compile(text, path, "exec"), function.__globals__, found)
    (broken,) = found.values()
    broken.__module__ = function.__module__
    broken.__kwdefaults__ = function.__kwdefaults__
    return broken


def forget_plans(device: str) -> None:
    """Let a device plan everything anew, of graphs that are built anew."""
    known_calls.forget()
    found = backend(Device(device))
    if isinstance(found, PlanBackend):
        found.forget_programs()


@contextmanager
def replaced(device: str, thing: Any, **attributes: Any) -> Iterator[None]:
    """Within a block, an object has other attributes, and plans are made with them."""
    before = dict(vars(thing))
    for name in attributes:
        vars(thing).pop(name, None)
    forget_plans(device)
    try:
        for name, value in attributes.items():
            setattr(thing, name, value)
        yield
    finally:
        vars(thing).clear()
        vars(thing).update(before)
        forget_plans(device)


@contextmanager
def broken_kernel(device: str, kernel: Kernel, old: str, new: str) -> Iterator[None]:
    """Within a block, a kernel written by hand has another text."""
    function = rewritten(kernel.function, old, new)
    with replaced(device, kernel, function=function, _bound={}):
        vars(kernel).pop("kernel_fingerprint", None)
        yield


@contextmanager
def broken_text(device: str, old: str, new: str) -> Iterator[None]:
    """Within a block, kernels are emitted with another text; at least one of them has `old`."""
    before = EmittedKernel.__init__
    found: list[str] = []

    def init(self: EmittedKernel, *args: Any, **options: Any) -> None:
        before(self, *args, **options)
        text = self._text()
        if old in text:
            found.append(self.name)
            self.key = digest(self.key, old, new)
            self._text = lambda: text.replace(old, new)

    EmittedKernel.__init__ = init  # type: ignore[method-assign]
    forget_plans(device)
    try:
        yield
    finally:
        EmittedKernel.__init__ = before  # type: ignore[method-assign]
        forget_plans(device)
    assert found, f"no kernel was emitted with {old!r}"
