"""A compiled function that calls modules gives what eager calls give, whatever changes between."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from numbatorch.testing import assert_close

Step = Callable[[Any], Any]


def network() -> nn.Sequential:
    nt.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
    )


def doubled(module: Any, args: Any, output: Any) -> Any:
    return output * 2


def shifted(module: Any, args: Any) -> Any:
    return (args[0] + 1,)


def added_and_removed() -> list[Step]:
    """Changes one after the other; later ones take back what earlier ones did."""
    handles: dict[str, Any] = {}

    def keep(name: str, add: Step) -> Step:
        return lambda net: handles.update({name: add(net)})

    return [
        keep("after", lambda net: net[0].register_forward_hook(doubled)),
        keep("before", lambda net: net[2].register_forward_pre_hook(shifted)),
        keep("first", lambda net: net[0].register_forward_hook(
            lambda m, a, o: o - 1, prepend=True)),
        lambda net: handles["after"].remove(),
        lambda net: handles["before"].remove(),
        lambda net: handles["first"].remove(),
    ]  # fmt: skip


CHANGES: dict[str, Callable[[], list[Step]]] = {
    "hooks": added_and_removed,
    "hooks of the whole": lambda: [
        lambda net: setattr(net, "handle", net.register_forward_hook(doubled)),
        lambda net: net.handle.remove(),
    ],
    "training": lambda: [
        lambda net: net.eval(),
        lambda net: net.train(),
        lambda net: net[1].eval(),
        lambda net: setattr(net[1], "training", True),
    ],
    "modules": lambda: [
        lambda net: net.append(nn.Tanh()),
        lambda net: setattr(net[2], "0", nn.GELU()),
        lambda net: net.pop(),
        lambda net: net.insert(1, nn.Sigmoid()),
        lambda net: net.set_submodule("3.0", nn.Identity()),
    ],
    "parameters": lambda: [
        lambda net: setattr(net[0], "bias", None),
        lambda net: setattr(net[0], "bias", nn.Parameter(nt.ones(4))),
        lambda net: net[0].load_state_dict({"weight": nt.ones(4, 4), "bias": nt.zeros(4)}),
        lambda net: net.double().float(),
        lambda net: setattr(net[1], "running_mean", nt.ones(4)),
        lambda net: setattr(net[1], "momentum", 0.5),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_between_calls_are_seen(kind: str) -> None:
    ours, eager = network(), network()
    compiled = nt.compile(lambda x: ours(x))
    values = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    changes = zip([None, *CHANGES[kind]()], [None, *CHANGES[kind]()], strict=True)
    before: Any = None
    for first, second in changes:
        if first is not None and second is not None:
            first(ours)
            second(eager)
        for _ in range(2):
            found, wanted = compiled(nt.from_numpy(values)), eager(nt.from_numpy(values))
            assert_close(found, wanted, "composite")
            for (name, mine), theirs in zip(ours.named_buffers(), eager.buffers(), strict=True):
                assert_close(mine, theirs, "composite", operator=name)
        if kind != "parameters":
            assert before is None or found.tolist() != before
        before = found.tolist()


def test_hooks_on_gradients_of_a_compiled_step() -> None:
    def step(net: Any) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            net.zero_grad()
            net(x).square().sum().backward()
            return net[0].weight.grad

        return run

    ours, eager = network(), network()
    compiled, plain = nt.compile(step(ours)), step(eager)
    x = nt.from_numpy(np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32))
    handles: list[list[Any]] = []
    for change in ("none", "pre", "full", "remove pre", "remove full"):
        if change == "pre":
            handles.append([net[2].register_full_backward_pre_hook(lambda m, g: (g[0] * 2,))
                            for net in (ours, eager)])  # fmt: skip
        elif change == "full":
            handles.append([net[2].register_full_backward_hook(lambda m, i, o: (i[0] + 1,))
                            for net in (ours, eager)])  # fmt: skip
        elif change != "none":
            for handle in handles.pop(0):
                handle.remove()
        for _ in range(2):
            assert_close(compiled(x), plain(x), "gradient", operator=change)


def test_a_hook_that_reads_values_is_refused_in_a_compiled_function() -> None:
    ours = network().eval()
    seen: list[float] = []
    handle = ours[0].register_forward_hook(lambda m, a, o: seen.append(o.sum().item()))
    compiled = nt.compile(lambda x: ours(x))
    with pytest.raises(RuntimeError, match="a value is read while its function is traced"):
        compiled(nt.ones(2, 4))
    handle.remove()
    assert_close(compiled(nt.ones(2, 4)), ours(nt.ones(2, 4)), "composite")
