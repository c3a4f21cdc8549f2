"""The text of printed kernels: types, address spaces, declarations, names, and what is refused."""

import importlib
import itertools
import pkgutil
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, KernelError
from numbatorch.language.groups import (
    add_atomically,
    barrier,
    finish_tile,
    group_sum,
    local,
    shared,
    thread,
    threads,
)
from numbatorch.language.kernel import (
    EmittedKernel,
    Epilogue,
    Kernel,
    KernelSpec,
    Pointer,
    T,
    helper,
    kernel,
    share,
)
from numbatorch.language.primitives import (
    float32,
    float64,
    int32,
    uint32,
)
from numbatorch.language.simd.vectors import lanes
from numbatorch.language.words import float16
from numbatorch.metal.msl import literal
from numbatorch.metal.printer import CONTEXT, print_kernel
from tests.metal import clang, device

SIZE = 4 * 8
PARAMETERS = 'out: Pointer["bool"], eps: float'


def body(spec: KernelSpec, epilogue: KernelSpec | None = None) -> list[str]:
    """The statements of the kernel function."""
    text = print_kernel(spec, epilogue).text
    lines = text[text.index("kernel void") :].splitlines()
    return [line[4:] for line in lines[lines.index(") {") + 1 : -1]]


def emitted(*statements: str, parameters: str = 'out: Pointer["int64"], n: int') -> EmittedKernel:
    lines = [
        "from numbatorch.language.kernel import *",
        "from numbatorch.language.groups import *",
        "from numbatorch.language.primitives import *",
        f"def kernel({parameters}, part: int, parts: int) -> None:",
        *(f"    {statement}" for statement in statements),
    ]
    text = "\n".join(lines)
    words = ["pointer" if "Pointer" in p else p.split(": ")[1] for p in parameters.split(", ")]
    return EmittedKernel("emitted", (text,), words, lambda: text)


def every_kernel() -> list[KernelSpec]:
    """All kernels that GPUs run, over the first and last of their types that Metal has."""
    found = []
    for package in ("numbatorch.ops.portable", "numbatorch.cuda_kernels"):
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            module = importlib.import_module(f"{package}.{info.name}")
            for value in vars(module).values():
                if not isinstance(value, Kernel) or value.__module__ != module.__name__:
                    continue
                choices = [[x for x in c if x != "float64"] for c in value.types.values()]
                for types in dict.fromkeys([(*map(min, choices),), (*map(max, choices),)]):
                    found.append(value(**dict(zip(value.types, types, strict=True))))
    return found


@pytest.mark.parametrize("spec", every_kernel(), ids=lambda spec: spec.name)
def test_kernels_keep_the_rules_of_metal(spec: KernelSpec) -> None:
    found = print_kernel(spec)
    text = re.sub(r"//.*", "", found.text)
    assert not re.search(r"\bdouble\b|\bint64_t\b|\bstd::|\bauto\b|\b0x[0-9a-f.]*p", text)
    for pointer in re.finditer(r"(?:(\w+) )?(\w+)\* ?[a-z)]", text):
        assert pointer[1] in ("device", "threadgroup", "thread"), pointer[0]
    assert f"[[max_total_threads_per_threadgroup(256)]]\nkernel void {found.symbol}(\n" in text
    for parameter in CONTEXT.values():
        assert f"{parameter} [[" in text
    assert found.shared_bytes <= 32 << 10
    assert ("threadgroup_barrier(" in text or "simd_" in text) <= found.uses_groups
    assert found.text.startswith(f"// {spec.name}")


@pytest.mark.skipif(not clang.INSTALLED, reason="libclang is not installed")
@pytest.mark.parametrize("spec", every_kernel(), ids=lambda spec: spec.name)
def test_clang_has_no_warnings(spec: KernelSpec, tmp_path: Path) -> None:
    text, _library = device.library_of(print_kernel(spec))
    assert clang.problems(text, clang.ALL_WARNINGS) == []


