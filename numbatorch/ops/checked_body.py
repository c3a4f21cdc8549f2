"""What a body of the scalar language means nothing for, found out where it is defined.

Constants are computed by the NumPy function, which knows nothing of the body.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from numbatorch.apart import import_module
from numbatorch.errors import DTypeError


def check_body(op: Any) -> None:
    """Read the body of an elementwise operator, and note in `refused` what it means nothing for.

    Where an attribute has neither a default nor an annotation that says what it may be, only what
    names it is known.

    Raises:
        ValueError: the body is not of the scalar language.
        DTypeError: it has no meaning for any of the operator's dtypes.
    """
    import_module("numbatorch.ops.scalar_reader")
    from numbatorch.ops.scalar_reader import Builder, read

    given = {}
    for name in read(op.body).attributes:
        found = op.defaults.get(name, _EXAMPLES.get(_annotation(op.body, name)))
        if found is None:
            return
        given[name] = found
    for dtype in op.dtypes:
        builder = Builder()
        kinds = (op.fixed.get(i, dtype).compute for i in range(op.arity))
        operands = [builder.operand(f"x{i}", kind) for i, kind in enumerate(kinds)]
        try:
            builder.call(op, operands, given)
        except DTypeError as error:
            op.refused[dtype] = str(error)
            if len(op.refused) == len(op.dtypes):
                raise


_EXAMPLES: dict[str, Any] = {"float": 1.0, "int": 1, "bool": True}


def _annotation(body: FunctionType, name: str) -> str:
    found = body.__annotations__.get(name, "")
    return found if isinstance(found, str) else getattr(found, "__name__", "")
