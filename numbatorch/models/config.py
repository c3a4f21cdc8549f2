"""Reading the values of a checkpoint's configuration, with errors that name file and key."""

import sys
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.reading import short

T = TypeVar("T")

# Keys of config.json that change nothing that a forward pass computes: names, and what is of
# training, of other programs, or of generating, which generation_config.json says today.
HF_HARMLESS = """
    _attn_implementation _attn_implementation_autoset _commit_hash _flash_attn_2_enabled
    _name_or_path architectures attention_dropout attention_probs_dropout_prob
    attn_implementation auto_map bos_token_id cache_implementation chunk_size_feed_forward
    classifier_dropout decoder_start_token_id dtype embd_pdrop eos_token_id finetuning_task
    gradient_checkpointing hidden_dropout hidden_dropout_prob id2label initializer_range
    is_llama_config label2id max_sequence_length model_max_length model_type name_or_path
    num_labels output_attentions output_hidden_states pad_token_id prefix pretraining_tp
    problem_type resid_pdrop return_dict sep_token_id task_specific_params tf_legacy_loss
    tokenizer_class torch_dtype torchscript transformers.js_config transformers_version
    unsloth_fixed unsloth_version use_bfloat16 use_cache xla_device

    assistant_confidence_threshold assistant_lookbehind bad_words_ids begin_suppress_tokens
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    encoder_repetition_penalty epsilon_cutoff eta_cutoff exponential_decay_length_penalty
    forced_bos_token_id forced_eos_token_id length_penalty max_length min_length
    no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule num_beam_groups
    num_beams num_return_sequences output_scores remove_invalid_values repetition_penalty
    return_dict_in_generate suppress_tokens target_lookbehind temperature top_k top_p typical_p
""".split()

# Keys that every model of Hugging Face may have, with the value that says nothing.
HF_FIXED: Mapping[str, Any] = {
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "per_layer_config": {},
    "pruned_heads": {},
    "tie_encoder_decoder": False,
}
HF_DECODER_FIXED: Mapping[str, Any] = {**HF_FIXED, "is_causal": True}
HF_ENCODER_FIXED: Mapping[str, Any] = {**HF_FIXED, "is_causal": False, "is_decoder": False}

# The same of GGUF metadata under an architecture's name, for decoders.
GGUF_FIXED: Mapping[str, Any] = {
    "attention.causal": True,
    "expert_count": 0,
    "expert_used_count": 0,
}

# GGUF metadata under an architecture's name that changes nothing: what it describes is in the
# tensors too, or belongs to a kind of rotary scaling that is refused.
GGUF_HARMLESS = """
    rope.scaling.finetuned rope.scaling.original_context_length tensor_data_layout
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

    def count(self, key: str, default: int | None = None) -> int:
        """An integer of 0 or more."""
        return 0 if self.get(key, default) == 0 else self.integer(key, default)

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            self.fail(f"{self._prefix}{key} is {_short(value)}, not a positive integer")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive finite number."""
        value = self.get(key, default)
        if not _is_positive(value):
            self.fail(f"{self._prefix}{key} is {_short(value)}, not a positive finite number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fail(f"{self._prefix}{key} is {_short(value)}, neither true nor false")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of positive finite numbers."""
        values = self.get(key, None)
        if not isinstance(values, list) or not values or not all(map(_is_positive, values)):
            self.fail(f"{self._prefix}{key} is {_short(values)}, not a list of positive numbers")
        return tuple(map(float, values))

    def optional(self, key: str, read: Callable[[str], T], absent: T | None = None) -> T | None:
        """What `read` finds; None where the value is null, `absent` where the key is not there."""
        self._read.add(key)
        if self._prefix + key not in self.values:
            return absent
        return None if self.values[self._prefix + key] is None else read(key)

    def choice(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of the known words."""
        value = self.get(key, default)
        self.require(key, default, known)
        return str(value)

    def require(self, key: str, default: Any, known: tuple[Any, ...]) -> None:
        """Fail unless the value is one of those that are supported here."""
        value = self.get(key, default)
        if isinstance(value, np.ndarray) or value not in known:
            words = ", ".join(map(str, known))
            self.fail(f"{self._prefix}{key} is {_short(value)}", f"supported: {words}")

    def refuse_unread(
        self, harmless: Collection[str], fixed: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Fail on keys that nothing here has read: they may change what the model computes.

        Args:
            harmless: keys that change nothing, whatever they say.
            fixed: keys that change nothing while they have this value.
        """
        for key, value in fixed.items():
            if key not in self._read:
                self.require(key, value, (value,))
        unread = [
            key
            for key, value in self.values.items()
            if key.startswith(self._prefix)
            and value is not None
            and key.removeprefix(self._prefix) not in self._read
            and key.removeprefix(self._prefix) not in harmless
        ]
        if unread:
            problem = "keys that are not known here may change what the model computes"
            self.fail(problem, *(f"{key} is {_short(self.values[key])}" for key in unread))

    def mapping(self, key: str) -> "Fields | None":
        """A configuration inside of this one, or None."""
        self._read.add(key)
        value = self.values.get(self._prefix + key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.fail(f"{self._prefix}{key} is {_short(value)}, not an object")
        return Fields(self._operator, value, "", f"{self._place}, {key}")


def _is_positive(value: Any) -> bool:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and 0 < value <= sys.float_info.max


def _short(value: Any) -> str:
    return short(repr(value), 60)
