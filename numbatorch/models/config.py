"""Reading the values of a checkpoint's configuration, with errors that name file and key."""

import sys
import warnings
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from numbatorch.errors import FormatError, message

# Keys of config.json that change nothing that a forward pass computes: of training, of generating,
# of other programs, and names.
HF_HARMLESS = """
    _attn_implementation _name_or_path architectures attention_dropout attention_probs_dropout_prob
    auto_map bos_token_id chunk_size_feed_forward classifier_dropout dtype eos_token_id
    finetuning_task gradient_checkpointing hidden_dropout hidden_dropout_prob id2label
    initializer_range is_llama_config label2id max_length model_type num_labels output_attentions
    output_hidden_states pad_token_id pretraining_tp problem_type return_dict sep_token_id
    task_specific_params tokenizer_class torch_dtype torchscript transformers.js_config
    transformers_version unsloth_fixed unsloth_version use_cache
""".split()

# The same of GGUF metadata under an architecture's name; what they describe is in the tensors too,
# or belongs to a kind of rotary scaling that is refused.
GGUF_HARMLESS = """
    expert_used_count rope.scaling.finetuned rope.scaling.original_context_length
    tensor_data_layout vocab_size
""".split()


class Fields:
    """A configuration: keys to values of JSON or of GGUF metadata.

    Attributes:
        values: the configuration.
    """

    def __init__(
        self, operator: str, values: Mapping[str, Any], prefix: str = "", place: str = "config.json"
    ) -> None:
        self.values = values
        self._operator = operator
        self._prefix = prefix
        self._place = place
        self._read: set[str] = set()

    def fail(self, problem: str, *rows: str) -> NoReturn:
        """Raise a FormatError about this configuration."""
        raise FormatError(message(self._operator, problem, f"file {self._place}", *rows))

    def get(self, key: str, default: Any) -> Any:
        """The value, or the default where it is absent or null; without one it is required."""
        self._read.add(key)
        value = self.values.get(self._prefix + key)
        if value is not None:
            return value
        if default is None:
            self.fail(f"{self._prefix}{key} is missing")
        return default

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            self.fail(f"{self._prefix}{key} is {_short(value)}, not a positive integer")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive finite number."""
        value = self.get(key, default)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not 0 < value <= sys.float_info.max:
            self.fail(f"{self._prefix}{key} is {_short(value)}, not a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fail(f"{self._prefix}{key} is {_short(value)}, neither true nor false")
        return value

    def choice(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of the known words."""
        value = self.get(key, default)
        self.require(key, default, known)
        return str(value)

    def require(self, key: str, default: Any, known: tuple[Any, ...]) -> None:
        """Fail unless the value is one of those that are supported here."""
        value = self.get(key, default)
        if isinstance(value, list | dict) or value not in known:
            words = ", ".join(map(str, known))
            self.fail(f"{self._prefix}{key} is {_short(value)}", f"supported: {words}")

    def warn_of_unread(self, harmless: Collection[str]) -> None:
        """Warn of keys that nothing here has read, unless they are known to change nothing."""
        names = [
            key.removeprefix(self._prefix) for key in self.values if key.startswith(self._prefix)
        ]
        unread = [
            name
            for name in names
            if name not in self._read
            and name not in harmless
            and self.values[self._prefix + name] is not None
        ]
        if unread:
            problem = "keys that are not known here may change what the model computes"
            rows = (f"file {self._place}", ", ".join(self._prefix + name for name in unread))
            warnings.warn(message(self._operator, problem, *rows), stacklevel=2)

    def mapping(self, key: str) -> "Fields | None":
        """A configuration inside of this one, or None."""
        self._read.add(key)
        value = self.values.get(self._prefix + key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.fail(f"{self._prefix}{key} is {_short(value)}, not an object")
        return Fields(self._operator, value, "", f"{self._place}, {key}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
