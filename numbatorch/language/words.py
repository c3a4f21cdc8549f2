"""The words that kernels are written in: element types, pointers, helpers, intrinsics.

Nothing here imports Numba: words are recorded, and bound when a kernel that uses them is compiled.
"""

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Generic, NoReturn, TypeVar, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])


class ElementType(type):
    """The class of element types: their names are types in annotations and words in kernels."""

    element: str

    def __repr__(cls) -> str:
        return cls.element


class Element(metaclass=ElementType):
    """An element type inside of kernels: `float32(x)` converts, `view(p, float16)` reads as it.

    A value of a half type is held in float32, and `float16(x)` rounds it. Integer conversions wrap,
    floats convert to integers as in C. `bool_(x)` is a truth value.
    """

    def __init_subclass__(cls, element: str | None = None) -> None:
        cls.element = element or cls.__name__

    def __new__(cls, value: Any) -> Any:
        only_in_kernels(cls.element)


def only_in_kernels(name: str) -> NoReturn:
    """Words have no meaning in plain Python."""
    raise TypeError(f"{name}: can be called in a kernel only")


class float64(Element):
    """64 bits, of IEEE 754."""


class float32(Element):
    """32 bits, of IEEE 754."""


class float16(Element):
    """16 bits, of IEEE 754."""


class bfloat16(Element):
    """The upper 16 bits of a float32."""


class float8_e4m3fn(Element):
    """8 bits, 3 of them mantissa, without infinities."""


class float8_e5m2(Element):
    """8 bits, 2 of them mantissa."""


class int64(Element):
    """Signed, 64 bits."""


class int32(Element):
    """Signed, 32 bits."""


class int16(Element):
    """Signed, 16 bits."""


class int8(Element):
    """Signed, 8 bits."""


class uint64(Element):
    """Unsigned, 64 bits."""


class uint32(Element):
    """Unsigned, 32 bits."""


class uint16(Element):
    """Unsigned, 16 bits."""


class uint8(Element):
    """Unsigned, 8 bits."""


class bool_(Element, element="bool"):
    """One byte, 0 or 1."""


class T(Element):
    """The type parameter T of the kernel that uses it."""


class U(Element):
    """The type parameter U of the kernel that uses it."""


class V(Element):
    """The type parameter V of the kernel that uses it."""


ELEMENTS = {kind.element: kind for kind in Element.__subclasses__() if kind not in (T, U, V)}

_Element = TypeVar("_Element")


class PointerTo:
    """What `Pointer["float32"]` is: the annotation of a kernel's pointer parameter."""

    def __init__(self, element: str) -> None:
        self.element = element

    def __repr__(self) -> str:
        return f'Pointer["{self.element}"]'


class Pointer(Generic[_Element]):
    """An address that indexes in elements: `x[i]` loads, `x[i] = v` stores, `x + n` moves.

    A load converts to the type that arithmetic is done in, float32 for half types and uint8 for
    bool; a store rounds. Elements of block types are whole blocks, and loads of them single bytes.
    """

    def __class_getitem__(cls, element: Any) -> Any:
        return PointerTo(element if isinstance(element, str) else element.element)

    def __getitem__(self, index: Any) -> Any:
        only_in_kernels("Pointer")

    def __setitem__(self, index: Any, value: Any) -> None:
        only_in_kernels("Pointer")

    def __add__(self, elements: Any) -> "Pointer[_Element]":
        only_in_kernels("Pointer")

    def __sub__(self, elements: Any) -> "Pointer[_Element]":
        only_in_kernels("Pointer")


class Table(tuple[int, ...]):
    """Integers beside the code of a kernel: `TABLE[i]`, where i is not checked.

    >>> CODEBOOK = Table([-8, -3, 0, 5], int8)
    """

    element: str

    def __new__(cls, numbers: Iterable[int], element: ElementType) -> "Table":
        """Of the numbers as elements of an integer type."""
        table = super().__new__(cls, numbers)
        table.element = element.element
        return table


class Intrinsic:
    """A word that writes its own LLVM IR, see `intrinsic`."""

    def __init__(self, definition: Callable[..., Any], literal: bool) -> None:
        self.definition = definition
        self.literal = literal
        self.__name__ = definition.__name__
        self.__doc__ = definition.__doc__

    def __call__(self, *arguments: Any) -> Any:
        only_in_kernels(self.__name__)


@overload
def intrinsic(definition: Callable[..., Any]) -> Intrinsic: ...
@overload
def intrinsic(*, literal: bool) -> Callable[[Callable[..., Any]], Intrinsic]: ...
def intrinsic(definition: Callable[..., Any] | None = None, *, literal: bool = False) -> Any:
    """Record a function `(typingctx, *types) -> (signature, codegen)` as a Numba intrinsic.

    The function runs when a kernel that uses it is compiled, so it imports numba and llvmlite in
    its body.

    Args:
        literal: constant arguments arrive as Numba literal types.
    """
    if definition is None:
        return lambda function: Intrinsic(function, literal)
    return Intrinsic(definition, literal)


class Word:
    """A word that each kind of device binds to its own instructions."""

    def __init__(self, name: str, meaning: str) -> None:
        self.__name__ = name
        self.__doc__ = meaning

    def __repr__(self) -> str:
        return f"<word {self.__name__}>"

    def __call__(self, *arguments: Any) -> Any:
        only_in_kernels(self.__name__)


class Epilogue:
    """The annotation of a parameter that stands for the elementwise work on finished results.

    It takes one word for each argument of the epilogue, none where there is no epilogue.
    """


class Helper:
    """A typed function that kernels call, see `helper`."""

    def __init__(self, function: FunctionType, inline: bool) -> None:
        self.function = function
        self.inline = inline
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        only_in_kernels(self.__name__)


@overload
def helper(function: _Function) -> _Function: ...
@overload
def helper(*, inline: bool) -> Callable[[_Function], _Function]: ...
def helper(function: Callable[..., Any] | None = None, *, inline: bool = True) -> Any:
    """Record a function in kernels' language for use in kernels; its arguments give its types.

    Args:
        inline: LLVM puts its body into every caller; otherwise LLVM decides.
    """
    if function is None:
        return lambda found: Helper(found, inline)
    assert isinstance(function, FunctionType)
    return Helper(function, inline)


@intrinsic
def address(typingctx: Any, pointer: Any) -> Any:
    """The address in a pointer, an int64."""
    from numbatorch.language import numba_pointers

    return numba_pointers.address(pointer)


@intrinsic
def view(typingctx: Any, pointer: Any, element: Any) -> Any:
    """A pointer, or an int64 address, as a pointer to an element type: `view(x, float16)`."""
    from numbatorch.language import numba_pointers

    return numba_pointers.view(pointer, element)


@intrinsic
def share(typingctx: Any, n: Any, part: Any, parts: Any) -> Any:
    """The range `lo, hi` of `n` items for `part` of `parts`; sizes differ by one at most."""
    from numbatorch.language import numba_pointers

    return numba_pointers.share(n, part, parts)
