"""Whole networks beside PyTorch's: outputs, every gradient and running statistics."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import as_numpy, assert_launches
from tests.peers import networks
from tests.peers.sides import torch

Arrays = tuple[Any, ...]


def images(rng: Any, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def translation(rng: Any) -> Arrays:
    source = rng.integers(1, 30, (3, 9))
    source[0, 6:] = source[2, 4:] = 0  # what is padded
    return source, rng.integers(1, 30, (3, 7)), rng.integers(1, 30, (3, 7))


def sentences(rng: Any) -> Arrays:
    words, lengths = rng.integers(1, 30, (4, 7)), [4, 7, 1, 6]
    tags = rng.integers(0, 5, (4, 7))
    for row, length in enumerate(lengths):
        words[row, length:], tags[row, length:] = 0, -100
    return words, lengths, tags


def classified(t: Any, net: Any, x: Any, target: Any) -> tuple[Any, Any]:
    logits = net(x)
    return logits, t.nn.functional.cross_entropy(logits, target)


def tagged(t: Any, net: Any, words: Any, lengths: Any, tags: Any) -> tuple[Any, Any]:
    logits = net(words, lengths)
    return logits, t.nn.functional.cross_entropy(logits.transpose(1, 2), tags, ignore_index=-100)


def translated(t: Any, net: Any, source: Any, target: Any, after: Any) -> tuple[Any, Any]:
    logits = net(source, target)
    return logits, t.nn.functional.cross_entropy(logits.flatten(0, 1), after.flatten())


def played(t: Any, net: Any, real: Any, noise: Any) -> tuple[Any, Any]:
    """The losses of both: the discriminator's does not reach the generator."""
    loss = t.nn.BCEWithLogitsLoss()
    fake = net["g"](noise)
    right, wrong, fooled = net["d"](real), net["d"](fake.detach()), net["d"](fake)
    of_d = loss(right, t.ones_like(right)) + loss(wrong, t.zeros_like(wrong))
    return fake, of_d + loss(fooled, t.ones_like(fooled))


Run = Callable[..., tuple[Any, Any]]

# Name to builder, what runs it, its inputs and how many kernels its outputs take in eval.
NETWORKS: dict[str, tuple[Any, Run, Callable[[Any], Arrays], int]] = {
    "resnet18": (
        networks.resnet18, classified,
        lambda rng: (images(rng, 4, 3, 32, 32), rng.integers(0, 10, 4)), 24,
    ),
    "tagger": (networks.tagger, tagged, sentences, 30),
    "translator": (networks.translator, translated, translation, 56),
    "unet": (
        networks.unet, classified,
        lambda rng: (images(rng, 2, 1, 16, 16), rng.integers(0, 3, (2, 16, 16))), 25,
    ),
    "gan": (
        networks.gan, played,
        lambda rng: (images(rng, 4, 3, 16, 16), images(rng, 4, 6, 1, 1)), 13,
    ),
}  # fmt: skip
NAMES = pytest.mark.parametrize("name", NETWORKS)


def pair(name: str) -> tuple[Any, Any, list[Any], list[Any]]:
    """A network on both sides with the same weights, and the inputs of each."""
    build, _, inputs, _ = NETWORKS[name]
    torch.manual_seed(0)
    theirs, mine = build(torch, torch.nn), build(nt, nt.nn)
    with torch.no_grad():  # what begins as ones or zeros is neither
        for tensor in [*theirs.parameters(), *theirs.buffers()]:
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.add_(torch.rand_like(tensor) * 0.5)
    state = {key: nt.from_numpy(x.numpy().copy()) for key, x in theirs.state_dict().items()}
    mine.load_state_dict(state)
    arrays = inputs(np.random.default_rng(0))
    ours, given = (
        [of(x) if isinstance(x, np.ndarray) else x for x in arrays]
        for of in (nt.from_numpy, torch.from_numpy)
    )
    return mine, theirs, ours, given


def distance(found: Any, wanted: Any) -> float:
    """How far apart they are at most, as a part of the largest element of what is wanted."""
    found, wanted = as_numpy(found), as_numpy(wanted)
    apart = np.abs(found.astype(np.float64) - wanted).max(initial=0)
    return float(apart / (np.abs(wanted).max(initial=0) or 1))


Results = dict[str, Any]


def results(net: Any, output: Any, loss: Any) -> Results:
    """By name what a step gave: output, loss, every gradient and buffer."""
    given = {"output": output, "loss": loss}
    given |= {f"gradient of {name}": x.grad for name, x in net.named_parameters()}
    return given | dict(net.named_buffers())


def compare(mine: Results, theirs: Results, exact: Results) -> None:
    """Near what PyTorch gives in float64, as its own float32 is.

    The bound is 1e-5 of the largest element and three times what PyTorch's float32 is off, at most
    1e-4. Batch norm over four values, as at the end of a ResNet of small images, multiplies
    roundings to 8e-5 on either side; the other networks are within 3e-6.
    """
    assert list(mine) == list(theirs)
    there = [name for name, x in theirs.items() if x is not None]
    assert there == [name for name, x in mine.items() if x is not None]
    for name in there:
        found, wanted = as_numpy(mine[name]), as_numpy(theirs[name])
        assert found.shape == wanted.shape and found.dtype == wanted.dtype, name
        apart, noise = distance(found, exact[name]), distance(wanted, exact[name])
        bound = min(1e-4, 1e-5 + 3 * noise)
        assert apart <= bound, f"{name}: {apart:.3g} off, PyTorch {noise:.3g}"


@NAMES
@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_networks_give_what_torch_gives(name: str, way: str) -> None:
    mine, theirs, ours, given = pair(name)
    run = NETWORKS[name][1]

    def step(*args: Any) -> tuple[Any, Any]:
        mine.zero_grad()
        output, loss = run(nt, mine, *args)
        loss.backward()
        return output, loss

    def forward(*args: Any) -> Any:
        with nt.no_grad():
            return run(nt, mine, *args)[0]

    if way == "compiled":
        step, forward = nt.compile(step), nt.compile(forward)
    exact = copy.deepcopy(theirs).double()
    precise = [x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in given]
    for training in (True, True, False):  # the second time with statistics of the first
        wanted = []
        for net, inputs in ((theirs, given), (exact, precise)):
            net.train(training)
            net.zero_grad()
            output, loss = run(torch, net, *inputs)
            loss.backward()
            wanted.append(results(net, output, loss))
        mine.train(training)
        compare(results(mine, *step(*ours)), *wanted)
    without = {"output without gradients": forward(*ours)}
    compare(without, *({"output without gradients": x["output"]} for x in wanted))


@NAMES
def test_launches_of_a_forward_pass(name: str) -> None:
    mine, _, ours, _ = pair(name)
    _, run, _, launches = NETWORKS[name]
    mine.eval()
    with nt.no_grad():
        assert_launches(run(nt, mine, *ours)[0], launches)
