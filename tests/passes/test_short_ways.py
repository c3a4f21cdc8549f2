"""Calls that take a short way do what the long way and the function itself do: random programs."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug, nn
from tests.compare import assert_close
from tests.random_programs import (
    SLOTS,
    Arguments,
    Long,
    Program,
    Quick,
    World,
    array_of,
    leaves,
    new_state,
    random_arguments,
    random_program,
    tensors_of,
)

CALLS = 10
KINDS = ("state", "random", "gradient", "training", "state", "elementwise", "state", "gradient")


def add_attribute(world: World) -> None:
    world.s.extra = len(vars(world.s))


def replace(name: str, value: Callable[[World], Any]) -> Callable[[World], None]:
    return lambda world: setattr(world.s, name, value(world))


def replace_entry(world: World) -> None:
    world.s.named["bias"] = world.s.total * 0.5


def replace_element(world: World) -> None:
    world.s.parts[1] = world.tensor([0.125] * world.program.size)


def rebind_global(world: World) -> None:
    world.names["SCALE"] += 0.25


def freeze(world: World) -> None:
    if world.program.kind != "training":  # whose backward would find nothing
        world.s.w.requires_grad_(not world.s.w.requires_grad)


def other_state(world: World) -> None:
    world.use(new_state(world.program, len(world.held), world.device))


def replace_parameter(world: World) -> None:
    s = world.s
    s.w = (s.w.detach() * 0.5).requires_grad_()
    s.optimizer = nt.optim.SGD([s.w, s.v], 0.05)


def change_rate(world: World) -> None:
    world.s.optimizer.param_groups[0]["lr"] *= 0.5


def hold_array(world: World) -> None:
    found = world.s.kept.numpy()
    world.read.append((found, found.copy()))


def change_held(world: World) -> None:
    for held in world.held:
        if held.dtype is nt.float32 and not held.requires_grad:
            held.mul_(0.5)


def change_argument(world: World) -> None:
    if world.last is not None and world.last.dtype is nt.float32:
        world.last.add_(0.25)


def set_threads(world: World) -> None:
    nt.set_num_threads(1 + len(world.held) % 2)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = nt.get_num_threads()
    yield
    nt.set_num_threads(before)


def backward(world: World) -> None:
    for held in world.held:
        if held.requires_grad and world.program.kind == "gradient":
            (held * 0.5).sum().backward()


# What happens between calls, in each world. The first ones leave traces as they are.
BETWEEN: dict[str, Callable[[World], Any]] = {
    "change in place": lambda world: world.s.total.mul_(0.5),
    "change through a view": lambda world: world.s.ring[3].add_(0.25),
    "change a view": lambda world: world.s.row.mul_(-0.5),
    "change what is read": lambda world: world.s.named["bias"].mul_(0.75),
    "share memory": lambda world: world.s.parts[0].copy_(world.s.parts[1]),
    "change what is held": change_held,
    "change an argument": change_argument,
    "change a default": lambda world: world.names["OTHER"].mul_(0.75),
    "hold a value": lambda world: world.held.append(world.s.total.clone()),
    "hold what reads it": lambda world: world.held.append(world.s.kept + 1),
    "hold a view": lambda world: world.held.append(world.s.ring[1:3]),
    "hold an array": hold_array,
    "drop what is held": lambda world: world.held.clear(),
    "backward": backward,
    "no gradients": lambda world: [setattr(x, "grad", None) for x in (world.s.w, world.s.v)],
}
RETRACED: dict[str, Callable[[World], Any]] = {
    "a float": replace("factor", lambda world: world.s.factor + 0.25),
    "a bool": replace("on", lambda world: not world.s.on),
    "a tensor that is read": replace("square", lambda world: world.s.square * 0.5),
    "a tensor that is changed": replace("total", lambda world: world.s.kept * 0.5),
    "a view": replace("row", lambda world: world.s.ring[4]),
    "an attribute more": add_attribute,
    "an entry": replace_entry,
    "an element": replace_element,
    "a global": rebind_global,
    "a frozen parameter": freeze,
    "a parameter": replace_parameter,
    "a learning rate": change_rate,
    "the whole state": other_state,
    "a number of threads": set_threads,
}


MODES = ("within no_grad", "outside of no_grad", "watched")

# What a program says that a change concerns.
CONCERNED = {
    "change a default": "y=OTHER",
    "change in place": "s.total",
    "change through a view": "s.ring",
    "change a view": "s.row",
    "change what is read": "s.named",
    "share memory": "s.parts[0]",
    "hold a value": "s.total",
    "hold what reads it": "s.kept",
    "hold a view": "s.ring",
    "hold an array": "s.kept",
    "backward": "s.w",
    "no gradients": ".backward()",
    "within no_grad": "s.w",
    "outside of no_grad": "* s.w",
    "a float": "s.factor",
    "a bool": "s.on",
    "a tensor that is read": "s.square",
    "a tensor that is changed": "s.total",
    "a view": "s.row",
    "an entry": "s.named",
    "an element": "s.parts[1]",
    "a global": "SCALE",
    "a frozen parameter": "s.w",
    "a parameter": "s.w",
    "a learning rate": "s.optimizer.step",
}


class History:
    """A program in three worlds, side by side: plain, quick, and always the long way.

    Attributes:
        calls: of the quick one.
        exact: whether both compiled ones give the same bits. Not after a call on state itself, in
            which the function is called on arguments that one has realized and one has not, until
            all is realized and found to have the same bits still.
        log: what happened, for the message of a failure.
    """

    def __init__(self, program: Program, seed: int) -> None:
        self.program = program
        self.seed = seed
        self.plain = World(program, seed, None, "cpu" if seed % 5 == 0 else "numpy")
        self.quick, self.long = (World(program, seed, kind) for kind in (Quick, Long))
        self.worlds = self.plain, self.quick, self.long
        self.calls = 0
        self.exact = True
        self.log: list[str] = []

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What fails within says which program did what."""
        try:
            yield
        except BaseException as error:
            error.add_note("\n".join([f"seed {self.seed}", str(self.program), *self.log]))
            raise

    def between(self, name: str, change: Callable[[World], Any], lazy: bool) -> None:
        self.log.append(name)
        for world in self.worlds:
            change(world)
            if not lazy:
                for tensor in tensors_of(world.s).values():
                    if tensor is not None:
                        tensor.realize()

    def call(self, arguments: Arguments, bad: bool, watched: bool, grad: bool, keep: bool) -> None:
        """Call the program in each world, and compare what it gives or raises."""
        self.log.append(f"call {arguments}, watched={watched}, grad={grad}")
        self.calls += 1
        self.exact = self.exact and not arguments.aliased
        problem = self.problem(arguments) if bad else None
        with contextlib.ExitStack() as stack:
            if not grad and self.program.kind != "training":
                stack.enter_context(nt.no_grad())
            if problem is not None:
                with watching() if watched else contextlib.nullcontext():
                    messages = [failure(self.quick, arguments)]
                messages.append(failure(self.long, arguments))
                assert messages == [messages[0]] * 2 and messages[0], messages
                assert messages[0][0] is problem[0], (messages, problem)
                return
            results = [list(leaves(self.plain.run(arguments, self.calls)))]
            with watching() if watched else contextlib.nullcontext():
                results.append(list(leaves(self.quick.run(arguments, self.calls))))
            results.append(list(leaves(self.long.run(arguments, self.calls))))
        required = [[x.requires_grad for x in found] for found in results]
        assert required == [required[0]] * 3, required
        if keep:
            for world, found in zip(self.worlds, results, strict=True):
                world.held += found
        else:
            self.same(*([array_of(x) for x in found] for found in results))

    def problem(self, arguments: Arguments) -> Any:
        """What the function itself raises for these arguments, in a world of its own."""
        if not 0 <= arguments.start < SLOTS:
            return nt.OutOfRange, ""  # it does nothing, as slices in Python; compiling refuses that
        world = World(self.program, self.seed, None)
        world.s.on = self.plain.s.on
        return failure(world, arguments)

    def same(self, plain: list[Any], quick: list[Any], long: list[Any]) -> None:
        for wanted, found, other in zip(plain, quick, long, strict=True):
            assert (wanted is None) == (found is None) == (other is None)
            if wanted is not None:
                assert_close(found, other, kind="exact" if self.exact else "gradient")
                narrow = "float32" if wanted.dtype == np.float64 else None  # promoted on the way
                assert_close(found, wanted, kind="gradient", dtype=narrow, seed=self.seed)

    def compare(self) -> None:
        """All state, and what is held."""
        states = [world.values() for world in self.worlds]
        for name in states[0]:
            self.log.append(f"compare {name}")
            self.same(*([state[name]] for state in states))
            self.log.pop()
        held = [[array_of(x) for x in world.held] for world in self.worlds]
        self.same(*held)
        quick, long = (
            [x if x is None else x.tobytes() for x in (*state.values(), *more)]
            for state, more in zip(states[1:], held[1:], strict=True)
        )
        self.exact = self.exact or quick == long
        for world in self.worlds:
            for array, copy in world.read:
                np.testing.assert_array_equal(array, copy)


