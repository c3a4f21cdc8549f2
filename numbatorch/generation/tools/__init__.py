"""Tools of a conversation: described to the model by schemas, called by what it writes.

`Chat(tools=...)` puts the parts together.
"""

from numbatorch.generation.tools.calls import ToolCall
from numbatorch.generation.tools.detect import Dialect, dialect_of
from numbatorch.generation.tools.formats import FORMATS, Format, parse
from numbatorch.generation.tools.schemas import json_schema, schemas

__all__ = [
    "FORMATS",
    "Dialect",
    "Format",
    "ToolCall",
    "dialect_of",
    "json_schema",
    "parse",
    "schemas",
]
