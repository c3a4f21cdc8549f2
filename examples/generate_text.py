"""Generate text with a language model, piece by piece.

Run: python examples/generate_text.py [SOURCE [PROMPT]]. SOURCE is a GGUF file, a folder with
safetensors or a repository on the Hub; by default a small Llama that was trained on the Python
manual.
"""

import sys
from pathlib import Path

import numbatorch as nt

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"
SOURCE = str(FIXTURES / "pydoc-llama" / "pydoc-llama-q4_0.gguf")
PROMPT = "The for statement"


def main() -> int:
    """Print a continuation as it comes; returns the number of tokens."""
    source = sys.argv[1] if len(sys.argv) > 1 else SOURCE
    prompt = sys.argv[2] if len(sys.argv) > 2 else PROMPT
    generator = nt.TextGenerator(source)
    generation = generator.stream(prompt, max_tokens=40)  # greedy; temperature=0.7 samples
    print(prompt, end="")
    for piece in generation:
        print(piece, end="", flush=True)
    counts = generation.counts
    rate = counts.tokens / counts.seconds  # without the first token, which the prompt gives
    print(f"\n\n{rate:.0f} tokens/s, tokens: {len(generation.ids)}")
    return len(generation.ids)


if __name__ == "__main__":
    main()
