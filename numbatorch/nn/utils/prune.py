"""Pruning: parameters of which a mask leaves a part, as an amount or a mask says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from numbatorch.errors import message
from numbatorch.nn.module import Module
from numbatorch.nn.utils.attributes import computing, parameter_of, require_free, stop_computing
from numbatorch.nn.utils.convert_parameters import parameters_to_vector
from numbatorch.nn.utils.pruning import (
    BasePruningMethod,
    CustomFromMask,
    Identity,
    L1Unstructured,
    LnStructured,
    PruningContainer,
    RandomStructured,
    RandomUnstructured,
)
from numbatorch.tensor import Tensor, no_grad, ones_like

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]

AnyModule = TypeVar("AnyModule", bound=Module)


def identity(module: AnyModule, name: str) -> AnyModule:
    """Give a parameter a mask of ones, which prunes nothing.

    The parameter is `NAME_orig` from then on, the mask a buffer `NAME_mask`, and `NAME` a plain
    tensor, their product, which is made before each call. All that prune a module do so.

    >>> list(identity(nt.nn.Linear(2, 1, bias=False), "weight").state_dict())
    ['weight_orig', 'weight_mask']
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: AnyModule, name: str, amount: float) -> AnyModule:
    """Prune elements of a parameter at random.

    Args:
        amount: of the elements that are left, a share in [0, 1] or a number.

    >>> random_unstructured(nt.nn.Linear(2, 3), "weight", 4).weight_mask.sum()
    tensor(2.)
    """
    RandomUnstructured.apply(module, name, amount=amount)
    return module


def l1_unstructured(
    module: AnyModule, name: str, amount: float, importance_scores: Tensor | None = None
) -> AnyModule:
    """Prune elements of a parameter of least size.

    Args:
        amount: of the elements that are left, a share in [0, 1] or a number.
        importance_scores: of which the size counts; the parameter itself if None.

    >>> scores = tensor([[1.0, 3.0, 2.0]])
    >>> l1_unstructured(nt.nn.Linear(3, 1), "weight", 1, scores).weight_mask
    tensor([[0., 1., 1.]])
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: AnyModule, name: str, amount: float, dim: int) -> AnyModule:
    """Prune channels of a parameter at random.

    Args:
        amount: of the channels that are left, a share in [0, 1] or a number.
        dim: along which they are counted.

    >>> random_structured(nt.nn.Linear(3, 2), "weight", 1, dim=1).weight_mask.sum()
    tensor(4.)
    """
    RandomStructured.apply(module, name, amount=amount, dim=dim)
    return module


def ln_structured(
    module: AnyModule,
    name: str,
    amount: float,
    n: Any,
    dim: int,
    importance_scores: Tensor | None = None,
) -> AnyModule:
    """Prune channels of a parameter of least norm.

    Args:
        amount: of the channels that are left, a share in [0, 1] or a number.
        n: order of the norm, as of `nt.norm`.
        dim: along which they are counted.
        importance_scores: of which the norm is taken; the parameter itself if None.

    >>> scores = tensor([[1.0, 3.0], [4.0, 1.0]])
    >>> layer = nt.nn.Linear(2, 2)
    >>> ln_structured(layer, "weight", 0.5, n=2, dim=0, importance_scores=scores).weight_mask
    tensor([[0., 0.],
            [1., 1.]])
    """
    LnStructured.apply(
        module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores
    )
    return module


def custom_from_mask(module: AnyModule, name: str, mask: Tensor) -> AnyModule:
    """Prune a parameter where a mask is 0.

    >>> custom_from_mask(nt.nn.Linear(5, 3), "bias", tensor([0, 1, 0])).bias_mask
    tensor([0., 1., 0.])
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune elements of several parameters, which are compared with each other.

    Args:
        parameters: each a module and a name.
        pruning_method: an unstructured one.
        importance_scores: by module and name; a parameter itself where there are none.
        kwargs: of the method, such as its amount.
    Raises:
        TypeError: the method is not unstructured, or an argument of another kind.
        ValueError: a module has no such parameter.

    >>> one, two = nt.nn.Linear(2, 1), nt.nn.Linear(3, 1)
    >>> global_unstructured([(one, "weight"), (two, "weight")], L1Unstructured, amount=2)
    >>> one.weight_mask.sum() + two.weight_mask.sum()
    tensor(3.)
    """
    given: Any = parameters
    if not isinstance(given, Iterable):
        problem = f"takes pairs of a module and a name, not {type(given).__name__}"
        raise TypeError(message("global_unstructured", problem))
    by_pair: Any = {} if importance_scores is None else importance_scores
    if not isinstance(by_pair, dict):
        problem = f"importance_scores are a dict, not {type(by_pair).__name__}"
        raise TypeError(message("global_unstructured", problem))
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        problem = f"{pruning_method.__name__} is {method.PRUNING_TYPE}, not unstructured"
        raise TypeError(message("global_unstructured", problem))
    pairs = list(given)
    for module, name in pairs:
        if all(x._tensor_name != name for x in computing(module, BasePruningMethod)):
            parameter_of("prune", module, name)
            require_free("prune", module, f"{name}_orig", f"{name}_mask")
    tensors = [getattr(module, name).detach() for module, name in pairs]
    scores = [by_pair.get(pair, tensor) for pair, tensor in zip(pairs, tensors, strict=True)]
    masks = [
        getattr(module, f"{name}_mask", ones_like(tensor))
        for (module, name), tensor in zip(pairs, tensors, strict=True)
    ]
    with no_grad():
        whole = PruningContainer(method).compute_mask(
            parameters_to_vector(scores), parameters_to_vector(masks)
        )
    start = 0
    for (module, name), tensor in zip(pairs, tensors, strict=True):
        end = start + tensor.numel()
        custom_from_mask(module, name, whole[start:end].reshape(tensor.shape))
        start = end


def remove(module: AnyModule, name: str) -> AnyModule:
    """Make a pruned parameter a parameter again, of which nothing comes back.

    Raises:
        ValueError: it is not pruned.

    >>> list(remove(identity(nt.nn.Linear(2, 1, bias=False), "weight"), "weight").state_dict())
    ['weight']
    """
    for method in computing(module, BasePruningMethod):
        if method._tensor_name == name:
            method.remove(module)
            stop_computing(module, method)
            return module
    problem = f"{name!r} of {type(module).__name__} is not pruned"
    raise ValueError(message("remove", problem))


def is_pruned(module: Module) -> bool:
    """Whether a parameter of a module, or of one within it, is pruned.

    >>> layer = nt.nn.Linear(2, 1)
    >>> is_pruned(layer), is_pruned(nt.nn.Sequential(identity(layer, "bias")))
    (False, True)
    """
    return any(computing(child, BasePruningMethod) for child in module.modules())
