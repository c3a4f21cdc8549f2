"""Kernels that go through the passes of `frontend` are those that all of Numba's passes give."""

import re
from typing import Any

import pytest
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target

from numbatorch.backends.cpu import compiler, frontend, target
from numbatorch.language import processor
from numbatorch.language.kernel import KernelSpec
from numbatorch.ops.cpu.attention_rows import attention_rows
from numbatorch.ops.cpu.candidates import largest_in_order
from numbatorch.ops.cpu.softmax import softmax_rows
from numbatorch.ops.cpu.sort_select import kth_rows

SPECS = (
    attention_rows(T="float32", V="float32"),
    largest_in_order(),
    softmax_rows(T="float16", V="float32"),
    kth_rows(T="uint32", U="int64"),
)


def assembly(spec: KernelSpec, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel's machine code, with all that it calls compiled anew, without Numba's own names."""
    monkeypatch.setattr(compiler, "_called", {})
    cpu = processor.host()
    text = target.machine(cpu, wide=spec.wide).emit_assembly(compiler.module(spec, cpu))
    return re.sub(r"_ZN[\w.$]*|\bv\d+", "", text)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_kernels_are_as_all_of_numbas_passes_give_them(
    spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = assembly(spec, monkeypatch)
    monkeypatch.setattr(frontend, "Compiler", Compiler)
    monkeypatch.setattr(compiler, "_typing_context", lambda: cpu_target.typing_context)
    theirs = assembly(spec, monkeypatch)
    assert len(ours) > 1000
    assert ours == theirs
