"""Parameters and buffers of modules that are computed from others each time they are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from numbatorch.errors import message
from numbatorch.graph import current_trace, grad_enabled
from numbatorch.nn.containers import ModuleDict, ModuleList
from numbatorch.nn.module import Module, Parameter
from numbatorch.nn.utils.attributes import keep, take_out
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad

AnyModule = TypeVar("AnyModule", bound=Module)


class _Cache(threading.local):
    depth = 0

    def __init__(self) -> None:
        self.values: dict[Any, tuple[Module, Tensor]] = {}


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """Within the block, in this thread, a parametrized tensor is computed once, when it is read.

    >>> layer = nt.nn.utils.parametrizations.weight_norm(nt.nn.Linear(2, 3))
    >>> with cached():
    ...     layer.weight is layer.weight
    True
    """
    _cache.depth += 1
    try:
        yield
    finally:
        _cache.depth -= 1
        if not _cache.depth:
            _cache.values.clear()


def _value(module: Any, name: str) -> Any:
    """What the parametrizations of a tensor give."""
    parametrization = module.parametrizations[name]
    if not _cache.depth:
        return parametrization()
    key = id(module), name, current_trace(), grad_enabled()
    if key not in _cache.values:
        _cache.values[key] = module, parametrization()  # so that the id stays the module's
    return _cache.values[key][1]


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, the first applied first, and what they are applied to.

    `register_parametrization` makes them: `module.parametrizations.weight` is one.

    Attributes:
        original: the parameter or buffer; `original0`, `original1`, ... where `right_inverse` of
            the first parametrization gives several.
        unsafe: whether shape and dtype may change.
        is_tensor: whether there is one.
        ntensors: how many there are.
    """

    original: Tensor

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            problem = "there is no parametrization"
            raise ValueError(message("ParametrizationList", problem))
        super().__init__(modules)
        self.unsafe = unsafe
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(_tensors(new))
        if self.is_tensor:
            _check_alike("what right_inverse gives", new, original, shape=False)
        if not unsafe:  # before the tensor of the caller is changed
            result = self._of(*([new] if self.is_tensor else new))
            _check_result("the parametrization", result, original.shape, original.dtype)
        if self.is_tensor:
            _set(original, new)
            keep(self, "original", original)
        else:
            for i, tensor in enumerate(new):
                if isinstance(original, Parameter):
                    tensor = Parameter(tensor, original.requires_grad)
                keep(self, f"original{i}", tensor)

    def right_inverse(self, value: Tensor) -> None:
        """Have the originals hold what gives `value`, by `right_inverse` of each.

        Raises:
            RuntimeError: a parametrization has none.
            ValueError: what one gives does not fit the originals.
        """
        found: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    problem = f"parametrization {type(module).__name__} has no right_inverse"
                    raise RuntimeError(message("right_inverse", problem))
                found = module.right_inverse(found)
            given = [found] if self.is_tensor else _tensors(found)
            originals = self._originals()
            if len(given) != len(originals):
                problem = f"gives {len(given)} tensors for {len(originals)}"
                raise ValueError(message("right_inverse", problem))
            for tensor, original in zip(given, originals, strict=True):
                _check_alike("what right_inverse gives", tensor, original, shape=False)
            for tensor, original in zip(given, originals, strict=True):
                _set(original, tensor)

    def _originals(self) -> list[Tensor]:
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        return [getattr(self, name) for name in names]

    def forward(self) -> Any:
        """What the last of the parametrizations gives of ... of the originals."""
        return self._of(*self._originals())

    def _of(self, *originals: Tensor) -> Any:
        first, *rest = list(self)
        value = first(*originals)
        for module in rest:
            value = module(value)
        return value


def _tensors(value: Any) -> list[Tensor]:
    """The tensors that right_inverse gives."""
    if not isinstance(value, Sequence) or not all(isinstance(x, Tensor) for x in value):
        problem = f"gives a tensor or a sequence of tensors, not {type(value).__name__}"
        raise ValueError(message("right_inverse", problem))
    return list(value)


