"""Module and Parameter: layers that hold their weights, with names for saving and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

from numbatorch.errors import message
from numbatorch.nn import state
from numbatorch.nn.conversion import Converted
from numbatorch.nn.state import IncompatibleKeys, StateError
from numbatorch.tensor import Tensor, zeros_like

__all__ = ["Module", "Parameter", "StateError"]


class Parameter(Tensor):
    """A tensor that a module lists among its parameters; a leaf that requires a gradient.

    Results of operators on parameters are plain tensors. Where we differ from PyTorch: a parameter
    has memory of its own, so later changes of `data` do not show.

    Args:
        data: the first value. GGML blocks and integers need requires_grad=False.

    >>> x = Parameter(tensor([1.0]))
    >>> x.requires_grad, type(x * 2).__name__
    (True, 'Tensor')
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise TypeError(message("Parameter", f"takes a tensor, not {type(data).__name__}"))
        super().__init__(data.detach().node)
        if requires_grad:
            self.requires_grad_()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy of the value, without the gradient, as in PyTorch."""
        copied = Tensor.__deepcopy__(self, memo)
        copied.grad = None
        return copied

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Module(Converted):
    """A layer: parameters, buffers and other modules as attributes, and `forward`.

    All lie in the instance's `__dict__`: what is a `Parameter` is trained, moved and saved, what is
    a `Module` is searched in turn, and a tensor that `register_buffer` named is moved and saved.

    Attributes:
        training: whether dropout and the like are active.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = Parameter(tensor([2.0]))
    ...     def forward(self, input):
    ...         return input * self.factor
    >>> Scale()(tensor([3.0])).tolist(), [name for name, _ in Scale().named_parameters()]
    ([6.0], ['factor'])
    """

    training: bool = True
    untraced: ClassVar = frozenset(("_buffers", "_unsaved", "_declared"))  # what is saved
    optional_state: ClassVar[frozenset[str]] = frozenset()  # names that a state dict may lack
    _buffers: tuple[str, ...] = ()  # names of buffers
    _unsaved: frozenset[str] = frozenset()  # of those that no state dict has
    _declared: Mapping[str, type] = {}  # names of parameters and modules that were None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(message(type(self).__name__, "has no forward"))

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._kind(name)
        if kind is not None and not isinstance(value, Parameter):
            self._check_kind(name, kind, value)
            if value is None and kind is not Tensor:
                self._declared = {**self._declared, name: kind}
        if isinstance(value, Parameter | Module):
            if name in self._buffers:
                self._forget_buffer(name)
        elif isinstance(getattr(value, "__wrapped__", None), Module):
            problem = f"attribute {name} is a compiled module, whose parameters nobody would find"
            hint = "hold the module itself, and compile what calls it"
            raise TypeError(message(type(self).__name__, problem, hint=hint))
        super().__setattr__(name, value)

    def _kind(self, name: str) -> type | None:
        """What an attribute was registered as: Parameter, Module, a Tensor, or None."""
        held = self.__dict__.get(name)
        if name in self._buffers:
            return Tensor
        if isinstance(held, Parameter):
            return Parameter
        if isinstance(held, Module):
            return Module
        if held is None and name in self._declared:
            return self._declared[name]
        return None

    def _check_kind(self, name: str, kind: type, value: Any) -> None:
        """Fail if something of another kind would take a registered thing's place."""
        if value is None or (kind is not Parameter and isinstance(value, kind | Module)):
            return
        problem = f"attribute {name} takes a {kind.__name__} or None, not {type(value).__name__}"
        raise TypeError(message(type(self).__name__, problem))

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in self._buffers:
            self._forget_buffer(name)
        if name in self._declared:
            self._declared = {key: kind for key, kind in self._declared.items() if key != name}

    def _forget_buffer(self, name: str) -> None:
        self._buffers = tuple(key for key in self._buffers if key != name)

    def register_buffer(self, name: str, tensor: object, persistent: bool = True) -> None:
        """An attribute that moves with the module and is not trained; saved if persistent.

        Raises:
            KeyError: the name holds a dot, is empty or belongs to another attribute.
            TypeError: the value is no tensor.
        """
        self._check_name("register_buffer", name, Tensor)
        if tensor is not None and not isinstance(tensor, Tensor):
            problem = f"buffer {name} takes a tensor or None, not {type(tensor).__name__}"
            raise TypeError(message("register_buffer", problem))
        self._buffers = self._buffers if name in self._buffers else (*self._buffers, name)
        self._unsaved = self._unsaved - {name} if persistent else self._unsaved | {name}
        super().__setattr__(name, tensor)  # a Parameter too is a buffer here

    def register_parameter(self, name: str, param: object) -> None:
        """An attribute that is trained; None keeps the place of one that may be set later.

        Raises:
            KeyError: the name holds a dot, is empty or belongs to another attribute.
            TypeError: the value is no Parameter.
        """
        self._check_name("register_parameter", name, Parameter)
        if param is not None and not isinstance(param, Parameter):
            problem = f"parameter {name} takes a Parameter or None, not {type(param).__name__}"
            raise TypeError(message("register_parameter", problem))
        if param is None:
            self._declared = {**self._declared, name: Parameter}
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """A module as an attribute, under a name that need not be an identifier.

        Raises:
            KeyError: the name holds a dot, is empty or belongs to another attribute.
            TypeError: the value is no module.
        """
        self._check_name("add_module", name, Module)
        if module is None:
            self._declared = {**self._declared, name: Module}
        else:
            check_module(type(self).__name__, f"child {name!r}", module)
        setattr(self, name, module)

    register_module = add_module

    def _check_name(self, operator: str, name: str, kind: type) -> None:
        if not isinstance(name, str):
            raise TypeError(message(operator, f"a name is a str, not {type(name).__name__}"))
        if not name or "." in name:
            raise KeyError(message(operator, f"name {name!r} is empty or holds a dot"))
        if self._kind(name) is not kind and hasattr(self, name):
            problem = f"attribute {name} of {type(self).__name__} exists already"
            raise KeyError(message(operator, problem))

    # What is within

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules that are attributes of this one, each once."""
        seen: set[Module] = set()
        for name, child in self._child_entries():
            if child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """Modules that are attributes of this one, each once."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all within it, each once unless remove_duplicate is False."""
        seen = set() if memo is None else memo
        yield from self._tree(prefix, seen if remove_duplicate else None)

    def modules(self) -> Iterator[Module]:
        """This module and all within it, each once."""
        return (module for _, module in self.named_modules())

    def _tree(self, prefix: str, seen: set[Module] | None) -> Iterator[tuple[str, Module]]:
        """This module and all within it: each once, but those seen, or under each of its names."""
        if seen is not None:
            if self in seen:
                return
            seen.add(self)
        yield prefix, self
        for name, child in self._child_entries():
            yield from child._tree(f"{prefix}.{name}" if prefix else name, seen)

    def _child_entries(self) -> Iterator[tuple[str, Module]]:
        """Modules that are attributes, one that is under two names twice."""
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield name, value

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, value in self.__dict__.items():
            if isinstance(value, Parameter) and name not in self._buffers:
                yield name, value

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._buffers:
            value = self.__dict__.get(name)
            if value is not None:
                yield name, value

    def _own_tensors(self) -> Iterator[Tensor]:
        for _, tensor in (*self._own_parameters(), *self._own_buffers()):
            yield tensor

    def _members(
        self, of: Callable[[Module], Iterable[tuple[str, Any]]], prefix: str, deep: bool, once: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        tree = self._tree(prefix, set() if once else None) if deep else [(prefix, self)]
        for path, module in tree:
            for name, value in of(module):
                if not (once and id(value) in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter, also where several modules share it once if remove_duplicate."""
        return self._members(Module._own_parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer, also those that are not saved."""
        return self._members(Module._own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module under a dotted name; "" is this one.

        Raises:
            AttributeError: nothing has the name, or what has it is no module.
        """
        found: Any = self
        for name in target.split(".") if target else []:
            path, found = found, found.__dict__.get(name)
            if not isinstance(found, Module):
                problem = f"{type(path).__name__} has no module {name!r}, part of {target!r}"
                raise AttributeError(message("get_submodule", problem))
        return found  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of a dotted name; with strict one has to be there.

        Raises:
            AttributeError: the module that is to hold it is missing, or with strict its place.
        """
        check_module("set_submodule", f"{target!r}", module)
        path, _, name = target.rpartition(".")
        if strict:
            self.get_submodule(target)
        self.get_submodule(path).add_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a dotted name; AttributeError if there is none."""
        return self._member("get_parameter", target, Module._own_parameters)  # type: ignore[return-value]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer under a dotted name; AttributeError if there is none."""
        return self._member("get_buffer", target, Module._own_buffers)

    def _member(
        self, operator: str, target: str, of: Callable[[Module], Iterable[tuple[str, Tensor]]]
    ) -> Tensor:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        found = dict(of(owner)).get(name)
        if found is None:
            kind = operator.removeprefix("get_")
            problem = f"{type(owner).__name__} has no {kind} {name!r}"
            raise AttributeError(message(operator, problem))
        return found

    # Saving and loading

    def state_dict(
        self,
        *,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """Name to value of every parameter and buffer to be saved, in PyTorch's order.

        The tensors share memory with the module's, so later updates show; with keep_vars they
        are the module's own.

        Args:
            destination: the dict that the entries are added to, a new one if None.
            prefix: what each name begins with.
        """
        return state.collect(self, {} if destination is None else destination, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Take over values by name; gives the names that are missing and unexpected.

        Where we differ from PyTorch: values are converted to a parameter's dtype only where
        nothing is lost, nothing is taken over unless all can be, and what modules share stays
        shared also with assign. Where there are hooks after loading, which may forgive names,
        missing and unexpected names are refused after them.

        Args:
            strict: whether each name of either side must be there on the other.
            assign: take over dtypes and devices too, GGML blocks among them; a later change of
                what was given is not seen here, where PyTorch shares its memory.
        Raises:
            StateError: names are missing or unexpected, values have another shape or would
                lose digits; names all of them.
        """
        return state.load(self, state_dict, strict, assign)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """Add the entries of this module alone; a class may override this, as in PyTorch."""
        state.save_own(self, destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Find the entries of this module alone; a class may override this, as in PyTorch.

        An override may change `state_dict` and hands `local_metadata` on as it is.
        """
        state.look_for_own(self, state_dict, prefix, local_metadata)

    def _before_load(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        """What a module does to itself before a state dict is looked at."""

    def _has_extra_state(self) -> bool:
        return type(self).get_extra_state is not Module.get_extra_state

    def get_extra_state(self) -> Any:
        """What is saved beside parameters and buffers, for a class that overrides this."""
        raise NotImplementedError(message(type(self).__name__, "has no extra state"))

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave, for a class that overrides both."""
        raise NotImplementedError(message(type(self).__name__, "has no extra state"))

    # Modes and conversions

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and in all modules within."""
        if not isinstance(mode, bool):
            raise TypeError(message("train", f"mode is True or False, not {mode!r}"))
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether parameters of floats require gradients."""
        for parameter in self.parameters():
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or make them 0."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = zeros_like(parameter.grad)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on all modules within, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses beside the children."""
        return ""

    def __repr__(self) -> str:
        rows = [f"({name}): {child!r}" for name, child in self._child_entries()]
        return tree(self._get_name(), self.extra_repr(), rows)

    def _get_name(self) -> str:
        """What `repr` calls the module."""
        return type(self).__name__


def tree(name: str, extra: str, rows: Iterable[str]) -> str:
    """`name(extra)`, or with a row for each thing within, all but the first line indented."""
    lines = [row.replace("\n", "\n  ") for row in rows]
    if not lines:
        return f"{name}({extra})"
    body = "\n  ".join([*extra.splitlines(), *lines])
    return f"{name}(\n  {body}\n)"


def check_module(operator: str, name: str, value: object) -> None:
    """Fail unless the value that is to be held under a name is a module."""
    if not isinstance(value, Module):
        kind = "a function" if callable(value) else f"of type {type(value).__name__}"
        hint = None
        if callable(value) and not isinstance(value, type):
            hint = "a Module whose forward calls it can be held"
        elif isinstance(value, type) and issubclass(value, Module):
            kind, hint = f"the class {value.__name__}", f"{value.__name__}() makes a module of it"
        raise TypeError(message(operator, f"{name} is {kind}, not a module", hint=hint))
