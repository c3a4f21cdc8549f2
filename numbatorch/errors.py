"""The exceptions of numbatorch and the form of their messages.

Every class inherits the builtin that people already catch for that mistake.
"""


class ShapeError(ValueError):
    """Shapes that do not fit an operator."""


class DTypeError(TypeError):
    """A dtype that an operator has no meaning for, or dtypes that do not promote."""


class DeviceError(RuntimeError):
    """Operands on different devices, or an operation that a device cannot do."""


class OutOfRange(IndexError):
    """An index, position or length outside of its range."""


class FormatError(ValueError):
    """A file that does not follow its format: names the file, the tensor and the byte offset."""


class KernelError(RuntimeError):
    """A kernel that could not be compiled or loaded: names the kernel and its source file."""


class BackendUnavailable(ImportError):
    """A device or optional package that is absent: says what to install."""


class GradientError(RuntimeError):
    """A gradient that does not exist: names the operator that has none."""


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
