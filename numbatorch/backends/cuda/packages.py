"""The Python packages that device "cuda" needs."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version

from numbatorch.errors import BackendUnavailable, message

INSTALL = 'pip install "numbatorch[cuda]"'
COMPILER = "numba-cuda"
MINIMUM_COMPILER = (0, 30)


def check_packages() -> None:
    """Raise BackendUnavailable unless what compiles kernels is installed, and new enough."""
    try:
        found = version(COMPILER)
    except PackageNotFoundError:
        if sys.platform == "darwin":
            problem, hint = "there is no CUDA on macOS", 'use device "metal"'
        else:
            problem, hint = "the Python packages for CUDA are not installed", INSTALL
        raise BackendUnavailable(message("cuda", problem, hint=hint)) from None
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:2])
    if numbers < MINIMUM_COMPILER:
        needed = ".".join(map(str, MINIMUM_COMPILER))
        row = f"{COMPILER} {found} is installed, and at least {needed} is needed"
        hint = f"{INSTALL} --upgrade"
        raise BackendUnavailable(message("cuda", "a package is too old", row, hint=hint))
