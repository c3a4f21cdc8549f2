"""Whether this environment has what `pip install` with the same arguments would install.

`make` asks here before it installs: once all is there it needs no network, whatever the time
stamps of files say.

    python tools/installed.py --editable ".[test]"      # exit status 0 if so, else 1
"""

import json
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

try:
    from packaging.requirements import Requirement
except ImportError:
    from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def main(arguments: list[str]) -> int:
    """0 if all arguments but options are installed."""
    wanted = [x for x in arguments if not x.startswith("-")]
    return 0 if all(is_installed(x) for x in wanted) else 1


def is_installed(argument: str) -> bool:
    """Whether an argument of pip is there: a requirement, or this folder as `.[extras]`."""
    if not argument.startswith("."):
        return is_met(Requirement(argument))
    extras = Requirement(f"{PROJECT['name']}{argument[1:]}").extras
    return is_editable() and all(is_met(x) for x in requirements(extras))


def requirements(extras: set[str]) -> Iterator[Requirement]:
    """What this project needs, with extras, its own of each other among them."""
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, texts):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name == PROJECT["name"]:
            yield from requirements(requirement.extras)
        else:
            yield requirement


def is_met(requirement: Requirement) -> bool:
    """Whether a package is installed in a version that fits, with what its extras need."""
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        return False
    fits = requirement.specifier.contains(found.version, prereleases=True)
    return fits and all(is_met(x) for x in _of_extras(found, requirement.extras))


def _of_extras(found: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, found.requires or ()):
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": ""}):
            if any(marker.evaluate({"extra": extra}) for extra in extras):
                yield requirement


def is_editable() -> bool:
    """Whether this folder is installed as it stands, with the commands that it declares now."""
    try:
        found = distribution(PROJECT["name"])
    except PackageNotFoundError:
        return False
    source = json.loads(found.read_text("direct_url.json") or "{}")
    folder = Path(url2pathname(urlsplit(source.get("url", "")).path))
    commands = {x.name: x.value for x in found.entry_points if x.group == "console_scripts"}
    editable = source.get("dir_info", {}).get("editable", False)
    return editable and folder == ROOT and commands == PROJECT.get("scripts", {})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
