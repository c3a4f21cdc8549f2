"""State dicts: the tensors of a module by name, and what is wrong with those that are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from numbatorch.dtype import promote
from numbatorch.errors import message
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad

if TYPE_CHECKING:
    from numbatorch.nn.module import Module

EXTRA = "_extra_state"


class StateError(RuntimeError, KeyError):
    """What does not fit between a state dict and a module: all names, each with its fault.

    Attributes:
        missing_keys, unexpected_keys: names of either side that the other lacks.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __str__(self) -> str:
        return str(self.args[0])


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` gives: the names of either side that the other lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        missing, unexpected = self
        return f"IncompatibleKeys(missing_keys={missing}, unexpected_keys={unexpected})"


def saved(module: Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers of a module alone."""
    yield from module._own_parameters()
    for name, buffer in module._own_buffers():
        if name not in module._unsaved:
            yield name, buffer


def save_own(module: Module, into: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Add the entries of a module alone to a dict."""
    for name, tensor in saved(module):
        into[prefix + name] = tensor if keep_vars else tensor.detach()
    if module._has_extra_state():
        into[prefix + EXTRA] = module.get_extra_state()


def collect(module: Module, into: dict[str, Any], prefix: str, keep_vars: bool) -> dict[str, Any]:
    """Add the entries of a module and of all within it to a dict, which is given back."""
    for entry in module.hooks("state_pre"):
        entry.call(module, prefix, keep_vars)
    module._save_to_state_dict(into, prefix, keep_vars)
    for name, child in module._child_entries():
        child.state_dict(destination=into, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for entry in module.hooks("state"):
        found = entry.call(module, into, prefix, {})
        if found is not None:
            into = found
    return into


class _Loading:
    """What is found out before anything is taken over."""

    def __init__(self, entries: dict[str, Any], strict: bool, assign: bool) -> None:
        self.entries = entries
        self.strict = strict
        self.assign = assign
        self.known: set[str] = set()
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.problems: list[str] = []
        self.tensors: list[tuple[Tensor, Tensor]] = []  # own and given
        self.extras: list[tuple[Module, Any]] = []

    def look(self, module: Module, prefix: str) -> None:
        """Find the entry of each tensor of a module and of all within it."""
        lists = (self.missing, self.unexpected, self.problems)
        for entry in module.hooks("load_pre"):
            entry.call(module, self.entries, prefix, {}, self.strict, *lists)
        metadata = _Metadata(self)
        module._load_from_state_dict(self.entries, prefix, metadata, self.strict, *lists)
        for name, child in module._child_entries():
            self.look(child, f"{prefix}{name}.")

    def look_for_own(self, module: Module, entries: dict[str, Any], prefix: str) -> None:
        """Find the entry of each tensor of a module alone."""
        module._before_load(entries, prefix)
        for name, own in saved(module):
            optional = name in module.optional_state
            self._look_for(prefix + name, own, entries, optional)
        if module._has_extra_state():
            self._look_for_extra(module, prefix + EXTRA, entries)

    def _look_for(self, name: str, own: Tensor, entries: dict[str, Any], optional: bool) -> None:
        self.known.add(name)
        if name not in entries:
            if not optional:
                self.missing.append(name)
            return
        given = entries[name]
        problem = misfit(name, own, given, self.assign)
        if problem:
            self.problems.append(problem)
        else:
            self.tensors.append((own, given))

    def _look_for_extra(self, module: Module, name: str, entries: dict[str, Any]) -> None:
        self.known.add(name)
        if name in entries:
            self.extras.append((module, entries[name]))
        else:
            self.missing.append(name)

    def take(self) -> None:
        """Take all values over."""
        with no_grad():
            for own, given in self.tensors:
                given = given.reshape(own.shape)  # numbers were (1,) in PyTorch before 0.4
                if self.assign:
                    _assign(own, given)
                else:
                    own.copy_(given)
        for module, extra in self.extras:
            module.set_extra_state(extra)


class _Metadata(dict[str, Any]):
    """What `_load_from_state_dict` is given beside the entries; it leads back to the loading."""

    def __init__(self, loading: _Loading) -> None:
        super().__init__()
        self.loading = loading


def look_for_own(module: Module, entries: dict[str, Any], prefix: str, metadata: Any) -> None:
    """What `Module._load_from_state_dict` does."""
    if not isinstance(metadata, _Metadata):
        problem = "local_metadata is handed on as it was given"
        raise TypeError(message("_load_from_state_dict", problem))
    metadata.loading.look_for_own(module, entries, prefix)


def load(module: Module, entries: object, strict: bool, assign: bool) -> IncompatibleKeys:
    """What `Module.load_state_dict` does."""
    if not isinstance(entries, Mapping):
        problem = f"a state dict is a mapping of names to tensors, not {type(entries).__name__}"
        raise TypeError(message("load_state_dict", problem))
    loading = _Loading(dict(entries), strict, assign)
    loading.look(module, "")
    loading.unexpected += [name for name in loading.entries if name not in loading.known]
    keys = IncompatibleKeys(loading.missing, loading.unexpected)
    hooked = [(child, entry) for child in module.modules() for entry in child.hooks("load")]
    if not hooked or loading.problems:
        _refuse(type(module).__name__, keys, loading.problems, strict)
    loading.take()
    for child, entry in hooked:  # which may take names off the lists
        if entry.call(child, keys) is not None:
            problem = "a hook after loading returns None, and changes the lists that it is given"
            raise TypeError(message("load_state_dict", problem))
    _refuse(type(module).__name__, keys, [], strict)
    return keys


def _refuse(module: str, keys: IncompatibleKeys, problems: list[str], strict: bool) -> None:
    """Fail if anything is wrong, naming all of it."""
    rows = list(problems)
    if strict:
        rows += [f"missing {name}" for name in keys.missing_keys]
        rows += [f"unexpected {name}" for name in keys.unexpected_keys]
    if rows:
        error = StateError(
            message("load_state_dict", f"the state dict does not fit {module}", *rows)
        )
        error.missing_keys, error.unexpected_keys = keys
        raise error


def misfit(name: str, own: Tensor, given: Any, assign: bool) -> str:
    """Why a value cannot be taken over; "" if it can."""
    if not isinstance(given, Tensor):
        return f"{name} is of type {type(given).__name__}, not a tensor"
    rows = f"module {describe(own.node)}, given {describe(given.node)}"
    if own.shape != given.shape and not (own.shape == () and given.shape == (1,)):
        return f"{name} has another shape: {rows}"
    if assign or own.dtype is given.dtype:
        return ""
    if "q" in (own.dtype.kind, given.dtype.kind):
        return f"{name} is stored in blocks, which assign=True takes over: {rows}"
    if promote(own.dtype, given.dtype) is not own.dtype:
        how = "cast it first, or take its dtype over by assign=True"
        return f"{name} would lose digits; {how}: {rows}"
    return ""


def _assign(own: Tensor, given: Tensor) -> None:
    node = given.detach().node
    if own.requires_grad and node.dtype.kind not in "fc":
        own.requires_grad_(False)
    own.hold(node)
