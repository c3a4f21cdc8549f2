"""Long texts as a model sees them in measurements: chunks of tokens, each begun anew."""

import os
from collections.abc import Sequence
from pathlib import Path

from numbatorch.errors import FormatError, OutOfRange, message
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.io.reading import read_bytes

CONTEXT = 512  # tokens of a chunk unless told


def read_text(path: str | os.PathLike[str], operator: str) -> str:
    """A text file.

    Raises:
        OSError, FormatError: as `read_bytes`; the file is not UTF-8.
    """
    try:
        return read_bytes(path, operator).decode()
    except UnicodeDecodeError as error:
        problem = f"the text is not UTF-8 at byte {error.start}"
        raise FormatError(message(operator, problem, f"file {Path(path)}")) from error


def chunks_of(
    generator: TextGenerator, text: str, context: int, chunks: int | None, operator: str
) -> list[list[int]]:
    """The tokens of a text in chunks of `context` tokens; what is left over is not used.

    Args:
        generator: knows the tokens and the longest context.
        text: as it stands in a file.
        context: tokens of a chunk.
        chunks: how many at most; all unless given.
        operator: what errors name.
    Raises:
        OutOfRange: the text is shorter than a chunk, or a chunk longer than the model's context.
    """
    if not 2 <= context <= generator.context:
        problem = f"chunks of {context} tokens; they may have 2 to {generator.context} here"
        raise OutOfRange(message(operator, problem))
    check_chunks(chunks, operator)
    ids = generator.tokenizer.encode(text)
    count = len(ids) // context
    if not count:
        problem = f"the text has {len(ids)} tokens, and a chunk {context}"
        raise OutOfRange(message(operator, problem))
    count = count if chunks is None else min(count, chunks)
    return [ids[start : start + context] for start in range(0, count * context, context)]


def check_chunks(chunks: int | None, operator: str) -> None:
    """Fail unless there is a chunk at least.

    Raises:
        OutOfRange: there is none.
    """
    if chunks is not None and chunks < 1:
        raise OutOfRange(message(operator, f"chunks is {chunks}; it must be above 0"))


def begun(generator: TextGenerator, ids: Sequence[int]) -> list[int]:
    """A chunk as a text of its own: its first token is bos, where texts begin with that."""
    tokenizer = generator.tokenizer
    if tokenizer.bos_id is not None and tokenizer.encode("")[:1] == [tokenizer.bos_id]:
        return [tokenizer.bos_id, *ids[1:]]
    return list(ids)
