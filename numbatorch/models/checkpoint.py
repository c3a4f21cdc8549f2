"""Checkpoint to model: each tensor in its place, none missing, left over or of another shape."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.ctranslate2 import CTranslate2File
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.mapping import TensorInfo
from numbatorch.io.safetensors import Checkpoint
from numbatorch.io.torch_checkpoint import TorchCheckpoint
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import host_node

SHOWN = 8  # tensors that an error names

Weights = GGUFFile | Checkpoint | CTranslate2File | TorchCheckpoint


class _State(threading.local):
    deferred = False


_state = _State()


class Source(NamedTuple):
    """What a parameter is made of that does not stand in a file as it is.

    Attributes:
        stored: names of tensors of the file to their shapes.
        make: the parameter's values on a device.
    """

    stored: Mapping[str, Shape]
    make: Callable[[Device], Tensor]


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block `fill` checks a file, and notes what parameters are made of as `sources`.

    For a program that has a model's weights one after another, and never all in memory.
    """
    before = _state.deferred
    _state.deferred = True
    try:
        yield
    finally:
        _state.deferred = before


def tensor_of(weights: Weights, name: str, device: Device, shape: Shape | None = None) -> Tensor:
    """A tensor of a file in its stored type, over the mapped bytes where the device reads those.

    Args:
        weights: an open file.
        name: of the tensor.
        device: where it goes.
        shape: instead of the file's, with the same number of elements.
    """
    info = weights.tensors[name]
    array = weights.tensor(name)
    if info.dtype.kind != "q" and shape is not None:
        array = array.reshape(shape)
    return Tensor(host_node(array, info.dtype, device, info.shape if shape is None else shape))


def fill(
    model: nn.Module,
    weights: Weights,
    device: Device,
    spelling: Callable[[str], str] = str,
    known: Collection[str] = (),
    sources: Mapping[str, Source] = MappingProxyType({}),
) -> None:
    """Put the tensors of a file into a model, in their stored types and without a copy.

    Args:
        model: its parameters and buffers give the names and the shapes.
        weights: an open file.
        spelling: parameter's name to the tensor's name in the file.
        known: names of tensors that are not parameters and that the caller deals with.
        sources: of parameters that are made of tensors instead.
    Raises:
        FormatError: a tensor is missing, left over, of another shape, or of a type that weights
            cannot have; names all of them.
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found = {
        name: sources[name] if name in sources else _whole(weights, spelling(name), tensor.shape)
        for name, tensor in own.items()
    }
    shapes = {name: shape for source in found.values() for name, shape in source.stored.items()}
    counts = {spelling(name) for name, tensor in own.items() if tensor.dtype.kind in "iu"}
    check(type(model).__name__, weights, shapes, known, counts)
    if _state.deferred:
        model.sources = found
        return
    made = {name: source.make(device) for name, source in found.items()}
    model.load_state_dict(made, assign=True)


def _whole(weights: Weights, stored: str, shape: Shape) -> Source:
    return Source({stored: shape}, partial(tensor_of, weights, stored))


def check(
    operator: str,
    weights: Weights,
    wanted: Mapping[str, Shape],
    known: Collection[str] = (),
    counts: Collection[str] = (),
) -> None:
    """Fail unless the file has exactly the tensors that the configuration asks for.

    Those of `counts` are integers, all others floats or blocks.
    """
    problems = [
        f"tensor {name} {shape} is missing"
        for name, shape in wanted.items()
        if name not in weights.tensors
    ]
    for name, info in weights.tensors.items():
        if name in wanted:
            problems += _misfits(info, wanted[name], name in counts)
        elif name not in known:
            problems.append(f"tensor {name} {info.shape} has no place in the model")
    if problems:
        rows = problems[:SHOWN]
        if len(problems) > SHOWN:
            rows.append(f"and {len(problems) - SHOWN} more")
        place = f"file {Path(weights.path)}"
        raise FormatError(message(operator, "weights and configuration disagree", place, *rows))


def spelled(names: Mapping[str, str]) -> Callable[[str], str]:
    """What replaces parts of a parameter's name by those of a file, in the order of the table."""

    def spelling(name: str) -> str:
        for own, stored in names.items():
            name = name.replace(own, stored)
        return name

    return spelling


def shape_of(operator: str, weights: Weights, name: str) -> Shape:
    """The shape of a matrix that a file has to have.

    Raises:
        FormatError: it is not there, or no matrix.
    """
    info = weights.tensors.get(name)
    if info is None or len(info.shape) != 2:
        found = "is missing" if info is None else f"is {info.shape}, not a matrix"
        place = f"file {Path(weights.path)}"
        raise FormatError(message(operator, f"tensor {name} {found}", place))
    return info.shape


def check_layers(operator: str, weights: Weights, prefix: str, count: int) -> None:
    """Fail before a model is built whose file has no tensors for so many layers.

    Args:
        operator: what an error names.
        weights: an open file.
        prefix: of a tensor of a layer, before its number.
        count: what the configuration says.
    Raises:
        FormatError: the file's names have fewer numbers.
    """
    numbers = {
        name[len(prefix) :].partition(".")[0] for name in weights.tensors if name.startswith(prefix)
    }
    if count > len(numbers):
        problem = f"the configuration says {count} layers, the file has {len(numbers)}"
        place = f"file {Path(weights.path)}"
        raise FormatError(message(operator, problem, place, f"tensors {prefix}N"))


def check_stages(operator: str, weights: Weights, prefix: str, depths: Sequence[int]) -> None:
    """As `check_layers`, of stages of some layers each, `{prefix}N.layers.N`."""
    check_layers(operator, weights, prefix, len(depths))
    for stage, depth in enumerate(depths):
        check_layers(operator, weights, f"{prefix}{stage}.layers.", depth)


def _misfits(info: TensorInfo, shape: Shape, counts: bool) -> list[str]:
    if info.shape != shape:
        return [f"tensor {info.name} is {info.shape}, the configuration says {shape}"]
    kind = info.dtype.kind
    if kind in "iu" if counts else kind == "f" or (kind == "q" and len(shape) in (2, 3)):
        return []
    return [f"tensor {info.name} has type {info.dtype.name}, which this weight cannot have"]
