"""What a tokenizer is made from: the library's object, and the special ids of the model."""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tokenizers


class Vocabulary(NamedTuple):
    """A tokenizer of the library with what its file says beside it.

    Attributes:
        library: cuts text and knows the tokens.
        bos_id, eos_id: begin and end of a text, or None.
        end_ids: ids that end a generation.
        add_bos, add_eos: whether a text is put between them, where the library does not.
    """

    library: "tokenizers.Tokenizer"
    bos_id: int | None = None
    eos_id: int | None = None
    end_ids: frozenset[int] = frozenset()
    add_bos: bool = False
    add_eos: bool = False


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes: those that print stand for themselves, the others
    are U+0100 and on, in order.

    Source: https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    hidden = [byte for byte in range(256) if byte not in printable]
    table.update({chr(0x100 + place): byte for place, byte in enumerate(hidden)})
    return table
