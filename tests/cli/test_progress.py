"""How far a long command is, where standard error is no terminal."""

import io
import re
import sys

import pytest

from numbatorch.cli import progress
from numbatorch.cli.main import main


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def shown(capsys: pytest.CaptureFixture, clock: Clock, steps: int, seconds: float) -> list[str]:
    with progress.bar("work", "chunk") as of:
        advance = of(steps)
        for _ in range(steps):
            clock.now += seconds
            advance(1)
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("steps", "seconds", "lines"),
    [
        (1000, 0.001, 0),  # done before anybody asks
        (1000, 0.1, 10),
        (10, 5.0, 10),
        (3, 1000.0, 3),
        (1200, 5.0, 200),  # 100 minutes: one each 30 seconds
    ],
)
def test_lines_are_sparse(capsys, clock, steps: int, seconds: float, lines: int) -> None:
    found = shown(capsys, clock, steps, seconds)
    assert len(found) == lines
    if lines:
        last = f"work: 100%, {steps} of {steps} chunks, {steps * seconds:.0f} s"
        assert found[-1] == last
    for line in found:
        assert re.fullmatch(r"work: \d+%, \d+ of \d+ chunks, \d+ s", line)


def test_bytes_are_shown_in_megabytes(capsys, clock) -> None:
    with progress.bar("write") as of:
        advance = of(50_000_000)
        clock.now = 7.0
        advance(25_000_000)
    assert capsys.readouterr().err == "write: 50%, 25 of 50 MB, 7 s\n"


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch, clock) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar("work", "chunk") as of:
        of(10)(5)
    assert "work:   0%|" in stream.getvalue() and "5 of 10" not in stream.getvalue()


def test_nothing_is_said_without_a_standard_error(monkeypatch, clock) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress.bar("work", "chunk") as of:
        advance = of(1)
        clock.now = 60.0
        advance(1)


LLAMA = "pydoc-llama/pydoc-llama-q4_0.gguf"
TEXT = "def index(items, value):\n    return the first one\n" * 40


@pytest.mark.parametrize(
    "command",
    [
        ["dequantize", "MODEL", "OUT.gguf"],
        ["quantize", "MODEL", "OUT.gguf", "--type", "Q8_0", "--requantize"],
        ["convert", "MODEL", "OUT"],
        ["perplexity", "MODEL", "TEXT", "--context", "64"],
        ["imatrix", "MODEL", "TEXT", "OUT.gguf", "--context", "64"],
    ],
    ids=lambda command: command[0],
)
def test_every_long_command_says_how_far_it_is(
    command: list[str], fixtures, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(progress, "LEAST_SECONDS", 0.0)
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    named = {"MODEL": fixtures / LLAMA, "TEXT": text, "OUT": tmp_path / "out"}
    named["OUT.gguf"] = tmp_path / "out.gguf"
    assert main([str(named.get(word, word)) for word in command]) == 0
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{command[0]}: ")
    ]
    shares = [int(line.split()[1].rstrip("%,")) for line in lines]
    assert 2 <= len(shares) <= 10 and shares == sorted(shares) and shares[-1] == 100
