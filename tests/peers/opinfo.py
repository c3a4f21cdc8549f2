"""PyTorch's operator database (op_db) run through ours: its samples, its calls, its wrong inputs.

A variant of the database is a function of PyTorch's with samples of its arguments. What it calls is
called here under the same name; its lambdas run with `torch` standing for numbatorch.
"""

import functools
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.tensor.base import host_array, host_node
from tests.compare import assert_close, tolerance
from tests.peers.opinfo_tables import NAN
from tests.peers.sides import torch, torch_dtype

pytest.importorskip("expecttest", reason="pip install expecttest")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.opinfo.core import BinaryUfuncInfo, UnaryUfuncInfo

DTYPES = ("float32", "float64", "bfloat16", "int64", "bool", "complex64")
WIDER = {
    "bfloat16": "float32",
    "float16": "float32",
    "float32": "float64",
    "complex64": "complex128",
}
# What is drawn or not written: only shapes and dtypes are compared.
UNSET = frozenset(
    """empty empty_like empty_permuted empty_strided new_empty new_empty_strided
    resize_ resize_as_""".split()
)
# Keywords of memory that PyTorch takes and that mean nothing here, with the values that say so.
MEMORY = {
    "memory_format": (torch.preserve_format, torch.contiguous_format, None),
    "layout": (torch.strided, None),
    "pin_memory": (False, None),
    "non_blocking": (False, True),
}


# Storages of PyTorch's views, which live as long as those; here a view does not keep its base.
_storages: deque[nt.Tensor] = deque(maxlen=64)


class Elsewhere(Exception):
    """The sample asks for what numbatorch does not have on purpose."""


def variant_name(op: Any) -> str:
    """As the database says it: name, or name/variant."""
    return f"{op.name}/{op.variant_test_name}" if op.variant_test_name else str(op.name)


def variants() -> dict[str, Any]:
    """Every variant of the database by its name."""
    return {variant_name(op): op for op in op_db}


def ours(value: Any) -> Any:
    """A value of PyTorch's as ours: tensors, dtypes, containers of them."""
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, torch.dtype):
        name = str(value).removeprefix("torch.")
        if name not in nt.dtype.by_name:
            raise Elsewhere(f"there is no dtype {name}")
        return nt.dtype.by_name[name]
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.nn.LinearCrossEntropyOptions):
        return None  # they say how memory is used
    if isinstance(value, torch.nn.PairwiseDistance):
        options = {"p": value.norm, "eps": value.eps, "keepdim": value.keepdim}
        return functools.partial(nt.nn.functional.pairwise_distance, **options)
    if isinstance(value, torch.memory_format | torch.layout | torch.Generator):
        raise Elsewhere(f"{value} is PyTorch's alone")
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(ours(x) for x in value)
    if isinstance(value, list):
        return [ours(x) for x in value]
    if isinstance(value, dict):
        return {key: ours(x) for key, x in value.items()}
    return value


def _tensor(value: Any) -> nt.Tensor:
    if value.layout is not torch.strided or value.dtype not in _known():
        raise Elsewhere(f"there is no tensor of {value.layout} {value.dtype}")
    name = str(value.dtype).removeprefix("torch.")
    whole = value.untyped_storage().nbytes() <= value.numel() * value.element_size()
    if (whole and value.is_contiguous()) or not value.numel():
        found = _plain(value.detach(), name)
    else:  # a view of its storage, as there
        storage = torch.tensor([], dtype=value.dtype).set_(value.untyped_storage())
        _storages.append(_plain(storage, name))
        found = _storages[-1].as_strided(value.shape, value.stride(), value.storage_offset())
        found = found.conj() if value.is_conj() else found
    found = found.detach()
    return found.requires_grad_() if value.requires_grad else found


def _plain(value: Any, name: str) -> nt.Tensor:
    plain = value.resolve_conj().resolve_neg()
    dtype = nt.dtype.by_name[name]
    wide = plain.float() if name in ("bfloat16", "float16") else plain
    array = np.array(wide.numpy(force=True)).astype(dtype.numpy)
    return nt.Tensor(host_node(array, dtype, nt.device("cpu")))


def _known() -> set[Any]:
    return {
        getattr(torch, name)
        for name in nt.dtype.by_name
        if hasattr(torch, name) and isinstance(getattr(torch, name), torch.dtype)
    }


class _Torch:
    """Stands for the module torch in the database's lambdas."""

    Tensor = nt.Tensor
    nn = SimpleNamespace(functional=nt.nn.functional)

    def __getattr__(self, name: str) -> Any:
        return getattr(nt, name)


