"""Keywords of a JSON schema: what is not enforced is refused by name, and not left out in silence.

The library refuses keywords of the standard that it does not enforce, and takes any other, such as
one that is misspelled, for a remark.
Source: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
"""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from numbatorch.errors import message

ENFORCED = frozenset(
    """
    anyOf oneOf allOf $ref const enum type items additionalItems prefixItems minItems maxItems
    properties additionalProperties patternProperties required minProperties maxProperties minLength
    maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
    """.split()
)
# What asks nothing of a text: names, remarks, and of OpenAPI what leads a reader of the schema.
REMARKS = frozenset(
    """
    $schema $id id $anchor $comment $defs definitions title description default example examples
    deprecated readOnly writeOnly contentEncoding contentMediaType contentSchema discriminator
    externalDocs xml
    """.split()
)
OPTIONS = "x-guidance"  # of the library, in the outermost schema
_SCHEMAS = ("items", "additionalItems", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
SHOWN = 8


def check_keywords(schema: str) -> None:
    """Look at all keywords of a schema, written as JSON.

    Raises:
        ValueError: one is not enforced, or what is required is no list of names; says where. It is
            no JSON object.

    >>> check_keywords('{"type": "string", "maxLenght": 3}')
    Traceback (most recent call last):
    ...
    ValueError: sampling: json_schema asks for what is not enforced
      'maxLenght' in #
      hint: there is maxLength
    """
    try:
        outermost = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            message("sampling", "json_schema is not well formed", str(error))
        ) from None
    if not isinstance(outermost, dict):
        problem = f"json_schema is {schema.strip()!r:.80}, not a JSON object"
        raise ValueError(message("sampling", problem))
    options = outermost.get(OPTIONS)
    if isinstance(options, dict) and options.get("lenient") is True:  # asks for just that
        return
    wrong: list[str] = []
    near: list[str] = []
    for place, found in _inner("#", outermost):
        for name, value in found.items():
            if name == "required" and not isinstance(value, list):
                wrong.append(f"'required' in {place} is {value!r:.40}, not a list of names")
            if name in ENFORCED or name in REMARKS or (name == OPTIONS and place == "#"):
                continue
            wrong.append(f"{name!r:.80} in {place}")
            near += get_close_matches(name, sorted(ENFORCED), 1)
    if wrong:
        rows = wrong[:SHOWN] + [f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN)
        hint = f"there is {', '.join(dict.fromkeys(near))}" if near else None
        problem = "json_schema asks for what is not enforced"
        raise ValueError(message("sampling", problem, *rows, hint=hint))


def _inner(place: str, schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and all that it is made of, each with its JSON pointer; values are no schemas."""
    waiting = [(place, schema)]
    while waiting:
        place, found = waiting.pop()
        if not isinstance(found, dict):  # True, False, or what the library refuses
            continue
        yield place, found
        inner = [(f"{place}/{name}", found.get(name)) for name in _SCHEMAS]
        for name in _LISTS:
            each = found.get(name)
            if isinstance(each, list):
                inner += [(f"{place}/{name}/{i}", part) for i, part in enumerate(each)]
        for name in _MAPS:
            each = found.get(name)
            if isinstance(each, dict):
                inner += [(f"{place}/{name}/{_escaped(key)}", part) for key, part in each.items()]
        waiting += reversed(inner)


def _escaped(key: str) -> str:
    """A name as it stands in a JSON pointer (https://www.rfc-editor.org/rfc/rfc6901#section-3)."""
    return key.replace("~", "~0").replace("/", "~1")[:80]
