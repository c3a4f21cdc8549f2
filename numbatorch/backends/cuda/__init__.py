"""Device "cuda": numba-cuda compiles kernels, the CUDA driver runs them."""

from typing import TYPE_CHECKING

from numbatorch import settings

if TYPE_CHECKING:
    from numbatorch.backends.cuda.runtime import CudaRuntime


def open_runtime(index: int = 0) -> "CudaRuntime":
    """The GPU with number `index`; the simulator if NUMBA_ENABLE_CUDASIM is set.

    Raises:
        BackendUnavailable: no such GPU, or it, the driver or a package is missing or too old.
    """
    from numbatorch.backends.cuda.driver import Driver
    from numbatorch.backends.cuda.runtime import CudaRuntime

    if settings.cuda_simulator():
        from numbatorch.backends.cuda import simulated_driver

        simulated = simulated_driver.SimulatedDriver()
        return CudaRuntime(simulated, index, simulated_driver.compile_kernels)
    driver = Driver()
    from numbatorch.backends.cuda.compiler import compile_kernels

    return CudaRuntime(driver, index, compile_kernels)