def failure(world: World, arguments: Arguments) -> Any:
    """Class and text of what a call raises, or None."""
    before = list(world.held), list(world.leaves), world.last
    try:
        for found in leaves(world.run(arguments)):
            array_of(found)
        world.values()
    except nt.OutOfRange as error:
        return type(error), str(error)
    finally:
        world.held, world.leaves, world.last = before
    return None


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Debug tools watch each launch, so calls go the long way."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()):
        patch.setenv("NUMBATORCH_DEBUG", "1")
        yield


def run(seed: int, kind: str, size: int = 4, text: int | None = None) -> History:
    """A random program, of the seed `text` if that is given, in a random history."""
    rng = np.random.default_rng([seed, 1])
    program = random_program(np.random.default_rng(seed if text is None else text), kind, size)
    history = History(program, seed)
    arguments = None
    with history.told():
        for _ in range(CALLS):
            for _ in range(int(rng.integers(0, 3))):
                events = RETRACED if rng.random() < 0.04 else BETWEEN
                name = list(events)[int(rng.integers(len(events)))]
                history.between(name, events[name], rng.random() < 0.3)
            bad = (program.indexed or program.starts) and rng.random() < 0.15
            arguments = random_arguments(rng, program, bool(bad), arguments)
            often = 0.75 if arguments.aliased else 0.25  # so that bits are compared again
            watched, grad, keep, compared = rng.random(4) < (0.07, 0.97, 0.4, often)
            history.call(arguments, bool(bad), watched, grad, keep)
            if compared:
                history.compare()
        history.compare()
    assert history.long.call.long == history.calls
    return history


