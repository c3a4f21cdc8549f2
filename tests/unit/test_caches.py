"""Sizes of caches: what systems say of them, what a setting says, and what is not believed."""

import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from numbatorch.language import caches
from numbatorch.language.caches import Cache, chosen, from_linux, from_mac, from_windows
from numbatorch.language.processor import chosen as chosen_cpu
from tests.processors import PROCESSORS

K, M = 1 << 10, 1 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files of Linux's")
@pytest.mark.parametrize(
    ("level", "name"), [("l1", "LEVEL1_DCACHE_SIZE"), ("l2", "LEVEL2_CACHE_SIZE")]
)
def test_linux_tells_what_the_c_library_asks_the_processor(level: str, name: str) -> None:
    """Of AMD's and Intel's, glibc's getconf executes CPUID."""
    if platform.machine() != "x86_64" or not shutil.which("getconf"):
        pytest.skip("nothing to compare with")
    found = caches._read()
    done = subprocess.run(["getconf", name], capture_output=True, text=True, check=False)
    if level not in found or not done.stdout.strip().isdigit() or int(done.stdout) == 0:
        pytest.skip("nothing to compare with")
    assert found[level].size == int(done.stdout)


def test_files_of_linux(tmp_path: Path) -> None:
    rows = [
        ("1", "Data", "48K", "0,56"),
        ("1", "Instruction", "32K", "0,56"),
        ("2", "Unified", "2048K", "0,56"),
        ("3", "Unified", "107520K", "0-27,56-83"),
        ("4", "Unified", "128M", "0-27"),
    ]
    for i, row in enumerate(rows):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for file, text in zip(("level", "type", "size", "shared_cpu_list"), row, strict=True):
            (folder / file).write_text(f"{text}\n")
    (tmp_path / "index5").mkdir()  # of a machine that does not say what it is
    found = from_linux(tmp_path, set(range(112)))
    assert found == {"l1": Cache(48 * K, 2), "l2": Cache(2 * M, 2), "l3": Cache(105 * M, 56)}
    assert from_linux(tmp_path, {0, 1, 30})["l3"] == Cache(105 * M, 2)
    assert from_linux(tmp_path / "none", {0}) == {}


def test_names_of_macos() -> None:
    """What `sysctl hw` prints on an Apple M1 and on a MacBook Pro with an Intel i7-8750H."""
    apple = {
        "hw.logicalcpu": 8,
        "hw.physicalcpu": 8,
        "hw.l1dcachesize": 65536,
        "hw.l2cachesize": 4194304,
        "hw.perflevel0.l1dcachesize": 131072,
        "hw.perflevel0.l2cachesize": 12582912,
        "hw.perflevel0.cpusperl2": 4,
    }
    assert from_mac(apple.get) == {"l1": Cache(128 * K, 1), "l2": Cache(12 * M, 4)}
    assert chosen(from_mac(apple.get), "native").l3 == Cache(12 * M, 4)
    intel = {
        "hw.logicalcpu": 12,
        "hw.physicalcpu": 6,
        "hw.l1dcachesize": 32768,
        "hw.l2cachesize": 262144,
        "hw.l3cachesize": 9437184,
    }
    told = {"l1": Cache(32 * K, 2), "l2": Cache(256 * K, 2), "l3": Cache(9 * M, 12)}
    assert from_mac(intel.get) == told
    assert from_mac({}.get) == {}


def test_records_of_windows() -> None:
    """Laid out as winnt.h has SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX on 64 bits."""

    def record(level: int, kind: int, size: int, *masks: int) -> bytes:
        cache = struct.pack("<BBHII18xH", level, 8, 64, size, kind, len(masks))
        groups = b"".join(struct.pack("<QH6x", mask, i) for i, mask in enumerate(masks))
        return struct.pack("<II", 2, 8 + len(cache + groups)) + cache + groups

    core = struct.pack("<II", 0, 48) + bytes(40)
    unified, code, data = 0, 1, 2
    records = [record(1, data, 48 * K, 3), record(1, code, 32 * K, 3), core]
    records += [record(2, unified, 2 * M, 3), record(2, unified, 4 * M, 0xF0)]
    records += [record(3, unified, 36 * M, 0xFFFF, 0xFF)]
    told = {"l1": Cache(48 * K, 2), "l2": Cache(2 * M, 2), "l3": Cache(36 * M, 24)}
    assert from_windows(b"".join(records)) == told
    assert from_windows(b"") == from_windows(bytes(24)) == {}


def test_what_nothing_tells_is_usual_and_nonsense_is_not_believed() -> None:
    assert chosen({}, "native") == (Cache(32 * K), Cache(M), Cache(16 * M))
    strange = {"l1": Cache(1, 0), "l2": Cache(1 << 40), "l3": Cache(0, -3)}
    assert chosen(strange, "") == (Cache(8 * K), Cache(64 * M), Cache(256 * K))


def test_the_setting_says_other_sizes_and_features_beside_them() -> None:
    text = "native,l2=256K,-avx512f,l3=6M"
    found = {"l2": Cache(M, 2), "l3": Cache(32 * M, 8)}
    assert chosen(found, text) == (Cache(32 * K), Cache(256 * K, 2), Cache(6 * M, 8))
    cpu = chosen_cpu(PROCESSORS["znver4"], text)
    assert cpu == chosen_cpu(PROCESSORS["znver4"], "native,-avx512f")
    assert chosen_cpu(PROCESSORS["znver4"], "l1=48K").has("avx512f")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("native,l4=1M", "'l4' is none of the caches l1, l2, l3"),
        ("native,l2=big", "'l2=big' is no size from 64K to 64M"),
        ("l1=1G", "'l1=1G' is no size from 8K to 1M"),
        ("native,l1=32K,l1=48K", "l1 is given twice, the second time as '48K'"),
        ("l3=", "'l3=' is no size from 256K to 1024M"),
    ],
)
def test_a_size_that_there_is_not_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^NUMBATORCH_CPU: {problem}"):
        chosen({}, text)


def test_threads_have_a_part_each_of_what_they_share() -> None:
    l3 = Cache(32 * M, 8)  # of two such caches on 16 processors
    assert [l3.part(threads, 16) // M for threads in (1, 2, 4, 8, 16, 99)] == [32, 32, 16, 8, 4, 4]
    assert Cache(M, 2).part(1, 1) == M
    assert Cache(M, 2).part(0, 4) == M
