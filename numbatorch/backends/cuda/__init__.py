"""Device "cuda": numba-cuda compiles kernels, the CUDA driver runs them."""

from typing import TYPE_CHECKING

from numbatorch import settings
from numbatorch.backends.cuda.packages import check_packages

if TYPE_CHECKING:
    from numbatorch.backends.cuda.driver import Driver
    from numbatorch.backends.cuda.runtime import CudaRuntime


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
    check_packages()
    if settings.cuda_simulator():
        from numbatorch.backends.cuda.simulated_driver import SimulatedDriver

        return SimulatedDriver()
    from numbatorch.backends.cuda.driver import Driver

    return Driver()
