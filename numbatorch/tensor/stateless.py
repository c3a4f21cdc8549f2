"""A module called with other tensors in the places of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from numbatorch.errors import message
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.tracked import Tracked

_ABSENT = object()


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """What a module gives for arguments where tensors of given names stand for its own.

    The module is as it was afterwards. A tensor that the call puts into a place, other than in
    place, is put into the dict.

    Args:
        parameter_and_buffer_dicts: dotted name to tensor, as of `named_parameters` and
            `named_buffers`; several dicts of different names count as one.
        args: a tuple of arguments, or the only one.
        tie_weights: whether what stands for a tensor does so under all of its names.
        strict: whether each name of either side must be there on the other.
    Raises:
        ValueError: two dicts have a name, or names of one tensor are given different ones.
        RuntimeError: names are missing or unexpected, with `strict`; or one is computed by a
            parametrization, whose `parametrizations.NAME.original` stands for it.
        TypeError: what stands for a tensor is none.

    >>> layer = nt.nn.Linear(2, 1, bias=False)
    >>> functional_call(layer, {"weight": tensor([[2.0, 3.0]])}, tensor([1.0, 10.0]))
    tensor([32.])
    """
    given, whole = _merged(parameter_and_buffer_dicts)
    known = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    wanted = _tied(given, known) if tie_weights else dict(given)
    if strict:
        _check_names(type(module).__name__, set(known), set(wanted))
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    with _standing(module, wanted) as places:
        result = module(*positional, **(kwargs or {}))
        found = {name: vars(owner).get(own) for name, (owner, own) in places.items()}
    if isinstance(whole, dict):
        whole.update({n: found[n] for n in whole if found[n] is not whole[n]})
    return result


def _merged(given: Any) -> tuple[dict[str, Any], Any]:
    """The names of all dicts, and the dict if it is one."""
    if isinstance(given, Mapping):
        return dict(given), given
    if not isinstance(given, Sequence) or not all(isinstance(one, Mapping) for one in given):
        problem = f"takes a dict of tensors, or several, not {type(given).__name__}"
        raise TypeError(message("functional_call", problem))
    merged: dict[str, Any] = {}
    for one in given:
        twice = sorted(merged.keys() & one.keys())
        if twice:
            raise ValueError(message("functional_call", f"{', '.join(twice)} is in two dicts"))
        merged.update(one)
    return merged, None


def _tied(given: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """`given`, with what is given under one name of a tensor under all others too."""
    names: dict[int, list[str]] = {}
    for name, tensor in known.items():
        names.setdefault(id(tensor), []).append(name)
    found = dict(given)
    for alike in names.values():
        there = [name for name in alike if name in given]
        if there and any(given[name] is not given[there[0]] for name in there):
            problem = f"{', '.join(there)} are one tensor, for which different ones are given"
            hint = "tie_weights=False takes each for itself"
            raise ValueError(message("functional_call", problem, hint=hint))
        found.update(dict.fromkeys(alike if there else (), given.get(there[0]) if there else None))
    return found


def _check_names(module: str, known: set[str], given: set[str]) -> None:
    rows = [f"missing {name}" for name in sorted(known - given)]
    rows += [f"unexpected {name}" for name in sorted(given - known)]
    if rows:
        raise RuntimeError(
            message("functional_call", f"names differ from those of {module}", *rows)
        )


@contextmanager
def _standing(module: Any, given: dict[str, Any]) -> Iterator[dict[str, tuple[Any, str]]]:
    """Within the block the tensors stand in their places, which it yields: owner and attribute."""
    places: dict[str, tuple[Any, str]] = {}
    for name, value in given.items():
        path, _, own = name.rpartition(".")
        owner = module.get_submodule(path)
        if value is not None and not isinstance(value, Tensor):
            problem = f"{name} is given {type(value).__name__}, not a tensor"
            raise TypeError(message("functional_call", problem))
        if isinstance(getattr(type(owner), own, None), property):
            first = f"{path}.parametrizations" if path else "parametrizations"
            problem = f"{name} is computed by a parametrization"
            hint = f"give {first}.{own}.original"
            raise RuntimeError(message("functional_call", problem, hint=hint))
        places[name] = owner, own
    before = [vars(owner).get(own, _ABSENT) for owner, own in places.values()]
    try:
        for name, (owner, own) in places.items():
            Tracked.__setattr__(owner, own, given[name])
        yield places
    finally:
        for (owner, own), value in zip(places.values(), before, strict=True):
            if value is not _ABSENT:
                Tracked.__setattr__(owner, own, value)
            elif own in vars(owner):
                Tracked.__delattr__(owner, own)
