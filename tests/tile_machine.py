"""AMX's tile registers in NumPy, for processors that have none: what a kernel's instructions do.

Written from Intel's manual, volume 2, and not from our kernels. A process that calls `install`
compiles its kernels as for a processor with tiles; each instruction is a call into this file.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from numbatorch.language import processor
from numbatorch.language.simd import amx

ROWS, LINE, TILES = 16, 64, 8


class Machine:
    """Eight tiles, and how often each instruction came."""

    def __init__(self) -> None:
        self.tiles = np.zeros((TILES, ROWS, LINE), np.uint8)
        self.ready = False
        self.counts: dict[str, int] = {}

    def ldtilecfg(self, place: int) -> None:
        """Palette 1; rows and bytes of a row of each tile. All tiles become 0."""
        shapes = np.frombuffer(ctypes.string_at(place, 64), np.uint8)
        assert shapes[0] == 1 and shapes[1] == 0 and not shapes[2:16].any()
        assert (shapes[16:32].view(np.uint16) == LINE).all() and not shapes[32:48].any()
        assert (shapes[48:56] == ROWS).all() and not shapes[56:].any()
        assert not self.ready
        self.tiles[:] = 0
        self.ready = True

    def tilerelease(self) -> None:
        assert self.ready
        self.ready = False

    def tilezero(self, tile: int) -> None:
        assert self.ready
        self.tiles[tile] = 0

    def tileloadd64(self, tile: int, place: int, step: int) -> None:
        assert self.ready
        for row in range(ROWS):
            line = ctypes.string_at(place + row * step, LINE)
            self.tiles[tile, row] = np.frombuffer(line, np.uint8)

    def tilestored64(self, tile: int, place: int, step: int) -> None:
        assert self.ready
        for row in range(ROWS):
            ctypes.memmove(place + row * step, self.tiles[tile, row].tobytes(), LINE)

    def tdpbf16ps(self, sums: int, rows: int, columns: int) -> None:
        """sums[m, n] += rows[m, 2k] * columns[k, 2n] + rows[m, 2k + 1] * columns[k, 2n + 1]."""
        assert self.ready and len({sums, rows, columns}) == 3
        a = self.tiles[rows].view(ml_dtypes.bfloat16).astype(np.float32).reshape(ROWS, 16, 2)
        b = self.tiles[columns].view(ml_dtypes.bfloat16).astype(np.float32).reshape(16, 16, 2)
        total = self.tiles[sums].view(np.float32)
        with np.errstate(invalid="ignore"):
            total += np.einsum("mkp,knp->mn", a, b)

    def tdpbssd(self, sums: int, rows: int, columns: int) -> None:
        """sums[m, n] += over k and i < 4: rows[m, 4k + i] * columns[k, 4n + i], signed bytes."""
        assert self.ready and len({sums, rows, columns}) == 3
        a = self.tiles[rows].view(np.int8).astype(np.int32).reshape(ROWS, 16, 4)
        b = self.tiles[columns].view(np.int8).astype(np.int32).reshape(16, 16, 4)
        total = self.tiles[sums].view(np.int32)
        total += np.einsum("mki,kni->mn", a, b)


OPERANDS = {
    "ldtilecfg": "p", "tilerelease": "", "tilezero": "t", "tileloadd64": "tps",
    "tilestored64": "tps", "tdpbf16ps": "ttt", "tdpbssd": "ttt",
}  # fmt: skip
KINDS = {"p": ctypes.c_void_p, "t": ctypes.c_uint8, "s": ctypes.c_int64}


def install() -> Machine:
    """Let kernels of this process use tiles, which are the machine's that is returned."""
    machine = Machine()
    found = processor.host()
    features = f"{found.features},+{processor.TILES},+amx-bf16"
    cpu = found._replace(name="x86-64-v4", features=features)
    processor.host = lambda: cpu  # type: ignore[assignment]
    entries = {name: _entry(machine, name) for name in OPERANDS}

    def function(builder: Any, name: str, kind: Any) -> Any:
        from llvmlite import ir

        address = ctypes.cast(entries[name], ctypes.c_void_p).value
        return builder.inttoptr(ir.IntType(64)(address), kind.as_pointer())

    amx.function = function
    return machine


def _entry(machine: Machine, name: str) -> Any:
    call: Callable[..., None] = getattr(machine, name)

    def counted(*operands: int) -> None:
        machine.counts[name] = machine.counts.get(name, 0) + 1
        call(*operands)

    return ctypes.CFUNCTYPE(None, *(KINDS[kind] for kind in OPERANDS[name]))(counted)
