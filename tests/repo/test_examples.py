"""Each example runs in a process of its own and ends in the number that it promises."""

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


def test_every_example_is_checked() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_ends_in_its_number(name: str, minilm: Path, smollm2: Path) -> None:
    wanted, tolerance = EXAMPLES[name]
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py"],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    number = float(done.stdout.split()[-1])
    assert abs(number - wanted) <= tolerance, done.stdout
