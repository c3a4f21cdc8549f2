"""Functions that a module calls around `forward`, on its gradients, and around saving and loading.

A module keeps its hooks in one table, which is replaced by another at each change, so that a
compiled function that reads the attribute is traced again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numbatorch.autograd import Function
from numbatorch.errors import message
from numbatorch.graph import grad_enabled
from numbatorch.nest import map_leaves
from numbatorch.tensor import Tensor
from numbatorch.tensor.hooks import RemovableHandle
from numbatorch.tensor.tracked import Tracked

Hook = Callable[..., Any]


class Entry(NamedTuple):
    """A hook, and how it is called.

    Attributes:
        with_kwargs: whether it is given keyword arguments too.
        always: whether it is called although `forward` raised.
    """

    call: Hook
    with_kwargs: bool = False
    always: bool = False


class Hooked(Tracked):
    """What has hooks, and calls them around `forward`."""

    _hooks: tuple[tuple[str, tuple[Entry, ...]], ...] = ()  # kinds and hooks in their order

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(message(type(self).__name__, "has no forward"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks:
            return _call(self, args, kwargs)
        return self.forward(*args, **kwargs)

    def hooks(self, kind: str) -> tuple[Entry, ...]:
        """The hooks of a kind in their order."""
        return next((entries for key, entries in self._hooks if key == kind), ())

    def _add_hook(
        self, kind: str, hook: object, prepend: bool = False, **how: bool
    ) -> RemovableHandle:
        if not callable(hook):
            problem = f"a hook is a function, not {type(hook).__name__}"
            raise TypeError(message(f"register_{kind}_hook", problem))
        entry = Entry(hook, **how)
        there = self.hooks(kind)
        self._set_hooks(kind, (entry, *there) if prepend else (*there, entry))

        def remove() -> None:
            self._set_hooks(kind, tuple(x for x in self.hooks(kind) if x is not entry))

        return RemovableHandle(remove)

    def _set_hooks(self, kind: str, entries: tuple[Entry, ...]) -> None:
        others = tuple(pair for pair in self._hooks if pair[0] != kind)
        self._hooks = (*others, (kind, entries)) if entries else others

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments.

        With with_kwargs it is `hook(module, args, kwargs)`, which may return a pair of both.
        """
        return self._add_hook("forward_pre", hook, prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns replaces the output.

        With with_kwargs it is `hook(module, args, kwargs, output)`; with always_call it is called
        with None if `forward` raises. That error goes on, and names one of the hook.
        """
        return self._add_hook("forward", hook, prepend, with_kwargs=with_kwargs, always=always_call)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known.

        What it returns replaces grad_output: one for each entry of an output that is a tuple,
        None where that is no tensor. Of another container it is one for each tensor within, where
        PyTorch calls no hook; a tensor that needs no gradient has None, where PyTorch may have 0.
        """
        return self._add_hook("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the inputs' gradients are known.

        What it returns replaces grad_input: one for each positional argument, None for what is
        no tensor or needs none; grad_output is as for a hook before the gradients.
        """
        return self._add_hook("backward", hook, prepend)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` looks at the module."""
        return self._add_hook("state_pre", hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after this module's entries."""
        return self._add_hook("state", hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` before values are looked for; it may change the dict."""
        return self._add_hook("load_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the lists."""
        return self._add_hook("load", hook)


def _call(module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What calling a module with hooks gives."""
    gradients = _Gradients(module)
    done: list[Entry] = []
    output = None
    try:
        for entry in module.hooks("forward_pre"):
            args, kwargs = _replaced(entry, module, args, kwargs)
        args = gradients.watch_inputs(args)
        output = module.forward(*args, **kwargs)
        for entry in module.hooks("forward"):
            done.append(entry)
            output = _after(entry, module, args, kwargs, output)
        return gradients.watch_outputs(output)
    except Exception as err:
        for entry in module.hooks("forward"):
            if entry.always and not any(entry is x for x in done):
                try:
                    output = _after(entry, module, args, kwargs, output)
                except Exception as later:
                    err.add_note(f"a hook that is always called failed too: {later!r}")
        raise


def _replaced(
    entry: Entry, module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments after a hook has seen them."""
    if not entry.with_kwargs:
        found = entry.call(module, args)
        if found is None:
            return args, kwargs
        return (found if isinstance(found, tuple) else (found,)), kwargs
    found = entry.call(module, args, kwargs)
    if found is None:
        return args, kwargs
    if not isinstance(found, tuple) or len(found) != 2:
        problem = f"a hook with kwargs returns None or (args, kwargs), not {found!r}"
        raise TypeError(message(f"{type(module).__name__}: forward_pre_hook", problem))
    return found


def _after(
    entry: Entry, module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    if entry.with_kwargs:
        found = entry.call(module, args, kwargs, output)
    else:
        found = entry.call(module, args, output)
    return output if found is None else found


class _Gradients:
    """The hooks on gradients of one call: they pass through an identity at each end of it."""

    def __init__(self, module: Hooked) -> None:
        self.module = module
        self.before = module.hooks("backward_pre")
        self.after = module.hooks("backward")
        self.given: tuple[Any, ...] | None = None  # gradients of the outputs, once known
        self.inputs = 0  # how many positional arguments there are
        self.watched = False  # whether one of them has a gradient

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, of which tensors pass an identity if one requires a gradient."""
        if not self.after:
            return args
        passed = _passed(self._at_inputs, args)
        self.inputs, self.watched = len(args), passed is not args
        return passed

    def watch_outputs(self, output: Any) -> Any:
        """The output, of which tensors pass an identity."""
        if not (self.before or self.after):
            return output
        if isinstance(output, Tensor):
            return _passed(self._at_outputs, (output,))[0]
        if isinstance(output, tuple):
            passed = _passed(self._at_outputs, output)
            made = getattr(type(output), "_make", tuple)  # of a named tuple
            return output if passed is output else made(passed)
        tensors: list[Tensor] = []
        map_leaves(lambda x: tensors.append(x) if isinstance(x, Tensor) else None, output)
        each = iter(_passed(self._at_outputs, tuple(tensors)))
        return map_leaves(lambda x: next(each) if isinstance(x, Tensor) else x, output)

    def _at_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for entry in self.before:
            grads = _same_number(entry.call(self.module, grads), grads, "grad_output")
        if self.watched:
            self.given = grads
            return grads
        none = (None,) * self.inputs
        for entry in self.after:
            found = entry.call(self.module, none, grads)
            if found is not None and _same_number(found, none, "grad_input") != none:
                problem = "a hook replaces gradients of inputs, of which none requires one"
                raise TypeError(message("full_backward_hook", problem))
        return grads

    def _at_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.given is None:  # what was made of the inputs beside the outputs is differentiated
            return grads
        for entry in self.after:
            grads = _same_number(entry.call(self.module, grads, self.given), grads, "grad_input")
        self.given = None
        return grads


def _same_number(found: Any, grads: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if found is None:
        return grads
    given = tuple(found) if isinstance(found, tuple | list) else (found,)
    if len(given) != len(grads):
        problem = f"the hook returns {len(given)} gradients for the {len(grads)} of {name}"
        raise TypeError(message("full_backward_hook", problem))
    return given


class _Passed(Function):
    """The tensors; their gradients pass a function on the way back."""

    @staticmethod
    def forward(ctx: Any, at: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.at = at  # called with the gradients of all
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        at_tensors = (g if wanted else None for g, wanted in zip(grads, needed, strict=True))
        return (None, *ctx.at(tuple(at_tensors)))


def _passed(at: Callable[..., Any], entries: tuple[Any, ...]) -> tuple[Any, ...]:
    """The entries, of which tensors pass an identity; the same tuple if none needs a gradient.

    On the way back `at` is given a gradient for each entry, None for what is no tensor.
    """
    places = [i for i, x in enumerate(entries) if isinstance(x, Tensor)]
    if not (grad_enabled() and any(entries[i].requires_grad for i in places)):
        return entries

    def at_tensors(grads: tuple[Any, ...]) -> tuple[Any, ...]:
        of_all: list[Any] = [None] * len(entries)
        for i, grad in zip(places, grads, strict=True):
            of_all[i] = grad
        found = at(tuple(of_all))
        return tuple(found[i] for i in places)

    tensors = _Passed.apply(at_tensors, *(entries[i] for i in places))
    passed = list(entries)
    for i, x in zip(places, tensors if isinstance(tensors, tuple) else (tensors,), strict=True):
        passed[i] = x
    return tuple(passed)
