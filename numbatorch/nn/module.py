"""Module and Parameter: layers that hold their weights, with names for saving and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from numbatorch.dtype import promote
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad
from numbatorch.tensor.tracked import Tracked

AnyModule = TypeVar("AnyModule", bound="Module")


class Parameter(Tensor):
    """A tensor that a module lists among its parameters; a leaf that requires a gradient.

    Results of operators on parameters are plain tensors.

    Args:
        data: the first value. GGML blocks and integers need requires_grad=False.

    >>> x = Parameter(tensor([1.0]))
    >>> x.requires_grad, type(x * 2).__name__
    (True, 'Tensor')
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
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


class Module(Tracked):
    """A layer: parameters, buffers and other modules as attributes, and `forward`.

    Attributes:
        training: whether dropout and the like are active.
    """

    training: bool = True
    untraced: ClassVar = frozenset(("_buffers",))  # which of the buffers are saved

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(message(type(self).__name__, "has no forward"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """An attribute that moves and is saved with the module but is not trained."""
        kept = self.__dict__.setdefault("_buffers", {})
        kept[name] = persistent
        setattr(self, name, tensor)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules that are attributes of this one."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """Modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all within it, each once."""
        seen: set[int] = set()
        for name, module in self._tree(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all within it, each once."""
        return (module for _, module in self.named_modules())

    def _tree(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, child in self.named_children():
            yield from child._tree(f"{prefix}.{name}" if prefix else name)

    def _own(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers of this module alone."""
        buffers = vars(self).get("_buffers", {})
        for name, value in vars(self).items():
            if isinstance(value, Parameter) or (isinstance(value, Tensor) and buffers.get(name)):
                yield name, value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, also where several modules share it."""
        seen: set[int] = set()
        for path, module in self._tree(prefix):
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every buffer, also those that are not saved."""
        for path, module in self._tree(prefix):
            for name in vars(module).get("_buffers", {}):
                value = getattr(module, name)
                if value is not None:
                    yield f"{path}.{name}" if path else name, value

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer."""
        return (buffer for _, buffer in self.named_buffers())

    def _named_state(self) -> dict[str, Tensor]:
        return {
            f"{path}.{name}" if path else name: value
            for path, module in self._tree("")
            for name, value in module._own()
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Name to value of every parameter and buffer to be saved.

        Where we differ from PyTorch: later updates do not show.
        """
        return {name: value.detach().clone() for name, value in self._named_state().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> None:
        """Take over values by name.

        Where we differ from PyTorch: values are converted to a parameter's dtype only where
        nothing is lost.

        Args:
            strict: whether each name of either side must be there on the other.
            assign: take over dtypes and devices too, GGML blocks among them.
        Raises:
            KeyError: names are missing or unexpected.
            ShapeError: a value has another shape than the parameter.
            DTypeError: a conversion would lose digits.
        """
        own = self._named_state()
        if strict:
            _check_names(type(self).__name__, list(own), list(state_dict))
        chosen = [(name, own[name], value) for name, value in state_dict.items() if name in own]
        for name, target, value in chosen:
            _check_value(name, target, value, assign)
        with no_grad():
            for _, target, value in chosen:
                if assign:
                    _assign(target, value)
                else:
                    target.copy_(value)

    def train(self: AnyModule, mode: bool = True) -> AnyModule:
        """Set `training` here and in all modules within."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: AnyModule) -> AnyModule:
        """train(False)."""
        return self.train(False)

    def requires_grad_(self: AnyModule, requires_grad: bool = True) -> AnyModule:
        """Set whether parameters of floats require gradients."""
        for parameter in self.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self: AnyModule, function: Callable[[Module], Any]) -> AnyModule:
        """Call `function` on all modules within, then on this one."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def to(self: AnyModule, *args: Any, **kwargs: Any) -> AnyModule:
        """Move parameters and buffers, and convert those of floats; arguments of `Tensor.to`."""
        for tensor in [*self.parameters(), *self.buffers()]:
            moved = _converted(tensor, args, kwargs)
            gradient = tensor.grad
            if moved.node is not tensor.node:
                tensor.hold(moved.detach().node)
            if gradient is not None:
                tensor.grad = _converted(gradient, args, kwargs)
        return self

    def float(self: AnyModule) -> AnyModule:
        """Convert to float32."""
        from numbatorch.dtype import float32

        return self.to(float32)

    def half(self: AnyModule) -> AnyModule:
        """Convert to float16."""
        from numbatorch.dtype import float16

        return self.to(float16)

    def bfloat16(self: AnyModule) -> AnyModule:
        """Convert to bfloat16."""
        from numbatorch.dtype import bfloat16

        return self.to(bfloat16)

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses of a module without children."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self.named_children()
        ]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([extra, *lines] if extra else lines)
        return f"{type(self).__name__}(\n  {body}\n)"


def _converted(tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """`tensor.to(...)` under no_grad; integers and blocks change the device only."""
    with no_grad():
        moved = tensor.to(*args, **kwargs)
        return moved if tensor.is_floating_point() else tensor.to(device=moved.device)


def _check_names(module: str, own: list[str], given: list[str]) -> None:
    missing = [name for name in own if name not in set(given)]
    unexpected = [name for name in given if name not in set(own)]
    if missing or unexpected:
        rows = [f"missing {name}" for name in missing]
        rows += [f"unexpected {name}" for name in unexpected]
        text = message("load_state_dict", f"names differ from those of {module}", *rows)
        raise StateError(text)


class StateError(KeyError):
    """Names of a state dict that do not fit the module."""

    def __str__(self) -> str:
        return str(self.args[0])


def _check_value(name: str, target: Tensor, value: Tensor, assign: bool) -> None:
    rows = (f"module {describe(target.node)}", f"given {describe(value.node)}")
    if target.shape != value.shape:
        raise ShapeError(message("load_state_dict", f"{name} has another shape", *rows))
    if assign or target.dtype is value.dtype:
        return
    plain = "q" not in (target.dtype.kind, value.dtype.kind)
    if not plain or promote(target.dtype, value.dtype) is not target.dtype:
        hint = "assign=True takes over the dtype; Module.to converts the module first"
        problem = f"{name} would lose digits" if plain else f"{name} is stored in blocks"
        raise DTypeError(message("load_state_dict", problem, *rows, hint=hint))


def _assign(target: Tensor, value: Tensor) -> None:
    node = value.detach().node
    if target.requires_grad and node.dtype.kind != "f":
        target.requires_grad_(False)
    target.hold(node)
