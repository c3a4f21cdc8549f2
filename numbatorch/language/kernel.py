"""The `@kernel` decorator and the ABI of CPU kernels: pointers, int64 words, a part of the work.

Numba is not imported here; a `KernelSpec` names what `pack` holds or has compiled.
"""

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any, overload

from numbatorch import dtype as dtypes
from numbatorch import private, settings
from numbatorch.dtype import DType
from numbatorch.errors import KernelError, message
from numbatorch.language.keys import digest, function_digest
from numbatorch.language.words import (
    ELEMENTS,
    Element,
    Epilogue,
    Helper,
    Intrinsic,
    Pointer,
    PointerTo,
    T,
    U,
    V,
    address,
    helper,
    intrinsic,
    share,
    view,
)

__all__ = [
    "BoundKernel",
    "Element",
    "EmittedKernel",
    "Epilogue",
    "Helper",
    "Intrinsic",
    "Kernel",
    "KernelSpec",
    "Pointer",
    "PointerTo",
    "T",
    "U",
    "V",
    "address",
    "digest",
    "function_digest",
    "helper",
    "intrinsic",
    "kernel",
    "share",
    "view",
]

WORDS = ("pointer", "int", "float", "epilogue")


class KernelSpec:
    """A kernel with its types bound: what a pack holds one function for.

    Attributes:
        name: for people and symbol names.
        signature: the words of the argument block, each of `WORDS`.
        key: names the compiled code in the pack.
        wide: whether its loops are long, so that the widest vectors pay.
    """

    wide = False
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
        """The function and, for each parameter before `part`, an element type, "int" or "float"."""
        raise NotImplementedError

    def llvm(self) -> str | None:
        """Text for LLVM, of a function that is not written in kernels' language."""
        return None

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
        """Hash of the code and of the types."""
        return digest("kernel", self.kernel.kernel_fingerprint, *map(":".join, self.types.items()))

    def source(self) -> str:
        """The text of the function with its decorator."""
        try:
            return inspect.getsource(self.kernel.function)
        except OSError:  # it was typed into an interpreter
            return f"# the source of {self.name} is not kept in a file\n"

    def path(self) -> str:
        """The file that defines the function."""
        return self.kernel.function.__code__.co_filename

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        """The function over the chosen element types, and its words."""
        words = tuple(
            self.types.get(word.element, word.element) if isinstance(word, PointerTo) else word
            for word in self.kernel.words
        )
        return with_types(self.kernel.function, self.types), words

    def task(self) -> tuple[Any, ...] | None:
        """Module, name and types; None for a function that no other process can import."""
        function = self.kernel.function
        if function.__module__ == "__main__" or "<locals>" in function.__qualname__:
            return None
        return ("bound", function.__module__, function.__qualname__, self.types)


class Kernel:
    """A function in kernels' language, see `kernel`; called with its types it gives a spec."""

    def __init__(self, function: FunctionType, types: dict[str, tuple[str, ...]]) -> None:
        self.function = function
        self.types = types
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__qualname__ = function.__qualname__
        self.words = _words(function, types)
        self._bound: dict[tuple[tuple[str, str], ...], BoundKernel] = {}

    @cached_property
    def kernel_fingerprint(self) -> str:
        """Hash of all that the machine code follows from, types aside."""
        words = [repr(word) for word in self.words]
        return digest(self.__name__, *words, function_digest(self.function))

    def __call__(self, **types: "str | DType") -> BoundKernel:
        names = {k: v.name if isinstance(v, DType) else v for k, v in types.items()}
        chosen = tuple(names.items())
        found = self._bound.get(chosen)
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
        self._bound[chosen] = spec
        return spec


@overload
def kernel(function: Callable[..., None]) -> Kernel: ...
@overload
def kernel(**types: Iterable[str] | str) -> Callable[[Callable[..., None]], Kernel]: ...
def kernel(function: Any = None, **types: Iterable[str] | str) -> Any:
    """Make a function of typed pointers and integers a kernel.

    Parameters are annotated `Pointer["T"]`, `Pointer["float32"]`, `int` or `float`, and stand in
    the argument block, one word each. The last two are `part: int, parts: int`, passed beside it;
    a kernel without them is for groups of threads, language/groups.py, and may have a parameter
    `finish: Epilogue`.

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

    wide = True

    def __init__(
        self,
        name: str,
        key_parts: tuple[str, ...],
        signature: Iterable[str],
        text: Callable[[], str],
    ) -> None:
        self.name = name
        self.signature = tuple(signature)
        self.key = digest("emitted", name, *self.signature, *key_parts)
        self._text = text

    @cached_property
    def _source(self) -> str:
        return self._text()

    def source(self) -> str:
        """The generated text, asked for once."""
        return self._source

    def path(self) -> str:
        """A file of the cache folder, named after the key."""
        plain = "".join(letter if letter.isalnum() else "_" for letter in self.name)
        return str(settings.cache_dir() / "source" / f"{plain[:64]}-{self.key}.py")

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        """The function that the text defines, and its words; writes the file."""
        write_source(self.path(), self.source())
        function, words = bind_text(self.source(), self.path())
        found = tuple(word if word in ("int", "float") else "pointer" for word in words)
        if found != self.signature:
            declared = f"declared ({', '.join(self.signature)})"
            problem = f"the text takes ({', '.join(found)})"
            raise KernelError(message(self.name, problem, declared, self.path()))
        return function, words

    def task(self) -> tuple[Any, ...] | None:
        """The text itself; writes the file."""
        write_source(self.path(), self.source())
        return ("text", self.source(), self.path())


def write_source(path: str, text: str) -> None:
    """Put an emitted kernel's text where readers find it, if the folder can be written."""
    with suppress(OSError):
        private.write(Path(path), text.encode())


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
    scope.update({name: ELEMENTS[types[name]] for name in used})
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

    They are `part, parts`, or for an epilogue `batch, row0, row1, col0, col1`; none for a kernel
    of groups.
    """
    names = _names(function)
    for tail in (SHARE, TILE):
        if names[-len(tail) :] == tail:
            return tail
    return ()


def _names(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _words(function: FunctionType, types: dict[str, tuple[str, ...]]) -> tuple[Any, ...]:
    """What each parameter before those of the caller is: a PointerTo, "int" or "float"."""
    names = _names(function)
    tail = call_parameters(function)
    words: list[Any] = []
    for name in names[: len(names) - len(tail)]:
        annotation = function.__annotations__.get(name)
        if isinstance(annotation, str):
            annotation = eval(annotation, function.__globals__)
        if isinstance(annotation, PointerTo):
            if annotation.element not in dtypes.by_name and annotation.element not in types:
                problem = f"{name}: {annotation} names neither a dtype nor a type parameter"
                raise KernelError(message(function.__name__, problem))
            words.append(annotation)
        elif annotation is int or annotation is float:
            words.append(annotation.__name__)
        elif annotation is Epilogue:
            words.append("epilogue")
        else:
            problem = f"{name}: {annotation!r} is not Pointer[...], int or float"
            raise KernelError(message(function.__name__, problem))
    return tuple(words)