@kernel(T=("float16", "bfloat16", "float8_e4m3fn", "bool", "Q4_0", "uint64", "float64"))
def copied(out: Pointer[T], half: Pointer[T], n: int, eps: float, part: int, parts: int) -> None:
    """Copies, with names that C++ and Metal use themselves."""
    lo, hi = share(n, part, parts)
    for int in range(lo, hi):
        out[int] = half[int] + eps


def test_arguments_are_words_of_eight_bytes() -> None:
    text = print_kernel(copied(T="float16")).text
    start = text.index("struct Arguments")
    assert text[start : text.index("};", start)].splitlines()[1:] == [
        "    device half* out;",
        "    device half* half_;",
        "    long n;",
        "    float eps; uint eps_pad;",
    ]
    assert "copied_float16: Copies, with names" in text.splitlines()[0]


@pytest.mark.parametrize(
    ("dtype", "line"),
    [
        ("float16", "out[int_] = half(float(half_[int_]) + eps);"),
        ("bfloat16", "out[int_] = bfloat(float(half_[int_]) + eps);"),
        ("float8_e4m3fn", "out[int_] = to_float8_e4m3fn(from_float8_e4m3fn(half_[int_]) + eps);"),
        ("bool", "out[int_] = uchar(float(half_[int_]) + eps != 0.0f);"),
        ("Q4_0", "out[int_ * 18] = uchar(float(half_[int_ * 18]) + eps);"),
        ("uint64", "out[int_] = ulong(float(half_[int_]) + eps);"),
    ],
)
def test_elements_are_loaded_and_stored_in_their_type(dtype: str, line: str) -> None:
    lines = body(copied(T=dtype))
    assert f"    {line}" in lines
    assert "for (long int_ = lo; int_ < hi; int_++) {" in lines


def test_only_the_prelude_that_is_used_is_printed() -> None:
    text = print_kernel(copied(T="float8_e4m3fn")).text
    assert text.count("to_float8_e4m3fn(float x)") == 1
    assert "e5m2" not in text and "floor_div" not in text


@helper
def first_of(x: Any, at: int) -> Any:
    """The element, wherever it lies."""
    return x[at]


@kernel
def spaces(out: Pointer[float32], x: Pointer[float16], n: int) -> None:
    tile = shared(float32, SIZE)
    mine = local(float32, 2 * SIZE)
    tile[thread()] = x[n]
    mine[0] = 1.0
    barrier()
    out[0] = first_of(x, n) + first_of(tile, 1) + first_of(mine, 0) + first_of(out, 2)
    out[1] = first_of(tile, 3) * group_sum(mine[0])


def test_a_helper_is_printed_for_each_address_space() -> None:
    found = print_kernel(spaces())
    heads = re.findall(r"float first_of\w*\((\w+) (\w+)\* x, long at\)", found.text)
    assert heads == [
        ("device", "half"),
        ("threadgroup", "float"),
        ("thread", "float"),
        ("device", "float"),
    ]
    assert found.uses_groups
    assert found.shared_bytes == 4 * SIZE + 128
    assert "threadgroup float* tile = (threadgroup float*)(shared + tile_offset);" in found.text
    assert "float mine[64];" in found.text
    assert found.text.count("// The element, wherever it lies.") == 4


@kernel
def alone(out: Pointer[float32], n: int) -> None:
    for i in range(thread(), n, threads()):
        out[i] = 0.0


def test_a_kernel_whose_threads_do_not_meet_says_so() -> None:
    found = print_kernel(alone())
    assert (found.uses_groups, found.shared_bytes) == (False, 0)


def test_variables_are_declared_where_they_are_first_assigned() -> None:
    spec = emitted(
        "last = 0",
        "for i in range(n):",
        "    if i > 2:",
        "        kind = 1",
        "    else:",
        "        kind = 2",
        "    if i > 0:",
        "        out[i] = before * kind",
        "    before = i",
        "    square = i * i",
        "    last = square",
        "out[0] = last",
    )
    with pytest.raises(KernelError, match="before is not defined, or read before it is assigned"):
        print_kernel(spec)
    text = print_kernel(spec_with_start(spec)).text
    assert "\n    long before = 0;\n    for (" in text
    assert "\n        long kind;\n        if (i > 2) {\n            kind = 1;" in text
    assert "\n        long square = i * i;" in text


