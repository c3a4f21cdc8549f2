"""How masks of pruned weights are made, kept and combined; prune.py applies them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.nn.module import Module
from numbatorch.nn.utils.attributes import (
    computing,
    hold_computed,
    parameter_of,
    require_free,
    stop_computing,
    take_out,
)
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, no_grad, ones_like
from numbatorch.tensor.random import rand, rand_like


class BasePruningMethod(ABC):
    """A hook before each call that multiplies a parameter `NAME_orig` with a mask `NAME_mask`.

    A class says in `compute_mask` what is pruned, and in `PRUNING_TYPE` what of a tensor that was
    pruned before it is asked about: "unstructured" for the elements that are left, "structured" for
    the channels along its `dim` of which anything is left, "global" for all.

    >>> class Even(BasePruningMethod):
    ...     PRUNING_TYPE = "unstructured"
    ...     def compute_mask(self, t, default_mask):
    ...         mask = default_mask.clone()
    ...         mask.view(-1)[::2] = 0
    ...         return mask
    >>> Even().prune(nt.ones(2, 2))
    tensor([[0., 1.],
            [0., 1.]])
    """

    PRUNING_TYPE: ClassVar[str] = "unstructured"
    _tensor_name: str = ""

    def __call__(self, module: Module, inputs: Any) -> None:
        hold_computed(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of what stays of a tensor, given that of what was left before.

        Args:
            t: how much each element counts.
            default_mask: of the shape of `t`, 1 where elements are left.
        """

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter of a module times its mask."""
        mask = getattr(module, f"{self._tensor_name}_mask")
        return _masked(getattr(module, f"{self._tensor_name}_orig"), mask)

    @classmethod
    def apply(
        cls,
        module: Module,
        name: str,
        *args: Any,
        importance_scores: Tensor | None = None,
        **kwargs: Any,
    ) -> BasePruningMethod:
        """Prune a parameter of a module, further if it is pruned already, and return the hook.

        Args:
            importance_scores: how much each element counts; the parameter itself if None.
            args, kwargs: of the method.
        Raises:
            ValueError: the module has no such parameter.
            ShapeError: the scores have another shape, or a mask does not fit.
            KeyError: the module has NAME_orig or NAME_mask already.
        """
        made = cls(*args, **kwargs)
        made._tensor_name = name
        old = next(
            (x for x in computing(module, BasePruningMethod) if x._tensor_name == name), None
        )
        held = parameter_of("prune", module, name) if old is None else getattr(module, name)
        if old is None:
            require_free("prune", module, f"{name}_orig", f"{name}_mask")
        scores = _scores(held, importance_scores)
        method: BasePruningMethod = made
        with no_grad():
            if old is None:
                mask = method.compute_mask(scores, ones_like(held.detach()))
            else:
                method = PruningContainer._of(old)
                method.add_pruning_method(made)
                mask = method.compute_mask(scores, getattr(module, f"{name}_mask").detach().clone())
            _masked(held, mask)  # raises where they do not fit, before the module is changed
        if old is None:
            take_out(module, name)
            module.register_parameter(f"{name}_orig", held)
            module.register_buffer(f"{name}_mask", mask)
        else:
            setattr(module, f"{name}_mask", mask)
            stop_computing(module, old)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(
        self,
        t: Tensor,
        default_mask: Tensor | None = None,
        importance_scores: Tensor | None = None,
    ) -> Tensor:
        """A tensor times the mask that this method computes for it.

        Args:
            default_mask: 1 where elements are left; everywhere if None.
            importance_scores: how much each element counts; the tensor itself if None.
        Raises:
            ShapeError: the scores have another shape.
        """
        mask = ones_like(t) if default_mask is None else default_mask
        found: Tensor = t * self.compute_mask(_scores(t, importance_scores), default_mask=mask)
        return found

    def remove(self, module: Module) -> None:
        """Make the pruned parameter a parameter again, of which nothing comes back."""
        name = self._tensor_name
        original = parameter_of("remove", module, f"{name}_orig")
        with no_grad():
            original.data = self.apply_mask(module).detach()
        for part in ("", "_orig", "_mask"):
            take_out(module, f"{name}{part}")
        setattr(module, name, original)


def _masked(original: Tensor, mask: Tensor) -> Tensor:
    found: Tensor = mask.to(original.dtype) * original
    return found


def _scores(t: Tensor, given: Tensor | None) -> Tensor:
    if given is None:
        return t.detach()
    if given.shape != t.shape:
        rows = (f"tensor {describe(t.node)}", f"importance_scores {describe(given.node)}")
        raise ShapeError(message("prune", "importance_scores have another shape", *rows))
    return given


class PruningContainer(BasePruningMethod):
    """Methods that prune one tensor one after the other; a mask is that of the last of them.

    >>> methods = PruningContainer(Identity(), L1Unstructured(1))
    >>> len(methods), methods.compute_mask(tensor([1.0, 2.0, 3.0]), tensor([0.0, 1.0, 1.0]))
    (2, tensor([0., 0., 1.]))
    """

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if args:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    @staticmethod
    def _of(method: BasePruningMethod) -> PruningContainer:
        """A container of what a method does, which may be one."""
        inner = method._pruning_methods if isinstance(method, PruningContainer) else (method,)
        found = PruningContainer(*inner)
        found._tensor_name = method._tensor_name
        return found

    def add_pruning_method(self, method: object) -> None:
        """Add a method at the end.

        Raises:
            TypeError: it is no method.
            ValueError: it prunes a tensor of another name.
        """
        if not isinstance(method, BasePruningMethod):
            problem = f"takes a BasePruningMethod, not {type(method).__name__}"
            raise TypeError(message("add_pruning_method", problem))
        if method._tensor_name != self._tensor_name:
            problem = f"is of {self._tensor_name!r}, and the method of {method._tensor_name!r}"
            raise ValueError(message("add_pruning_method", problem))
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method, for what the mask before has left."""
        method: Any = self._pruning_methods[-1]
        part = _part_for(method, t, default_mask)
        mask = default_mask.to(t.dtype).clone()
        mask[part] = method.compute_mask(t[part], default_mask=default_mask[part]).to(t.dtype)
        return mask


