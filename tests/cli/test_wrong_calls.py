"""Wrong calls of the command: one message that says what is wrong in the user's words."""

import pytest

from numbatorch.cli.main import main

GGUF, FOLDER = "pydoc-llama/pydoc-llama-q4_0.gguf", "pydoc-llama"
INTERNALS = ("resolve:", "open_checkpoint", "map_file", "Errno", "int value", "float value", "mix ")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["chat", "--model", "./nope"], "model: no such file or folder\n  path './nope'"),
        (
            ["chat", "--temprature", "1"],
            "no argument --temprature 1; there is --temperature",
        ),
        (["chat", "more"], "chat: there is no argument more\n"),
        (["generate", "x", "--model", "m", "--top-k", "1.5"], "'1.5' is no whole number"),
        (["generate", "x", "--model", "m", "--seed", "a"], "'a' is no whole number"),
        (["generate", "x", "--model", "m", "--temperature", "hot"], "'hot' is no number"),
        (["generate", "x", "--model", "m", "--json-schema", "[]"], "'[]', not a JSON object"),
        (
            ["quantize", "GGUF", "o.gguf", "--type", "Q4"],
            "there is no type 'Q4' of a file",
        ),
        (
            ["quantize", "GGUF", "o.gguf", "--type", "Q8_0", "--imatrix", "no.dat"],
            "No such file or directory: no.dat",
        ),
        (["quantize", "GGUF", "o.gguf", "--typo", "Q8_0"], "--type"),
        (["perplexity", "GGUF", "no.txt"], "No such file or directory: no.txt"),
        (["perplexity", "GGUF", "TEXT"], "tokens, and a chunk 512"),
        (["perplexity", "GGUF", "TEXT", "--context", "1"], "they may have 2 to 512 here"),
        (["perplexity", "GGUF", "TEXT", "--chunks", "0"], "chunks is 0; it must be above 0"),
        (["inspect", "EMPTY"], "weights: no safetensors weights"),
        (["inspect", "FOLDER", "--context", "0"], "0 is not above 0"),
        (["inspect", "FOLDER", "--context", "513"], "513 tokens in a context of 512"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_a_message_in_the_users_words(
    arguments: list[str], part: str, fixtures, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    named = {"GGUF": fixtures / GGUF, "FOLDER": fixtures / FOLDER}
    named |= {"TEXT": tmp_path / "text.txt", "EMPTY": tmp_path / "empty"}
    try:
        code = main([str(named.get(word, word)) for word in arguments])
    except SystemExit as caught:
        code = caught.code  # type: ignore[assignment]
    shown = capsys.readouterr()
    assert code in (1, 2) and shown.out == ""
    assert part in shown.err and len(shown.err.splitlines()) <= 5
    assert not [word for word in INTERNALS if word in shown.err]