def _set(original: Tensor, value: Tensor) -> None:
    """Have a tensor hold, and share the memory of, another; it stays the tensor that it is."""
    if value is not original:
        original.data = value.detach()


def _check_alike(what: str, given: Any, like: Tensor, shape: bool = True) -> None:
    """Raise unless it is a tensor of the dtype and device, and shape, of another."""
    if not isinstance(given, Tensor):
        problem = f"{what} is {type(given).__name__}, not a tensor"
        raise ValueError(message("register_parametrization", problem))
    wrong = [
        name
        for name, differs in (
            ("shape", shape and given.shape != like.shape),
            ("dtype", given.dtype is not like.dtype),
            ("device", given.device != like.device),
        )
        if differs
    ]
    if wrong:
        rows = (f"tensor {describe(like.node)}", f"given {describe(given.node)}")
        problem = f"{what} is of another {wrong[0]}"
        raise ValueError(message("register_parametrization", problem, *rows))


def _check_result(what: str, given: Any, shape: Any, dtype: Any) -> None:
    """Raise unless a parametrization gives a tensor of a shape and dtype."""
    if not isinstance(given, Tensor):
        problem = f"{what} gives {type(given).__name__}, not a tensor"
        raise ValueError(message("register_parametrization", problem))
    if given.shape != shape or given.dtype is not dtype:
        name = "shape" if given.shape != shape else "dtype"
        rows = (f"tensor {shape} {dtype.name}", f"given {describe(given.node)}")
        problem, hint = f"{what} changes the {name}", "unsafe=True allows it"
        raise ValueError(message("register_parametrization", problem, *rows, hint=hint))


