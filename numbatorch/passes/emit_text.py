"""What every emitted module has in common: its first lines, its name, the hash of its printers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from numbatorch.passes.groups import Group

HEADER = """from numbatorch.language.kernel import Pointer, share
from numbatorch.language.primitives import *
from numbatorch.language.primitives import inf, nan
"""


@cache
def fingerprint() -> str:
    """Hash of the files that printed text follows from."""
    here = Path(__file__).parent
    state = hashlib.blake2b(digest_size=8)
    files = [*sorted(here.glob("emit*.py")), *sorted((here.parent / "ops").glob("scalar*.py"))]
    for file in files:
        state.update(file.read_bytes())
    return state.hexdigest()


def indent(lines: Sequence[str], levels: int) -> list[str]:
    """The lines, 4 * levels spaces further in."""
    return ["    " * levels + line for line in lines]


def header(name: str, group: Group) -> list[str]:
    """First lines of an emitted file: what the kernel fuses."""
    nodes = ", ".join(f"{n.op.name} {n.shape}" for n in group.fused()) or "copy"
    return [f'"""{name} fuses: {nodes}."""', "", *HEADER.splitlines(), "", ""]


def kernel_name(group: Group) -> str:
    """Operators of the group, the last first, for people."""
    names = [n.op.name for n in group.fused() if n.op.name != "cast"]
    return "_".join(dict.fromkeys(reversed(names[:6]))) or "copy"
