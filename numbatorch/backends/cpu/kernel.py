"""The `@kernel` decorator and the ABI of CPU kernels: typed pointers, int64 words, a part of the work.

Numba is not imported here: kernels, helpers and intrinsics are recorded and bound by `compiler` on first use.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from numbatorch import dtype as dtypes
from numbatorch import settings
from numbatorch.dtype import DType
from numbatorch.errors import KernelError, message

WORDS = ("pointer", "int", "float")


class Element:
    """An element type inside of kernels: `float32(x)` converts, `view(p, float16)` reads as that type.

    A value of a half type is held in float32 and `float16(x)` rounds it. Integer conversions wrap, floats
    convert to integers as in C. `T`, `U` and `V` stand for the type parameters of the kernel they are used in.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __call__(self, value: Any) -> Any:
        _only_in_kernels(self.name)


class PointerTo:
    """`Pointer["float32"]`: the annotation of a kernel's pointer parameter."""

    def __init__(self, element: str) -> None:
        self.element = element

    def __repr__(self) -> str:
        return f'Pointer["{self.element}"]'


if TYPE_CHECKING:
    _Element = TypeVar("_Element")

    class Pointer(Generic[_Element]):
        """An address that indexes in elements: `x[i]` loads, `x[i] = v` stores, `x + n` moves."""

        def __getitem__(self, index: Any) -> Any: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __add__(self, elements: Any) -> "Pointer[_Element]": ...
        def __sub__(self, elements: Any) -> "Pointer[_Element]": ...

    T = TypeVar("T")
    U = TypeVar("U")
    V = TypeVar("V")
else:

    class Pointer:
        """An address that indexes in elements: `x[i]` loads, `x[i] = v` stores, `x + n` moves.

        A load converts to the type that arithmetic is done in, float32 for half types and uint8 for
        bool; a store rounds.
        """

        def __class_getitem__(cls, element: "str | Element") -> PointerTo:
            return PointerTo(element if isinstance(element, str) else element.name)

    T = Element("T")
    U = Element("U")
    V = Element("V")


def _only_in_kernels(name: str) -> NoReturn:
    raise TypeError(f"{name}: can be called in a kernel only")


class Intrinsic:
    """A word of the kernel vocabulary that writes its own LLVM IR, see `intrinsic`."""

    def __init__(self, definition: Callable[..., Any], literal: bool) -> None:
        self.definition = definition
        self.literal = literal
        self.__name__ = definition.__name__
        self.__doc__ = definition.__doc__

    def __call__(self, *arguments: Any) -> Any:
        _only_in_kernels(self.__name__)


def intrinsic(definition: Callable[..., Any] | None = None, *, literal: bool = False) -> Any:
    """Record a function `(typingctx, *types) -> (signature, codegen)` as a Numba intrinsic.

    The function runs when a kernel that uses it is compiled, so it imports numba and llvmlite in its body.

    Args:
        literal: constant arguments arrive as Numba literal types.
    """
    if definition is None:
        return lambda function: Intrinsic(function, literal)
    return Intrinsic(definition, literal)


class Helper:
    """A typed function that kernels call, see `helper`."""

    def __init__(self, function: FunctionType, inline: bool) -> None:
        self.function = function
        self.inline = inline
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        _only_in_kernels(self.__name__)