def spec_with_start(spec: EmittedKernel) -> EmittedKernel:
    text = spec.source().replace("    last = 0", "    last = 0\n    before = 0")
    return EmittedKernel("emitted", (text,), spec.signature, lambda: text)


@kernel
def finished(out: Pointer[float32], n: int, finish: Epilogue) -> None:
    out[n] = 1.0
    finish_tile(finish, 0, 0, 1, n, n + 1)


def epilogue() -> EmittedKernel:
    text = """\
'''doubled fuses: mul (4,), add (4,).'''
from numbatorch.language.kernel import Pointer


def kernel(
    out: Pointer["float32"], n: int,
    batch: int, row0: int, row1: int, col0: int, col1: int,
) -> None:
    for i in range(col0, col1):
        out[i] = out[i] * 2.0 + n
"""
    return EmittedKernel("doubled", (text,), ["pointer", "int"], lambda: text)


def test_an_epilogue_is_called_with_words_of_its_own() -> None:
    plain = print_kernel(finished())
    found = print_kernel(finished(), epilogue())
    assert "finish_epilogue(" not in plain.text
    assert found.symbol != plain.symbol
    assert "    long n;\n    device float* finish_out;\n    long finish_n;\n};" in found.text
    assert "finish_epilogue(0, 0, 1, n, n + 1, args);" in found.text
    assert "// Epilogue: doubled fuses: mul (4,), add (4,)." in found.text
    with pytest.raises(KernelError, match="alone: takes no epilogue"):
        print_kernel(alone(), epilogue())
    with pytest.raises(KernelError, match="is no epilogue"):
        print_kernel(finished(), alone())


def test_data_wraps_around_and_indices_are_plain() -> None:
    spec = emitted(
        "a = out[0] * out[1] + n",
        "b = int32(int32(out[2]) * int32(7))",
        "c = uint8(uint8(b) << uint8(3))",
        "out[n * 2 + a] = c + (part * 4)",
    )
    assert body(spec)[-4:] == [
        "long a = wrap_add(wrap_mul(out[0], out[1]), n);",
        "int b = wrap_mul(int(out[2]), 7);",
        "uchar c = uchar(uint(uchar(b)) << 3);",
        "out[n * 2 + a] = c + part * 4;",
    ]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("out[0] = unknown", "unknown is not defined, or read before it is assigned"),
        ("out[0] = print(n)", "print is no word that Metal's printer knows"),
        ("assert n", "is not in the language of kernels"),
        ("out[0] = [1]", "\\[1\\] is not in the language of kernels"),
        ("out[0] = 1 if n else out", "is int64 in one place and device long\\* in another"),
        ("x = local(float32, n)", "the size of an array is a positive constant"),
        ("out[0] = local(float32, 4)[0]", "assigned to a name where it is made"),
        ("out[0] = atomic_add(out, 0, 1)", "Metal cannot add atomically to int64"),
        ("out[0] = 5.0 % float32(n)", "% is for integers here"),
        ("out[0.5] = 1", "an index is an integer, not float32"),
        ("out[0] = n(1)", "n is no function"),
        ("out[0] = sqrt(1.0, 2.0)", "takes 1 arguments, not 2"),
        ("out[0] = out + 1", "out \\+ 1 is a pointer, not a number"),
        ("x = out; x = view(out, int32)", "x is device long\\* in one place and device int\\*"),
        ("x = shared(float32, 8193)", "a group shares 32784 bytes, Metal gives it 32768"),
        ("for i in out: pass", "a loop runs over a range"),
    ],
)
def test_what_cannot_be_printed_names_kernel_and_line(statement: str, problem: str) -> None:
    spec = emitted(*statement.split("; "))
    with pytest.raises(KernelError, match=f"(?s){problem}.*") as found:
        print_kernel(spec)
    if "shares" not in problem:
        first, place = str(found.value).splitlines()[:2]
        assert first.startswith("kernel: ")
        assert re.search(r"emitted-\w+\.py:[56]$", place)