def _property(name: str) -> property:
    """An attribute of a name that parametrizations give, and to which their inverse is applied."""

    def read(self: Any) -> Any:
        return _value(self, name)

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def _class_of(base: type[Module], names: Sequence[str]) -> type[Module]:
    """A class for one module, in which attributes of some names are computed."""

    def reduce(self: Any) -> Any:
        made = base, tuple(self.parametrizations.keys())
        return _made_again, made, dict(vars(self))

    members: dict[str, Any] = {name: _property(name) for name in names}
    members |= {"__reduce__": reduce, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(f"Parametrized{base.__name__}", (base,), members)


def _made_again(base: type[Module], names: Sequence[str]) -> Module:
    """A module for a copy or out of a pickle, whose attributes come next."""
    kind = _class_of(base, names)
    found: Module = kind.__new__(kind)
    return found


def register_parametrization(
    module: AnyModule, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> AnyModule:
    """Have `module.NAME` be what a module makes of the parameter or buffer of that name.

    That moves to `module.parametrizations.NAME.original`, where an optimizer that knows it finds
    it. A second parametrization is applied to what the first gives. With a method `right_inverse`
    the original is first what that gives of the tensor, and `module.NAME = value` sets it so; where
    it gives several tensors they are `original0`, `original1`, ..., new parameters.

    Where we differ from PyTorch: modules so changed can be pickled.

    Args:
        unsafe: whether the parametrization may change shape and dtype; nothing is checked then.
    Raises:
        ValueError: there is no such parameter or buffer, or the parametrization does not keep shape
            and dtype.

    >>> class Symmetric(nt.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = register_parametrization(nt.nn.Linear(2, 2, bias=False), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all()), list(layer.state_dict())
    (True, ['parametrizations.weight.original'])
    """
    given: Any = parametrization
    if not isinstance(given, Module):
        problem = f"a parametrization is a module, not {type(given).__name__}"
        raise TypeError(message("register_parametrization", problem))
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _append(module, tensor_name, parametrization, unsafe)
        return module
    original = vars(module).get(tensor_name)
    kept = isinstance(original, Parameter) or tensor_name in module._buffers
    if not isinstance(original, Tensor) or not kept:
        problem = f"{type(module).__name__} has no parameter or buffer {tensor_name!r}"
        raise ValueError(message("register_parametrization", problem))
    parametrizations = ParametrizationList([parametrization], original, unsafe)
    take_out(module, tensor_name)
    if is_parametrized(module):
        setattr(type(module), tensor_name, _property(tensor_name))
    else:
        module.__class__ = _class_of(type(module), [tensor_name])  # type: ignore[assignment]
        module.add_module("parametrizations", ModuleDict())
    _lists(module)[tensor_name] = parametrizations
    return module


def _lists(module: Module) -> Any:
    return vars(module)["parametrizations"]


def _append(module: Module, name: str, parametrization: Any, unsafe: bool) -> None:
    """Apply one more parametrization to what those that there are give."""
    if not unsafe:
        value = getattr(module, name)
        found = parametrization(value)
        _check_result("the parametrization", found, value.shape, value.dtype)
        if hasattr(parametrization, "right_inverse"):
            with suppress(NotImplementedError):
                inverse = parametrization.right_inverse(found)
                _check_alike("what right_inverse gives", inverse, value)
    parametrizations = _lists(module)[name]
    parametrizations.append(parametrization)
    parametrizations.unsafe |= unsafe


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of a module, or any of them, is computed by parametrizations.

    >>> is_parametrized(nt.nn.Linear(2, 3))
    False
    """
    found = vars(module).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: AnyModule, tensor_name: str, leave_parametrized: bool = True
) -> AnyModule:
    """Make a tensor that is computed by parametrizations a parameter or buffer again.

    Args:
        leave_parametrized: whether it has the value that they give, or that of the original.
    Raises:
        ValueError: it has none; or is to have the value of the original, and there are several.

    >>> layer = nt.nn.utils.parametrizations.weight_norm(nt.nn.Linear(2, 3, bias=False))
    >>> list(remove_parametrizations(layer, "weight").state_dict())
    ['weight']
    """
    if not is_parametrized(module, tensor_name):
        problem = f"{tensor_name!r} of {type(module).__name__} is not parametrized"
        raise ValueError(message("remove_parametrizations", problem))
    parametrizations = _lists(module)[tensor_name]
    if parametrizations.is_tensor:
        tensor = parametrizations.original
        if leave_parametrized:
            with no_grad():
                _set(tensor, getattr(module, tensor_name))
    elif leave_parametrized:
        tensor = getattr(module, tensor_name)
        tensor = Parameter(tensor) if tensor.requires_grad else tensor
    else:
        problem = f"{tensor_name!r} is made of {parametrizations.ntensors} tensors, not of one"
        raise ValueError(message("remove_parametrizations", problem))
    delattr(type(module), tensor_name)
    del _lists(module)[tensor_name]
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    keep(module, tensor_name, tensor)
    return module


def type_before_parametrizations(module: Module) -> type[Module]:
    """The class of a module, or that which it had before a parametrization.

    >>> layer = nt.nn.utils.parametrizations.weight_norm(nt.nn.Linear(2, 3))
    >>> type_before_parametrizations(layer).__name__, type(layer).__name__
    ('Linear', 'ParametrizedLinear')
    """
    found: type[Module] = type(module).__bases__[0] if is_parametrized(module) else type(module)
    return found


def transfer_parametrizations_and_params(
    from_module: Module, to_module: AnyModule, tensor_name: str | None = None
) -> AnyModule:
    """Have a module share the parametrizations of another, and the tensors they are applied to.

    A tensor that the other module lacks becomes a parameter of it.

    Args:
        tensor_name: the only tensor of which; all that are parametrized if None.

    >>> one, other = nt.nn.Linear(2, 3), nt.nn.Linear(2, 3)
    >>> _ = transfer_parametrizations_and_params(
    ...     nt.nn.utils.parametrizations.weight_norm(one), other)
    >>> bool((one.weight == other.weight).all())
    True
    """
    if not is_parametrized(from_module):
        return to_module
    lists = _lists(from_module)
    for name in list(lists.keys()) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in lists[name]:
            register_parametrization(to_module, name, parametrization, unsafe=lists[name].unsafe)
        there = _lists(to_module)[name]
        for key, tensor in vars(lists[name]).items():
            if key.startswith("original"):
                setattr(there, key, tensor)
    return to_module
