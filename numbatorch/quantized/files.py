"""Files of quantized weights: made from files of plain ones, and back, a piece at a time.

Pieces are encoded on all cores while others are read and written; no more are in memory than that.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.backends.cpu.threads import num_threads
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, FormatError, ShapeError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing, copied, write_gguf
from numbatorch.io.mapping import Array
from numbatorch.io.writing import check_output
from numbatorch.ops import blocks
from numbatorch.quantized.importance import Importance, check_fits, read_importance
from numbatorch.quantized.mixes import MIXES, mix_named, types_of

QUANTIZATION_VERSION = 2  # of ggml's block layouts
ELEMENTS = 1 << 18  # encoded at a time by a thread


def quantize_file(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str,
    importance: str | os.PathLike[str] | None = None,
    *,
    keep: Sequence[tuple[str, DType | str]] = (),
    requantize: bool = False,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """Write a GGUF file whose weights are stored in the types of a mix.

    Args:
        source: a GGUF file, or the first part of one.
        path: the new file, whole or not there.
        type: a mix, such as Q4_K_M, or F32, F16, BF16.
        importance: a file with an importance matrix, GGUF or .dat.
        keep: patterns of names, with types that go before the mix; vectors stay as they are.
        requantize: whether weights that are in blocks already are decoded and encoded again.
        bar: called with the bytes to be written; gives what is called with those of each piece.
    Returns:
        The type of every tensor.
    Raises:
        FormatError: a malformed file, a NaN or an infinity in a weight, which is named; `path` is
            one of the files that are read.
        DTypeError: nothing encodes a type; a weight is in blocks already.
        OSError: the disk is full; nothing is left of what was written.

    >>> quantize_file("model-f16.gguf", "model.gguf", "Q4_K_M")  # doctest: +SKIP
    """
    file = GGUFFile(source)
    check_output(path, [*file.paths, importance], "quantize", ".gguf")
    matrix = None if importance is None else read_importance(importance)
    metadata = file.typed_metadata()
    if matrix is not None and importance is not None:
        metadata.update(_about(matrix, Path(importance)))
    tensors = [copied(file, name) for name in file.tensors]
    return write_quantized(
        path, metadata, tensors, type, matrix, keep=keep, requantize=requantize, bar=bar
    )


def dequantize_file(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str = "F16",
    *,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """Write a GGUF file whose weights are floats: F32, F16 or BF16. The rest is as `quantize_file`.

    Raises:
        FormatError: as there; a value that float16 does not hold.
    """
    return quantize_file(source, path, floats_named(type), requantize=True, bar=bar)


def floats_named(type: str) -> str:
    """The name of a type of floats, in upper case.

    Raises:
        DTypeError: it is of none.
    """
    if type.upper() not in ("F32", "F16", "BF16"):
        raise DTypeError(message("dequantize", f"{type!r} is none of F32, F16, BF16"))
    return type.upper()


def write_quantized(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Sequence[Outgoing],
    type: str,
    importance: Importance | None = None,
    *,
    keep: Sequence[tuple[str, DType | str]] = (),
    requantize: bool = False,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """As `quantize_file`, of tensors from anywhere, whose pieces are whole rows."""
    mix = mix_named(type)
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}
    kinds = types_of(shapes, metadata, mix, keep, importance is not None)
    if importance is not None:
        check_fits(importance, {name: shape for name, (_, shape) in shapes.items()})
    _check_kinds(tensors, kinds, requantize)
    kept = {key: value for key, value in metadata.items() if not key.startswith("split.")}
    kept["general.file_type"] = MIXES[mix][0]
    kept["general.quantization_version"] = QUANTIZATION_VERSION
    with ThreadPoolExecutor(num_threads()) as pool:
        outgoing = [encoded(tensor, kinds[tensor.name], importance, pool) for tensor in tensors]
        try:
            write_gguf(path, kept, outgoing, bar(sum(tensor.nbytes for tensor in outgoing)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return kinds


def encoded(
    tensor: Outgoing, kind: DType, importance: Importance | None, pool: ThreadPoolExecutor
) -> Outgoing:
    """A tensor in another type, encoded piece by piece when it is written."""
    if tensor.dtype is kind:
        return tensor
    weights = None if importance is None or kind.kind != "q" else importance.of(*_named(tensor))

    def pieces() -> Iterator[Array]:
        waiting: deque[Future[Array]] = deque()
        for first, rows in _rows(tensor):
            waiting.append(pool.submit(_encode, tensor, kind, first, rows, weights))
            if len(waiting) > 2 * num_threads():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return Outgoing(tensor.name, kind, tensor.shape, pieces)


def floats(tensor: Outgoing) -> Iterator[Array]:
    """The values of a tensor, some rows at a time: (n, columns) float32."""
    for _, rows in _rows(tensor):
        yield blocks.dequantize(rows, tensor.dtype, (len(rows), _columns(tensor)))


def _named(tensor: Outgoing) -> tuple[str, tuple[int, ...]]:
    return tensor.name, tensor.shape


def _columns(tensor: Outgoing) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _rows(tensor: Outgoing) -> Iterator[tuple[int, Array]]:
    """The number of a row, and the bytes of some rows from there on, (n, bytes of a row)."""
    row = tensor.dtype.nbytes(_columns(tensor))
    most = max(ELEMENTS // max(_columns(tensor), 1), 1)
    first = 0
    for piece in tensor.pieces() if row else ():
        raw = np.ascontiguousarray(piece).reshape(-1).view(np.uint8)
        if raw.size % row:
            problem = f"tensor {tensor.name!r} gives {raw.size} bytes, not whole rows of {row}"
            raise ShapeError(message("quantize", problem))
        rows = raw.reshape(-1, row)
        for start in range(0, len(rows), most):
            yield first + start, rows[start : start + most]
        first += len(rows)


def _encode(tensor: Outgoing, kind: DType, first: int, rows: Array, weights: Array | None) -> Array:
    """Rows from number `first` on as the bytes of another type."""
    values = blocks.dequantize(rows, tensor.dtype, (len(rows), _columns(tensor)))
    _check_finite(tensor, values, first)
    if kind.kind != "q":
        with np.errstate(over="ignore"):
            found = values.astype(kind.numpy)
        if not np.isfinite(found.astype(np.float32)).all():
            problem = f"tensor {tensor.name!r} holds {np.abs(values).max()}"
            raise FormatError(message("quantize", problem, f"{kind.name} does not reach so far"))
        return found.reshape(-1).view(np.uint8)
    try:
        if weights is None:
            return blocks.quantize(values, kind).reshape(-1)
        return _weighted(tensor, kind, first, values, weights).reshape(-1)
    except FormatError as err:
        problem = f"tensor {tensor.name!r} holds {np.abs(values).max()}"
        raise FormatError(message("quantize", problem, f"{kind.name} does not hold it")) from err


def _weighted(tensor: Outgoing, kind: DType, first: int, values: Array, weights: Array) -> Array:
    """Rows encoded with the importance of the expert that each belongs to."""
    per_expert = tensor.shape[-2] if len(tensor.shape) > 1 else 1
    quantize: Callable[..., Array] = blocks.quantize
    found = []
    start = 0
    while start < len(values):
        expert = (first + start) // per_expert
        end = min(len(values), (expert + 1) * per_expert - first)
        found.append(quantize(values[start:end], kind, imatrix=weights[expert]))
        start = end
    return np.concatenate(found)


def _check_finite(tensor: Outgoing, values: Array, first: int) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    row, column = np.argwhere(~finite)[0]
    problem = f"tensor {tensor.name!r} holds {values[row, column]}"
    rule = f"row {first + row}, column {column} of {tensor.shape} {tensor.dtype.name}"
    raise FormatError(message("quantize", problem, rule))


def _check_kinds(tensors: Sequence[Outgoing], kinds: Mapping[str, DType], requantize: bool) -> None:
    """Fail before anything is written where a tensor cannot become what it should."""
    for tensor in tensors:
        kind = kinds[tensor.name]
        if tensor.dtype is kind:
            continue
        what = f"tensor {tensor.name!r} is {tensor.dtype.name}"
        if tensor.dtype.kind not in "fq" or tensor.dtype is dtype.float64:
            raise DTypeError(message("quantize", f"{what}, which is not encoded"))
        if tensor.dtype.kind == "q":
            if not requantize:
                hint = "rounding twice loses more: requantize=True, or --requantize, asks for it"
                raise DTypeError(message("quantize", f"{what} already", hint=hint))
            blocks.find("quantize", tensor.dtype)
        if kind.kind == "q" and blocks.find("quantize", kind).encode is None:
            problem = f"nothing encodes {kind.name}, which tensor {tensor.name!r} would get"
            raise DTypeError(message("quantize", problem))


def _about(importance: Importance, path: Path) -> dict[str, Any]:
    """What a file says about the importance matrix that its weights were encoded with."""
    return {
        "quantize.imatrix.file": path.name,
        "quantize.imatrix.dataset": importance.datasets[0] if importance.datasets else "",
        "quantize.imatrix.entries_count": np.int32(len(importance.entries)),
        "quantize.imatrix.chunks_count": np.int32(importance.chunk_count),
    }