def helper(function: Callable[..., Any] | None = None, *, inline: bool = True) -> Any:
    """Record a function of kernels' language for use in kernels and other helpers; it is typed by its arguments.

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
    from numbatorch.backends.cpu import numba_types

    return numba_types.address(pointer)


@intrinsic
def view(typingctx: Any, pointer: Any, element: Any) -> Any:
    """A pointer, or an int64 address, as a pointer to another element type: `view(x, float16)`."""
    from numbatorch.backends.cpu import numba_types

    return numba_types.view(pointer, element)


@intrinsic
def share(typingctx: Any, n: Any, part: Any, parts: Any) -> Any:
    """The range `lo, hi` of `n` items that falls to `part` of `parts`; shares differ by one at most."""
    from numbatorch.backends.cpu import numba_types

    return numba_types.share(n, part, parts)


class KernelSpec:
    """A kernel with its types bound: what a pack holds one function for.

    Attributes:
        name: for people and symbol names.
        signature: the words of the argument block, each of `WORDS`.
        key: names the compiled code in the pack.
    """

    name: str
    signature: tuple[str, ...]
    key: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KernelSpec) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<kernel {self.name} {self.key[:8]}>"

    @property
    def symbol(self) -> str:
        """Name of the C function `void symbol(int64 args_address, int64 part, int64 parts)`."""
        plain = "".join(letter if letter.isalnum() else "_" for letter in self.name)
        return f"nt_{plain}_{self.key}"

    def source(self) -> str:
        """The text of the kernel."""
        raise NotImplementedError

    def path(self) -> str:
        """The file that the text stands in."""
        raise NotImplementedError

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        """The Python function and, for each parameter before `part`, an element type, "int" or "float"."""
        raise NotImplementedError

    def task(self) -> tuple[Any, ...] | None:
        """What a worker process needs to find this kernel again, or None."""
        return None


class BoundKernel(KernelSpec):
    """A `@kernel` function with its type parameters bound."""

    def __init__(self, kernel: "Kernel", types: dict[str, str]) -> None:
        self.kernel = kernel
        self.types = types
        self.name = "_".join((kernel.__name__, *types.values()))
        self.signature = tuple(
            "pointer" if isinstance(word, PointerTo) else word for word in kernel.words
        )

    @cached_property
    def key(self) -> str:  # type: ignore[override]
        return digest("kernel", self.kernel.fingerprint, *map(":".join, self.types.items()))

    def source(self) -> str:
        return inspect.getsource(self.kernel.function)

    def path(self) -> str:
        return self.kernel.function.__code__.co_filename

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        words = tuple(
            self.types.get(word.element, word.element) if isinstance(word, PointerTo) else word
            for word in self.kernel.words
        )
        return with_types(self.kernel.function, self.types), words

    def task(self) -> tuple[Any, ...] | None:
        function = self.kernel.function
        if function.__module__ == "__main__" or "<locals>" in function.__qualname__:
            return None
        return ("bound", function.__module__, function.__qualname__, self.types)


class Kernel:
    """A function in kernels' language, see `kernel`; calling it with its types gives a `KernelSpec`."""

    def __init__(self, function: FunctionType, types: dict[str, tuple[str, ...]]) -> None:
        self.function = function
        self.types = types
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__qualname__ = function.__qualname__
        self.words = _words(function, types)
        self._bound: dict[tuple[str, ...], BoundKernel] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that the machine code follows from, types aside."""
        words = [repr(word) for word in self.words]
        return digest(self.__name__, *words, function_digest(self.function))

    def __call__(self, **types: "str | DType") -> BoundKernel:
        names = {k: v.name if isinstance(v, DType) else v for k, v in types.items()}
        found = self._bound.get(tuple(names.items()))
        if found is not None:
            return found
        for name, choices in self.types.items():
            if names.get(name) not in choices:
                raise KernelError(
                    message(
                        self.__name__,
                        f"{name} cannot be {names.get(name)}",
                        f"{name} is one of {', '.join(choices)}",
                    )
                )
        if len(names) != len(self.types):
            raise KernelError(message(self.__name__, f"takes the types {', '.join(self.types)}"))
        ordered = {name: names[name] for name in self.types}
        spec = BoundKernel(self, ordered)
        self._bound[tuple(names.items())] = spec
        return spec


def kernel(function: Callable[..., Any] | None = None, **types: Iterable[str] | str) -> Any:
    """Make a function of typed pointers and integers a CPU kernel.

    Parameters are annotated `Pointer["T"]`, `Pointer["float32"]`, `int` or `float`; the last two are
    `part: int, parts: int`. The others stand in the argument block in this order, one word each.

    Args:
        types: the type parameters and the dtypes each can be.
    """
    if function is None:
        choices = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in types.items()}
        return lambda found: Kernel(found, choices)
    assert isinstance(function, FunctionType)
    return Kernel(function, {})


class EmittedKernel(KernelSpec):
    """A kernel whose text is generated, and asked for only when the pack lacks it.

    Args:
        name: of the kernel.
        key_parts: texts that determine the generated text.
        signature: the words before `part, parts`, each of `WORDS`.
        text: gives a module's text that defines a kernel function named `kernel`.
    """

    def __init__(
        self, name: str, key_parts: tuple[str, ...], signature: Iterable[str], text: Callable[[], str]
    ) -> None:
        self.name = name
        self.signature = tuple(signature)
        self.key = digest("emitted", name, *self.signature, *key_parts)
        self._text = text

    @cached_property
    def _source(self) -> str:
        return self._text()

    def source(self) -> str:
        return self._source

    def path(self) -> str:
        plain = "".join(letter if letter.isalnum() else "_" for letter in self.name)
        return str(settings.cache_dir() / "source" / f"{plain[:64]}-{self.key}.py")

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        write_source(self.path(), self.source())
        return bind_text(self.source(), self.path())

    def task(self) -> tuple[Any, ...] | None:
        write_source(self.path(), self.source())
        return ("text", self.source(), self.path())


def write_source(path: str, text: str) -> None:
    """Put an emitted kernel's text where readers and tracebacks find it, if the folder can be written."""
    file = Path(path)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def bind_text(text: str, path: str) -> tuple[FunctionType, tuple[str, ...]]:
    """The function `kernel` of a module's text, and its words."""
    import linecache

    namespace: dict[str, Any] = {"__name__": "numbatorch.emitted", "__file__": path}
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    exec(compile(text, path, "exec"), namespace)
    found = namespace["kernel"]
    kernel_ = found if isinstance(found, Kernel) else Kernel(found, {})
    return kernel_().bind()


