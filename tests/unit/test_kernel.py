"""The kernel language: element types, pointers, primitives, keys, and what LLVM makes of them."""

import ctypes
import math
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.backends.cpu import pack
from numbatorch.errors import KernelError
from numbatorch.language import kernel as kernels
from numbatorch.language.kernel import (
    EmittedKernel,
    KernelSpec,
    Pointer,
    T,
    U,
    address,
    helper,
    kernel,
    share,
    view,
)
from numbatorch.language.primitives import (
    atomic_add,
    bits,
    bool_,
    copysign,
    fabs,
    float32,
    float64,
    floor,
    fma,
    fmod,
    from_bits,
    int8,
    int32,
    int64,
    maximum,
    minimum,
    rint,
    select,
    to_int8,
    to_uint8,
    trunc,
    truncdiv,
    uint8,
    uint64,
)
from tests.compare import assert_close

NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def block(spec: KernelSpec, arguments: tuple[Any, ...]) -> np.ndarray:
    words = np.zeros(len(arguments), np.int64)
    for i, (word, value) in enumerate(zip(spec.signature, arguments, strict=True)):
        if word == "float":
            words[i : i + 1].view(np.float64)[0] = value
        else:
            words[i] = value.ctypes.data if isinstance(value, np.ndarray) else value
    return words


def run(spec: KernelSpec, *arguments: Any, parts: int = 1) -> None:
    words = block(spec, arguments)
    entry = ENTRY(pack.addresses([spec])[spec.key])
    for part in range(parts):
        entry(words.ctypes.data, part, parts)


@kernel(T=tuple(d.name for d in dt.PLAIN))
def doubled(out: Pointer["T"], x: Pointer["T"], n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = x[i] + x[i]


@kernel(T=NARROW)
def widen(out: Pointer["float32"], x: Pointer["T"], n: int, part: int, parts: int) -> None:
    for i in range(n):
        out[i] = x[i]


@kernel(T=NARROW)
def narrow(out: Pointer["T"], x: Pointer["float32"], n: int, part: int, parts: int) -> None:
    for i in range(n):
        out[i] = x[i]


@kernel(T=NARROW)
def rounded(out: Pointer["float32"], x: Pointer["float32"], n: int, part: int, parts: int) -> None:
    for i in range(n):
        out[i] = T(x[i])


def all_codes(name: str) -> np.ndarray:
    size = dt.by_name[name].itemsize
    return np.arange(256**size, dtype=np.uint16 if size == 2 else np.uint8)


def hard_floats(name: str) -> np.ndarray:
    """Every value of a narrow type, ties between neighbours, what is next to them, and noise."""
    values = all_codes(name).view(dt.by_name[name].numpy).astype(np.float32)
    exact = np.unique(values[np.isfinite(values)]).astype(np.float64)
    ties = ((exact[1:] + exact[:-1]) / 2).astype(np.float32)
    beyond = np.float32([465, 464, 463.9, 61440, 61439.9, 65519, 65520, 3.4e38, np.inf, np.nan])
    noise = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    above, below = np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)
    return np.concatenate([values, ties, above, below, beyond, -beyond, noise]).astype(np.float32)


def without_half_instructions(spec: KernelSpec, *arguments: Any) -> None:
    """Run a kernel that is compiled for a processor that cannot convert half types."""
    import llvmlite.binding as llvm

    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    host = processor.host()
    if not host.triple.startswith("x86_64"):
        pytest.skip("needs a processor without conversions of half types")
    code = compiler.compile_object(spec, processor.CPU(host.triple, "x86-64", ""))
    builder = llvm.JITLibraryBuilder().add_object_img(code).export_symbol(spec.symbol)
    jit = llvm.create_lljit_compiler(target.machine(host, jit=True))
    library = builder.link(jit, "baseline")
    ENTRY(library[spec.symbol])(block(spec, arguments).ctypes.data, 0, 1)


