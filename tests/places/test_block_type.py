"""Adding a block type is one file: here three in temporary modules, also another package's.

The first has codes of 4 bits that are numbers of a codebook, in blocks of 64 values and 35 bytes
with the scale at an odd one. The second has codes of 2 bits in blocks of 128, and a scale and a
least value for each 16. The third has a scale that is a coded power of 2, and an odd bias.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch import entry_points
from numbatorch.cli.main import main
from numbatorch.errors import DTypeError, FormatError
from numbatorch.io.gguf import GGUFFile
from numbatorch.language.words import Table, int8
from numbatorch.ops import blocks
from tests.compare import assert_close
from tests.io.build import gguf_bytes, record

Array = np.ndarray[Any, Any]

CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
BOOK = f"""
import numpy as np

from numbatorch import dtype
from numbatorch.language.words import Table, int8
from numbatorch.ops.blocks import Bits, BlockType, Packed, register

CODEBOOK = Table({CODEBOOK}, int8)


def encode(values):
    scale = np.abs(values).max(axis=1) / np.float32(127)
    distance = np.abs(values[:, :, None] - scale[:, None, None] * np.array(CODEBOOK))
    return {{"tag": 7, "d": scale, "codes": distance.argmin(axis=2)}}


register(
    BlockType(
        dtype.register(dtype.DType("BOOK4", "q", 35, 64, ggml_id=1001)),
        fields=(("tag", "u1"), ("d", "<f2"), ("qs", "u1", 32)),
        codes=Packed((Bits("qs", 4, span=32),), table=CODEBOOK),
        encode=encode,
    )
)
"""
GROUPS = """
from numbatorch import dtype
from numbatorch.language.kernel import helper
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import word_at


@helper
def scales(block, place):
    return word_at(block, place) & 0x0F0F0F0F


@helper
def mins(block, place):
    return (word_at(block, place) >> 4) & 0x0F0F0F0F


register(
    BlockType(
        dtype.register(dtype.DType("GROUPS2", "q", 44, 128, ggml_id=1002)),
        fields=(("scales", "u1", 8), ("d", "<f2"), ("m", "<f2"), ("qs", "u1", 32)),
        codes=Packed((Bits("qs", 2, span=8),)),
        scale=Factor("d", Packed(four=scales), count=8),
        least=Factor("m", Packed(four=mins), count=8),
    )
)
"""

CODED = """
from numbatorch import dtype
from numbatorch.language.kernel import helper
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import word_at


@helper
def power(block, group):
    return ((word_at(block, 0) & 7) + 120) << 23


register(
    BlockType(
        dtype.register(dtype.DType("CODED4", "q", 18, 32, ggml_id=1004)),
        fields=(("e", "u1", 2), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16),), bias=7),
        scale=Factor(code=power, times=0.5),
    )
)
"""


def decoded_book(data: Array) -> Array:
    """(n, 35) bytes to (n, 64) float64."""
    scale = data[:, 1:3].copy().view("<f2").astype(np.float64)
    codes = np.concatenate([data[:, 3:] & 15, data[:, 3:] >> 4], axis=1)
    return scale * np.array(CODEBOOK)[codes]


def decoded_groups(data: Array) -> Array:
    """(n, 44) bytes to (n, 128) float64."""
    d, m = (data[:, i : i + 2].copy().view("<f2").astype(np.float64) for i in (8, 10))
    scale, least = d * (data[:, :8] & 15), m * (data[:, :8] >> 4)
    values = np.empty((len(data), 128))
    for i in range(128):
        code = data[:, 12 + i // 32 * 8 + i % 8] >> (i // 8 % 4 * 2) & 3
        values[:, i] = scale[:, i // 16] * code - least[:, i // 16]
    return values


def decoded_powers(data: Array) -> Array:
    """(n, 18) bytes to (n, 32) float64."""
    codes = np.concatenate([data[:, 2:] & 15, data[:, 2:] >> 4], axis=1).astype(np.float64)
    return 2.0 ** ((data[:, :1] & 7) - 8.0) * (codes - 7)


TYPES: dict[str, tuple[str, int, list[int], Callable[[Array], Array]]] = {
    "BOOK4": (BOOK, 1001, [1], decoded_book),
    "GROUPS2": (GROUPS, 1002, [8, 10], decoded_groups),
    "CODED4": (CODED, 1004, [], decoded_powers),
}


@pytest.fixture(autouse=True)
def forgotten_types() -> Iterator[None]:
    """What a test registers is gone after it."""
    tables: tuple[dict[Any, Any], ...] = (dt.by_name, dt.by_ggml_id, blocks._types)
    before = [dict(table) for table in tables]
    modules = set(sys.modules)
    yield
    for table, known in zip(tables, before, strict=True):
        table.clear()
        table.update(known)
    for name in {"places_of_blocks", "plugin_of_blocks"} & (set(sys.modules) - modules):
        del sys.modules[name]


def write_module(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()


@pytest.fixture(params=TYPES)
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A type whose file has been imported."""
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path, "places_of_blocks", TYPES[request.param][0])
    importlib.import_module("places_of_blocks")
    return dt.by_name[request.param]


