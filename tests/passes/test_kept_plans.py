"""Plans are kept by their graphs, as many as have a certain number of launches together."""

import pytest

import numbatorch as nt
from numbatorch.backends import planned
from numbatorch.backends.base import backend


def test_long_plans_leave_room_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "LAUNCHES", 60)
    cpu = backend(nt.device("cpu"))
    assert isinstance(cpu, planned.PlanBackend)
    cpu.forget_programs()

    def launches() -> list[int]:
        return [len(program.plan.launches) for program in cpu._programs.values()]

    x = nt.ones(8, 8, device="cpu").realize()
    for length in (20, 21, 22, 23):
        y = x
        for _ in range(length):
            y = (y @ x).cumsum(0)  # two launches each
        y.realize()
        assert sum(launches()) <= 60 or len(launches()) == 1
    assert launches()[-1] >= 23
    with nt.no_grad():
        (x + 1).cumsum(1).realize()
    assert len(launches()) <= 2