def _part_for(method: Any, t: Tensor, mask: Tensor) -> Any:
    """The index of the part of a tensor that a method is asked about."""
    kind = method.PRUNING_TYPE
    if kind == "unstructured":
        return mask == 1
    if kind == "global":
        return ...
    if kind != "structured":
        problem = f"PRUNING_TYPE is unstructured, structured or global, not {kind!r}"
        raise ValueError(message("prune", problem))
    if not hasattr(method, "dim"):
        problem = f"{type(method).__name__} is structured and has no dim"
        raise AttributeError(message("prune", problem))
    dim = _checked_dim(t, method.dim)
    rest = [d for d in range(len(t.shape)) if d != dim]
    return (*[slice(None)] * dim, mask.sum(dim=rest) != 0)


class Identity(BasePruningMethod):
    """Prunes nothing.

    >>> Identity().prune(tensor([1.0, 2.0]))
    tensor([1., 2.])
    """

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask before."""
        return default_mask


class _Amount(BasePruningMethod):
    """Prunes an amount of a tensor: a share in [0, 1], or a number."""

    def __init__(self, amount: Any) -> None:
        if not isinstance(amount, Real):
            problem = f"an amount is a number, not {type(amount).__name__}"
            raise TypeError(message("prune", problem))
        share: Any = amount
        if not share >= 0 or (not isinstance(amount, Integral) and share > 1):
            problem = f"an amount is a share in [0, 1] or a number of units, not {amount}"
            raise ValueError(message("prune", problem))
        self.amount = int(amount) if isinstance(amount, Integral) else float(share)

    def _units(self, size: int) -> int:
        """How many of `size` units are pruned."""
        count: int = self.amount if isinstance(self.amount, int) else round(self.amount * size)
        if count > size:
            raise ValueError(message("prune", f"{count} units are more than the {size} left"))
        return count


class RandomUnstructured(_Amount):
    """Prunes elements at random.

    Args:
        amount: of elements, a share in [0, 1] or a number.

    >>> RandomUnstructured(3).prune(nt.ones(2, 3)).sum()
    tensor(3.)
    """

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without some elements."""
        return _without_least(rand_like(t), default_mask, self._units(t.numel()))


