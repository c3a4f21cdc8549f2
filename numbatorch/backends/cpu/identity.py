"""What compiled code depends on besides its kernels: versions, processor, the compiler's own text.

It names the pack, is part of each checksum in it, and a worker has to have the same.
"""

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

from numbatorch.language import processor
from numbatorch.language.keys import digest


@cache
def identity() -> tuple[str, str]:
    """File name of the pack, and a hash of all that its object code depends on."""
    import llvmlite

    import numbatorch

    cpu = processor.host()
    here = Path(__file__).parent
    files = [here / name for name in ("compiler.py", "frontend.py", "target.py")]
    language = here.parents[1] / "language"
    names = "elements numba_pointers numba_types processor".split()
    names += "simd/block_dots simd/loops simd/packed simd/types".split()  # what classes emit
    files += [language / f"{name}.py" for name in names]
    sources = [_text(file) for file in files]
    version = getattr(numbatorch, "__version__", "0")
    parts = (
        f"numbatorch-{version}",
        f"numba-{_numba_version()}",
        f"llvmlite-{llvmlite.__version__}",
        sys.implementation.cache_tag or sys.implementation.name,
        cpu.triple,
        cpu.name,
    )
    found = digest(*parts, cpu.features, *sources)
    return f"{'-'.join(parts)}-{found[:12]}.pack", found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _numba_version() -> str:
    """Numba's version, without the time that importing it takes."""
    spec = importlib.util.find_spec("numba")
    if spec is not None and spec.origin is not None:
        text = _text(Path(spec.origin).with_name("_version.py"))
        found = re.search(r'"version": "([^"]+)"', text)
        if found is not None:
            return found.group(1)
    from importlib.metadata import version

    return version("numba")
