"""An interrupt ends the command with one line, also while it is being imported and when it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("no process can be sent an interrupt alone", allow_module_level=True)

SCRIPT = "import sys\nfrom numbatorch.cli.main import command\nsys.exit(command())\n"
# Sends an interrupt to its own process when a module is looked for, or as the interpreter ends.
CUSTOMIZED = """
import atexit, os, signal, sys
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == "MODULE":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
if "MODULE" == "exit":
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
"""


def interrupted(
    folder: Path, module: str, *command: str, **how: object
) -> subprocess.CompletedProcess[str]:
    (folder / "sitecustomize.py").write_text(CUSTOMIZED.replace("MODULE", module))
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, **how
    )  # type: ignore[call-overload]


@pytest.mark.parametrize("way", ["module", "script"])
@pytest.mark.parametrize(
    "module",
    [
        "numbatorch.apart",
        "numpy",
        "numbatorch.tensor.base",
        "numbatorch.cli.main",
        "numbatorch.backends.devices",
        "exit",
    ],
)
def test_an_interrupt_at_any_time_is_one_line_and_130(
    way: str, module: str, tmp_path: Path
) -> None:
    script = tmp_path / "numbatorch"
    script.write_text(SCRIPT)
    command = ["-m", "numbatorch"] if way == "module" else [str(script)]
    done = interrupted(tmp_path, module, *command, "devices")
    assert (done.returncode, done.stderr) == (130, "numbatorch: interrupted\n")


def test_a_program_that_imports_the_library_gets_the_exception(tmp_path: Path) -> None:
    code = "try:\n import numbatorch\nexcept KeyboardInterrupt:\n print('caught')"
    done = interrupted(tmp_path, "numbatorch.tensor.base", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")


def test_an_interrupt_that_the_parent_has_turned_off_stays_so(tmp_path: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = ("-m", "numbatorch", "--version")
    done = interrupted(tmp_path, "numbatorch.cli.main", *command, preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_without_standard_error_ends_the_process_too(tmp_path: Path) -> None:
    code = "import os\nfrom numbatorch import starting\nos.close(2)\nstarting.end(2, None)"
    done = interrupted(tmp_path, "none", "-c", code)
    assert (done.returncode, done.stderr) == (130, "")
