"""Layers without parameters: functions of `nn.functional` whose options are fields."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any, ClassVar, dataclass_transform

from numbatorch.errors import message
from numbatorch.nn import functional
from numbatorch.nn.module import Module
from numbatorch.ops.signature import Takes, takes


@dataclass_transform(eq_default=False)
class Applied(Module):
    """A layer that calls a function with its fields by name.

    A class names the function and annotates the fields, in the order of its arguments:

    >>> class Softmax(Applied, function="softmax"):
    ...     dim: int = -1
    >>> Softmax(), Softmax(0)(tensor([0.0, 0.0])).tolist()
    (Softmax(dim=-1), [0.5, 0.5])
    """

    function: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[tuple[str, ...]] = ("inplace",)  # shown by repr only where they are True
    saved: ClassVar[tuple[str, ...]] = ()  # fields that are buffers
    taken: ClassVar[dict[str, Takes | None]]  # what each field may hold, once one was made

    def __init_subclass__(
        cls,
        function: str = "",
        saved: tuple[str, ...] = (),
        kw_only: bool = False,
        **options: Any,
    ) -> None:
        super().__init_subclass__(**options)
        if function:
            cls.function = function
        if saved:
            cls.saved = saved
        made: Any = dataclasses.dataclass(eq=False, repr=False, kw_only=kw_only)(cls)
        cls.fields = tuple(field.name for field in dataclasses.fields(made))
        for name in cls.fields:
            if name in cls.__dict__:
                delattr(cls, name)  # a default is an instance's, not the class's

    def __post_init__(self) -> None:
        cls = type(self)
        if "taken" not in cls.__dict__:
            cls.taken = _taken(cls)
        for name, taken in cls.taken.items():
            value = getattr(self, name)
            if taken is not None and not taken.fits(value):
                choices = " or ".join(map(repr, taken.values)) or taken.text
                problem = f"{name} is {value!r}, not {choices}"
                kind = ValueError if taken.values and isinstance(value, str) else TypeError
                raise kind(message(type(self).__name__, problem))
        for name in self.saved:
            self.register_buffer(name, self.__dict__.pop(name))

    def forward(self, input: Any) -> Any:
        """What the function gives for the input."""
        return self._call(input)

    def _call(self, *inputs: Any) -> Any:
        options = {name: getattr(self, name) for name in self.fields}
        return getattr(functional, self.function)(*inputs, **options)

    def extra_repr(self) -> str:
        """The fields and what they hold."""
        shown = (name for name in self.fields if name not in self.hidden or getattr(self, name))
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)


def _taken(kind: type[Applied]) -> dict[str, Takes | None]:
    """What each field of a class takes, read from its annotation."""
    found: dict[str, Takes | None] = {}
    for base in reversed(kind.__mro__):
        scope = vars(sys.modules[base.__module__])
        for name, annotation in inspect.get_annotations(base).items():
            if name in kind.fields:
                found[name] = takes(annotation, scope)
    return found
