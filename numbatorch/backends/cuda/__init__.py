"""Device "cuda": numba-cuda compiles kernels, the CUDA driver runs them."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from numbatorch import settings
from numbatorch.errors import BackendUnavailable, message

if TYPE_CHECKING:
    from numbatorch.backends.cuda.driver import Driver
    from numbatorch.backends.cuda.runtime import CudaRuntime

INSTALL = 'pip install "numbatorch[cuda]"'
COMPILER = "numba-cuda"
MINIMUM_COMPILER = (0, 30)


def open_runtime(index: int = 0) -> "CudaRuntime":
    """The GPU with number `index`; the simulator if NUMBA_ENABLE_CUDASIM is set.

    Raises:
        BackendUnavailable: no such GPU, or it, the driver or a package is missing or too old.
    """
    from numbatorch.backends.cuda.runtime import CudaRuntime

    driver = open_driver()
    if settings.cuda_simulator():
        from numbatorch.backends.cuda.simulated_driver import compile_kernels as simulate

        return CudaRuntime(driver, index, simulate)
    from numbatorch.backends.cuda.compiler import compile_kernels

    return CudaRuntime(driver, index, compile_kernels)


def open_driver() -> "Driver":
    """The driver, or the simulator's, once the packages are known to be there.

    Raises:
        BackendUnavailable: the driver or a package is missing or too old.
    """
    _check_packages()
    if settings.cuda_simulator():
        from numbatorch.backends.cuda.simulated_driver import SimulatedDriver

        return SimulatedDriver()
    from numbatorch.backends.cuda.driver import Driver

    return Driver()


def _check_packages() -> None:
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
