"""What a JSON schema asks for is enforced, is a remark, or is refused by name."""

import json
from typing import Any

import pytest

from numbatorch.cli.main import main
from numbatorch.generation.samplers import JSONSchema
from numbatorch.generation.samplers.grammar import SPACES
from numbatorch.generation.samplers.schema_keywords import ENFORCED, REMARKS

llguidance = pytest.importorskip("llguidance")

DEFS = {"$defs": {"text": {"type": "string"}}}
# Of each keyword a schema, a text that follows it and one that breaks it.
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "anyOf": ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", "1"),
    "oneOf": ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "null", "1"),
    "allOf": ({"allOf": [{"type": "string"}, {"maxLength": 1}]}, '"a"', '"ab"'),
    "$ref": ({"$ref": "#/$defs/text", **DEFS}, '"a"', "1"),
    "const": ({"const": 5}, "5", "6"),
    "enum": ({"enum": [1, "a"]}, '"a"', '"b"'),
    "type": ({"type": "boolean"}, "true", "1"),
    "items": ({"type": "array", "items": {"type": "null"}}, "[null]", "[1]"),
    "additionalItems": (
        {"type": "array", "items": [{"type": "null"}], "additionalItems": False},
        "[null]",
        "[null, 1]",
    ),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "null"}]}, "[null, 1]", "[1]"),
    "minItems": ({"type": "array", "minItems": 1}, "[1]", "[]"),
    "maxItems": ({"type": "array", "maxItems": 1}, "[1]", "[1, 2]"),
    "properties": ({"properties": {"a": {"type": "null"}}}, '{"a": null}', '{"a": 1}'),
    "additionalProperties": (
        {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
        '{"a": 1}',
        '{"b": 1}',
    ),
    "patternProperties": (
        {"type": "object", "patternProperties": {"^a": {"type": "null"}}},
        '{"a": null}',
        '{"a": 1}',
    ),
    "required": ({"type": "object", "required": ["a"]}, '{"a": 1}', "{}"),
    "minProperties": ({"type": "object", "minProperties": 1}, '{"a": 1}', "{}"),
    "maxProperties": ({"type": "object", "maxProperties": 1}, '{"a": 1}', '{"a": 1, "b": 1}'),
    "minLength": ({"type": "string", "minLength": 2}, '"ab"', '"a"'),
    "maxLength": ({"type": "string", "maxLength": 1}, '"a"', '"ab"'),
    "pattern": ({"type": "string", "pattern": "^a+$"}, '"aa"', '"ab"'),
    "format": ({"type": "string", "format": "date"}, '"2020-01-02"', '"tomorrow"'),
    "minimum": ({"type": "integer", "minimum": 3}, "3", "2"),
    "maximum": ({"type": "integer", "maximum": 3}, "3", "4"),
    "exclusiveMinimum": ({"type": "integer", "exclusiveMinimum": 3}, "4", "3"),
    "exclusiveMaximum": ({"type": "integer", "exclusiveMaximum": 3}, "2", "3"),
    "multipleOf": ({"type": "integer", "multipleOf": 3}, "6", "7"),
}


def follows(schema: dict[str, Any], text: str) -> bool:
    """Whether the library takes a text, byte by byte, as one of a schema."""
    library: Any = llguidance
    bytes_ = library.LLTokenizer("byte")
    made = library.LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=SPACES)
    matcher = library.LLMatcher(bytes_, made, log_level=0)
    assert not matcher.get_error()
    ids = bytes_.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize("keyword", sorted(ENFORCED))
def test_what_is_taken_is_enforced(keyword: str) -> None:
    schema, right, wrong = CASES[keyword]
    JSONSchema(schema)
    assert follows(schema, right)
    assert not follows(schema, wrong)


@pytest.mark.parametrize("keyword", sorted(REMARKS))
def test_a_remark_is_taken(keyword: str) -> None:
    values = {"$defs": {"a": {"type": "null"}}, "definitions": {}, "deprecated": True}
    values |= {"readOnly": True, "writeOnly": True, "examples": ["a"], "contentSchema": {}}
    values |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:a"}
    schema = {keyword: values.get(keyword, "a"), "type": "string", "x-guidance": {}}
    JSONSchema(schema)
    assert follows(schema, '"a"')


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"type": "string", "maxLenght": 3}, "'maxLenght' in #\n  hint: there is maxLength"),
        ({"properties": {"a": {"nullable": True}}}, "'nullable' in #/properties/a"),
        ({"properties": {"a/b~": {"nullable": True}}}, "'nullable' in #/properties/a~1b~0"),
        ({"anyOf": [{}, {"foo": 1}]}, "'foo' in #/anyOf/1"),
        ({"items": {"items": [{"foo": 1}]}}, "'foo' in #/items/items/0"),
        ({"$defs": {"q": {"foo": 1}}, "$ref": "#/$defs/q"}, "'foo' in #/$defs/q"),
        ({"additionalProperties": {"foo": 1}}, "'foo' in #/additionalProperties"),
        ({"patternProperties": {"^a": {"foo": 1}}}, "'foo' in #/patternProperties/^a"),
        ({"items": {"x-guidance": {}}}, "'x-guidance' in #/items"),
        ({"properties": {"a": {"type": "null", "required": True}}}, "in #/properties/a is True"),
        *(
            ({name: value}, f"{name!r} in #")
            for name, value in {
                "not": {},
                "if": {},
                "uniqueItems": True,
                "contains": {},
                "dependentRequired": {},
                "propertyNames": {},
                "unevaluatedProperties": False,
                "$dynamicRef": "#a",
                "divisibleBy": 3,
            }.items()
        ),
    ],
    ids=str,
)
def test_what_is_not_enforced_is_named_with_its_place(schema: dict[str, Any], part: str) -> None:
    for given in (schema, json.dumps(schema)):
        with pytest.raises(ValueError, match="asks for what is not enforced") as caught:
            JSONSchema(given)
        assert part in str(caught.value)


def test_values_are_no_schemas() -> None:
    data = {"foo": 1}
    schema = {"const": data, "default": data, "examples": [data], "properties": {"foo": {}}}
    JSONSchema({**schema, "enum": [data]})
    JSONSchema({"properties": {"items": {"enum": ["a"]}, "not": {}}})  # names, no keywords
    JSONSchema({"not": {}, "x-guidance": {"lenient": True}})  # asks for just that


@pytest.mark.parametrize("text", ["true", "5", "[{}]", '"a"', "null"])
def test_what_is_no_schema_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        JSONSchema(text)


def test_a_deep_schema_is_no_recursion() -> None:
    with pytest.raises(ValueError, match="not well formed"):
        JSONSchema('{"items":' * 100_000)


def test_the_command_names_it_before_a_model_is_loaded(capsys: pytest.CaptureFixture) -> None:
    schema = '{"type": "object", "requiredProperties": ["a"]}'
    assert main(["generate", "--model", "./not-there", "--json-schema", schema, "x"]) == 1
    assert "'requiredProperties' in #" in capsys.readouterr().err
