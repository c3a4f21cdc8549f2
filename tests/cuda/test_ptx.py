"""Every kernel that GPUs run compiles for the architectures that are supported: no GPU is needed.

Hand-written kernels are found by walking their packages, printed ones by planning each operator
and whole models for device cuda. `--seed` picks what stands for what is alike, `--slow` takes all.
A kernel that several tests come to is compiled for one architecture, once.
"""

import random
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.language.kernel import BoundKernel, Kernel
from numbatorch.models.bert import Bert, BertConfig
from numbatorch.models.llama import Llama, LlamaConfig
from numbatorch.nn import functional
from numbatorch.ops.blocks.kernel import BlockKernel
from numbatorch.ops.composed import Composed
from numbatorch.ops.drawing import Draw
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise, Op
from numbatorch.testing.cases import draw, dtypes_of
from tests.conftest import SIMULATED
from tests.cuda import kernels as found
from tests.models.build import BERT, llama_config

pytest.importorskip("numba_cuda")
if SIMULATED:
    pytest.skip("the simulator has no compiler", allow_module_level=True)

from numba.cuda.cudadrv import nvrtc

from numbatorch.backends.cuda import compiler, lowering

# NVVM has another LLVM for compute capability 10 and later, where it knows them.
NEWER = [cc for cc in ((10, 0), (12, 0)) if cc in nvrtc.get_supported_ccs()]
ARCHITECTURES = [(7, 5), (8, 0), (9, 0), *NEWER]
SHARED_BYTES = 48 * 1024  # of a group, on every supported GPU; Metal has less, but no float64

KERNELS = list(found.kernels())
PACKED = [kernel for kernel in KERNELS if isinstance(kernel, BlockKernel)]
DRAWN = 0.12  # of the operators that are alike
BINDINGS = 2  # of a hand-written kernel
LAUNCHES = 5  # of an operator, whose steps are alike where it has more
OPS = [op for op in all_ops() if draw(op, Draw(0), dtypes_of(op)[0]) is not None]
GENERIC = re.compile(r"\s(?:ld|st|atom|red)\.(?!global|shared|const|local|param)\S+")


_compiled: set[tuple[str, tuple[int, int]]] = set()


def compiles(pairs: Iterable[found.Pair], architectures: Any = ARCHITECTURES) -> None:
    """Compile kernels and look at their PTX, of those that this process has not seen before.

    Args:
        architectures: for all of them, or the number that draws one for each.
    """
    for spec, epilogue in pairs:
        name = f"{spec.key} {epilogue and epilogue.key}"
        if isinstance(architectures, int):
            chosen = [random.Random(f"{architectures} {name}").choice(ARCHITECTURES)]
        else:
            chosen = architectures
        missing = [cc for cc in chosen if (name, cc) not in _compiled]
        if not missing:
            continue
        lowered = lowering.lower(spec, epilogue, compiler.symbol(spec, epilogue))
        for cc in missing:
            code = lowering.ptx(lowered, cc)
            assert f".target sm_{cc[0]}{cc[1]}" in code
            assert f".visible .entry {compiler.symbol(spec, epilogue)}(" in code
            lost = GENERIC.search(code)
            assert not lost, f"{spec} {cc}: NVVM lost track of what memory is accessed: {lost}"
        arrays = re.findall(r"\.shared .*\[(\d+)\];", code)
        assert sum(map(int, arrays)) <= SHARED_BYTES, spec
        _compiled.update((name, cc) for cc in missing)


@pytest.fixture
def architectures(request: pytest.FixtureRequest, seed: int) -> Any:
    """One for each kernel, which `--seed` draws; `--slow` takes all."""
    return ARCHITECTURES if request.config.getoption("--slow") else seed


def named(kernel: Kernel) -> str:
    return f"{kernel.__module__.removeprefix('numbatorch.')}.{kernel.__name__}"


def test_kernels_are_found() -> None:
    names = [named(kernel) for kernel in KERNELS]
    assert len(set(names)) == len(names)
    assert {"ops.portable.rope.rope_rows", "cuda_kernels.softmax.softmax_rows"} <= set(names)


def dealt(kernel: Kernel, seed: int) -> list[BoundKernel]:
    """Some bindings of a kernel; kernels of packed weights share the types of blocks out."""
    specs = list(found.bindings(kernel))
    if isinstance(kernel, BlockKernel):
        return specs[(PACKED.index(kernel) + seed) % len(PACKED) :: len(PACKED)]
    draws = random.Random(f"{seed} {named(kernel)}")
    return draws.sample(specs, min(BINDINGS, len(specs)))


@pytest.mark.parametrize("kernel", KERNELS, ids=named)
def test_handwritten_kernel(kernel: Kernel, seed: int) -> None:
    compiles(((spec, None) for spec in dealt(kernel, seed)), seed)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS, ids=named)
def test_handwritten_kernel_of_all_types(kernel: Kernel) -> None:
    compiles(((spec, None) for spec in found.all_bindings(kernel)), [(7, 5)])


