"""Every hand-written CPU kernel becomes object code for processors that need not be this one.

A kernel takes other ways where it has other vectors and instructions. The ways that this processor
cannot run still have to compile, and to call nothing that the C library lacks. Without `--slow` the
kernels and their types are drawn, by the number that `--seed` gives.
"""

import importlib
import pkgutil
import random
import struct

import pytest

import numbatorch.ops.cpu
import numbatorch.ops.portable
from numbatorch import dtype as dt
from numbatorch.backends.cpu import compiler, target
from numbatorch.language.kernel import EmittedKernel, Kernel, call_parameters
from tests.processors import PROCESSORS


def found_kernels() -> dict[str, Kernel]:
    """All kernels that run on a CPU, by module and name."""
    kernels = {}
    for package in (numbatorch.ops.cpu, numbatorch.ops.portable):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(info.name)).values():
                own = isinstance(value, Kernel) and value.__module__ == info.name
                if own and call_parameters(value.function):
                    kernels[f"{info.name.rpartition('.')[2]}.{value.__name__}"] = value
    return kernels


KERNELS = found_kernels()


def bindings(kernel: Kernel) -> list[dict[str, str]]:
    """Types of a kernel such that each choice of each comes up, with what T is computed in as V."""
    types, pairs = kernel.types, []
    count = max((len(choices) for choices in types.values()), default=1)
    rows = [{name: types[name][i % len(types[name])] for name in types} for i in range(count)]
    if {"T", "V"} <= types.keys():
        for row in rows:
            row["V"] = _computed(row["T"], types["V"])
        if "bfloat16" in types["V"]:  # products of pairs
            pairs = [dict.fromkeys(types, "bfloat16")]
    return rows + pairs


def _computed(name: str, choices: tuple[str, ...]) -> str:
    dtype = dt.by_name[name]
    wide = dtype.compute.name
    if wide in choices:
        return wide
    return "int64" if dtype.kind in "iub" and "int64" in choices else choices[0]


def called(code: bytes) -> set[str]:
    """Names that an object file leaves to the linker.

    The format: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.symtab.html
    """
    (start,) = struct.unpack_from("<Q", code, 40)
    size, count = struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, start + i * size) for i in range(count)]
    names = set()
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind != 2:  # the table of symbols, of which the first is none
            continue
        texts = sections[link][4]
        for place in range(offset + 24, offset + length, 24):
            name, _, _, section = struct.unpack_from("<IBBH", code, place)
            if section == 0:
                end = code.index(b"\0", texts + name)
                names.add(code[texts + name : end].decode())
    return names


# What every C library has.
KNOWN = {"memcpy", "memset", "memmove", "fmod", "fmodf"}


@pytest.mark.drawn(40)
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_for_processors_that_are_not_here(
    name: str, processor: str, seed: int, request: pytest.FixtureRequest
) -> None:
    """With `--slow` each choice of each type, else one."""
    rows = bindings(KERNELS[name])
    if not request.config.getoption("--slow"):
        rows = [random.Random(f"{seed} {name} {processor}").choice(rows)]
    for types in rows:
        spec = KERNELS[name](**types)
        code = compiler.compile_object(spec, PROCESSORS[processor])
        assert code.startswith(b"\x7fELF")
        assert called(code) <= KNOWN, spec


@pytest.mark.parametrize("processor", ["x86-64-v3", "znver4", "sapphirerapids"])
@pytest.mark.parametrize("module", ["matmul_packed.matmul", "matmul_direct.matmul_nt"])
def test_products_of_pairs_compile_for_processors_with_and_without_them(
    module: str, processor: str
) -> None:
    spec = KERNELS[module](T="bfloat16", U="bfloat16", V="bfloat16")
    assert called(compiler.compile_object(spec, PROCESSORS[processor])) <= KNOWN


@pytest.mark.parametrize(
    ("name", "kind"),
    [("quant_pairs.quant_pairs", "Q4_K"), ("experts_grouped.grouped_quant_pairs", "Q8_0")],
)
def test_weights_in_blocks_have_tiles_where_a_processor_has(name: str, kind: str) -> None:
    cpu = PROCESSORS["sapphirerapids"]
    text = target.machine(cpu).emit_assembly(compiler.module(KERNELS[name](T=kind), cpu))
    assert "tdpbf16ps" in text and "vcvtne2ps2bf16" in text
    assert "vdpbf16ps" not in text


CALLING = """
from numbatorch.language.kernel import Pointer
from numbatorch.language.primitives import fma
def kernel(out: Pointer["float32"], part: int, parts: int) -> None:
    out[0] = fma(out[0], out[1], out[2])
"""


def test_a_call_of_a_library_is_noticed() -> None:
    spec = EmittedKernel("calling", ("test", CALLING), ("pointer",), lambda: CALLING)
    assert called(compiler.compile_object(spec, PROCESSORS["x86-64-v2"])) == {"fmaf"}
    assert not called(compiler.compile_object(spec, PROCESSORS["x86-64-v3"]))
