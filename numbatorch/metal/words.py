"""The words of kernels in MSL: primitives.py, groups.py, share, view and address."""

import ast
from collections.abc import Callable

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.metal import arithmetic, values
from numbatorch.metal.msl import PointerType, Static, TupleType
from numbatorch.metal.scope import Scope
from numbatorch.metal.values import NOTHING, Expr, Refused, convert, element_of, moved

Handler = Callable[[Scope, ast.Call, list[Expr]], Expr]
PAIR = TupleType((dt.int64, dt.int64))

WORDS: dict[str, Handler] = {}


def word(*names: str) -> Callable[[Handler], Handler]:
    """Registers what words become."""

    def register(handler: Handler) -> Handler:
        WORDS.update(dict.fromkeys(names, handler))
        return handler

    return register


def _take(args: list[Expr], count: int) -> list[Expr]:
    if len(args) != count:
        raise Refused(f"takes {count} arguments, not {len(args)}")
    return args


def _texts(args: list[Expr], dtype: DType) -> str:
    return ", ".join(convert(a, dtype).text for a in args)


def _floats(count: int, name: str) -> Handler:
    def handler(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
        return Expr(f"{name}({_texts(_take(args, count), dt.float32)})", dt.float32)

    return handler


for _word in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs"):
    WORDS[_word] = _floats(1, _word)
for _word in ("copysign", "minimum", "maximum"):
    WORDS[_word] = _floats(2, _word)
WORDS["fmod"] = _floats(2, "precise::fmod")
WORDS["fma"] = _floats(3, "fma")


@word("ldexp")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    value, power = _take(args, 2)
    text = f"ldexp_in_steps({convert(value, dt.float32).text}, {convert(power, dt.int32).text})"
    return Expr(text, dt.float32)


@word("add_reassoc")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    lhs, rhs = _take(args, 2)
    return arithmetic.binary("+", lhs, rhs)


@word("mul_reassoc")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    lhs, rhs = _take(args, 2)
    return arithmetic.binary("*", lhs, rhs)


@word("select")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    return arithmetic.choice(*_take(args, 3))


@word("bits")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    (value,) = _take(args, 1)
    if value.type is not dt.float32:
        raise Refused(f"bits takes a float32, not {value.dtype.name}")
    return Expr(f"as_type<int>({value.text})", dt.int32, bits=32)


@word("from_bits")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    (value,) = _take(args, 1)
    if value.dtype not in (dt.int32, dt.uint32):
        raise Refused(f"from_bits takes an int32 or uint32, not {value.dtype.name}")
    return Expr(f"as_type<float>({value.exact})", dt.float32)


@word("truncdiv")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    lhs, rhs = _take(args, 2)
    kind = lhs.dtype if lhs.dtype.itemsize >= rhs.dtype.itemsize else rhs.dtype
    if kind.kind not in "iu":
        raise Refused(f"truncdiv is for integers, not {kind.name}")
    one, other = convert(lhs, kind), convert(rhs, kind)
    if kind is dt.int64:
        return Expr(f"trunc_div({one.exact}, {other.exact})", kind, bits=lhs.bits)
    text = f"{one.at(values.MUL)} / {other.at(values.MUL + 1)}"
    if kind.itemsize < 4:
        return convert(Expr(text, dt.int32, values.MUL, bits=lhs.bits), kind)
    return Expr(text, kind, values.MUL, bits=lhs.bits)


def _saturating(dtype: DType) -> Handler:
    def handler(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
        text = f"to_{dtype.name}({_texts(_take(args, 1), dt.float32)})"
        return Expr(text, dtype, bits=8 * dtype.itemsize)

    return handler


for _dtype in dt.INTEGERS:
    WORDS[f"to_{_dtype.name}"] = _saturating(_dtype)


@word("share")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    scope.tuples.add(PAIR)
    texts = (convert(a, dt.int64).exact for a in _take(args, 3))
    return Expr(f"share({', '.join(texts)})", PAIR)


@word("address")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    (pointer,) = _take(args, 1)
    assert pointer.pointer
    return Expr(f"long({pointer.text})", dt.int64)


@word("view")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    value, element = _take(args, 2)
    dtype = _element(element)
    space = "device"
    if isinstance(value.type, PointerType):
        space = value.type.space
    elif value.dtype.kind not in "iu":
        raise Refused(f"view takes a pointer or an address, not {value.dtype.name}")
    kind = PointerType(dtype, space)
    return _cast(kind, value.at(values.UNARY))


def _cast(kind: PointerType, text: str) -> Expr:
    return Expr(f"({kind.text}){text}", kind, values.UNARY)


def _element(value: Expr) -> DType:
    dtype = element_of(value.type.value) if isinstance(value.type, Static) else None
    if dtype is None:
        raise Refused(f"{value.text or values.describe(value.type)} is no element type")
    return checked(dtype)


def checked(dtype: DType) -> DType:
    """The dtype, if Metal can store it."""
    if dtype is dt.float64:
        raise Refused("Metal has no float64", "use float32", dtype=True)
    return dtype


def _array(args: list[Expr]) -> tuple[DType, int]:
    element, size = _take(args, 2)
    if not isinstance(size.number, int) or size.number <= 0:
        raise Refused("the size of an array is a positive constant")
    return _element(element), size.number


def local_array(args: list[Expr]) -> tuple[PointerType, int]:
    """Type and size of `local(element, SIZE)`, which only an assignment may call."""
    dtype, size = _array(args)
    kind = PointerType(dtype, "thread")
    return kind, size * kind.step


@word("local")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    raise Refused("an array of the thread is assigned to a name where it is made")


@word("shared")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    dtype, size = _array(args)
    kind = PointerType(dtype, "threadgroup")
    label = scope.module.label(node, f"{scope.target}_offset", scope.names | set(scope.variables))
    scope.arrays[label] = size * dtype.itemsize
    return _cast(kind, f"({scope.use('shared')} + {label})")


def _of_thread(value: str, positive: bool) -> Handler:
    def handler(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
        _take(args, 0)
        return Expr(f"long({scope.use(value)})", dt.int64, positive=positive)

    return handler


for _word in ("thread", "group"):
    WORDS[_word] = _of_thread(f"{_word}_index", False)
    WORDS[f"{_word}s"] = _of_thread(f"{_word}_count", True)


@word("barrier")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    _take(args, 0)
    scope.cooperates = True
    text = "threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device)"
    return Expr(text, NOTHING.type)


def _over_group(name: str) -> Handler:
    def handler(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
        scope.cooperates = True
        scope.arrays["partial_offset"] = 32 * 4
        operands = [
            _texts(_take(args, 1), dt.float32),
            f"{scope.use('shared')} + partial_offset",
            *(scope.use(value) for value in ("thread_count", "lane", "simdgroup")),
        ]
        return Expr(f"{name}({', '.join(operands)})", dt.float32)

    return handler


for _word in ("group_sum", "group_max"):
    WORDS[_word] = _over_group(_word)


def _adding(atomics: dict[DType, str]) -> Handler:
    def handler(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
        pointer, index, value = _take(args, 3)
        kind = pointer.pointer
        name = atomics.get(kind.element)
        if name is None or kind.space == "thread":
            raise Refused(f"Metal cannot add atomically to {kind.element.name} of the {kind.space}")
        if kind.space == "threadgroup" and kind.element is dt.float32:
            raise Refused("Metal adds atomically to float32 in device memory only")
        place = moved(pointer, "+", index)
        cast = f"({kind.space} {name}*)({place.text})"
        added = convert(value, kind.element).exact
        text = f"atomic_fetch_add_explicit({cast}, {added}, memory_order_relaxed)"
        return Expr(text, kind.element, bits=32)

    return handler


_ATOMIC_INTEGERS = {dt.int32: "atomic_int", dt.uint32: "atomic_uint"}
WORDS["atomic_add"] = _adding(_ATOMIC_INTEGERS)
WORDS["add_atomically"] = _adding({**_ATOMIC_INTEGERS, dt.float32: "atomic_float"})


@word("finish_tile")
def _(scope: Scope, node: ast.Call, args: list[Expr]) -> Expr:
    if len(args) != 6:
        raise Refused(f"takes 6 arguments, not {len(args)}")
    epilogue = scope.module.epilogue
    if epilogue is None:
        return NOTHING
    scope.callees.append(epilogue)
    texts = [convert(a, dt.int64).text for a in args[1:]]
    texts += [scope.use(name) for name in epilogue.uses]
    return Expr(f"{epilogue.name}({', '.join(texts)})", NOTHING.type)
