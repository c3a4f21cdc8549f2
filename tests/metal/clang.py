"""Checks kernels with Clang's parser, where libclang is installed: `pip install libclang`.

Metal's compiler is Clang, and tells pointers into device, threadgroup, constant and thread memory
apart. g++ has one address space; Clang has as many as metal_stdlib asks for. Texts with vectors
are left out: Clang's own have no constructors outside of Metal.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numbatorch.errors import KernelError, message

FLAGS = ("-x", "c++", "-std=c++14", "-nostdinc", f"-I{Path(__file__).parent}")  # Metal is C++14
NO_WARNINGS = ("-Wno-everything",)
# But for those of Metal's attributes, and of what kernels have in common.
ALL_WARNINGS = (
    *("-Wall", "-Wextra", "-Wconversion", "-Wno-unused-parameter", "-Wno-unknown-attributes"),
    *("-Wno-unused-function", "-Wno-reserved-user-defined-literal"),
)
VECTORS = re.compile(r"\b(bool|u?char|u?short|u?int|u?long|half|bfloat|float)[234]\b")
WARNING = 2  # clang.cindex.Diagnostic.Warning


def _load() -> Any:
    """Makes an index to parse with; None without libclang."""
    if find_spec("clang") is None:
        return None
    from clang.cindex import Index, LibclangError

    try:
        Index.create()
    except LibclangError:  # the bindings are there, the library is not
        return None
    return Index.create


INDEX = _load()  # now, for its library is found by the system's name, which tests pretend about
INSTALLED = INDEX is not None


def check(path: Path, name: str) -> None:
    """Raise if Clang refuses a kernel's text."""
    if not INSTALLED or VECTORS.search(path.read_text(encoding="utf-8")):
        return
    rows = problems(path, NO_WARNINGS)
    if rows:
        raise KernelError(message(name, "clang refuses its text", *rows[:9], str(path)))


def problems(path: Path, warnings: Sequence[str]) -> list[str]:
    """What Clang says of a text, but for warnings of the headers."""
    found = INDEX().parse(str(path), args=[*FLAGS, *warnings]).diagnostics
    return [
        f"line {d.location.line}: {d.spelling}"
        for d in found
        if d.severity > WARNING or (d.severity == WARNING and str(d.location.file) == str(path))
    ]
