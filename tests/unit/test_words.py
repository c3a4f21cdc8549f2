"""Words of kernels: each is known to every kind of device, and on the CPU computes what NumPy does.

tests/cuda and tests/metal compare what the other devices compute.
"""

from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.backends.cpu import pack
from numbatorch.language import groups, primitives, words
from numbatorch.language.words import Intrinsic, Word
from numbatorch.metal.words import WORDS
from tests.conftest import SIMULATED
from tests.run_kernel import run_kernel
from tests.word_cases import CASES, Case

pytestmark = pytest.mark.skipif(SIMULATED, reason="compares the words of the CPU")

NUMBERS = [v for m in (primitives, words) for v in vars(m).values() if isinstance(v, Intrinsic)]
GROUPS = [value for value in vars(groups).values() if isinstance(value, Word)]


@pytest.mark.parametrize("word", [*NUMBERS, *GROUPS], ids=lambda word: word.__name__)
def test_metal_knows_every_word(word: Any) -> None:
    assert word.__name__ in WORDS


def test_cuda_knows_every_word() -> None:
    pytest.importorskip("numba_cuda")
    from numbatorch.backends.cuda.words import TABLE

    assert set(TABLE) == {*NUMBERS, *GROUPS}


@pytest.fixture(scope="module")
def compiled() -> None:
    """The kernels of all cases, compiled together."""
    pack.addresses([case.spec() for case in CASES])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_word_computes_what_numpy_does(case: Case, compiled: None) -> None:
    operands = case.operands()
    out = np.zeros(len(operands[0]), dt.by_name[case.result].numpy)
    run_kernel(case.spec(), out, *operands, len(out), parts=3)
    case.check(out, operands)
