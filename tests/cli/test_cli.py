"""The command: what it prints where, its exit codes, and that mistakes show no traceback."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends import cuda, devices
from numbatorch.cli.main import main, parser
from numbatorch.cli.sampling import sampling
from numbatorch.errors import BackendUnavailable, message
from numbatorch.generation.samplers import Options, Temperature, TopK

PROMPT = "The for statement"


@pytest.fixture(scope="module")
def folder(fixtures: Path) -> Path:
    return fixtures / "pydoc-llama"


def test_generate_streams_to_stdout_and_speeds_to_stderr(folder, capsys) -> None:
    code = main(["generate", "--model", str(folder), PROMPT, "--max-tokens", "12"])
    shown = capsys.readouterr()
    assert code == 0
    assert shown.out == nt.TextGenerator(folder).generate(PROMPT, 12) + "\n"
    *_, prompt, generation = shown.err.splitlines()
    assert re.fullmatch(r"prompt 4 tokens, [\d.]+ tokens/s", prompt)
    assert re.fullmatch(r"generation 11 tokens after the first, [\d.]+ tokens/s", generation)


def test_generate_says_that_kernels_were_compiled(folder, tmp_path) -> None:
    command = [sys.executable, "-m", "numbatorch", "generate", "--model", str(folder), PROMPT]
    environment = {**os.environ, "NUMBATORCH_CACHE": str(tmp_path)}
    notes = []
    for _ in range(2):
        done = subprocess.run(
            [*command, "--max-tokens", "2"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        notes.append("kernels were compiled" in done.stderr)
    assert notes == [True, False]


def test_generate_says_that_the_context_is_full(folder, tmp_path, capsys) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(folder / name, tmp_path / name)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["generate", "--model", str(tmp_path), PROMPT]) == 0
    assert "stopped: the context of 8 tokens is full" in capsys.readouterr().err


def test_generate_has_every_option_of_the_samplers() -> None:
    options = dict.fromkeys(Options.__annotations__, 1)
    options |= {
        "grammar": 'root ::= "g"',
        "json_schema": "{}",
        "logit_bias": {5: 0.5, 7: -3.5},
        "dry_sequence_breakers": [",", "x"],
    }
    given = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "logit_bias":
            given += [flag, "5+1", flag, "5-0.5", flag, "7-3.5"]
        elif name == "dry_sequence_breakers":
            given += [flag.removesuffix("s"), ",", flag.removesuffix("s"), "x"]
        else:
            given += [flag, str(value)]
    parsed = parser().parse_args(["generate", "--model", "m", *given, "text"])
    assert sampling(parsed) == options
    plain = parser().parse_args(["generate", "--model", "m", "text"])
    assert sampling(plain) == {} and plain.samplers is None
    with pytest.raises(SystemExit):
        parser().parse_args(["generate", "--model", "m", "--logit-bias", "5", "text"])


def test_generate_takes_samplers_in_order(folder, capsys) -> None:
    options = ["--samplers", "temperature; top_k", "--temperature", "0.8", "--top-k", "3"]
    options += ["--seed", "7", "--max-tokens", "9"]
    assert main(["generate", "--model", str(folder), PROMPT, *options]) == 0
    expected = nt.TextGenerator(folder).generate(
        PROMPT, 9, samplers=[Temperature(0.8), TopK(3)], seed=7
    )
    assert capsys.readouterr().out == expected + "\n"
    assert main(["generate", "--model", str(folder), PROMPT, "--samplers", "topk"]) == 1
    assert "samplers has 'topk'" in capsys.readouterr().err


def test_generate_passes_its_options_on(folder, capsys) -> None:
    options = ["--temperature", "0.8", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.05"]
    options += ["--repeat-penalty", "1.1", "--seed", "7", "--stop", "zzz", "--max-tokens", "20"]
    assert main(["generate", "--model", str(folder), PROMPT, *options]) == 0
    expected = nt.TextGenerator(folder).generate(
        PROMPT, 20, temperature=0.8, top_k=40, top_p=0.9, min_p=0.05, repeat_penalty=1.1, seed=7
    )
    assert capsys.readouterr().out == expected + "\n"


def test_embed_prints_similarities(minilm, capsys) -> None:
    texts = ["a cat", "a kitten", "the bank"]
    assert main(["embed", "--model", str(minilm), *texts]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["1", "2", "3"]
    vectors = nt.Embedder(minilm).encode(texts)
    for row, similarities, text in zip(rows, vectors @ vectors.T, texts, strict=True):
        assert row.endswith(text)
        numbers = [float(word) for word in row.split()[1:4]]
        assert np.abs(numbers - similarities).max() < 1e-3


def test_embed_computes_in_bfloat16(minilm, capsys) -> None:
    assert main(["embed", "--json", "--compute", "bfloat16", "--model", str(minilm), "a cat"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    expected = nt.Embedder(minilm, compute="bfloat16").encode(["a cat"])[0]
    assert row["vector"] == expected.tolist()


def test_embed_prints_vectors_as_json(minilm, capsys) -> None:
    assert main(["embed", "--json", "a cat"]) == 0  # the packaged checkpoint
    (record,) = json.loads(capsys.readouterr().out)
    assert record["text"] == "a cat"
    expected = nt.Embedder(minilm).encode(["a cat"])[0]
    assert np.abs(np.array(record["vector"]) - expected).max() <= 1e-6


def test_inspect_lists_tensors_and_metadata(folder, capsys) -> None:
    assert main(["inspect", str(folder / "pydoc-llama-q4_0.gguf")]) == 0
    out = capsys.readouterr().out
    assert "general.architecture = 'llama'" in out
    assert re.search(r"blk\.0\.attn_q\.weight\s+Q4_0\s+\(256, 256\)", out)


def test_devices_is_a_table_with_reasons(capsys, monkeypatch) -> None:
    reason = BackendUnavailable(message("cuda", "no driver", "a fact", hint="install it"))
    monkeypatch.setattr(cuda, "open_driver", lambda: (_ for _ in ()).throw(reason))
    devices.best.cache_clear()
    assert main(["devices"]) == 0
    header, cpu, reference, *rest = capsys.readouterr().out.splitlines()
    assert header.split() == ["device", "name", "memory", "features", "driver"]
    assert (cpu.split()[0], reference.split()[0]) == ("cpu", "numpy")
    assert cpu.index("Numba") == reference.index("NumPy") == header.index("driver")
    assert rest[:3] == ["cuda", "        unavailable: no driver (a fact)", "        install it"]
    assert rest[-1].startswith('device="auto" is ')


def test_warmup_says_what_it_ran(folder, minilm, capsys) -> None:
    assert main(["warmup", str(folder)]) == 0
    assert re.search(r"^1 token: [\d.]+ s$", capsys.readouterr().out, re.MULTILINE)
    assert main(["warmup", str(minilm)]) == 0
    assert "a batch: " in capsys.readouterr().out


@pytest.mark.parametrize("start", [["chat"], ["generate", "x"]], ids=lambda value: value[0])
@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--top-p", "2"], "top_p is 2.0"),
        (["--mirostat", "2", "--mirostat-tau", "-1"], "mirostat_tau is -1.0"),
        (["--samplers", "topk"], "samplers has 'topk'"),
        (["--seed", "-3"], "seed is -3"),
        (["--max-tokens", "-3"], "-3"),
        (["--stop", ""], "empty text"),
        (["--grammar", 'root ::= "a"', "--json-schema", "{}"], "give one of them"),
        (["--grammar", "no-such.gbnf"], "no such file: no-such.gbnf"),
        (["--json-schema", "no-such.json"], "no such file: no-such.json"),
        (["--json-schema", "{"], "not JSON"),
    ],
    ids=str,
)
def test_options_are_looked_at_before_a_model_is_loaded(start, given, part, capsys) -> None:
    try:
        assert main([*start, "--model", "./not-there", *given]) == 1
    except SystemExit as caught:
        assert caught.code == 2
    shown = capsys.readouterr().err
    assert part in shown and "not-there" not in shown and len(shown.splitlines()) <= 4


def test_prompts_come_from_a_pipe_and_schemas_from_files(
    folder, tmp_path, monkeypatch, capsys
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"type": "integer"}, "minItems": 9}')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PROMPT.encode() + b"\n")))
    options = ["--model", str(folder), "--json-schema", str(schema), "--max-tokens", "4"]
    assert main(["generate", "-", *options]) == 0
    shown = capsys.readouterr()
    how = {"json_schema": schema.read_text()}
    assert shown.out == nt.TextGenerator(folder).generate(PROMPT, 4, **how) + "\n"
    assert "stopped by --max-tokens" in shown.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["generate", "--model", "./not-there", "x"], "no such file or folder"),
        (["inspect", "./not-there.gguf"], "inspect: no such file or folder"),
        (["warmup", "./not-there.gguf"], "no such file or folder"),
        (["embed", "--model", "./not-there", "x"], "no such file or folder"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_one_message_and_exit_code_1(arguments, part, capsys) -> None:
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("numbatorch: ")
    assert part in shown.err
    assert "Traceback" not in shown.err


def test_a_prompt_beyond_the_context_is_a_message(folder, capsys) -> None:
    assert main(["generate", "--model", str(folder), "--max-tokens", "600", PROMPT]) == 1
    assert "context of 512 tokens" in capsys.readouterr().err


def test_a_malformed_file_is_a_message(tmp_path, capsys) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    for arguments in (["inspect", str(file)], ["generate", "--model", str(file), "x"]):
        assert main(arguments) == 1
        assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["generate", "x"],
        ["generate", "x", "--model", "m", "--system", "s"],
        ["embed"],
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_2(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: numbatorch" in capsys.readouterr().err


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"numbatorch {nt.__version__}\n"


def test_a_reader_that_leaves_early_ends_the_command(folder) -> None:
    command = [sys.executable, "-m", "numbatorch", "inspect", str(folder / "pydoc-llama-q4_0.gguf")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in error


LAZY = ["numba", "huggingface_hub", "tqdm", "safetensors", "ml_dtypes", "httpx", "requests"]


def test_a_warm_process_loads_no_compiler_and_no_network(folder) -> None:
    code = (
        "import sys; from numbatorch.cli.main import main; main(sys.argv[1:]); "
        f"loaded = [name for name in {LAZY} if name in sys.modules]; "
        "print(loaded, file=sys.stderr)"
    )
    options = [
        "generate",
        "--model",
        str(folder / "pydoc-llama-q4_0.gguf"),
        "--max-tokens",
        "3",
        "x",
    ]
    for _ in range(2):  # the first compiles what the pack lacks
        done = subprocess.run(
            [sys.executable, "-c", code, *options], capture_output=True, text=True, check=True
        )
    assert done.stderr.splitlines()[-1] == "[]"


# On Linux the peak that getrusage knows counts the parent from before exec; /proc does not.
PEAK = """
import re, resource, sys
from pathlib import Path
import numbatorch as nt
nt.TextGenerator(sys.argv[1]).generate("class Foo", 100)
status = Path("/proc/self/status")
if status.is_file():
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no peak resident set here")
def test_peak_memory_is_the_file_and_150_megabytes(folder) -> None:
    file = folder / "pydoc-llama-q4_0.gguf"
    for _ in range(2):  # the first compiles what the pack lacks
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True
        )
    assert int(done.stdout) <= file.stat().st_size + 150e6


