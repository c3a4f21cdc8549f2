"""MiniLM as an ONNX file, exported from PyTorch into the folder of benchmark files."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.timing import Work
from benchmarks.worker import FILES_VARIABLE

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
Feeds = dict[str, np.ndarray]


def file(folder: str) -> Path:
    """The file of the checkpoint in `folder`, written on first use."""
    path = Path(os.environ[FILES_VARIABLE], "minilm.onnx")
    if not path.exists():
        partial = path.with_suffix(".partial")
        try:
            _export(folder, partial)
        except Exception as err:
            partial.unlink(missing_ok=True)
            raise NotImplementedError(f"the export needs torch, transformers, onnx: {err}") from err
        partial.replace(path)
    return path


def _export(folder: str, path: Path) -> None:
    import torch
    import transformers

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            bert = transformers.BertModel.from_pretrained(folder, attn_implementation="eager")
            self.bert = bert.eval()

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.bert(**dict(zip(INPUTS, inputs, strict=True))).last_hidden_state

    example = (torch.ones(1, 8, dtype=torch.long),) * 3
    axes = {name: {0: "N", 1: "T"} for name in INPUTS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Hidden(),
            example,
            str(path),
            input_names=INPUTS,
            output_names=["hidden"],
            dynamic_axes=axes,
            dynamo=False,
            opset_version=17,
        )


def job(
    load: Callable[[str, str], Callable[[Feeds], np.ndarray]],
) -> Callable[[str, list[str], str], Work]:
    """The job of an engine that runs the file.

    Args:
        load: from the folder of the checkpoint and the dtype of products to a function of the
            inputs (N, T) by name that gives hidden states (N, T, C).
    """

    def embed(folder: str, sentences: list[str], compute: str) -> Work:
        """A batch of sentences: tokenize, forward, mean over the tokens, normalise."""
        forward = load(folder, compute)
        tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        tokenizer.enable_padding()
        tokenizer.enable_truncation(256)

        def run() -> np.ndarray:
            encoded = tokenizer.encode_batch(sentences)
            ids = np.array([item.ids for item in encoded])
            mask = np.array([item.attention_mask for item in encoded])
            feeds = dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))
            hidden = forward(feeds)  # (N, T, C)
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            return mean / np.linalg.norm(mean, axis=1, keepdims=True)

        return Work(run, units=len(sentences))

    return embed
