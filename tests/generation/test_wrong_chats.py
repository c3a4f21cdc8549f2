"""Wrong calls of `nt.Chat` and of packed weights are refused at the call, in the user's words."""

from pathlib import Path
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.dtype import Q4_1
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.quantized import QTensor, quantize, quantize_file


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"model": "x"}, "there is no argument model"),
        ({"temprature": 1}, "there is no argument temprature\n  hint: there is temperature"),
        ({"prompt": "x"}, "there is no argument prompt\n  hint: send"),
        ({"messages": []}, "there is no argument messages\n  hint: send"),
    ],
    ids=str,
)
def test_arguments_that_are_not_there_load_no_model(
    how: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextGenerator, "__init__", lambda *given: pytest.fail("loads a model"))
    with pytest.raises(TypeError, match="^chat: " + told):
        nt.Chat(**how)


@pytest.mark.parametrize("name", ["tools", "documents", "variables", "system"])
def test_what_belongs_to_the_conversation_is_no_argument_of_an_answer(
    name: str, smollm2: Path
) -> None:
    chat = nt.Chat(smollm2)
    for call in (chat.send, chat.stream):
        with pytest.raises(TypeError, match=f"no argument {name}\n  hint: .* chat.{name}$"):
            call("x", **{name: None})
    assert chat.messages == []
    with pytest.raises(TypeError, match=r"^chat: system is 5; it must be a text$"):
        nt.Chat(chat.generator, system=5)  # type: ignore[arg-type]


def test_packed_weights_say_how_they_are_used() -> None:
    w = quantize(nt.ones(4, 32), "Q8_0")
    with pytest.raises(nt.DTypeError, match=r"right side of a product: x @ w\.T\n  lhs \(32, 4\)"):
        w.T @ nt.ones(4)
    for given in ((), (nt.ones(2, 32),), (nt.ones(2, 32), "Q8_0")):
        with pytest.raises(TypeError, match="QTensor"):
            QTensor(*given)
    with pytest.raises(nt.DTypeError, match="there is no block type Q9"):
        quantize(nt.ones(4, 32), "Q9")


def test_types_of_files_are_names_or_types(fixtures: Path, tmp_path: Path) -> None:
    source, path = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf", tmp_path / "o.gguf"
    with pytest.raises(nt.DTypeError, match="there is no type None of a file"):
        quantize_file(source, path, None)  # type: ignore[arg-type]
    for wrong in ("attn_q", ("attn_q",), 5, (3, "Q8_0")):
        with pytest.raises(TypeError, match=r"keep holds .*, not a pattern and a type"):
            quantize_file(source, path, "Q8_0", keep=[wrong], requantize=True)  # type: ignore[list-item]
    by_name = quantize_file(source, path, "Q8_0", keep=[("attn_q", "Q4_1")], requantize=True)
    by_type = quantize_file(source, path, "Q8_0", keep=[("attn_q", Q4_1)], requantize=True)
    assert by_name == by_type and by_name["blk.0.attn_q.weight"].name == "Q4_1"