@pytest.mark.parametrize("name", [d.name for d in dt.PLAIN])
def test_every_dtype_is_loaded_and_stored(name: str) -> None:
    dtype = dt.by_name[name].numpy
    x = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1] * 5).astype(dtype)
    if name != "bool":
        x = (x.astype(np.float32) * 3).astype(dtype)
    out = np.zeros_like(x)
    run(doubled(T=name), out, x, x.size, parts=4)
    expected = x if name == "bool" else (x.astype(np.float32) * 2).astype(dtype)
    np.testing.assert_array_equal(out.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("runner", [run, without_half_instructions])
@pytest.mark.parametrize("name", NARROW)
def test_all_codes_of_narrow_types_widen_exactly(name: str, runner: Any) -> None:
    codes = all_codes(name)
    expected = codes.view(dt.by_name[name].numpy).astype(np.float32)
    out = np.zeros_like(expected)
    runner(widen(T=name), out, codes, codes.size)
    np.testing.assert_array_equal(out, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(out[number].view(np.int32), expected[number].view(np.int32))


@pytest.mark.parametrize("runner", [run, without_half_instructions])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_types_round_as_ml_dtypes(name: str, runner: Any) -> None:
    dtype = dt.by_name[name].numpy
    x = hard_floats(name)
    with np.errstate(all="ignore"):
        expected = x.astype(dtype)
    out = np.zeros_like(expected)
    runner(narrow(T=name), out, x, x.size)
    wrong = out.view(f"u{dtype.itemsize}") != expected.view(f"u{dtype.itemsize}")
    wrong &= ~(np.isnan(out.astype(np.float32)) & np.isnan(x))  # NaN carries no payload
    assert not wrong.any(), (x[wrong][:5], out[wrong][:5], expected[wrong][:5])


@pytest.mark.parametrize("name", NARROW)
def test_calling_a_narrow_type_rounds(name: str) -> None:
    x = hard_floats(name)
    with np.errstate(all="ignore"):
        expected = x.astype(dt.by_name[name].numpy).astype(np.float32)
    out = np.zeros_like(x)
    run(rounded(T=name), out, x, x.size)
    np.testing.assert_array_equal(out, expected)


@kernel
def share_ends(out: Pointer["int64"], n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    out[2 * part] = lo
    out[2 * part + 1] = hi


@pytest.mark.parametrize("n", [0, 1, 5, 7, 64, 1000003])
@pytest.mark.parametrize("parts", [1, 2, 7, 16])
def test_shares_cover_the_range_once_and_evenly(n: int, parts: int) -> None:
    out = np.zeros(2 * parts, np.int64)
    run(share_ends(), out, n, parts=parts)
    assert out[0] == 0 and out[-1] == n
    np.testing.assert_array_equal(out[1:-1:2], out[2::2])
    assert np.ptp(out[1::2] - out[::2]) <= 1


@kernel
def float_words(
    out: Pointer["float32"], x: Pointer["float32"], n: int, part: int, parts: int
) -> None:
    for i in range(n):
        a = x[i]
        out[i * 10] = floor(a)
        out[i * 10 + 1] = rint(a)
        out[i * 10 + 2] = trunc(a)
        out[i * 10 + 3] = fabs(a)
        out[i * 10 + 4] = minimum(a, float32(1.0))
        out[i * 10 + 5] = maximum(a, float32(1.0))
        out[i * 10 + 6] = copysign(float32(2.0), a)
        out[i * 10 + 7] = fmod(a, float32(1.5))
        out[i * 10 + 8] = fma(a, a, -(a * a))
        out[i * 10 + 9] = select(a > float32(0.0), a, float32(-1.0))


def test_float_primitives_agree_with_numpy() -> None:
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, -0.0, 3.7, -1e30, np.inf, -np.inf, np.nan])
    out = np.zeros((x.size, 10), np.float32)
    run(float_words(), out, x, x.size)
    one = np.float32(1)
    with np.errstate(all="ignore"):
        columns = [np.floor(x), np.rint(x), np.trunc(x), np.abs(x), np.minimum(x, one)]
        columns += [np.maximum(x, one), np.copysign(np.float32(2), x), np.fmod(x, np.float32(1.5))]
    for got, expected in zip(out.T, columns, strict=False):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(out[:, 9], np.where(x > 0, x, -1))


@kernel
def integer_words(out: Pointer["int64"], x: Pointer["float32"], part: int, parts: int) -> None:
    out[0] = bits(x[0])
    out[1] = bits(float64(x[0]))
    out[2] = bits(from_bits(int32(0x40490FDB)))
    out[3] = truncdiv(int64(-7), int64(2))
    out[4] = int8(int64(300))
    out[5] = uint8(int64(-1))
    out[6] = to_int8(x[1])
    out[7] = to_uint8(x[1])
    out[8] = to_int8(x[2])
    out[9] = bool_(x[0])
    out[10] = uint64(int64(-1)) >> uint64(60)
    out[11] = bool_(x[3])


def test_integer_primitives() -> None:
    x = np.float32([3.14159265, -1000.0, np.nan, 0.0])
    out = np.zeros(12, np.int64)
    run(integer_words(), out, x)
    assert out[0] == x[:1].view(np.int32)[0]
    assert out[1] == x[:1].astype(np.float64).view(np.int64)[0]
    assert out[2:].tolist() == [0x40490FDB, -3, 44, 255, -128, 0, 0, 1, 15, 0]


@kernel
def counted(total: Pointer["int64"], x: Pointer["int64"], n: int, part: int, parts: int) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        atomic_add(total, 0, x[i])


def test_atomic_add() -> None:
    total, x = np.zeros(1, np.int64), np.arange(100)
    run(counted(), total, x, 100, parts=3)
    assert total[0] == x.sum()


@kernel
def viewed(out: Pointer["float32"], raw: Pointer["uint8"], n: int, part: int, parts: int) -> None:
    halves = view(raw + 2, kernels_float16)
    first = view(address(raw), kernels_float16)
    for i in range(n):
        out[i] = halves[i] + first[0]


kernels_float16 = dt.float16  # dtypes of the package are words too


def test_pointers_move_and_change_their_type() -> None:
    x = np.arange(1, 9, dtype=np.float16)
    out = np.zeros(7, np.float32)
    run(viewed(), out, x, 7)
    np.testing.assert_array_equal(out, x[1:].astype(np.float32) + 1)


@helper
def scaled(x: Any, scale: Any) -> Any:
    return x * scale


def polynomial(order: int) -> Any:
    """A kernel of its own for each order, as tile sizes give."""

    @kernel(T=("float32", "float64"))
    def power(out: Pointer["T"], x: Pointer["T"], n: int, c: float, part: int, parts: int) -> None:
        for i in range(n):
            value = T(c)
            for _ in range(order):
                value = scaled(value, x[i])
            out[i] = value

    return power


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_closures_helpers_and_type_parameters(name: str) -> None:
    x = np.linspace(0, 2, 9).astype(name)
    out = np.zeros_like(x)
    run(polynomial(3)(T=name), out, x, 9, 0.5)
    assert_close(out, 0.5 * x**3, "elementwise")


@kernel(T=("float32",), U=("float16", "int8"))
def calls_a_kernel(out: Pointer["T"], x: Pointer["U"], n: int, part: int, parts: int) -> None:
    for i in range(n):
        out[i] = U(x[i])
    doubled(out, out, n, part, parts)


def test_kernels_call_kernels() -> None:
    x = np.arange(20, dtype=np.int8)
    out = np.zeros(20, np.float32)
    run(calls_a_kernel(T="float32", U="int8"), out, x, 20)
    np.testing.assert_array_equal(out, 2 * x)


def test_keys_depend_on_code_constants_helpers_and_types() -> None:
    def make(scale: float, doc: str) -> Any:
        @helper
        def inner(x: Any) -> Any:
            return x * scale

        @kernel(T=("float32", "float64"))
        def outer(out: Pointer["T"], n: int, part: int, parts: int) -> None:
            for i in range(n):
                out[i] = inner(out[i])

        inner.function.__doc__ = doc
        return outer

    keys = {make(2.0, "a")(T=t).key for t in ("float32", "float64")} | {
        make(3.0, "a")(T="float32").key
    }
    assert len(keys) == 3
    assert make(2.0, "a")(T="float32") == make(2.0, "b")(T=dt.float32)
    assert polynomial(2)(T="float32").key != polynomial(3)(T="float32").key


def test_emitted_kernels_are_files_that_people_can_read(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    asked = []

    def text() -> str:
        asked.append(1)
        return (
            "from numbatorch.language.kernel import Pointer, kernel\n"
            "from numbatorch.language.primitives import float32\n"
            "@kernel\n"
            'def kernel(out: Pointer["float32"], part: int, parts: int) -> None:\n'
            "    out[0] = float32(41.0) + float32(1.0)\n"
        )

    spec = EmittedKernel("add relu", ("test", "1"), ("pointer",), text)
    out = np.zeros(1, np.float32)
    assert not asked
    run(spec, out)
    again = EmittedKernel("add relu", ("test", "1"), ("pointer",), text)
    run(again, out)
    assert out[0] == 42 and asked == [1]
    (path,) = (tmp_path / "source").iterdir()
    assert path.read_text() == spec.source() and str(path) == spec.path()
    assert path.name.startswith("add_relu-")


def test_emitted_text_has_the_signature_that_it_declares(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    text = "def kernel(n: int, part: int, parts: int) -> None:\n    pass\n"
    spec = EmittedKernel("odd", ("signature",), ("int", "int"), lambda: text)
    with pytest.raises(KernelError, match=r"odd: the text takes \(int\)"):
        pack.addresses([spec])
    spec = EmittedKernel("odd", ("syntax",), (), lambda: "def kernel(")
    with pytest.raises(KernelError, match=r"odd: does not compile[^$]*SyntaxError"):
        pack.addresses([spec])


def test_what_does_not_compile_names_the_kernel_and_its_file() -> None:
    @kernel
    def broken(out: Pointer["float32"], part: int, parts: int) -> None:
        out[0] = unknown_word(1)  # noqa: F821

    with pytest.raises(KernelError, match=r"broken: does not compile") as caught:
        pack.addresses([broken()])
    assert __file__ in str(caught.value) and "unknown_word" in str(caught.value)


def test_kernels_do_not_raise() -> None:
    @kernel
    def raising(out: Pointer["float32"], part: int, parts: int) -> None:
        assert parts == 1

    with pytest.raises(KernelError, match="raising: a kernel cannot raise"):
        pack.addresses([raising()])


def test_signatures_are_checked_where_the_kernel_is_written() -> None:
    @kernel
    def grouped(out: Pointer["float32"], n: int) -> None:
        out[n] = 0.0

    with pytest.raises(KernelError, match="part, parts"):
        pack.addresses([grouped()])
    with pytest.raises(KernelError, match="neither a dtype nor a type parameter"):

        @kernel
        def odd(out: Pointer["float31"], part: int, parts: int) -> None: ...  # noqa: F821

    with pytest.raises(KernelError, match="T cannot be int3"):
        doubled(T="int3")
    with pytest.raises(TypeError, match="in a kernel only"):
        floor(1.5)


def test_names_of_words_that_specs_carry() -> None:
    spec = polynomial(2)(T="float32")
    assert spec.signature == ("pointer", "pointer", "int", "float")
    assert spec.name == "power_float32" and math.isfinite(int(spec.key, 16))
    assert "value = T(c)" in spec.source()
    assert kernels.KernelSpec.source is not type(spec).source


@kernel
def many_pointers(
    out: Pointer["float32"],
    a: Pointer["float32"],
    b: Pointer["float32"],
    c: Pointer["float32"],
    d: Pointer["float32"],
    e: Pointer["float32"],
    f: Pointer["float32"],
    g: Pointer["float32"],
    n: int,
    part: int,
    parts: int,
) -> None:
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = a[i] * b[i] + c[i] * d[i] + e[i] * f[i] + g[i]


def test_loops_over_many_pointers_are_vectors_with_fma_and_no_overlap_checks() -> None:
    from numbatorch.backends.cpu import compiler, target
    from numbatorch.language import processor

    cpu = processor.host()
    module = compiler.module(many_pointers(), cpu)
    text = str(module)
    assert "x float>" in text and "memcheck" not in text
    if cpu.has("avx512f"):
        assembly = target.machine(cpu).emit_assembly(module)
        assert "vfmadd" in assembly and ("zmm" in assembly or "ymm" in assembly)


@pytest.mark.parametrize(
    ("triple", "features"),
    [
        ("aarch64-unknown-linux-gnu", "+neon"),
        ("arm64-apple-darwin", "+neon"),
        ("x86_64-pc-windows-msvc", "+avx2,+fma,+f16c"),
        ("wasm32-unknown-unknown", "+simd128"),
    ],
)
def test_kernels_compile_for_other_processors(triple: str, features: str) -> None:
    from numbatorch.backends.cpu import compiler, loop, target
    from numbatorch.language import processor

    cpu = processor.CPU(triple, "generic", features)
    specs = [many_pointers(), narrow(T="float16"), narrow(T="float8_e4m3fn"), loop.worker()]
    for spec in specs[: 3 if triple.startswith("wasm") else 4]:
        module = compiler.module(spec, cpu)
        assert module.triple == triple
        assert triple.startswith("x86") or "x86" not in str(module)
        assert len(target.machine(cpu).emit_object(module)) > 200
    assert " x float>" in str(compiler.module(many_pointers(), cpu))
