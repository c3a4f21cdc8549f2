"""Records for Python's logging: what is said, and that nothing is imported or configured."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import numbatorch as nt
from numbatorch.hub import resolve


def test_importing_and_computing_do_not_import_logging() -> None:
    code = (
        "import sys, numbatorch as nt; (nt.tensor([1.0], device='numpy') + 1).realize();"
        "assert 'logging' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_shown_unless_asked_for(tmp_path: Path) -> None:
    code = "import logging, numbatorch as nt; (nt.tensor([1.0]) * 3 + 2).realize()"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout + done.stderr == ""


def test_compiled_kernels_and_packs_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x = nt.tensor([1.0, 2.0])
    (x + 1).realize()  # for which what runs kernels is compiled too
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    with caplog.at_level(logging.INFO, "numbatorch"):
        ((x * 0.125 - 7).exp() / (x + 11) - x * x * x).realize()
    told = [(record.name, record.getMessage()) for record in caplog.records]
    assert {name for name, _ in told} == {"numbatorch.kernels"}
    (compiled,) = [text for _, text in told if text.startswith("compiled 1 kernels in ")]
    assert "exp" in compiled
    (written,) = [text for _, text in told if text.startswith(f"wrote {tmp_path}")]
    assert written.endswith(".pack anew with 1 kernels")


def test_a_plan_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    x = nt.tensor([1.0, 2.0, 3.0])
    with caplog.at_level(logging.DEBUG, "numbatorch.plans"):
        for _ in range(3):
            (x * 5 - 2).realize()
    told = [record for record in caplog.records if record.name == "numbatorch.plans"]
    assert len(told) == 1
    assert told[0].getMessage().startswith("planned 1 launches on cpu in ")
    assert told[0].filename == "planned.py"


def test_downloads_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: tmp_path / "m.gguf")
    with caplog.at_level(logging.INFO, "numbatorch"):
        resolve("someone/model:m.gguf", "v1")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("numbatorch.hub", "looking for repository someone/model, revision v1, file m.gguf"),
        ("numbatorch.hub", f"found {tmp_path / 'm.gguf'}"),
    ]


def test_the_logger_has_a_handler_that_drops(caplog: pytest.LogCaptureFixture) -> None:
    from numbatorch import logs

    logs.info("tests", "%d of %s", 3, "them")
    handlers = logging.getLogger("numbatorch").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]