def weights(kind: Any, N: int, K: int) -> Array:
    """(N, bytes of a row): any codes, and scales of both signs."""
    random = np.random.default_rng(3)
    count = N * K // kind.block
    data = random.integers(0, 256, (count, kind.itemsize), np.uint8)
    for at in TYPES[kind.name][2]:
        halves = (random.standard_normal(count) * 0.1).astype("<f2")
        data[:, at : at + 2] = halves.view(np.uint8).reshape(count, 2)
    return data.reshape(N, -1)


def expected(kind: Any, data: Array) -> Array:
    return TYPES[kind.name][3](data.reshape(-1, kind.itemsize)).reshape(len(data), -1)


def test_it_decodes_on_every_device(kind: Any, device: str) -> None:
    data = weights(kind, 5, 384)
    weight = nt.from_blocks(data, kind.name, (5, 384)).to(device)
    assert_close(weight.dequantize(), expected(kind, data), "elementwise")


@pytest.mark.parametrize("M", [1, 5])
def test_it_multiplies_and_embeds_on_every_device(kind: Any, device: str, M: int) -> None:
    data = weights(kind, 21, 384)
    weight = nt.from_blocks(data, kind, (21, 384)).to(device)
    values = expected(kind, data)
    x = np.random.default_rng(4).standard_normal((M, 384)).astype(np.float32)
    out = nt.nn.functional.linear(nt.tensor(x, device=device), weight).numpy()
    step = np.abs(x).reshape(M, -1, 32).max(-1) / 254  # the CPU rounds x to 8 bits
    runs = np.abs(values).reshape(21, -1, 32).sum(-1)
    assert (np.abs(out - x @ values.T) <= 1.01 * step @ runs.T + 1e-4).all()
    index = np.array([20, 0, 7])
    rows = nt.nn.functional.embedding(nt.tensor(index, device=device), weight)
    assert_close(rows, values[index], "elementwise")


def test_it_is_read_from_a_file_and_shown(
    kind: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = weights(kind, 3, 256)
    path = tmp_path / "model.gguf"
    entry = record("w", (3, 256), TYPES[kind.name][1])
    path.write_bytes(gguf_bytes(records=[entry], data=data.tobytes()))
    file = GGUFFile(path)
    weight = nt.from_blocks(file.tensor("w"), file.tensors["w"].dtype, (3, 256))
    assert_close(weight.float(), expected(kind, data), "elementwise")
    assert main(["inspect", str(path)]) == 0
    assert kind.name in capsys.readouterr().out


def test_it_encodes_to_the_nearest_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path, "places_of_blocks", BOOK)
    importlib.import_module("places_of_blocks")
    x = np.random.default_rng(5).standard_normal((4, 128)).astype(np.float32)
    packed = nt.quantize(nt.tensor(x), "BOOK4")
    data = packed.numpy().reshape(8, 35)
    assert (data[:, 0] == 7).all()
    scale = data[:, 1:3].copy().view("<f2").astype(np.float64)
    apart = np.abs(x.reshape(8, 64, 1) - scale[:, :, None] * np.array(CODEBOOK)).min(-1)
    found = np.abs(packed.dequantize().numpy() - x).reshape(8, 64)
    assert (found <= apart + 1e-3 * np.abs(x).max()).all()  # the scale is rounded to float16


@pytest.mark.parametrize("name", TYPES)
def test_a_package_that_is_installed_registers_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, number, _, _ = TYPES[name]
    write_module(tmp_path, "plugin_of_blocks", text)
    installed = tmp_path / "plugin_of_blocks-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        f"[numbatorch.blocks]\n{name.lower()} = plugin_of_blocks\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(entry_points, "_loaded", set())
    path = tmp_path / "model.gguf"
    data = bytes(4096)
    path.write_bytes(gguf_bytes(records=[record("w", (2, 128), number)], data=data))
    assert "plugin_of_blocks" not in sys.modules
    assert GGUFFile(path).tensors["w"].dtype.name == name
    weight = nt.from_blocks(GGUFFile(path).tensor("w"), name, (2, 128))
    zeros = np.zeros((2 * 128 // weight.dtype.block, weight.dtype.itemsize), np.uint8)
    found = weight.dequantize().numpy()
    np.testing.assert_array_equal(found, TYPES[name][3](zeros).reshape(2, 128))


def test_names_and_numbers_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match=r"there is no block type Q9_X\n.*known are Q4_0, "):
        nt.from_blocks(np.zeros(64, np.uint8), "Q9_X", (1, 32))
    with pytest.raises(DTypeError, match=r"there is no block type int4\n.*known are Q4_0, "):
        nt.from_blocks(np.zeros(32, np.uint8), dt.int4, (1, 32))
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(records=[record("w", kind=4000)], data=bytes(64)))
    with pytest.raises(FormatError, match=r"(?s)'w' has the unknown type 4000.*model\.gguf"):
        GGUFFile(path)