def of_operator(op: Op, dtypes: Iterable[nt.DType]) -> dict[str, found.Pair]:
    """The kernels of an operator on operands that are not empty."""
    out: dict[str, found.Pair] = {}
    for dtype in dtypes:
        cases = (draw(op, Draw(seed), dtype) for seed in range(50))
        case = next(c for c in cases if c is not None and all(a.size for a in c.operands))
        applied = case.apply(case.nodes("cpu"))
        roots = applied if isinstance(applied, tuple) else (applied,)
        out |= found.launched([root for root in roots if root.buffer is None])
    return out


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_kernels_of_operator(op: Op, seed: int) -> None:
    draws = random.Random(f"{seed} {op.name}")
    if isinstance(op, Composed | Elementwise) and draws.random() > DRAWN:
        pytest.skip("not drawn by this seed: run with --slow")
    classes = found.one_dtype_of_each_class(dtypes_of(op))
    pairs = list(of_operator(op, [draws.choice(classes)]).values())
    compiles(draws.sample(pairs, min(LAUNCHES, len(pairs))), seed)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_kernels_of_operator_of_all_types(op: Op) -> None:
    compiles(of_operator(op, dtypes_of(op)).values())


def rand(*shape: int, dtype: Any = nt.float32) -> Any:
    return nt.tensor(np.random.default_rng(0).random(shape, np.float32)).to(dtype)


def _reductions(dtype: Any) -> list[Any]:
    """Rows, columns, and few results of many elements; with what comes before and behind them."""
    long, wide = rand(3, 70000, dtype=dtype), rand(4, 5, 300, dtype=dtype)
    out = [x.sum(dim) for x, dim in ((long, 1), (long.transpose(0, 1), 0), (wide, 0), (wide, 1))]
    out += [(long * long).sum(), wide.max(), wide.argmax(0), long.argmin(1)]
    return [*out, (wide.exp() + 1).mean((0, 2), keepdim=True) * wide]


def _products(dtype: Any) -> list[Any]:
    x, w, b = rand(2, 9, 40, dtype=dtype), rand(40, 33, dtype=dtype), rand(33, dtype=dtype)
    out = x @ w
    return [functional.gelu(out + b) + out * 2, x.transpose(1, 2) @ x, rand(1, 40, dtype=dtype) @ w]


GRAPHS: dict[str, Callable[[Any], list[Any]]] = {
    "reductions": _reductions,
    "products with epilogues": _products,
}


@pytest.mark.parametrize("dtype", [nt.float32, nt.bfloat16], ids=str)
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_kernels_of_graph(
    graph: Callable[[Any], list[Any]], dtype: Any, architectures: Any
) -> None:
    pairs: dict[str, found.Pair] = {}
    for tensor in graph(dtype):
        pairs |= found.launched_for(tensor)
    if graph is _products:
        assert any(epilogue is not None for _spec, epilogue in pairs.values())
    compiles(pairs.values(), architectures)


def trained(model: Any, loss: Any) -> list[Any]:
    """The loss, and the parameters after a step in the manner of RMSprop."""
    for parameter in model.parameters():
        parameter.requires_grad_()
    value = loss(model)
    store = value.backward()
    pairs = [(p, store[p]) for p in model.parameters() if p in store]
    return [value, *(p * 0.999 - 0.1 * g / ((g * g).sqrt() + 1e-8) for p, g in pairs)]


def of_llama(dtype: Any) -> list[Any]:
    model = Llama(LlamaConfig.from_hf(llama_config(num_hidden_layers=1))).to(dtype)
    ids = nt.tensor([[3, 1, 4, 1, 5, 9]])

    def loss(model: Any) -> Any:
        logits = model(ids[:, :-1])
        return functional.cross_entropy(logits.reshape(5, -1), ids[:, 1:].reshape(5))

    return trained(model, loss)


def of_bert(dtype: Any) -> list[Any]:
    model = Bert(BertConfig.from_hf({**BERT, "num_hidden_layers": 1})).to(dtype)
    ids, mask = nt.tensor([[3, 1, 4], [1, 5, 0]]), nt.tensor([[1, 1, 1], [1, 1, 0]])
    return trained(model, lambda model: (model(ids, mask) ** 3).mean())


@pytest.mark.drawn(2)
@pytest.mark.parametrize("dtype", [nt.float32, nt.bfloat16], ids=str)
@pytest.mark.parametrize("model", [of_llama, of_bert])
def test_kernels_of_a_training_step(
    model: Callable[[Any], list[Any]], dtype: Any, architectures: Any
) -> None:
    pairs = found.launched_for(*model(dtype))
    assert len(pairs) > 10
    compiles(pairs.values(), architectures)


@pytest.mark.parametrize("cc", ARCHITECTURES, ids=str)
def test_machine_code_is_linked(cc: tuple[int, int]) -> None:
    softmax = next(kernel for kernel in KERNELS if kernel.__name__ == "softmax_rows")
    spec = next(found.bindings(softmax))
    image = compiler.link(compiler.compile_kernel(spec, None, cc), cc)
    assert image is not None
    assert image.startswith(b"\x7fELF") and compiler.symbol(spec, None).encode() in image