def function_of(op: Any) -> Callable[..., Any]:
    """Our function of a variant; AttributeError if there is none."""
    if isinstance(op.op, FunctionType) and op.op.__module__.startswith("torch.testing"):
        return _ours_for_torch(op.op)
    name = op.name
    if name == "slice":  # aten's, which Python spells x[start:end:step]
        return _sliced
    if name.startswith("__"):
        return getattr(nt.Tensor, name)  # type: ignore[no-any-return]
    owner: Any = nt
    *places, name = name.split(".")
    for place in places:
        owner = getattr(owner, place)
    if owner is nt and not callable(getattr(nt, name, None)):  # nt.cfloat is a dtype
        owner = nt.Tensor
    return getattr(owner, name)  # type: ignore[no-any-return]


def _ours_for_torch(theirs: FunctionType) -> Callable[..., Any]:
    """A function of the database's in which `torch` stands for numbatorch."""
    scope = {**theirs.__globals__, "torch": _Torch(), "wrapper_set_seed": _call}
    found = FunctionType(
        theirs.__code__, scope, theirs.__name__, theirs.__defaults__, theirs.__closure__
    )
    found.__kwdefaults__ = theirs.__kwdefaults__
    return found


def _sliced(
    x: nt.Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> nt.Tensor:
    key = (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)
    found: nt.Tensor = x[key]
    return found


def _call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return function(*args, **options)


def arguments(sample: Any) -> tuple[list[Any], dict[str, Any]]:
    """What a sample passes to the function, on PyTorch's side."""
    options = dict(sample.kwargs)
    for key, plain in MEMORY.items():
        if key in options:
            if options[key] not in plain:
                raise Elsewhere(f"{key}={options[key]} is PyTorch's alone")
            del options[key]
    return [sample.input, *sample.args], options


def leaves(value: Any) -> Iterator[Any]:
    """The tensors and numbers of a result, or of arguments."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


# Which of equal elements is named is open, so the elements at the indices are compared. Here is the
# place of the argument `dim`.
TIES = {"sort": 1, "argsort": 1, "topk": 2, "kthvalue": 2, "mode": 1}


def _at_indices(op: Any, sample: Any, result: Any) -> list[Any]:
    """The results, with the elements that stand at indices in their place."""
    args, options = arguments(sample)
    place = TIES[op.name]
    dim = options.get("dim", args[place] if len(args) > place else -1)
    found = []
    for x in leaves(result):
        if isinstance(x, nt.Tensor):
            x = torch.from_numpy(host_array(x.detach().node).astype(np.int64))
        index = x.unsqueeze(dim) if x.ndim < args[0].ndim else x
        found.append(args[0].detach().gather(dim, index) if args[0].ndim else args[0].detach())
    return found


def check(op: Any, sample: Any, dtype: str, gradients: bool) -> None:
    """Fail unless our function gives what PyTorch's gives for a sample, with its gradient.

    Where results in `dtype` are further apart than the table allows, the other's are taken in a
    wider dtype and rounded once. For float64 that is the database's own reference, and float32
    operands beside the others, which PyTorch computes with in float32, are taken in float64.
    """
    try:
        _check(op, sample, sample, dtype, gradients)
    except AssertionError:
        widened = sample.transform(_float64) if dtype == "float64" else sample
        if all(x is y for x, y in zip(_operands(sample), _operands(widened), strict=True)):
            raise
        _check(op, sample, widened, dtype, gradients)


def _operands(sample: Any) -> Iterator[Any]:
    return leaves([sample.input, sample.args, sample.kwargs])


def _float64(value: Any) -> Any:
    narrow = isinstance(value, torch.Tensor) and value.dtype is torch.float32
    return value.double() if narrow else value


def _check(op: Any, sample: Any, their_sample: Any, dtype: str, gradients: bool) -> None:
    my_args, my_options = (ours(x) for x in arguments(sample))
    args, options = arguments(their_sample)
    if isinstance(op, BinaryUfuncInfo) and not any(isinstance(x, torch.Tensor) for x in args):
        raise Elsewhere("of two numbers Python has the sum")
    if op.name.startswith("__") and not isinstance(args[0], torch.Tensor):
        raise Elsewhere("a number has Python's method")
    try:
        theirs = op.op(*args, **options)
    except NotImplementedError as err:
        raise Elsewhere(f"PyTorch has no kernel: {err}") from err
    mine = function_of(op)(*my_args, **my_options)
    process = sample.output_process_fn_grad
    if gradients or _has_bases(op):
        theirs, mine = process(theirs), process(mine)
    random = op.name in UNSET or is_random(op)
    if op.name == "nn.functional.scaled_dot_product_attention":
        random = bool(options.get("dropout_p"))
    if op.name in TIES:
        *values, index = leaves(mine)
        *others, other = leaves(theirs)
        compare(values, others, lambda: None)
        assert (index.shape, index.dtype.name) == (tuple(other.shape), "int64")
        pair = (_at_indices(op, sample, x) for x in (index, other))
        assert all(torch.equal(x, y) for x, y in zip(*pair, strict=True)), "other elements"
    else:

        def wider() -> Any:
            return _told_apart(op, mine, _wider(op, sample, dtype))

        compare(mine, _told_apart(op, mine, theirs), wider, values=not random)
    if gradients and not random and op.supports_autograd:
        if op.gradcheck_wrapper is not type(op).gradcheck_wrapper:  # of operands made to fit
            wrapper = op.gradcheck_wrapper
            theirs = process(wrapper(op.op, *args, **options))
            mine = process(_ours_for_torch(wrapper)(function_of(op), *my_args, **my_options))
        compare_gradients((args, options), (my_args, my_options), theirs, mine)


def _has_bases(op: Any) -> bool:
    """Whether results may differ by signs; what the database makes of them does not."""
    return bool(op.name.startswith(("linalg", "svd", "qr")))


def _told_apart(op: Any, mine: Any, theirs: Any) -> Any:
    """PyTorch's result, with ours where one of the two is NaN and the table has a reason."""
    if op.name not in NAN or not isinstance(theirs, torch.Tensor):
        return theirs
    wide = np.complex128 if theirs.is_complex() else np.float64
    ours = torch.from_numpy(mine.detach().numpy().astype(wide)).to(theirs.dtype)
    return torch.where(theirs.isnan() != ours.isnan(), ours, theirs)


def is_random(op: Any) -> bool:
    """Whether the results are drawn."""
    theirs = op.op
    code = getattr(theirs, "__code__", None)
    return code is not None and "wrapper_set_seed" in code.co_names and op.name != "item"


def _wider(op: Any, sample: Any, dtype: str) -> Any:
    """PyTorch's result on operands of a wider dtype; for float64 that of the reference."""
    if dtype == "float64" and isinstance(op, UnaryUfuncInfo) and op.ref is not None:
        args, options = arguments(sample)
        array, *rest = (x.numpy(force=True) if isinstance(x, torch.Tensor) else x for x in args)
        return torch.from_numpy(np.asarray(op.ref(array, *rest, **options)))
    if dtype not in WIDER:
        return None
    narrow, wide = torch_dtype(dtype), torch_dtype(WIDER[dtype])

    def widened(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype is narrow:
            return value.detach().to(wide)
        return wide if value is narrow else value

    wider = sample.transform(widened)
    args, options = arguments(wider)
    return sample.output_process_fn_grad(op.op(*args, **options))


def compare(mine: Any, theirs: Any, wider: Callable[[], Any], values: bool = True) -> None:
    """Fail unless results have the same structure, shapes, dtypes and elements."""
    found, wanted = list(leaves(mine)), list(leaves(theirs))
    assert len(found) == len(wanted), f"{len(found)} results, expected {len(wanted)}"
    exact: list[Any] | None = None
    for number, (x, y) in enumerate(zip(found, wanted, strict=True)):
        if not isinstance(y, torch.Tensor):
            if values:
                assert not isinstance(x, nt.Tensor), f"a tensor, expected {y!r}"
                assert x == y or (x != x and y != y), f"{x!r}, expected {y!r}"
            continue
        assert isinstance(x, nt.Tensor), f"{type(x).__name__}, expected a tensor"
        name = str(y.dtype).removeprefix("torch.")
        assert tuple(x.shape) == tuple(y.shape), (
            f"shape {tuple(x.shape)}, expected {tuple(y.shape)}"
        )
        assert x.dtype.name == name, f"dtype {x.dtype.name}, expected {name}"
        array = host_array(x.detach().node)
        if not values:
            continue
        try:
            _close(array, _array(y), name, "composite")
        except AssertionError:
            if exact is None:
                exact = list(leaves(wider()))
            if exact == [None]:
                raise
            wide = _array(exact[number])
            _close(array, wide.astype(array.dtype), name, "composite")


def _array(value: Any) -> Any:
    plain = value.detach().resolve_conj().resolve_neg()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy(force=True)


def _close(found: Any, wanted: Any, dtype: str, kind: str) -> None:
    """Within the table, whose absolute part counts in units of the largest element."""
    wanted = np.asarray(wanted)
    size = 1.0
    if wanted.size and wanted.dtype.kind not in "biu":
        parts = np.abs(wanted.astype(np.complex128 if wanted.dtype.kind == "c" else np.float64))
        size = max(1.0, float(parts[np.isfinite(parts)].max(initial=0.0)))
    absolute = tolerance(dtype, kind).absolute * size
    assert_close(found, wanted, kind, dtype=dtype, absolute=absolute)


def compare_gradients(
    their_call: tuple[Any, Any], my_call: tuple[Any, Any], theirs: Any, mine: Any
) -> None:
    """Fail unless gradients of results, weighted by numbers around 1, are alike."""
    pairs = [
        (x, y)
        for x, y in zip(leaves(mine), leaves(theirs), strict=True)
        if isinstance(y, torch.Tensor) and y.requires_grad and y.numel()
    ]
    if not pairs:
        return
    inputs = [
        (x, y)
        for x, y in zip(leaves(list(my_call)), leaves(list(their_call)), strict=True)
        if isinstance(y, torch.Tensor) and y.requires_grad and y.is_leaf
    ]
    for x, y in inputs:
        x.grad = y.grad = None
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, tuple(y.shape)) for _, y in pairs]
    wanted = [torch.from_numpy(w).to(y.dtype) for w, (_, y) in zip(weights, pairs, strict=True)]
    try:
        torch.autograd.backward([y for _, y in pairs], wanted)
    except RuntimeError as err:
        if "not implemented" in str(err) or "not differentiable" in str(err):
            return
        raise
    total: Any = None
    for weight, (x, _) in zip(weights, pairs, strict=True):
        assert x.requires_grad, "the result has lost its gradient"
        scaled = x * nt.tensor(weight, dtype=x.dtype)
        part = (scaled.real if x.is_complex() else scaled).sum()
        total = part if total is None else total + part
    total.backward()
    for number, (x, y) in enumerate(inputs):
        if y.grad is None:
            assert x.grad is None or not np.any(host_array(x.grad.node)), (
                f"a gradient of input {number}"
            )
        else:
            assert x.grad is not None, f"no gradient of input {number}"
            name = str(y.grad.dtype).removeprefix("torch.")
            _close(host_array(x.grad.node), _array(y.grad), name, "gradient")