POSIX = pytest.mark.skipif(os.name == "nt", reason="arguments are bytes on POSIX")
LOCALES = {
    "utf-8": {"LC_ALL": "C.UTF-8"},
    "C": {"LC_ALL": "C"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
}


@POSIX
@pytest.mark.parametrize("locale", ["ascii", "latin-1"])
def test_texts_are_utf8_in_every_locale(locale: str, minilm: Path) -> None:
    command = [sys.executable, "-m", "numbatorch", "embed", "--model", str(minilm), "--json"]
    texts = ["caf\u00e9", "\U0001f642", "plain"]
    environment = {**os.environ, **LOCALES[locale]}
    done = subprocess.run([*command, *texts], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    vectors = nt.Embedder(minilm).encode(texts)
    assert [row["text"] for row in found] == texts
    assert np.abs(np.array([row["vector"] for row in found]) - vectors).max() <= 1e-5


@POSIX
@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("utf-8", [b"embed", b"fine", b"caf\xe9"]),
        ("C", [b"generate", b"--model", b"x", b"caf\xe9"]),
        ("ascii", [b"generate", b"--model", b"x", b"y", b"--stop", b"caf\xe9"]),
    ],
)
def test_arguments_that_are_not_utf8_are_named(locale: str, words: list[bytes]) -> None:
    environment = {**os.environ, **LOCALES[locale]}
    command = [os.fsencode(sys.executable), b"-m", b"numbatorch", *words]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 2
    assert rb"'caf\udce9' is not UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


@POSIX
@pytest.mark.parametrize("locale", ["utf-8", "ascii"])
def test_what_a_terminal_has_no_letter_for_is_escaped(locale: str, tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.safetensors")
    nt.save({"\u00e9\U0001f642": nt.zeros(1)}, os.fsdecode(path))
    environment = {**os.environ, **LOCALES[locale]}
    command = [os.fsencode(sys.executable), b"-m", b"numbatorch", b"inspect", path]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert rb"caf\udce9.safetensors: safetensors" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(b"  ")
