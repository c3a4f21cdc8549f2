"""Awkward texts: two tokenizers that give them the same ids are taken to be the same."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numbatorch.generation.tokenizer import Tokenizer

TEXTS = (
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n\n",
    "\r\n",
    " \n ",
    "\n  \n   \n",
    "a",
    " a ",
    "  two  spaces   and    more     ",
    "Hello, World! HELLO world",
    "I'm, you'RE, they've; we'll he'd DON'T 'S 'sa o'clock 'Tis \u2019tis it\u2019s",
    "def f(x):\n    return x**2 + 1  # comment\n\n\tif a_b != c.d: pass\r\n",
    "camelCaseWords and SCREAMING_SNAKE XMLHttpRequest iPhone ALLCAPSend",
    "0 12 345 6789 12345 678901 3.14159e-10 1,234,567.89 v1.2.3 x86_64 10th",
    "\u0661\u0662\u0663\u0664 \u00bd \u00b2 \u2167 \u4e00\u4e8c\u4e09",
    "....... ,,, !!! ??? ''''''``````\"\"\"\"\"\"-----====____~~~ ((({{{[[[<<<>>>]]]}}})))",
    " .a !b $c %d &e *f +g =h <i >j ^k |l ~m `n @o #p /q \\r \"s 't",
    "http://example.com/path?query=1&other=a%20b#end mail@example.org C:\\dir\\file.txt",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u0141\u00f3d\u017a stra\u00dfe \u0130stanbul \u01c5",
    "cafe\u0301 e\u0301\u0300 a\u0308 \u1100\u1161\u11a8 \u0915\u094d\u0937\u093f \ufb01n \u212b",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac"
    " \u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea \u0e44\u0e17\u0e22 \u10d0\u10d1",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f \u30ab\u30bf\u30ab\u30ca"
    " \uc548\ub155\ud558\uc138\uc694 \u6df7\u5408abc123\u6df7",
    "\U0001f642 \U0001f44d\U0001f3fd \U0001f636\u200d\U0001f32b\ufe0f \U0001f1e9\U0001f1ea"
    " \U00020000 \U0001d400",
    "\u00a0\u2003\u3000\u200b\ufeff\u2028\u2029\u0085 x\u00a0y\u3000z",
    "\x00\x01\x1f\x7f\x80\ufffd\uffff\U0010ffff",
    "\u2581lower\u2581block \u2581\u2581 <0x41> \u0120\u010a ##ing [PAD] [UNK] <unk>",
    "<s> </s> <pad> <|endoftext|> <|im_start|>user\nhi<|im_end|>",
    "a" * 130 + " " * 40 + "=" * 70 + "\n" * 20,
    "Pneumonoultramicroscopicsilicovolcanoconiosis Donaudampfschifffahrtsgesellschaft",
)


def texts(tokenizer: "Tokenizer", all_tokens: bool) -> list[str]:
    """Awkward texts, and those of tokens, each between others.

    Args:
        tokenizer: whose tokens are spelled.
        all_tokens: of all tokens, not of some.
    """
    step = 1 if all_tokens else max(1, tokenizer.vocab_size // 4096)
    ids = range(0, tokenizer.vocab_size, step)
    return [*TEXTS, *filter(str.isprintable, map(tokenizer.decode, ([id] for id in ids)))]


def around(spellings: Iterable[str], behind: bool) -> Iterator[str]:
    """Texts with special tokens in them.

    Args:
        spellings: of the tokens.
        behind: whether something follows them.
    """
    for spelling in spellings:
        yield f"Hi {spelling}"
        yield f"a\n{spelling}{spelling}"
        if behind:
            yield f" {spelling}  b {spelling}\n\n c{spelling}d"


def first_difference(
    one: "Tokenizer", other: "Tokenizer", found: Sequence[str], special: bool
) -> tuple[str, list[int], list[int]] | None:
    """A text that has other ids in `other`, and both; or None."""
    pairs = zip(one.encode_batch(found, special), other.encode_batch(found, special), strict=True)
    for text, (ids, others) in zip(found, pairs, strict=True):
        if ids != others:
            return text, ids, others
    return None
