"""How byte-level BPE vocabularies of GGUF files cut text into words before merging.

A GGUF file names its pre-tokenizer only; the patterns are those of the models' own tokenizer.json.
The names: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from numbatorch.errors import FormatError, message

if TYPE_CHECKING:
    import tokenizers


class PreTokenizer(NamedTuple):
    """One way to cut text.

    Attributes:
        patterns: regular expressions, each splitting what the former left in one piece.
        ignore_merges: a word that is in the vocabulary is that token, whatever the merges say.
        add_bos: whether text begins with the bos token where the file does not say.
        nfc: whether text is normalised to Unicode form C first.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    nfc: bool = False

    def build(self) -> "tokenizers.pre_tokenizers.Sequence":
        """The library's, which writes bytes as letters too."""
        from tokenizers import Regex, pre_tokenizers

        cuts: list[Any] = [pre_tokenizers.Split(Regex(p), "isolated") for p in self.patterns]
        cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        return pre_tokenizers.Sequence(cuts)


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORD_START = r"[^\r\n\p{L}\p{N}]?"
_CJK = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+"

# GPT-2's: https://github.com/openai/gpt-2/blob/master/src/encoder.py
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# https://huggingface.co/meta-llama/Meta-Llama-3-8B/blob/main/tokenizer.json
LLAMA3 = (
    rf"{_CONTRACTIONS}|{_WORD_START}\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
)

# https://huggingface.co/Qwen/Qwen2-7B/blob/main/tokenizer.json
QWEN2 = LLAMA3.replace("{1,3}", "")

# https://huggingface.co/Qwen/Qwen3.5-35B-A3B/blob/main/tokenizer.json
QWEN35 = (
    rf"{_CONTRACTIONS}|{_WORD_START}[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)

# https://huggingface.co/mistralai/Mistral-Nemo-Instruct-2407/blob/main/tokenizer.json
TEKKEN = (
    rf"{_WORD_START}{_UPPER}*{_LOWER}+|{_WORD_START}{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)

# https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py (o200k_base)
GPT4O = (
    rf"{_WORD_START}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|{_WORD_START}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)

# https://huggingface.co/deepseek-ai/deepseek-llm-7b-base/blob/main/tokenizer.json, whose list of
# letters is the cased letters of Unicode less these scripts.
_UNCASED = (
    r"\x{560}-\x{588}\x{10C7}-\x{10FF}\x{1C80}-\x{1C8F}\x{2D00}-\x{2D2F}\x{A790}-\x{A7FA}"
    r"\x{AB30}-\x{AB68}\x{10570}-\x{105BC}\x{10D50}-\x{10D85}\x{16E40}-\x{16EFF}"
    r"\x{1D400}-\x{1D7CB}\x{1DF00}-\x{1DFFF}"
)
DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[\p{{Lu}}\p{{Ll}}\p{{Lt}}&&[^{_UNCASED}]]+",
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
    r"\s+$",
    _CJK,
    r"\p{N}",
)

# https://huggingface.co/deepseek-ai/deepseek-coder-6.7b-base/blob/main/tokenizer.json
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")

# https://huggingface.co/deepseek-ai/DeepSeek-V3/blob/main/tokenizer.json
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
)

# https://huggingface.co/tiiuae/falcon-7b/blob/main/tokenizer.json
FALCON = (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]")

# llama.cpp's for files that name none.
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")

# https://huggingface.co/bigscience/bloom/blob/main/tokenizer.json
BLOOM = r" ?[^(\s|[.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C}])]+"

_GPT2 = PreTokenizer((GPT2,))
_DIGITS = PreTokenizer((r"\p{N}", GPT2))
_LLAMA3 = PreTokenizer((LLAMA3,), ignore_merges=True, add_bos=True)
_QWEN2 = PreTokenizer((QWEN2,))
_GPT4O = PreTokenizer((GPT4O,))

_FAMILIES: tuple[tuple[PreTokenizer, str], ...] = (
    (PreTokenizer(DEFAULT), "default"),
    (
        _GPT2,
        "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum"
        " modern-bert roberta-bpe jina-v1-en jina-v2-code jina-es jina-de jina-v2-es jina-v2-de",
    ),
    (_DIGITS, "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2"),
    (_LLAMA3, "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"),
    (PreTokenizer((LLAMA3,)), "dbrx smaug-bpe chatglm-bpe"),
    (PreTokenizer((LLAMA3,), ignore_merges=True), "glm4 glm5"),
    (PreTokenizer((QWEN2,), nfc=True), "qwen2"),
    (_QWEN2, "deepseek-r1-qwen kormo f2llmv2 megrez hunyuan stablelm2 solar-open grok-2"),
    (PreTokenizer((QWEN35,)), "qwen35"),
    (PreTokenizer((TEKKEN,), ignore_merges=True, add_bos=True), "tekken"),
    (_GPT4O, "gpt-4o llama4 kanana2 talkie minimax-m2"),
    (PreTokenizer(DEEPSEEK_LLM), "deepseek-llm"),
    (PreTokenizer(DEEPSEEK_CODER), "deepseek-coder"),
    (PreTokenizer(DEEPSEEK_V3), "deepseek-v3 hunyuan-dense joyai-llm"),
    (PreTokenizer(FALCON), "falcon"),
    (PreTokenizer((BLOOM,)), "bloom poro-chat gpt3-finnish"),
    (PreTokenizer((BLOOM, r"\p{N}")), "viking"),
)
PRE_TOKENIZERS = {name: pre for pre, names in _FAMILIES for name in names.split()}


def lookup(name: str) -> PreTokenizer:
    """The pre-tokenizer that a GGUF file names in `tokenizer.ggml.pre`.

    Raises:
        FormatError: the name is not known; a guess would give other tokens than the model's.
    """
    found = PRE_TOKENIZERS.get(name)
    if found is None:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise FormatError(
            message("tokenizer", f"unknown pre-tokenizer {name!r}", f"known: {known}")
        )
    return found
