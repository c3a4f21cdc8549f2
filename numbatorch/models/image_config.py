"""What configurations of models of images have in common: sizes in pairs, and names of classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numbatorch.errors import FormatError, message
from numbatorch.models.config import HF_FIXED, HF_HARMLESS, Fields

# Keys that say nothing about what an image becomes: of training, and of backbones of other models.
HARMLESS = [
    *HF_HARMLESS,
    *"""
    drop_connect_rate drop_path_rate dropout_rate encoder_stride initializer_factor out_features
    out_indices reshape_hidden_states stage_names _out_features _out_indices
    """.split(),
]
FIXED: Mapping[str, Any] = HF_FIXED
# A class a line, by the names that WordNet has for it: https://wordnet.princeton.edu
CLASSES = Path(__file__).parent / "imagenet_classes.txt"


def pair(fields: Fields, key: str, default: int) -> tuple[int, int]:
    """Height and width, which one number may stand for."""
    value = fields.get(key, default)
    if not isinstance(value, list):
        return fields.integer(key, default), fields.integer(key, default)
    plain = all(isinstance(x, int) and not isinstance(x, bool) and x > 0 for x in value)
    if len(value) != 2 or not plain:
        fields.fail(f"{key} is {value!r:.60}, not a height and a width")
    return value[0], value[1]


def integers(fields: Fields, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """A list of positive integers."""
    value = fields.get(key, default)
    plain = isinstance(value, list | tuple) and all(
        isinstance(x, int) and not isinstance(x, bool) and 0 < x < 2**31 for x in value
    )
    if not plain or not value:
        fields.fail(f"{key} is {value!r:.60}, not a list of positive integers")
    return tuple(value)


def labels_of(operator: str, config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """The names of `count` classes; LABEL_0 and so on where a configuration has none.

    Raises:
        FormatError: it names others than the classes that the weights are for.
    """
    named = config.get("id2label")
    if named is None:
        return tuple(f"LABEL_{number}" for number in range(count))
    keys = [str(number) for number in range(count)]
    if not isinstance(named, Mapping) or sorted(map(str, named)) != sorted(keys):
        problem = f"id2label names other classes than 0 to {count - 1}, which the weights are for"
        raise FormatError(message(operator, problem, "file config.json"))
    by_key = {str(key): str(name) for key, name in named.items()}
    return tuple(by_key[key] for key in keys)


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of all its classifiers."""
    return tuple(CLASSES.read_text(encoding="utf-8").splitlines())
