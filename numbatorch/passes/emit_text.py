"""What every emitted module has in common: its first lines, its name, the hash of its printers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

from numbatorch.language.keys import blake2b
from numbatorch.passes.groups import Group

HEADER = """from numbatorch.language.kernel import Pointer, share
from numbatorch.language.primitives import *
from numbatorch.language.primitives import inf, nan
from numbatorch.language.simd.loops import narrow_vectors
"""


@cache
def fingerprint() -> str:
    """Hash of the files that printed text follows from."""
    here = os.path.dirname(__file__)
    state = blake2b(digest_size=8)
    for folder, stem in ((here, "emit"), (os.path.join(here, "..", "ops"), "scalar")):
        for name in sorted(os.listdir(folder)):
            if name.startswith(stem) and name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as file:
                    state.update(file.read())
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
