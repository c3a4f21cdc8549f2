"""Device "metal" as C++ for the tests of this folder."""

from collections.abc import Iterator

import pytest

from numbatorch.backends.base import install
from numbatorch.backends.gpu import GPUBackend
from numbatorch.device import device
from tests.metal.device import AVAILABLE, CppRuntime


@pytest.fixture(scope="session", params=[0, 1], ids=["in-order", "shuffled"])
def metal_session(request: pytest.FixtureRequest) -> Iterator[CppRuntime]:
    """One runtime for each order of threads, so that kernels are loaded once."""
    if not AVAILABLE:
        pytest.skip("there is no C++ compiler, or no Linux")
    yield CppRuntime(seed=request.param)


@pytest.fixture
def metal(metal_session: CppRuntime) -> Iterator[CppRuntime]:
    """Device "metal" runs its printed kernels as C++; memory is checked after the test."""
    install(device("metal"), GPUBackend(metal_session))
    try:
        yield metal_session
        metal_session.check()
    finally:
        install(device("metal"), None)
