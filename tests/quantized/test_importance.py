"""Importance matrices: both formats are read as llama.cpp does, and errors name the weight."""

import re
import struct

import gguf
import numpy as np
import pytest

from numbatorch.cli.main import main
from numbatorch.errors import FormatError
from numbatorch.quantized.importance import (
    Entry,
    Importance,
    read_importance,
    write_importance,
)


def dat(path, entries, tail=b""):
    raw = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        raw += struct.pack("<i", len(name)) + name.encode()
        raw += struct.pack("<ii", calls, len(values)) + np.array(values, "<f4").tobytes()
    path.write_bytes(raw + tail)
    return path


def test_dat_holds_means_times_calls(tmp_path):
    tail = struct.pack("<ii", 5, 4) + b"text"
    path = dat(tmp_path / "a.dat", [("blk.0.ffn_up.weight", 5, [10.0, 20.0])], tail)
    found = read_importance(path)
    assert found.of("blk.0.ffn_up.weight", (8, 2)).tolist() == [[2.0, 4.0]]
    assert (found.chunk_count, found.datasets) == (5, ["text"])
    assert found.of("absent", (8, 2)) is None


def test_gguf_of_the_package_holds_sums_and_counts_of_experts(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "imatrix")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["a.txt", "b.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 512)
    sums = np.array([[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]], np.float32)
    writer.add_tensor("w.in_sum2", sums)
    writer.add_tensor("w.counts", np.array([[2.0], [0.0]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_importance(tmp_path / "a.gguf")
    assert found.of("w", (2, 5, 3)).tolist() == [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]
    assert (found.chunk_count, found.chunk_size, found.datasets[1]) == (3, 512, "b.txt")


def test_written_file_reads_in_the_package_and_back(tmp_path):
    random = np.random.default_rng(0)
    rows = random.standard_normal((10, 6)).astype(np.float32)
    matrix = Importance(datasets=["a.txt"], chunk_count=2, chunk_size=5)
    matrix.add("w", rows[:5])
    matrix.add("w", rows[5:].reshape(1, 5, 6))
    write_importance(tmp_path / "a.gguf", matrix)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    np.testing.assert_allclose(tensors["w.in_sum2"][0], np.square(rows).sum(0), rtol=1e-6)
    assert tensors["w.counts"].tolist() == [[10.0]]
    found = read_importance(tmp_path / "a.gguf").of("w", (3, 6))
    np.testing.assert_allclose(found[0], np.square(rows).mean(0), rtol=1e-6)


def test_entry_of_another_size_is_refused_by_name(tmp_path):
    found = read_importance(dat(tmp_path / "a.dat", [("w", 1, [1.0, 2.0])]))
    with pytest.raises(FormatError, match=r"importance of 'w' has 2 values[\s\S]*which takes 3"):
        found.of("w", (8, 3))


@pytest.mark.parametrize("wrong", [np.inf, np.nan, -1.0])
def test_entry_that_is_no_mean_of_squares_is_refused_by_name(wrong, tmp_path):
    bad = read_importance(dat(tmp_path / "b.dat", [("w", 1, [1.0, wrong])]))
    with pytest.raises(FormatError, match="importance of 'w' has sums that are negative or not"):
        bad.of("w", (8, 2))
    bad = Importance({"w": Entry(np.ones((1, 2), np.float32), np.array([wrong], np.float32))})
    with pytest.raises(FormatError, match="importance of 'w' has counts that are negative or not"):
        bad.of("w", (8, 2))
    if wrong < 0:
        with pytest.raises(FormatError, match="'w' has -1 calls"):
            read_importance(dat(tmp_path / "c.dat", [("w", -1, [1.0, 1.0])]))


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0\0\0", b"\1\0\0\0\xff\0\0\0a", struct.pack("<iiBiI", 1, 1, 65, 1, 2**30)]
)
def test_broken_dat_is_refused(raw, tmp_path):
    (tmp_path / "a.dat").write_bytes(raw)
    with pytest.raises(FormatError, match="imatrix: "):
        read_importance(tmp_path / "a.dat")


def test_every_prefix_of_a_dat_is_refused(tmp_path):
    path = dat(tmp_path / "a.dat", [("w", 1, [1.0, 2.0]), ("other", 2, [3.0])])
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(FormatError):
            read_importance(path)


def test_inspect_describes_it(tmp_path, capsys):
    path = dat(tmp_path / "a.dat", [("w", 2, [2.0, 6.0])])
    assert main(["inspect", str(path)]) == 0
    assert re.search(r"w  2 inputs, mean square 2, at most 3", capsys.readouterr().out)