class L1Unstructured(_Amount):
    """Prunes elements of least size.

    Args:
        amount: of elements, a share in [0, 1] or a number.

    >>> L1Unstructured(0.5).prune(tensor([1.0, -3.0, 2.0, 0.5]))
    tensor([ 0., -3.,  2.,  0.])
    """

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without the least elements."""
        return _without_least(t.abs(), default_mask, self._units(t.numel()))


def _without_least(sizes: Tensor, mask: Tensor, count: int) -> Tensor:
    """A mask of which the elements of the least `count` sizes are 0."""
    found = mask.clone().reshape(-1)
    if count:
        found[sizes.reshape(-1).topk(count, largest=False).indices] = 0
    return found.reshape(mask.shape)


class _Channels(_Amount):
    """Prunes channels along a dimension.

    Attributes:
        dim: the dimension.
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int) -> None:
        super().__init__(amount)
        self.dim = dim

    def _channels(self, t: Tensor) -> Tensor:
        """How much each channel counts."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask without some channels."""
        if len(t.shape) < 2:
            problem = "channels are those of a tensor of two dimensions or more"
            raise ShapeError(message("prune", problem, f"tensor {describe(t.node)}"))
        dim = _checked_dim(t, self.dim)
        count = self._units(t.shape[dim])
        if not count:
            return default_mask
        sizes = self._channels(t)
        kept = _without_least(sizes, ones_like(sizes), count)
        shape = [-1 if d == dim else 1 for d in range(len(t.shape))]
        found: Tensor = default_mask.to(t.dtype) * kept.reshape(shape).to(t.dtype)
        return found


def _checked_dim(t: Tensor, dim: int) -> int:
    """`dim` counted from the front."""
    count = len(t.shape)
    if not -count <= dim < count:
        problem = f"dim {dim} is not in [{-count}, {count})"
        raise OutOfRange(message("prune", problem, f"tensor {describe(t.node)}"))
    return dim % count


class RandomStructured(_Channels):
    """Prunes channels at random.

    Args:
        amount: of channels, a share in [0, 1] or a number.
        dim: along which they are counted.

    >>> RandomStructured(1, dim=0).prune(nt.ones(3, 2)).sum()
    tensor(4.)
    """

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount, dim)

    def _channels(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim], device=t.device)


class LnStructured(_Channels):
    """Prunes channels of least norm.

    Args:
        amount: of channels, a share in [0, 1] or a number.
        n: order of the norm, as of `nt.norm`.
        dim: along which they are counted.

    >>> LnStructured(1, n=1, dim=0).prune(tensor([[1.0, 2.0], [5.0, 0.0]]))
    tensor([[0., 0.],
            [5., 0.]])
    """

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _channels(self, t: Tensor) -> Tensor:
        dim = self.dim % len(t.shape)
        norm: Tensor = t.norm(p=self.n, dim=[d for d in range(len(t.shape)) if d != dim])
        return norm


class CustomFromMask(BasePruningMethod):
    """Prunes where a mask is 0.

    >>> CustomFromMask(tensor([1, 0])).prune(tensor([2.0, 3.0]))
    tensor([2., 0.])
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The product of both masks."""
        if self.mask.shape != default_mask.shape:
            rows = (f"tensor {describe(t.node)}", f"mask {describe(self.mask.node)}")
            raise ShapeError(message("prune", "the mask has another shape", *rows))
        found: Tensor = default_mask * self.mask.to(default_mask.dtype)
        return found