@pytest.mark.drawn(2)
@pytest.mark.parametrize("first", range(0, 320, 20))
def test_random_histories(first: int) -> None:
    with debug.no_fuse():  # each operator is a kernel, so that few are compiled
        histories = [run(seed, KINDS[seed % 8]) for seed in range(first, first + 20)]
    short = sum(history.calls - history.quick.call.long for history in histories)
    assert short > 0.3 * sum(history.calls for history in histories)


@pytest.mark.parametrize("name", [*BETWEEN, *RETRACED, *MODES])
def test_a_change_is_seen_on_the_short_way(name: str) -> None:
    seeds = (seed for seed in itertools.count(800) if CONCERNED.get(name, "") in text_of(seed))
    for seed in itertools.islice(seeds, 5):
        rng = np.random.default_rng(seed)
        history = History(random_program(rng, KINDS[seed % 8]), seed)
        arguments = random_arguments(rng, history.program, False, None)
        while arguments.aliased:
            arguments = random_arguments(rng, history.program, False, None)
        with debug.no_fuse(), history.told():
            for call in range(8):
                now = call in (4, 6)
                if now and name in BETWEEN | RETRACED:
                    history.between(name, (BETWEEN | RETRACED)[name], call == 4)
                watched, grad = now and name == "watched", not now or name != "within no_grad"
                grad = now if name == "outside of no_grad" else grad
                history.call(arguments, False, watched, grad, False)
                history.compare()