def check_method(op: Any, sample: Any, dtype: str) -> None:
    """Fail unless Tensor has the method that PyTorch's has, and it gives the same."""
    args, options = arguments(sample)
    if op.method_variant is None or not isinstance(args[0], torch.Tensor):
        return
    theirs = op.method_variant(*args, **options)
    first, *rest = ours(args)
    mine = getattr(first, _name(op.method_variant, op.name))(*rest, **ours(options))
    if _has_bases(op):
        theirs, mine = sample.output_process_fn_grad(theirs), sample.output_process_fn_grad(mine)
    if not is_random(op) and op.name not in UNSET:
        compare(mine, theirs, lambda: _wider(op, sample, dtype))


def _name(function: Any, otherwise: str) -> str:
    """The name of a method of PyTorch's, or another where it is a lambda."""
    found = getattr(function, "__name__", "<lambda>")
    return otherwise if found == "<lambda>" else found


def _in_place(op: Any) -> Callable[..., Any]:
    """Our in-place form: a method, or a function with the argument `inplace`."""
    theirs = op.inplace_variant
    if hasattr(theirs, "__name__") and theirs.__name__ != "<lambda>":
        return getattr(nt.Tensor, theirs.__name__)  # type: ignore[no-any-return]
    return functools.partial(function_of(op), inplace=True)


