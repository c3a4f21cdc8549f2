"""Sizes of the processor's caches, after which products are cut into blocks. No compiler is loaded.

What the system does not tell is `USUAL`. NUMBATORCH_CPU may say other sizes, `native,l2=256K`, so
that one machine tests the blocks of others. No bit of a result depends on them.
"""

import os
import re
import struct
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from numbatorch import settings

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LEVELS = ("l1", "l2", "l3")
USUAL = {"l1": 32 << 10, "l2": 1 << 20, "l3": 16 << 20}
# What sizes are believed; virtual machines say all sorts of things.
LEAST = {"l1": 8 << 10, "l2": 64 << 10, "l3": 256 << 10}
MOST = {"l1": 1 << 20, "l2": 64 << 20, "l3": 1 << 30}
CACHE_RELATION = 2  # RelationCache
CODE = 1  # CacheInstruction
# LOGICAL_PROCESSOR_RELATIONSHIP and size of a record, then CACHE_RELATIONSHIP up to GroupMasks
RECORD = struct.Struct("<IIBBHII18sH")
MASK = struct.Struct("<QHHHH")  # GROUP_AFFINITY


class Cache(NamedTuple):
    """A cache for data.

    Attributes:
        size: in bytes.
        sharers: how many of the processors that this process may use have it together.
    """

    size: int
    sharers: int = 1

    def part(self, threads: int, processors: int) -> int:
        """Bytes for each of some threads that are spread over processors.

        >>> Cache(32 << 20, 8).part(4, 16) >> 20, Cache(32 << 20, 8).part(16, 16) >> 20
        (16, 4)
        """
        spread = -(-threads * self.sharers // processors)
        return self.size // max(1, min(self.sharers, threads, spread))


class Caches(NamedTuple):
    """Those of data of the first three levels; where there is no third the second stands for it."""

    l1: Cache
    l2: Cache
    l3: Cache


@cache
def host() -> Caches:
    """Those of the processor this process runs on, unless NUMBATORCH_CPU says other sizes."""
    try:
        found = _read()
    except (OSError, ValueError, AttributeError, struct.error):
        found = {}
    return chosen(found, settings.cpu())


def _read() -> dict[str, Cache]:
    """What the system says, by level."""
    if sys.platform == "win32":
        return from_windows(_windows_records())
    if sys.platform == "darwin":
        return from_mac(_sysctl)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    return from_linux(Path(f"/sys/devices/system/cpu/cpu{min(allowed)}/cache"), allowed)


def chosen(found: dict[str, Cache], text: str) -> Caches:
    """What a system says within what is believed, and the sizes that a setting says.

    >>> chosen({"l1": Cache(48 << 10)}, "native,l2=256K")[:2]
    (Cache(size=49152, sharers=1), Cache(size=262144, sharers=1))

    Raises:
        ValueError: the setting names a level that there is not, one twice, or no size that is
            believed.
    """
    last = found.get("l3", found.get("l2", Cache(USUAL["l3"])))
    whole = {"l1": Cache(USUAL["l1"]), "l2": Cache(USUAL["l2"]), **found, "l3": last}
    sizes = {
        name: Cache(min(max(size, LEAST[name]), MOST[name]), max(sharers, 1))
        for name, (size, sharers) in whole.items()
    }
    told: set[str] = set()
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            continue
        if name not in LEVELS:
            raise settings.refused("CPU", f"{name!r} is none of the caches {', '.join(LEVELS)}")
        if name in told:
            raise settings.refused("CPU", f"{name} is given twice, the second time as {value!r}")
        told.add(name)
        size = bytes_in(value)
        if size is None or not LEAST[name] <= size <= MOST[name]:
            least, most = _short(LEAST[name]), _short(MOST[name])
            raise settings.refused("CPU", f"{part.strip()!r} is no size from {least} to {most}")
        sizes[name] = sizes[name]._replace(size=size)
    return Caches(**sizes)


def _short(size: int) -> str:
    return f"{size >> 20}M" if size >> 20 else f"{size >> 10}K"


def bytes_in(text: str) -> int | None:
    """The number of a size such as 48K; None if it is none.

    >>> bytes_in("48K"), bytes_in("2M"), bytes_in("big")
    (49152, 2097152, None)
    """
    found = re.fullmatch(r"(\d{1,12})([KMG]?)", text.strip().upper())
    return int(found[1]) * UNITS[found[2]] if found else None


def from_linux(folder: Path, allowed: set[int]) -> dict[str, Cache]:
    """Caches in the folder that Linux has of a processor; only processors in `allowed` count.

    Source: https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-devices-system-cpu
    """
    found = {}
    for index in sorted(folder.glob("index*")):
        kind, level, text = (_text(index / name) for name in ("type", "level", "size"))
        size = bytes_in(text)
        if kind in ("Data", "Unified") and f"l{level}" in LEVELS and size:
            sharers = count_in(_text(index / "shared_cpu_list"), allowed)
            found[f"l{level}"] = Cache(size, max(sharers, 1))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def count_in(text: str, numbers: set[int]) -> int:
    """How many of some numbers are in a list such as Linux's, however long its ranges are.

    >>> count_in("0-2,8", {1, 2, 3, 8})
    3
    """
    ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
    return sum(any(int(a) <= x <= int(b or a) for a, b in ranges) for x in numbers)


def from_mac(value: Callable[[str], int | None]) -> dict[str, Cache]:
    """Caches of the fastest cores, by what `sysctl` says of a name.

    Source: https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_system_capabilities
    """
    threads = value("hw.logicalcpu") or 1
    a_core = max(1, threads // (value("hw.physicalcpu") or threads))
    sharers = {"l1": a_core, "l2": value("hw.perflevel0.cpusperl2") or a_core, "l3": threads}
    found = {}
    for name, label in (("l1", "l1dcachesize"), ("l2", "l2cachesize"), ("l3", "l3cachesize")):
        size = value(f"hw.perflevel0.{label}") or value(f"hw.{label}")
        if size:
            found[name] = Cache(size, sharers[name])
    return found


def _sysctl(name: str) -> int | None:
    """A number that macOS has under a name."""
    import ctypes

    number, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    library = ctypes.CDLL(None)
    failed = library.sysctlbyname(
        name.encode(), ctypes.byref(number), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else number.value


def from_windows(records: bytes) -> dict[str, Cache]:
    """The first cache of each level that Windows tells of.

    Source: https://learn.microsoft.com/en-us/windows/win32/api/winnt/ns-winnt-cache_relationship
    """
    found: dict[str, Cache] = {}
    place = 0
    while place + RECORD.size <= len(records):
        relation, length, level, _, _, size, kind, _, groups = RECORD.unpack_from(records, place)
        if relation == CACHE_RELATION and kind != CODE and f"l{level}" in LEVELS:
            places = range(place + RECORD.size, place + length, MASK.size)
            masks = [MASK.unpack_from(records, at)[0] for at in places[: max(groups, 1)]]
            sharers = sum(mask.bit_count() for mask in masks)
            found.setdefault(f"l{level}", Cache(size, max(sharers, 1)))
        place += max(length, 8)
    return found


def _windows_records() -> bytes:
    """What Windows says of caches."""
    import ctypes

    kernel32 = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    size = ctypes.c_uint32(0)
    ask = kernel32.GetLogicalProcessorInformationEx
    ask(CACHE_RELATION, None, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    return room.raw if ask(CACHE_RELATION, room, ctypes.byref(size)) else b""
