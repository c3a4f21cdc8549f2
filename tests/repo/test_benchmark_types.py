"""The benchmarks of block types: what they multiply with."""

import numpy as np
import pytest

from benchmarks import block_types


@pytest.mark.parametrize("kind", ["Q4_K", "IQ2_XXS"])
def test_a_weight_of_any_codes_is_one_of_small_numbers(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    data = block_types.weight(kind, 3, 512)
    assert data.shape == (3, block_types.row_bytes(kind, 512))
    assert len(np.unique(data)) > 100
    found = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    assert found.shape == (3, 512)
    assert 0 < np.abs(found).max() < 100


def test_a_mat_vec_reads_more_than_a_cache_holds() -> None:
    found = block_types.rows(["Q8_0"], 2, "cpu")
    assert [row.threads for row in found] == [1, 2, None, None]
    assert all(row.floor[1]["size"] > 100e6 for row in found[:2] if row.floor)