def check_in_place(op: Any, sample: Any, dtype: str) -> None:
    """Fail unless Tensor has the in-place form that PyTorch's has, and it does the same."""
    args, options = arguments(sample)
    if op.inplace_variant is None or not isinstance(args[0], torch.Tensor):
        return
    before = args[0].clone()  # in memory of its own
    first, *rest = ours([before, *args[1:]])
    try:
        theirs = op.inplace_variant(before, *args[1:], **options)
    except RuntimeError:  # the result does not fit where the operand lies
        return
    mine = _in_place(op)(first, *rest, **ours(options))
    assert mine is first, "it does not give the tensor that it changes"
    if not is_random(op) and op.name not in UNSET:
        compare(mine, theirs, lambda: _wider(op, sample, dtype))


def described(value: Any) -> str:
    """Arguments in short, for messages."""
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind}{list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"({', '.join(described(x) for x in value)})"
    if isinstance(value, dict):
        return ", ".join(f"{key}={described(x)}" for key, x in value.items())
    return repr(value)


def call_of(op: Any, sample: Any) -> str:
    """A sample as a call, for messages."""
    args = [described(x) for x in (sample.input, *sample.args)]
    return f"{variant_name(op)}({', '.join([*args, described(sample.kwargs)])})"


def refuses(op: Any, wrong: Any) -> None:
    """Fail unless our function refuses what PyTorch's refuses."""
    sample = wrong.sample_input
    args, options = arguments(sample)
    try:
        op.op(*args, **options)
    except Exception:
        pass
    else:
        raise Elsewhere("PyTorch takes it outside of its own tests")
    try:
        found = function_of(op)(*ours(args), **ours(options))
        for x in leaves(found):
            if isinstance(x, nt.Tensor):
                host_array(x.detach().node)
    except (TypeError, ValueError, IndexError, RuntimeError):
        return
    raise AssertionError("taken without a word")
