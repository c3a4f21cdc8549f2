"""Layers that learn their number of inputs from the first one, and then are plain layers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from numbatorch.errors import ShapeError, message
from numbatorch.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from numbatorch.nn.linear import Linear
from numbatorch.nn.module import Module
from numbatorch.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad


class _Lazy(Module):
    """A layer of no inputs that becomes one of as many as its first input, or its weights, have.

    Parameters stay the same objects, so that an optimizer may be made before. `becomes` is the
    class that a subclass names behind this one.
    """

    becomes: ClassVar[type[Module]]
    defaults: ClassVar[dict[str, Any]] = {}  # where they are not those of the plain layer
    __signature__: ClassVar[inspect.Signature]  # the plain layer's, without its first argument
    _given: inspect.BoundArguments

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__name__.startswith("_"):
            plain = (x for x in cls.__mro__ if issubclass(x, Module) and not issubclass(x, _Lazy))
            cls.becomes = next(plain)
            _first, *rest = inspect.signature(cls.becomes).parameters.values()
            own = [x.replace(default=cls.defaults.get(x.name, x.default)) for x in rest]
            cls.__signature__ = inspect.Signature(own)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        signature = inspect.signature(self.becomes)
        given = signature.bind(0, *args, **kwargs)
        for name, value in self.defaults.items():
            given.arguments.setdefault(name, value)
        self.becomes.__init__(self, *given.args, **given.kwargs)
        self._given = given

    def _materialize(self, count: int) -> None:
        """Become the plain layer of so many inputs, with values, dtype and device of its own."""
        first = next(iter(self._given.arguments))
        self._given.arguments[first] = count
        made = self.becomes(*self._given.args, **self._given.kwargs)
        del self._given
        self.__class__ = self.becomes  # type: ignore[assignment]
        with no_grad():
            for name, value in made.__dict__.items():
                own = self.__dict__.get(name)
                if isinstance(own, Tensor):
                    own.hold(value.to(own.dtype, device=own.device).detach().node)
                elif name not in ("training", "_hooks"):
                    setattr(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        input = args[0] if args else kwargs.get("input")
        if not isinstance(input, Tensor):
            problem = f"the first input is a tensor, not {type(input).__name__}"
            raise TypeError(message(type(self).__name__, problem))
        self._materialize(self._inputs(input))
        return self(*args, **kwargs)

    def _before_load(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """Become the layer that has the weights of a state dict."""
        for name in (*(name for name, _ in self._own_parameters()), "running_mean"):
            found = state_dict.get(prefix + name)
            if isinstance(found, Tensor) and found.ndim and name != "bias":
                self._materialize(self._inputs_of(found))
                return

    def _inputs(self, input: Tensor) -> int:
        """How many inputs a first input has."""
        raise NotImplementedError

    def _inputs_of(self, weight: Tensor) -> int:
        """How many inputs a weight is for."""
        return weight.shape[0]


class LazyLinear(_Lazy, Linear):
    """Linear whose in_features are those of the first input.

    Where we differ from PyTorch, as all lazy layers do: until then the weight has no elements, and
    what is written to the parameters is lost.

    >>> layer = LazyLinear(3)
    >>> layer(nt.zeros(5, 2)).shape, layer
    ((5, 3), Linear(in_features=2, out_features=3, bias=True))
    """

    def _inputs(self, input: Tensor) -> int:
        return input.shape[-1]

    def _inputs_of(self, weight: Tensor) -> int:
        return weight.shape[-1]


class _LazyConv(_Lazy):
    dims: ClassVar[int]
    transposed: ClassVar[bool]
    groups: int

    def _inputs(self, input: Tensor) -> int:
        if input.ndim not in (self.dims + 1, self.dims + 2):
            problem = f"an input has {self.dims + 1} or {self.dims + 2} dimensions"
            raise ShapeError(message(type(self).__name__, problem, f"input {describe(input.node)}"))
        return input.shape[-self.dims - 1]

    def _inputs_of(self, weight: Tensor) -> int:
        return weight.shape[0] if self.transposed else weight.shape[1] * self.groups


class LazyConv1d(_LazyConv, Conv1d):
    """Conv1d whose in_channels are those of the first input.

    >>> LazyConv1d(5, 3)(nt.zeros(2, 4, 8)).shape
    (2, 5, 6)
    """


class LazyConv2d(_LazyConv, Conv2d):
    """Conv2d whose in_channels are those of the first input.

    >>> LazyConv2d(5, 3)(nt.zeros(2, 4, 8, 8)).shape
    (2, 5, 6, 6)
    """


class LazyConv3d(_LazyConv, Conv3d):
    """Conv3d whose in_channels are those of the first input.

    >>> LazyConv3d(5, 1)(nt.zeros(2, 4, 2, 2, 2)).shape
    (2, 5, 2, 2, 2)
    """


class LazyConvTranspose1d(_LazyConv, ConvTranspose1d):
    """ConvTranspose1d whose in_channels are those of the first input.

    >>> LazyConvTranspose1d(5, 3)(nt.zeros(2, 4, 8)).shape
    (2, 5, 10)
    """


class LazyConvTranspose2d(_LazyConv, ConvTranspose2d):
    """ConvTranspose2d whose in_channels are those of the first input.

    >>> LazyConvTranspose2d(5, 3)(nt.zeros(2, 4, 8, 8)).shape
    (2, 5, 10, 10)
    """


class LazyConvTranspose3d(_LazyConv, ConvTranspose3d):
    """ConvTranspose3d whose in_channels are those of the first input.

    >>> LazyConvTranspose3d(5, 1)(nt.zeros(2, 4, 2, 2, 2)).shape
    (2, 5, 2, 2, 2)
    """


class _LazyNorm(_Lazy):
    _channel: Any  # of the plain layer

    def _inputs(self, input: Tensor) -> int:
        size: int = input.shape[self._channel(input)]
        return size


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """BatchNorm1d whose num_features are those of the first input.

    >>> LazyBatchNorm1d()(nt.zeros(5, 2)).shape
    (5, 2)
    """


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """BatchNorm2d whose num_features are those of the first input.

    >>> LazyBatchNorm2d()(nt.zeros(5, 2, 4, 4)).shape
    (5, 2, 4, 4)
    """


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """BatchNorm3d whose num_features are those of the first input.

    >>> LazyBatchNorm3d()(nt.zeros(5, 2, 2, 4, 4)).shape
    (5, 2, 2, 4, 4)
    """


class _LazyInstanceNorm(_LazyNorm):
    defaults: ClassVar = {"affine": True, "track_running_stats": True}


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """InstanceNorm1d whose num_features are those of the first input; affine, as in PyTorch.

    >>> LazyInstanceNorm1d()(nt.zeros(5, 2, 4)).shape
    (5, 2, 4)
    """


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """InstanceNorm2d whose num_features are those of the first input; affine, as in PyTorch.

    >>> LazyInstanceNorm2d()(nt.zeros(5, 2, 4, 4)).shape
    (5, 2, 4, 4)
    """


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """InstanceNorm3d whose num_features are those of the first input; affine, as in PyTorch.

    >>> LazyInstanceNorm3d()(nt.zeros(5, 2, 2, 4, 4)).shape
    (5, 2, 2, 4, 4)
    """