def text_of(seed: int) -> str:
    return random_program(np.random.default_rng(seed), KINDS[seed % 8]).text


@pytest.mark.parametrize("kind", sorted({*KINDS}))
def test_calls_alike_take_the_short_way(kind: str) -> None:
    """Whatever a program does, in any form of call: nothing has the long way for ever."""
    for seed in range(700, 712):
        rng = np.random.default_rng(seed)
        world = World(random_program(rng, kind), seed, Quick)
        arguments = random_arguments(rng, world.program, False, None)
        while arguments.aliased:
            arguments = random_arguments(rng, world.program, False, None)
        with debug.no_fuse():
            for call in range(12):
                world.held = [x for x in leaves(world.run(arguments, call)) if call == 2]
                backward(world)
                if call == 6:
                    world.call.long = 0
        assert world.call.long == 0, str(world.program)


@pytest.mark.parametrize("text", (1, 2, 3, 5))
def test_histories_of_fused_programs(text: int) -> None:
    """Of few programs, for each has kernels of its own."""
    for seed in range(2):
        run(500 + 2 * text + seed, KINDS[text], text=text)


@pytest.mark.parametrize("seed", range(600, 608))
def test_histories_of_programs_that_the_team_runs(seed: int) -> None:
    with debug.no_fuse():
        run(seed, KINDS[seed % 8], size=40_000)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 5000, 50))
def test_more_random_histories(first: int) -> None:
    with debug.no_fuse():
        for seed in range(first, first + 50):
            run(seed, KINDS[seed % 8])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5000, 5200))
def test_more_histories_of_fused_programs(seed: int) -> None:
    run(seed, KINDS[seed % 8], size=4 if seed % 16 < 8 else 20_000)


def test_a_view_is_read_before_what_it_views_is_changed() -> None:
    ring = nt.ones(6, 4)
    row = ring[2]

    @nt.compile
    def step(x: Any) -> Any:
        found = row * x
        ring[1:3] = ring[1:3] + x
        return found

    for call in range(5):
        assert step(nt.full((4,), 2.0)).tolist() == [2.0 + 4 * call] * 4


def test_an_index_out_of_range_leaves_state_alone_where_launches_are_watched() -> None:
    total, table = nt.zeros(4), nt.ones(5, 4)

    @nt.compile
    def step(index: Any) -> Any:
        total.add_(1)
        return nn.functional.embedding(index, table) + total

    for _ in range(3):
        step(nt.tensor([1]))
    with watching(), pytest.raises(nt.OutOfRange, match="index 9"):
        step(nt.tensor([9]))
    assert total.tolist() == [3.0] * 4
    assert step(nt.tensor([1])).tolist() == [[5.0] * 4]


def test_a_known_graph_is_walked_once_unless_its_parts_or_leaves_are_of_concern(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from numbatorch.backends import planned

    walked: list[int] = []
    structure = planned.structure

    def counted(order: Any, roots: Any) -> Any:
        walked.append(len(order))
        return structure(order, roots)

    monkeypatch.setattr(planned, "structure", counted)
    array = np.arange(12.0).reshape(3, 4)
    x, total = nt.from_numpy(array), array.cumsum(1).sum()
    for _ in range(3):
        read = x.cumsum(1).sum().item()  # in an assertion pytest would hold what is on the way
        assert read == total
    assert len(walked) <= 1
    sums = x.cumsum(1)
    assert sums.sum().item() == total
    assert sums.node.buffer is not None  # it may be read again
    leaf = nt.from_numpy(array).requires_grad_()
    for _ in range(3):
        found = leaf.cumsum(1).sum()
        assert found.item() == total
        found.backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), 3 * np.tile([4.0, 3, 2, 1], (3, 1)))
    for _ in range(3):  # its memory goes to the result
        own = (x * 2).realize()
        own += own.sum()
        assert own.realize().sum().item() == 13 * 2 * array.sum()
