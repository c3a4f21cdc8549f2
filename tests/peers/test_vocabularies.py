"""The vocabularies that llama.cpp tests itself with, and the ids that it has recorded for them."""

import fcntl
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile

SDIST = "llama-cpp-python==0.3.36"
PLACE = "/vendor/llama.cpp/models/ggml-vocab-"
RECORDED = [
    *["bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2"],
    *["llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"],
]
OTHERS = ["aquila", "baichuan", "gpt-neox", "nomic-bert-moe"]  # without recorded ids
BETWEEN = "\n__ggml_vocab_test__\n"
SECONDS = 300  # that a download may take


def download(folder: Path) -> None:
    """Put the vocabularies of the source distribution into a folder, or skip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]
    command += [":all:", "--dest", str(folder), SDIST]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip download of {SDIST} took over {SECONDS} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "no reason given").splitlines()[-1]
        pytest.skip(f"pip cannot download {SDIST}: {last}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        for member in members:
            if PLACE in member.name and (content := members.extractfile(member)) is not None:
                (folder / member.name.rpartition("/")[2]).write_bytes(content.read())
    archive.unlink()
    (folder / "whole").touch()


@pytest.fixture(scope="module")
def vocabularies(pytestconfig: pytest.Config) -> Path:
    """Folder of the vocabularies, which are fetched once."""
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir(SDIST.replace("==", "-"))
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            download(folder)
    return folder


@pytest.mark.parametrize("name", RECORDED)
def test_a_vocabulary_encodes_as_recorded(name: str, vocabularies: Path) -> None:
    path = vocabularies / f"ggml-vocab-{name}.gguf"
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split(BETWEEN)
    rows = path.with_name(path.name + ".out").read_text().removesuffix("\n").split("\n")
    tokenizer = Tokenizer.from_gguf(GGUFFile(path))
    assert len(texts) - len(rows) in (0, 1)  # an empty text at the end has an empty row
    for text, row in zip(texts, rows, strict=False):
        wanted = list(map(int, row.split()))
        for special in (False, True):
            assert tokenizer.encode(text, special, add_special_tokens=False) == wanted, text
        if name != "bert-bge" and 0 not in wanted:
            assert tokenizer.decode(wanted) == text


@pytest.mark.parametrize("name", OTHERS)
def test_a_vocabulary_without_recorded_ids_is_read(name: str, vocabularies: Path) -> None:
    tokenizer = Tokenizer.from_gguf(GGUFFile(vocabularies / f"ggml-vocab-{name}.gguf"))
    ids = tokenizer.encode("Hello world, 123")
    assert tokenizer.decode(ids) == "Hello world, 123"