def test_two_types_of_one_name_or_number_are_refused(kind: Any) -> None:
    for name, number in ((kind.name, 1003), ("OTHER", TYPES[kind.name][1])):
        with pytest.raises(DTypeError, match=f"taken by {kind.name}"):
            dt.register(dt.DType(name, "q", 34, 32, ggml_id=number))
    with pytest.raises(DTypeError, match=f"{kind.name} is registered twice"):
        blocks.register(blocks.find("test", kind))


LAYOUTS = {
    "fields take 4 bytes": {"fields": (("d", "<f2"), ("qs", "u1", 2))},
    "both a bias and a least value": {
        "codes": blocks.Packed((blocks.Bits("qs", 4, span=16),), bias=8),
        "least": blocks.Factor("d"),
    },
    "64 numbers in qs": {
        "fields": (("d", "<f2"), ("qs", "u1", 16)),
        "codes": blocks.Packed((blocks.Bits("qs", 2, span=16),)),
    },
    "a scale for 4 values": {"scale": blocks.Factor("d", count=8)},
    "a scale in qs that is neither": {"scale": blocks.Factor("qs")},
}


@pytest.mark.parametrize("problem", LAYOUTS)
def test_layouts_that_kernels_do_not_read_are_refused(problem: str) -> None:
    declared: dict[str, Any] = {
        "fields": (("d", "<f2"), ("qs", "u1", 16)),
        "codes": blocks.Packed((blocks.Bits("qs", 4, span=16),)),
    }
    with pytest.raises(DTypeError, match=f"block type: OTHER has.*{problem}"):
        blocks.BlockType(dt.DType("OTHER", "q", 18, 32), **{**declared, **LAYOUTS[problem]})


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({}, "either a field or a code"),
        ({"field": "d", "code": len}, "either a field or a code"),
        ({"field": "d", "times": 0.3}, "powers of 2"),
        ({"field": "d", "times": -2.0}, "powers of 2"),
    ],
)
def test_scales_that_kernels_do_not_read_are_refused(declared: Any, problem: str) -> None:
    with pytest.raises(DTypeError, match=problem):
        blocks.Factor(**declared)


@pytest.mark.parametrize(("bits", "span"), [(3, 16), (4, 1), (4, 2), (2, 12)])
def test_bits_that_kernels_do_not_read_are_refused(bits: int, span: int) -> None:
    with pytest.raises(DTypeError, match=f"{bits} bits in runs of {span}"):
        blocks.Bits("qs", bits, span)


@pytest.mark.parametrize("planes", [(), (4, 8), (4, 2, 2)])
def test_planes_that_kernels_do_not_read_are_refused(planes: tuple[int, ...]) -> None:
    with pytest.raises(DTypeError, match="planes of"):
        blocks.Packed(tuple(blocks.Bits("qs", bits, 16) for bits in planes))


@pytest.mark.parametrize(
    "numbers",
    [
        {"planes": (8,), "signed": True, "bias": 8},
        {"planes": (4,), "table": Table(CODEBOOK, int8), "bias": 8},
        {"planes": (4,), "table": Table(CODEBOOK, int8), "signed": True},
        {"planes": (4, 4), "signed": True},
    ],
    ids=lambda numbers: " ".join(numbers),
)
def test_numbers_that_kernels_and_numpy_would_read_differently_are_refused(
    numbers: dict[str, Any],
) -> None:
    planes = tuple(blocks.Bits("qs", bits, 16) for bits in numbers["planes"])
    with pytest.raises(DTypeError, match="signed"):
        blocks.Packed(**{**numbers, "planes": planes})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"codes": 0}, "gives too much or nothing of d"),
        ({"d": 0}, "gives too much or nothing of qs"),
        ({"d": 0, "codes": 0, "e": 0}, "gives too much or nothing of e"),
        ({"d": 0, "codes": 16}, "codes from 0 to 16, where 4 bits hold 0 to 15"),
        ({"d": 0, "codes": -1}, "codes from -1 to 0, where 4 bits hold 0 to 15"),
    ],
    ids=str,
)
def test_encoders_that_give_other_fields_or_codes_are_refused(
    given: dict[str, int], problem: str
) -> None:
    def encode(values: Array) -> dict[str, Array]:
        found = {name: np.zeros(len(values), np.float32) for name in given}
        if "codes" in found:
            found["codes"] = np.zeros(values.shape, np.int64)
            found["codes"][0, 3] = given["codes"]
        return found

    block = blocks.BlockType(
        dt.DType("WRONG", "q", 18, 32),
        fields=(("d", "<f2"), ("qs", "u1", 16)),
        codes=blocks.Packed((blocks.Bits("qs", 4, span=16),)),
        encode=encode,
    )
    with pytest.raises(DTypeError, match=problem):
        block.encoded(np.zeros((2, 32), np.float32))
