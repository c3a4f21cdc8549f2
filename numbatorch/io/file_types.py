"""Names of the numbers that GGUF files have for what most of their weights are stored as.

Source: https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h
"""

from typing import Any

KEY = "general.file_type"
GUESSED = 1024  # added where a program has taken the number from the tensors
NAMES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
}


def file_type_name(value: Any) -> str | None:
    """The name of a number; None of one that is not known, and of what is no number.

    >>> file_type_name(15), file_type_name(4)
    ('Q4_K_M', None)
    """
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    found = NAMES.get(value & ~GUESSED)
    return f"{found}, guessed" if found and value & GUESSED else found
