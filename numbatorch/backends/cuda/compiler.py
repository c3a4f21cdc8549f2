"""Compiled kernels for a GPU: from the cache on disk, or made by lowering.py and linked.

No GPU and no driver is needed. What is kept is machine code (a cubin) where the installed packages
can link it, so that drivers older than the compiler load it, else PTX. Numba is imported only when
a kernel is missing.
"""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from numbatorch import logs, private, settings
from numbatorch.errors import KernelError, message
from numbatorch.language.kernel import KernelSpec, digest
from numbatorch.locks import Lock

Capability = tuple[int, int]

_MAGIC = b"numbatorch cuda 1\n"
_HASH = 32  # bytes of the checksum behind it

# What compiled code depends on besides the kernel.
_PACKAGES = ("numba-cuda", "numba", "llvmlite", "cuda-bindings", "nvidia-cuda-nvcc-cu12")
_SOURCES = (
    "backends/cuda/compiler.py",
    "backends/cuda/lowering.py",
    "backends/cuda/words.py",
    "language/elements.py",
    "language/numba_pointers.py",
    "language/numba_types.py",
)
_compiling = Lock()


@dataclass(frozen=True)
class Compiled:
    """Code that the driver loads.

    Attributes:
        image: a cubin, or PTX with a zero byte behind it.
        symbol: name of the kernel in it.
    """

    image: bytes
    symbol: str


def symbol(spec: KernelSpec, epilogue: KernelSpec | None) -> str:
    """Name of the compiled function."""
    if epilogue is None:
        return spec.symbol
    return f"{spec.symbol}_{digest(epilogue.key)[:12]}"


def compile_kernel(
    spec: KernelSpec, epilogue: KernelSpec | None = None, cc: Capability = (7, 5)
) -> str:
    """PTX of a kernel.

    Args:
        epilogue: what its `finish_tile` does, or None for nothing.
        cc: the compute capability.

    Raises:
        KernelError: it does not compile.
    """
    from numba.core.errors import NumbaError

    from numbatorch.backends.cuda import lowering

    try:
        return lowering.ptx(lowering.lower(spec, epilogue, symbol(spec, epilogue)), cc)
    except KernelError:
        raise
    except Exception as err:  # Numba raises its own errors, NVVM's and those of words pass
        kind = "" if isinstance(err, NumbaError) else f"{type(err).__name__}: "
        text = message(spec.name, "does not compile", spec.path(), f"{kind}{err}")
        raise KernelError(text) from err


def link(ptx: str, cc: Capability) -> bytes | None:
    """Machine code of PTX; None where no linker is installed or it does not know the GPU.

    Raises:
        KernelError: the PTX is not accepted.
    """
    try:
        from cuda.bindings import nvjitlink

        handle = nvjitlink.create(1, [f"-arch=sm_{cc[0]}{cc[1]}"])
    except Exception:  # the package or its library is missing, or the GPU is newer than it
        return None
    try:
        data = ptx.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(handle)
        image = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, image)
        return bytes(image)
    except nvjitlink.nvJitLinkError as err:
        log = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, log)
        told = log.decode(errors="replace").strip("\0\n ")
        raise KernelError(message("nvjitlink", str(err), *told.splitlines()[:8])) from err
    finally:
        nvjitlink.destroy(handle)


def compile_kernels(
    kernels: Sequence[tuple[KernelSpec, KernelSpec | None]], capability: Capability
) -> list[Compiled]:
    """Code of kernels with their epilogues, made where the cache lacks it.

    Raises:
        KernelError: one does not compile; what did is in the cache.
    """
    folder = settings.cache_dir() / "cuda" / f"sm_{capability[0]}{capability[1]}-{_identity()[:12]}"
    with _compiling:
        found = [_read(folder / _file_name(*pair)) for pair in kernels]
        missing = [i for i, image in enumerate(found) if image is None]
        for i in _shown(missing):
            spec, epilogue = kernels[i]
            logs.info("kernels", "compiling %s for CUDA", spec.name)
            found[i] = image = _compile(spec, epilogue, capability)
            _write(folder / _file_name(spec, epilogue), image)
    return [
        Compiled(image, symbol(*pair))
        for pair, image in zip(kernels, found, strict=True)
        if image is not None
    ]


def _compile(spec: KernelSpec, epilogue: KernelSpec | None, capability: Capability) -> bytes:
    known = _known(capability)
    ptx = compile_kernel(spec, epilogue, known)
    image = link(ptx, known) if known == capability else None
    return ptx.encode() + b"\0" if image is None else image


def _known(capability: Capability) -> Capability:
    """The newest architecture that the compiler knows and the GPU can run."""
    from numba.cuda.cudadrv import nvrtc

    major, minor, *_ = nvrtc.find_closest_arch(capability)
    return major, minor


def _shown(missing: list[int]) -> Iterable[int]:
    """The numbers, with a bar on a terminal."""
    if not missing:
        return missing
    from tqdm import tqdm

    hidden = None if sys.stderr is not None else True  # None: shown on terminals only
    shown: Iterable[int] = tqdm(
        missing, desc="compiling kernels", delay=0.5, leave=False, disable=hidden
    )
    return shown


@cache
def _identity() -> str:
    """Hash of all that code depends on besides its kernels."""
    package = Path(__file__).parents[2]
    parts = []
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            parts.append(f"{name}-{version(name)}")
    for name in _SOURCES:
        with suppress(OSError):
            parts.append((package / name).read_text(encoding="utf-8"))
    return digest(*parts)


def _file_name(spec: KernelSpec, epilogue: KernelSpec | None) -> str:
    plain = "".join(letter if letter.isalnum() else "_" for letter in spec.name)
    key = spec.key if epilogue is None else digest(spec.key, epilogue.key)
    return f"{plain[:64]}-{key}.bin"


def _read(path: Path) -> bytes | None:
    """The code in a file; None if there is none or it is damaged."""
    try:
        data = private.read(path)
    except OSError:
        return None
    start = len(_MAGIC) + _HASH
    image = data[start:]
    return image if data[:start] == _MAGIC + _checksum(image) and image else None


def _write(path: Path, image: bytes) -> None:
    """Put code into a file at once, if the folder can be written."""
    with suppress(OSError):
        private.write(path, _MAGIC + _checksum(image) + image)


def _checksum(image: bytes) -> bytes:
    return blake2b(image, digest_size=_HASH).digest()
