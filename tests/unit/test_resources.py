"""Threads and memory: how many, what waits, and what an error says when there is not enough."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import settings
from numbatorch.backends.cpu import memory
from numbatorch.backends.cpu import threads as team
from numbatorch.backends.cpu.memory import POOL, HostPool
from numbatorch.graph import find

ROOT = Path(__file__).parents[2]
HUGE = 1 << 60


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda x: x.expand(HUGE) + 1, ("add: ", f"out ({HUGE},) int8", f"operand ({HUGE},) int8")),
        (lambda x: x.expand(HUGE // 2, 2).reshape(HUGE) * 2, ("mul: ", f"out ({HUGE},) int8")),
        (lambda x: nt.zeros(HUGE, dtype=nt.int8, device=x.device), (f"out ({HUGE},) int8",)),
        (lambda x: nt.cat([x.expand(HUGE), x]), (f"out ({HUGE + 1},) int8",)),
    ],
)
def test_out_of_memory_names_operator_and_sizes(
    device: str, make: Any, rows: tuple[str, ...]
) -> None:
    x = nt.tensor([3], dtype=nt.int8, device=device)
    with pytest.raises(nt.OutOfMemory) as caught:
        make(x).realize()
    text = str(caught.value)
    assert f"out of memory on device {device}\n" in text
    for row in rows:
        assert row in text
    assert (x + 1).tolist() == [4]


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda device: nt.zeros(HUGE, dtype=nt.int8, device=device), "0 everywhere"),
        (lambda device: nt.full((HUGE // 4,), 2.5, device=device), "2.5 everywhere"),
    ],
)
def test_out_of_memory_of_a_filled_tensor_says_what_it_is(
    device: str, make: Any, told: str
) -> None:
    tensor = make(device)
    with pytest.raises(nt.OutOfMemory) as caught:
        tensor.realize()
    first, second, *_ = str(caught.value).splitlines()
    assert first == f"tensor: out of memory on device {device}"
    assert second == f"  out ({tensor.shape[0]},) {tensor.dtype.name}, {told}"


def test_out_of_memory_on_the_way_names_the_largest_that_is_kept_there() -> None:
    x = nt.tensor([3], dtype=nt.int8)
    compute = nt.compile(lambda x: (x.expand(HUGE) + 1).view(nt.int16)[:2] * 2)
    for _ in range(2):
        with pytest.raises(nt.OutOfMemory, match=rf"add: (.|\n)*out \({HUGE},\) int8\n") as caught:
            compute(x)
        assert "requested 1073741824.00 GiB" in str(caught.value)


def test_out_of_memory_for_the_states_of_a_reduction_names_its_kernel() -> None:
    x = nt.tensor([3], dtype=nt.int8)
    with pytest.raises(nt.OutOfMemory, match=r"sum\w*: out of memory on device cpu\n  requested"):
        (x.expand(HUGE) + 1).sum().realize()


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_out_of_memory_of_a_numpy_function_names_its_operator(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*arguments: Any, **attributes: Any) -> Any:
        return np.empty(HUGE, np.int8)

    monkeypatch.setattr(find("eigh"), "reference", greedy)
    x = nt.tensor([[1.0, 2.0], [2.0, 1.0]], device=device)
    with pytest.raises(nt.OutOfMemory, match=r"eigh: out of memory(.|\n)*\(2, 2\) float32"):
        nt.linalg.eigh(x)[0].tolist()


def changed_while_others_see_it(x: Any, y: Any) -> Any:
    """A compiled function whose state a graph reads that is not computed yet, so it is copied."""
    state = nt.zeros(len(x)).realize()

    def add(x: Any) -> Any:
        state[...] = state + x
        return x

    compiled = nt.compile(add)
    for _ in range(4):
        compiled(x)
    later = state * 2
    return lambda: (compiled(x), later)


# Ways to a result, made ready while there is memory.
WAYS: dict[str, Any] = {
    "small graph": lambda x, y: lambda: (x * y + x).realize(),
    "values": lambda x, y: lambda: (x * y).tolist(),
    "array": lambda x, y: lambda: (x * y).numpy(),
    "text": lambda x, y: lambda: repr(x * 2),
    "reduction": lambda x, y: lambda: x.sum().item(),
    "product": lambda x, y: lambda: (x.reshape(-1, 4) @ y.reshape(4, -1)).realize(),
    "several results": lambda x, y: lambda: nt.sort(x)[0].realize(),
    "compiled": lambda x, y: called(nt.compile(lambda x, y: x * y + x), x, y),
    "compiled, several": lambda x, y: called(nt.compile(lambda x: (x.sum() + x, x * 2)), x),
    "compiled now": lambda x, y: lambda: nt.compile(lambda x: x * 3)(x),
    "compiled state": changed_while_others_see_it,
    "assignment": lambda x, y: lambda: (x[:], x.__setitem__(0, 1.0), x.realize()),
    "in place": lambda x, y: lambda: (x[:], x.add_(1).realize()),
    "cast": lambda x, y: lambda: x.to(nt.float16).realize(),
    "random": lambda x, y: lambda: nt.rand(len(x)).realize(),
}


def called(compiled: Any, *arguments: Any) -> Any:
    for _ in range(4):  # the last ones on a short way
        compiled(*arguments)
    return lambda: compiled(*arguments)


@pytest.mark.parametrize("size", [4, 1 << 16])
@pytest.mark.parametrize("name", WAYS)
def test_out_of_memory_names_its_operator_on_every_way(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Any, size: int) -> None:
        raise memory.out_of_memory("cpu", size, 0, 0)

    x, y = nt.ones(size).realize(), (nt.ones(size) * 2).realize()
    way = WAYS[name](x, y)
    POOL.clear()
    with monkeypatch.context() as without_memory:
        without_memory.setattr(memory.HostMemory, "__init__", refuse)
        named = r"^(?!cpu|plan)\w+: out of memory on device cpu\n(.|\n)*  requested"
        with pytest.raises(nt.OutOfMemory, match=named):
            way()
    way()


@pytest.mark.parametrize("name", ["tensor", "from_numpy", "logspace"])
def test_out_of_memory_while_a_tensor_is_made_names_the_function(name: str) -> None:
    large = np.broadcast_to(np.float32(1), (HUGE,))
    arguments = (0, 1, HUGE >> 4) if name == "logspace" else (large,)
    with pytest.raises(nt.OutOfMemory, match=rf"^{name}: out of memory on device cpu\n"):
        getattr(nt, name)(*arguments)


@pytest.mark.parametrize("name", ["arange", "linspace"])
def test_out_of_memory_of_a_range_is_met_where_it_is_read(name: str) -> None:
    arguments = (0, 1, HUGE >> 4) if name == "linspace" else (float(HUGE >> 4),)
    values = getattr(nt, name)(*arguments)
    named = rf"^cast: out of memory on device cpu\n  out \({HUGE >> 4},\) float32\n"
    with pytest.raises(nt.OutOfMemory, match=named):
        values.realize()


def test_what_no_machine_has_is_refused_before_it_is_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A system that promises more than it has ends the process that writes it."""
    monkeypatch.setattr(memory, "most_memory", lambda: 1 << 29)
    monkeypatch.setattr(np, "empty", lambda *args: pytest.fail("asked the system"))
    with pytest.raises(nt.OutOfMemory, match="cpu: out of memory"):
        HostPool(0).allocate(1 << 30)


