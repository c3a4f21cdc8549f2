"""Tensors of big-endian systems in this system's byte order.

Where blocks hold numbers of two bytes: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
"""

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array, TensorInfo

# Block type: the first byte and how many, of each run of 16-bit numbers in a block.
HALVES: dict[str, tuple[tuple[int, int], ...]] = {
    "Q4_0": ((0, 1),),
    "Q4_1": ((0, 2),),
    "Q5_0": ((0, 1),),
    "Q5_1": ((0, 2),),
    "Q8_0": ((0, 1),),
    "Q8_1": ((0, 2),),
    "Q2_K": ((80, 2),),
    "Q3_K": ((108, 1),),
    "Q4_K": ((0, 2),),
    "Q5_K": ((0, 2),),
    "Q6_K": ((208, 1),),
    "IQ1_S": ((0, 1), (34, 8)),
    "IQ1_M": ((48, 4),),
    "IQ2_XXS": ((0, 33),),
    "IQ2_XS": ((0, 33),),
    "IQ2_S": ((0, 1),),
    "IQ3_XXS": ((0, 1),),
    "IQ3_S": ((0, 1),),
    "IQ4_NL": ((0, 1),),
    "IQ4_XS": ((0, 2),),
    "TQ1_0": ((52, 1),),
    "TQ2_0": ((64, 1),),
    "MXFP4": (),
    "NVFP4": (),
}


def swapped(raw: Array, info: TensorInfo) -> Array:
    """Whole rows of a tensor, (n,) uint8, with the bytes of each number the other way round.

    Raises:
        FormatError: nothing is known about where the type has numbers.
    """
    kind = info.dtype
    if kind.kind != "q":
        return raw.reshape(-1, kind.itemsize)[:, ::-1].reshape(-1)
    if kind.name not in HALVES:
        row = f"tensor {info.name!r} has type {kind.name}"
        problem = "a big-endian file with a type whose bytes are not known"
        raise FormatError(message("gguf", problem, f"file {info.path}", row))
    found = np.array(raw).reshape(-1, kind.itemsize)
    for first, count in HALVES[kind.name]:
        part = slice(first, first + 2 * count)
        pairs = found[:, part].reshape(len(found), count, 2)
        found[:, part] = pairs[:, :, ::-1].reshape(len(found), -1)
    return found.reshape(-1)
