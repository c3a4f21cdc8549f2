"""Vocabularies and templates of chats in the source distribution of llama-cpp-python, which pip
downloads once."""

import fcntl
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SDIST = "llama-cpp-python==0.3.36"
PLACES = ("/vendor/llama.cpp/models/ggml-vocab-", "/vendor/llama.cpp/models/templates/")
WHOLE = "whole-2"  # the mark of a folder that has all of it
SECONDS = 300  # that a download may take


def fetch(cache: pytest.Cache) -> Path:
    """The folder of those files; skips where they cannot be downloaded."""
    folder = cache.mkdir(SDIST.replace("==", "-"))
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / WHOLE).exists():
            download(folder)
    return folder


def download(folder: Path) -> None:
    """Put those files of the source distribution into a folder, or skip."""
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
            wanted = any(place in member.name for place in PLACES)
            if wanted and (content := members.extractfile(member)) is not None:
                (folder / member.name.rpartition("/")[2]).write_bytes(content.read())
    archive.unlink()
    (folder / WHOLE).touch()
