"""Dropout and its kinds: active while a module trains."""

from __future__ import annotations

from typing import Any

from numbatorch.errors import message
from numbatorch.nn import functional
from numbatorch.nn.applied import Applied


class _Dropping(Applied):
    p: float = 0.5
    inplace: bool = False

    hidden = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.p <= 1:
            raise ValueError(message(type(self).__name__, f"p={self.p} is no probability"))

    def forward(self, input: Any) -> Any:
        """The shape stays."""
        return getattr(functional, self.function)(input, self.p, self.training, self.inplace)


class Dropout(_Dropping, function="dropout"):
    """While training, each element is 0 with probability p, else divided by 1 - p.

    >>> Dropout(0.5).eval()(tensor([1.0, 2.0]))
    tensor([1., 2.])
    """


class Dropout1d(_Dropping, function="dropout1d"):
    """While training, each channel of (N, C, L) is 0 with probability p, else divided by 1 - p.

    >>> Dropout1d(1.0)(nt.ones(1, 1, 2))
    tensor([[[0., 0.]]])
    """


class Dropout2d(_Dropping, function="dropout2d"):
    """While training, each channel of (N, C, H, W) is 0 with probability p, else scaled.

    >>> Dropout2d(0.5).eval()(nt.ones(1, 1, 1, 2))
    tensor([[[[1., 1.]]]])
    """


class Dropout3d(_Dropping, function="dropout3d"):
    """While training, each channel of (N, C, D, H, W) is 0 with probability p, else scaled.

    >>> Dropout3d(0.5).eval()(nt.ones(1, 1, 1, 1, 2)).shape
    (1, 1, 1, 1, 2)
    """


class AlphaDropout(_Dropping, function="alpha_dropout"):
    """Dropout to SELU's least value, scaled so that mean and variance stay.

    >>> AlphaDropout(0.5).eval()(tensor([1.0, 2.0]))
    tensor([1., 2.])
    """


class FeatureAlphaDropout(_Dropping, function="feature_alpha_dropout"):
    """AlphaDropout of whole channels.

    >>> FeatureAlphaDropout(0.5).eval()(nt.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """
