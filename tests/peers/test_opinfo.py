"""Every variant of PyTorch's operator database: samples, gradients, reference and wrong inputs.

`--seed` draws a few samples of each variant, for half of them a dtype beside float64, and for
half of them the forms of methods, which are the same functions; `--slow` takes all.
"""

import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.conftest import SHARED
from tests.peers import opinfo
from tests.peers.opinfo import DTYPES, Elsewhere, variant_name
from tests.peers.opinfo_tables import ABSENT, EXCEPT, FORMS, REFERENCE, TAKES
from tests.peers.sides import torch, torch_dtype

pytestmark = pytest.mark.filterwarnings("ignore")  # both sides warn of what they deprecate

NAMES = SHARED / "opinfo_names.txt"
SAMPLES = 2  # of each dtype that is drawn
SHARE = 0.03  # of the listed variants that may be exceptions in one of six dtypes
AHEAD = 40  # samples among which they are drawn
VARIANTS = {name: op for name, op in opinfo.variants().items() if op.name not in ABSENT}


def each(names: Iterable[str]) -> Any:
    """A test for each of these variants."""
    return pytest.mark.parametrize("op", [pytest.param(VARIANTS[n], id=n) for n in names])


every_variant = each(VARIANTS)


@contextmanager
def excepted(op: Any, reasons: dict[str, str], whole: bool) -> Iterator[None]:
    """What may fail if there is a reason, and has to where the `whole` of it runs."""
    reason = reasons.get(variant_name(op))
    try:
        yield
    except AssertionError:
        if reason is None:
            raise
        pytest.xfail(reason)
    assert reason is None or not whole, f"no exception any more: {reason}"


def dtypes_of(op: Any) -> list[str]:
    return [name for name in DTYPES if torch_dtype(name) in op.dtypes]


def drawn(op: Any, seed: int) -> list[str]:
    """float64, where gradients are compared, and for half of the variants one of the others."""
    found = dtypes_of(op)
    rng = np.random.default_rng((seed, zlib.crc32(variant_name(op).encode())))
    others = [name for name in found if name != "float64"]
    wide = [name for name in found if name == "float64"]
    chosen = [others[rng.integers(len(others))]] if others else []
    return [*(chosen if rng.integers(2) or not wide else []), *wide]


def some(samples: Iterable[Any], seed: int) -> list[Any]:
    """A few of the first samples, in their order."""
    found = list(islice(samples, AHEAD))
    rng = np.random.default_rng(seed)
    picked = rng.permutation(len(found))[:SAMPLES]
    return [found[i] for i in sorted(picked)]


def check_all(op: Any, samples: Iterable[Any], dtype: str, gradients: bool) -> int:
    """Fail at the first sample that differs; the number that were compared."""
    count = 0
    for sample in samples:
        try:
            opinfo.check(op, sample, dtype, gradients)
        except Elsewhere:
            continue
        except Exception as err:
            raise AssertionError(
                f"{opinfo.call_of(op, sample)}: {type(err).__name__}: {err}"
            ) from err
        count += 1
    return count


@every_variant
def test_samples_give_what_torch_gives(op: Any, seed: int, request: pytest.FixtureRequest) -> None:
    slow = request.config.getoption("--slow")
    with excepted(op, EXCEPT, whole=slow):
        for dtype in dtypes_of(op) if slow else drawn(op, seed):
            torch.manual_seed(seed)
            gradients = dtype == "float64" and op.supports_autograd
            samples = op.sample_inputs("cpu", torch_dtype(dtype), requires_grad=gradients)
            check_all(op, samples if slow else some(samples, seed), dtype, gradients)


@pytest.mark.drawn(2)
@every_variant
def test_methods_and_in_place_forms_are_those_of_torch(
    op: Any, seed: int, request: pytest.FixtureRequest
) -> None:
    slow = request.config.getoption("--slow")
    found = dtypes_of(op)
    if not found:
        pytest.skip("PyTorch has no such variant on the CPU")
    dtype = "float32" if "float32" in found else found[0]
    samples = op.sample_inputs("cpu", torch_dtype(dtype))
    with excepted(op, FORMS, whole=slow):
        for sample in samples if slow else some(samples, seed):
            try:
                opinfo.check_method(op, sample, dtype)
                opinfo.check_in_place(op, sample, dtype)
            except Elsewhere:
                continue
            except Exception as err:
                call = opinfo.call_of(op, sample)
                raise AssertionError(f"{call}: {type(err).__name__}: {err}") from err


@pytest.mark.slow
@every_variant
def test_reference_inputs_give_what_torch_gives(op: Any, seed: int) -> None:
    """In each dtype but those that the table names, in which some input has to fail."""
    torch.manual_seed(seed)
    reason, named = REFERENCE.get(variant_name(op), ("", ""))
    failed = []
    for dtype in dtypes_of(op):
        samples = op.reference_inputs("cpu", torch_dtype(dtype), requires_grad=False)
        try:
            with excepted(op, EXCEPT, whole=False):
                check_all(op, samples, dtype, gradients=False)
        except AssertionError:
            if dtype not in named.split():
                raise
            failed.append(dtype)
    assert failed == named.split(), f"fails in {failed} alone: {reason}"
    if failed:
        pytest.xfail(reason)


@each(
    name
    for name, op in VARIANTS.items()
    if op.error_inputs_func is not None and not name.startswith("__")  # Python's own errors
)
def test_what_torch_refuses_is_refused(op: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = list(op.error_inputs("cpu"))
    with excepted(op, TAKES, whole=True):
        for one in wrong:
            try:
                opinfo.refuses(op, one)
            except Elsewhere:
                continue
            except AssertionError as err:
                raise AssertionError(f"{opinfo.call_of(op, one.sample_input)}: {err}") from err


def test_exceptions_are_variants_and_few() -> None:
    known = opinfo.variants()
    assert {*EXCEPT, *FORMS, *REFERENCE, *TAKES} <= set(known)
    assert set(ABSENT) <= {op.name for op in known.values()}
    if not NAMES.exists():
        pytest.skip("shared/opinfo_names.txt is not there")
    lines = NAMES.read_text(encoding="utf-8").splitlines()
    listed = {name for line in lines if not line.startswith("#") for name in line.split()}
    assert not listed & set(ABSENT)
    variants = [name for name, op in known.items() if op.name in listed]
    missing = [name for name in variants if name in EXCEPT]
    assert len(missing) <= SHARE * len(variants), missing
