"""The exceptions of numbatorch and the form of their messages.

Every class inherits the builtin that people already catch for that mistake.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ShapeError(ValueError):
    """Shapes that do not fit an operator."""


class DTypeError(TypeError):
    """A dtype that an operator has no meaning for, or dtypes that do not promote."""


class DeviceError(RuntimeError):
    """Operands on different devices, or an operation that a device cannot do."""


class OutOfRange(IndexError):
    """An index, position or length outside of its range."""


class DivisionByZero(ZeroDivisionError, RuntimeError):
    """An integer that is divided by 0; PyTorch's is a RuntimeError."""


class FormatError(ValueError):
    """A file that does not follow its format: names the file, the tensor and the byte offset."""


class KernelError(RuntimeError):
    """A kernel that could not be compiled or loaded: names the kernel and its source file."""


class BackendUnavailable(ImportError):
    """A device or optional package that is absent: says what to install."""


class OutOfMemory(MemoryError):
    """Memory that a device does not have: what was asked for, what is free, what there is.

    Attributes:
        requested: bytes.
    """

    requested = 0

    def within(self, operator: str, *rows: str) -> "OutOfMemory":
        """This error, naming the operator that asked and, in rows, its result and operands."""
        device, _, sizes = str(self).partition(": out of memory\n")
        told = [row.strip() for row in sizes.splitlines()]
        return OutOfMemory(message(operator, f"out of memory on device {device}", *rows, *told))


class GradientError(RuntimeError):
    """A gradient that does not exist: names the operator that has none."""


class LinAlgError(RuntimeError):
    """A matrix for which an operator of linear algebra has no result, such as a singular one."""


def message(operator: str, problem: str, *rows: str, hint: str | None = None) -> str:
    """`operator: problem`, one indented row per operand or rule, then an optional hint.

    >>> print(message("matmul", "inner dimensions differ", "lhs (2, 3) float32"))
    matmul: inner dimensions differ
      lhs (2, 3) float32
    """
    lines = [f"{operator}: {problem}", *(f"  {row}" for row in rows)]
    if hint is not None:
        lines.append(f"  hint: {hint}")
    return "\n".join(lines)


# What names an operator, of which the one that was called is made.
RENAMED = (IndexError, TypeError, ValueError, DeviceError, GradientError)
_OPERATOR = re.compile(r"[A-Za-z_]\w*(\.\w+)*|index assignment")


def leave_named(error: Exception) -> None:
    """Have `rename` leave an error as it is: one that a function of the user has raised."""
    with suppress(AttributeError):  # of a class with slots
        error.of_user = True  # type: ignore[attr-defined]


def rename(error: Exception, operator: str) -> None:
    """Have the message of `error` name the function that was called, and not one that it uses.

    >>> error = ShapeError(message("reshape", "the number of elements differs"))
    >>> rename(error, "unflatten")
    >>> print(error)
    unflatten: the number of elements differs
    """
    text = error.args[0] if len(error.args) == 1 else None
    if not isinstance(text, str) or getattr(error, "of_user", False):
        return
    named, colon, rest = text.partition(": ")
    if colon and _OPERATOR.fullmatch(named):
        if named.rpartition(".")[2] != operator:
            error.args = (f"{operator}: {rest}",)
    elif type(error).__module__ == __name__:
        error.args = (f"{operator}: {text}",)
    elif isinstance(error, TypeError):  # of Python: f() missing 1 required positional argument: 'x'
        named, called, rest = text.partition("() ")
        if called and named.rpartition(".")[2].rstrip("_") == operator.rstrip("_"):
            error.args = (f"{operator}: {rest}",)


@contextmanager
def naming(operator: str) -> Iterator[None]:
    """Have errors of the block name the function that was called."""
    try:
        yield
    except RENAMED as error:
        rename(error, operator)
        raise


def host_out_of_memory(operator: str, error: MemoryError, *rows: str) -> OutOfMemory:
    """The error of an operator for which NumPy, or the device, has not enough memory."""
    if isinstance(error, OutOfMemory):
        return error.within(operator, *rows)
    return OutOfMemory(message(operator, "out of memory on device cpu", *rows, str(error)))


def out_of_memory(device: str, requested: int, free: int, total: int) -> OutOfMemory:
    """The error of a device that has not `requested` bytes left; a `total` of 0 is not known.

    >>> print(out_of_memory("cuda", 3 << 30, 1 << 30, 8 << 30))
    cuda: out of memory
      requested 3.00 GiB (3221225472 bytes)
      free 1.00 GiB of 8.00 GiB
    """
    asked = f"requested {_size(requested)} ({requested} bytes)"
    rows = [asked, f"free {_size(free)} of {_size(total)}"] if total else [asked]
    error = OutOfMemory(message(device, "out of memory", *rows))
    error.requested = requested
    return error


def _size(nbytes: int) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.2f} {unit}"
    return f"{nbytes} bytes"
