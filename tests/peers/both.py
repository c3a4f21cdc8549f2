"""One text run on both libraries: what it logs with ours has to be what it logs with PyTorch."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from tests.compare import as_numpy
from tests.peers.sides import torch

Text = Callable[[Any, Any], Any]

LOOKUPS = (KeyError, IndexError, AttributeError)  # which programs catch and go on


class Refused:
    """That something was refused, and with which class of error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"Refused({type(self.error).__name__}: {self.error})"


def refused(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a call gives, or that it was refused."""
    try:
        return call(*args, **options)
    except Exception as err:
        return Refused(err)


def filled(t: Any, module: Any) -> Any:
    """The module, whose parameters hold 0.5, 1, ..., one after the other."""
    first = 1
    with t.no_grad():
        for parameter in module.parameters():
            count = parameter.numel()
            values = t.arange(first, first + count, dtype=t.float32) * 0.5
            parameter.copy_(values.reshape(parameter.shape))
            first += count
    return module


def plain(value: Any) -> Any:
    """A value of either library as one that can be compared."""
    if isinstance(value, nt.Tensor | torch.Tensor):
        value = value.detach()
        name = str(getattr(value.dtype, "name", value.dtype)).removeprefix("torch.")
        array = as_numpy(value.float() if name in ("bfloat16", "float16") else value)
        return [name, array.shape, array.astype(np.float64).tolist()]
    if isinstance(value, nt.nn.Module | torch.nn.Module):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, str | Refused):
        return value
    if isinstance(value, Iterable):
        return [plain(entry) for entry in value]
    return value


def same(mine: Any, theirs: Any, path: str = "log") -> None:
    """Fail where two logs differ; of errors only those of lookups have to be alike."""
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for i, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            same(one, other, f"{path}[{i}]")
    elif isinstance(mine, dict) and isinstance(theirs, dict):
        assert list(mine) == list(theirs), path
        for key, value in mine.items():
            same(value, theirs[key], f"{path}[{key!r}]")
    elif isinstance(mine, Refused) and isinstance(theirs, Refused):
        kind = next((kind for kind in LOOKUPS if isinstance(theirs.error, kind)), Exception)
        assert isinstance(mine.error, kind), (path, mine, theirs)
    elif isinstance(mine, float) and isinstance(theirs, float):
        close = math.isclose(mine, theirs, rel_tol=1e-5, abs_tol=1e-5)
        assert close or (math.isnan(mine) and math.isnan(theirs)), (path, mine, theirs)
    else:
        assert mine == theirs, (path, mine, theirs)


def on_both(text: Text) -> Callable[[], None]:
    """A test that runs a text with each library and its `nn`, and compares what it gives."""

    def test() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of hooks that PyTorch does not call
            theirs = plain(text(torch, torch.nn))
        mine = plain(text(nt, nt.nn))
        assert theirs not in (None, [], {}), "the text logs nothing"
        same(mine, theirs)

    test.__name__, test.__doc__ = text.__name__, text.__doc__
    return test


__all__ = ["Refused", "filled", "on_both", "pytest", "refused"]