def with_types(function: FunctionType, types: dict[str, str]) -> FunctionType:
    """The function with the names of its type parameters bound to element types."""
    used = [name for name in types if name in function.__code__.co_names]
    if not used:
        return function
    scope = dict(function.__globals__)
    scope.update({name: Element(types[name]) for name in used})
    bound = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    bound.__qualname__ = function.__qualname__
    bound.__module__ = function.__module__
    return bound


SHARE = ("part", "parts")
TILE = ("batch", "row0", "row1", "col0", "col1")


def call_parameters(function: FunctionType) -> tuple[str, ...]:
    """The last parameters, which the caller passes beside the argument block.

    They are `part, parts`, or for an epilogue `batch, row0, row1, col0, col1`.
    """
    names = tuple(inspect.signature(function).parameters)
    for tail in (SHARE, TILE):
        if names[-len(tail) :] == tail:
            return tail
    raise KernelError(
        message(function.__name__, "the last two parameters of a kernel are `part, parts`")
    )


def _words(function: FunctionType, types: dict[str, tuple[str, ...]]) -> tuple[Any, ...]:
    """What each parameter before those of the caller is: a PointerTo, "int" or "float"."""
    names = list(inspect.signature(function).parameters)
    tail = call_parameters(function)
    words: list[Any] = []
    for name in names[: -len(tail)]:
        annotation = function.__annotations__.get(name)
        if isinstance(annotation, str):
            annotation = eval(annotation, function.__globals__ | {"Pointer": Pointer})
        if isinstance(annotation, PointerTo):
            if annotation.element not in dtypes.by_name and annotation.element not in types:
                problem = f"{name}: {annotation} names neither a dtype nor a type parameter"
                raise KernelError(message(function.__name__, problem))
            words.append(annotation)
        elif annotation is int or annotation is float:
            words.append(annotation.__name__)
        else:
            problem = f"{name}: {annotation!r} is not Pointer[...], int or float"
            raise KernelError(message(function.__name__, problem))
    return tuple(words)


def digest(*parts: str) -> str:
    """A short hash of texts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


_digests: dict[Any, str] = {}


def function_digest(function: FunctionType) -> str:
    """Hash of a function's code and of every value that the code names."""
    known = _digests.get(function)
    if known is not None:
        return known
    _digests[function] = "recursive"
    parts = [_code_digest(function.__code__, function.__doc__), repr(function.__defaults__)]
    names = _names(function.__code__)
    for name in names:
        if name in function.__globals__:
            parts += [name, _value_digest(function.__globals__[name], names)]
    for cell in function.__closure__ or ():
        parts.append(_value_digest(cell.cell_contents, names))
    _digests[function] = digest(*parts)
    return _digests[function]


def _names(code: CodeType) -> tuple[str, ...]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return tuple(dict.fromkeys((*code.co_names, *(n for c in inner for n in _names(c)))))


def _code_digest(code: CodeType, doc: str | None) -> str:
    consts = [c for c in code.co_consts if not (isinstance(c, str) and c == doc)]
    return digest(
        code.co_code.hex(),
        *code.co_names,
        *code.co_varnames,
        *(_value_digest(const, ()) for const in consts),
    )


def _value_digest(value: Any, names: tuple[str, ...]) -> str:
    """Hash of a value that kernels' code names; `names` are the attributes it may read of a module."""
    if isinstance(value, Helper):
        return digest("helper", str(value.inline), function_digest(value.function))
    if isinstance(value, Kernel):
        return value.fingerprint
    if isinstance(value, Intrinsic):
        return digest("intrinsic", _value_digest(value.definition, ()))
    if isinstance(value, CodeType):
        return _code_digest(value, None)
    if isinstance(value, FunctionType):
        if value.__module__.partition(".")[0] == "numbatorch" or value.__closure__:
            return function_digest(value)
        return digest(value.__module__, value.__qualname__)
    if isinstance(value, ModuleType):
        if value.__name__.partition(".")[0] != "numbatorch":
            return value.__name__
        found = [n for n in names if hasattr(value, n)]
        return digest(value.__name__, *(_value_digest(getattr(value, n), ()) for n in found))
    if isinstance(value, frozenset):
        return digest("frozenset", *sorted(map(repr, value)))
    if isinstance(value, tuple):
        return digest("tuple", *(_value_digest(item, names) for item in value))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    dispatched = getattr(value, "py_func", None)
    if isinstance(dispatched, FunctionType):
        return digest("njit", function_digest(dispatched))
    return f"{type(value).__qualname__} {value!r}"
