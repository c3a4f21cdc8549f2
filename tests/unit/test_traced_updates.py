"""What happens to tensors while a function is traced is taken back, whatever fails meanwhile."""

from collections.abc import Callable

import pytest

from numbatorch.tensor.views import Updates, moves


def test_calls_after_a_trace_are_made_also_when_others_fail() -> None:
    made = []

    def call(name: str, error: Exception | None = None) -> Callable[[], None]:
        def run() -> None:
            made.append(name)
            if error is not None:
                raise error

        return run

    updates = Updates()
    first, second = KeyError("first"), ValueError("second")
    updates.after += [call("a"), call("b", second), call("c"), call("d", first), call("e")]
    before = moves()
    with pytest.raises(KeyError) as caught:
        updates.take_back()
    assert caught.value is first and caught.value.__notes__ == ["and then: second"]
    assert made == list("edcba")
    assert moves() > before


def test_the_clock_moves_on_when_an_interrupt_comes() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    updates = Updates()
    updates.after.append(interrupted)
    before = moves()
    with pytest.raises(KeyboardInterrupt):
        updates.take_back()
    assert moves() > before