def test_empty_cache_gives_memory_back_and_keeps_what_is_held() -> None:
    held = (nt.ones(1 << 20) + 1).realize()
    (nt.ones(3 << 20) * 2).realize()  # dropped: its memory waits
    POOL.clear()
    (nt.ones(3 << 20) * 2).realize()
    assert POOL.allocate(12 << 20).owner is not None
    nt.empty_cache()
    assert not any(POOL._free.values())
    assert held[-1].item() == 2


@pytest.fixture
def threads() -> Any:
    before = nt.get_num_threads()
    yield
    nt.set_num_threads(before)


def test_the_number_of_threads_is_what_was_set(threads: None) -> None:
    f = nt.compile(lambda x: (x * 2 + 1).sum())
    x = nt.ones(1 << 18)
    for number in (1, 3, np.int64(2)):
        nt.set_num_threads(number)  # type: ignore[arg-type]
        assert nt.get_num_threads() == number
        assert f(x).item() == 3 << 18 and (x + x).sum().item() == 2 << 18


def test_transforms_take_as_many_threads_as_were_set(
    threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scipy.fft

    taken = []
    own = scipy.fft.fftn

    def fftn(*args: Any, workers: int, **options: Any) -> Any:
        taken.append(workers)
        return own(*args, workers=workers, **options)

    monkeypatch.setattr(scipy.fft, "fftn", fftn)
    x = nt.tensor(np.ones((2, 1 << 15), np.float32))
    for number in (1, 2):
        nt.set_num_threads(number)
        nt.fft.fft(x).realize()
    assert taken == [1, min(2, settings.processors())]


def test_a_number_that_changes_between_planning_and_running_harms_nothing(
    threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another Python thread does. A sum's memory is for as many shares as were planned for."""
    x = nt.tensor(np.arange(1 << 18, dtype=np.int64))
    real = team.chosen

    def chosen(parts: int) -> team.Team:
        team.set_num_threads(5)
        return real(parts)

    for number in (1, 2):
        nt.set_num_threads(number)
        with monkeypatch.context() as patch:
            patch.setattr(team, "chosen", chosen)
            assert (x + x).sum().item() == (1 << 18) * ((1 << 18) - 1)
        assert nt.get_num_threads() == 5


@pytest.mark.parametrize("number", [0, -1, 4097, 99999999999])
def test_a_number_of_threads_out_of_range_is_refused(number: int, threads: None) -> None:
    before = nt.get_num_threads()
    with pytest.raises(ValueError, match=rf"set_num_threads: {number} threads, .* \[1, 4096\]"):
        nt.set_num_threads(number)
    assert nt.get_num_threads() == before


@pytest.mark.parametrize("number", [2.0, True, "2", None])
def test_what_is_no_number_of_threads_is_refused(number: Any) -> None:
    with pytest.raises(TypeError, match="set_num_threads: takes an int"):
        nt.set_num_threads(number)


def test_the_number_of_threads_costs_an_import_nothing() -> None:
    code = "import sys, numbatorch; print('numbatorch.backends.cpu.threads' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"
