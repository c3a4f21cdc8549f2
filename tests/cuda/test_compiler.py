"""Compiled kernels of GPUs on disk: found again, rebuilt when damaged, without Numba when warm."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from numbatorch.errors import KernelError
from numbatorch.language.kernel import Pointer, kernel, share
from numbatorch.language.words import float32
from tests.conftest import SIMULATED

pytest.importorskip("numba_cuda")
if SIMULATED:
    pytest.skip("the simulator has no compiler", allow_module_level=True)

from numbatorch.backends.cuda import compiler
from numbatorch.ops.portable.index import take_rows

SPEC = take_rows(T="uint8")
OTHER = take_rows(T="uint16")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that were compiled and not found."""
    names: list[str] = []
    compile_one = compiler.compile_kernel

    def counted(spec: Any, *rest: Any) -> str:
        names.append(spec.name)
        return compile_one(spec, *rest)

    monkeypatch.setattr(compiler, "compile_kernel", counted)
    return names


def files(cache: Path) -> list[Path]:
    return sorted((cache / "cuda").rglob("*.bin"))


def test_code_is_found_again(cache: Path, compiled: list[str]) -> None:
    (first,) = compiler.compile_kernels([(SPEC, None)], (7, 5))
    assert first.symbol == SPEC.symbol and first.image.startswith(b"\x7fELF")
    assert len(files(cache)) == 1 and files(cache)[0].parent.name.startswith("sm_75-")
    again, other = compiler.compile_kernels([(SPEC, None), (OTHER, None)], (7, 5))
    assert again == first
    assert other.symbol == OTHER.symbol
    assert compiled == [SPEC.name, OTHER.name]


def test_architectures_are_kept_apart(cache: Path, compiled: list[str]) -> None:
    for cc in ((7, 5), (9, 0)):
        compiler.compile_kernels([(SPEC, None)], cc)
    assert len(files(cache)) == len(compiled) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "foreign"])
def test_damaged_file_is_made_again(damage: str, cache: Path, compiled: list[str]) -> None:
    compiler.compile_kernels([(SPEC, None)], (7, 5))
    (path,) = files(cache)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "cut": data[:middle],
            "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "empty": b"",
            "foreign": b"no code at all",
        }[damage]
    )
    (right,) = compiler.compile_kernels([(SPEC, None)], (7, 5))
    assert right.image.startswith(b"\x7fELF")
    assert compiler.compile_kernels([(SPEC, None)], (7, 5)) == [right]
    assert len(compiled) == 2
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_folder_that_cannot_be_written_is_no_error(cache: Path, compiled: list[str]) -> None:
    (cache / "cuda").write_text("a file where the folder should be")
    for _ in range(2):
        (found,) = compiler.compile_kernels([(SPEC, None)], (7, 5))
        assert found.image.startswith(b"\x7fELF")
    assert len(compiled) == 2


@kernel
def broken(out: Pointer[float32], n: int, part: int, parts: int) -> None:
    """Uses a word that there is not."""
    lo, hi = share(n, part, parts)
    for i in range(lo, hi):
        out[i] = unknown(i)  # type: ignore[name-defined]  # noqa: F821


def test_kernel_that_does_not_compile_names_itself_and_its_file(cache: Path) -> None:
    with pytest.raises(KernelError, match="broken: does not compile\n") as caught:
        compiler.compile_kernels([(SPEC, None), (broken(), None)], (7, 5))
    assert __file__ in str(caught.value) and "unknown" in str(caught.value)
    assert len(files(cache)) == 1  # what did compile is kept


def test_gpu_newer_than_the_compiler_gets_ptx(cache: Path) -> None:
    (found,) = compiler.compile_kernels([(SPEC, None)], (99, 0))
    assert found.image.endswith(b"\0") and b".entry " + SPEC.symbol.encode() in found.image


def test_ptx_that_is_wrong_is_refused_with_the_linkers_words() -> None:
    text = compiler.compile_kernel(SPEC).replace("ld.global", "ld.nowhere")
    with pytest.raises(KernelError, match="nvjitlink"):
        compiler.link(text, (7, 5))


def test_warm_start_does_not_import_numba(cache: Path) -> None:
    text = """
import sys
from numbatorch.backends.cuda.compiler import compile_kernels
from numbatorch.ops.portable.index import take_rows
(found,) = compile_kernels([(take_rows(T="uint8"), None)], (7, 5))
print(len(found.image), "numba" in sys.modules)
"""
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", text],
            env={**os.environ, "NUMBATORCH_CACHE": str(cache)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout.split())
    assert outputs[0] == [outputs[1][0], "True"]
    assert outputs[1][1] == "False"
