"""Each example runs in a process of its own and ends in the number that it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "answer_question": (37, 0),  # tokens of its prompt
    "embed_sentences": (0.5392, 0.0002),  # of transformers
    "generate_text": (40, 0),
    "train_tiny": (1.0, 0.03),
    "custom_operator": (20, 0),  # cases of check_op
    "own_block_type": (1.3, 0.15),  # the page differs between versions of Python
}


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_every_example_is_checked() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {*EXAMPLES, "transcribe"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_ends_in_its_number(name: str, minilm: Path, smollm2: Path) -> None:
    wanted, tolerance = EXAMPLES[name]
    done = run(name)
    assert done.returncode == 0, done.stderr
    number = float(done.stdout.split()[-1])
    assert abs(number - wanted) <= tolerance, done.stdout


def test_recordings_are_transcribed(whisper_tiny: Path, shared_fixtures: Path) -> None:
    """Words of transformers on the same weights, between times that the recordings have."""
    soundfile = pytest.importorskip("soundfile", exc_type=ImportError)
    folder = shared_fixtures / "whisper"
    texts = {
        name: x["text"] for name, x in json.loads((folder / "expected.json").read_text()).items()
    }
    files = {name: folder / f"{name}.wav" for name in texts}
    done = run("transcribe", *files.values())
    assert done.returncode == 0, done.stderr
    rows = [row for row in done.stdout.splitlines() if row]
    heads = [*(rows.index(str(file)) for file in files.values()), len(rows) - 1]
    seconds = [soundfile.info(file).duration for file in files.values()]
    step = 0.02  # of the model's clock, to which an end is rounded
    for at, text in enumerate(texts.values()):
        said = [row.split(maxsplit=4) for row in rows[heads[at] + 1 : heads[at + 1]]]
        assert " ".join(words for *_, words in said) == text.strip()
        times = [float(x) for start, _, end, *_ in said for x in (start, end)]
        assert times == sorted(times) and 0 <= times[0] < times[-1] <= seconds[at] + step
    assert rows[-1].startswith(f"{sum(seconds):.1f} s of audio in ")
    took, speed = float(rows[-1].split()[5]), float(rows[-1].split()[-1])
    assert abs(speed * took - sum(seconds)) <= 0.05 * (speed + took + 1)  # of rounded numbers


def test_without_a_recording_usage_is_shown() -> None:
    done = run("transcribe")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("usage: ") and "FILE" in done.stderr