@helper
def endless(n: int) -> int:
    return endless(n - 1)  # type: ignore[no-any-return]


@kernel
def recursive(out: Pointer[int32], n: int) -> None:
    out[0] = endless(n)


@kernel
def vectors(out: Pointer[float32], n: int, part: int, parts: int) -> None:
    out[0] = lanes(out)


def test_words_of_the_cpu_are_refused() -> None:
    with pytest.raises(KernelError, match="lanes is no word that Metal's printer knows"):
        print_kernel(vectors())


def test_recursion_is_refused() -> None:
    with pytest.raises(KernelError, match="endless calls itself") as found:
        print_kernel(recursive())
    assert "test_printer.py" in str(found.value)


@kernel
def wide(out: Pointer[float32], n: int) -> None:
    out[n] = float64(out[n]) + 1.0


@pytest.mark.parametrize("spec", [copied(T="float64"), wide()], ids=lambda spec: spec.name)
def test_float64_is_refused(spec: KernelSpec) -> None:
    with pytest.raises(DTypeError, match="Metal has no float64") as found:
        print_kernel(spec)
    assert "hint: use float32" in str(found.value)


@kernel
def added(out: Pointer[float32], counts: Pointer[uint32], at: int) -> None:
    add_atomically(out, at, 1)
    add_atomically(counts, 0, 1)
    tile = shared(float32, 4)
    add_atomically(tile, 0, 1.0)


def test_floats_of_a_group_are_not_added_atomically() -> None:
    with pytest.raises(KernelError, match="float32 in device memory only"):
        print_kernel(added())


def test_infinity_is_metals_own() -> None:
    spec = emitted("out[0] = sqrt(float32(n)) + inf")
    assert body(spec)[-1] == "out[0] = long(sqrt(float(n)) + INFINITY);"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("out[0] = n + 1 >> 4", "out[0] = (n + 1) >> 4;"),
        ("out[0] = n << part - 1", "out[0] = n << (part - 1);"),
        ("out[0] = n & 3 | part ^ 1", "out[0] = (n & 3) | (part ^ 1);"),
        ("out[0] = n < 1 or n > 5 and part < 2", "out[0] = long(n < 1 || (n > 5 && part < 2));"),
        ("out[0] = n & 3 & part", "out[0] = n & 3 & part;"),
        ("out[0] = n != n", "out[0] = 0;"),
    ],
)
def test_operators_that_clang_would_doubt(statement: str, expected: str) -> None:
    assert body(emitted(statement))[-1] == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [("x != x", "isnan(x)"), ("x == x", "!isnan(x)"), ("x < x", "false"), ("x <= x", "!isnan(x)")],
)
def test_a_float_beside_itself_is_asked_whether_it_is_nan(statement: str, expected: str) -> None:
    spec = emitted("x = eps + 1.0", f"out[0] = {statement}", parameters=PARAMETERS)
    assert body(spec)[-1] == f"out[0] = uchar({expected});"


def test_names_of_macros_are_not_those_of_variables() -> None:
    lines = body(emitted("INT_MAX = n", "M_PI_F = n + 1", "out[0] = INT_MAX + M_PI_F"))
    assert [line.split(" = ")[0] for line in lines[-3:-1]] == ["long INT_MAX_", "long M_PI_F_"]


def test_every_number_is_a_literal_of_its_type() -> None:
    for dtype, value in itertools.product(dt.INTEGERS, (0, 1, -1, -(2**31), -(2**63), 2**63)):
        info = np.iinfo(dtype.numpy)
        if info.min <= value <= info.max:
            text = literal(value, dtype)
            plain = re.sub(r"(?<=\d)u?l?\b|\b(uchar|char|u?short)", "", text)
            assert eval(plain) == value
