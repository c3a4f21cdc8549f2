"""safetensors files: equal to what the library reads, and an error for everything malformed."""

import json
import struct
import sys
import tracemalloc

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import numbatorch as nt
from numbatorch import dtype
from numbatorch.errors import DTypeError, FormatError
from numbatorch.io.safetensors import (
    FLOAT4,
    INDEX,
    NOT_COMPUTED,
    TYPES,
    SafetensorsFile,
    open_checkpoint,
    save_safetensors,
)
from tests.io.build import entry, safetensors_bytes


def write(tmp_path, raw):
    path = tmp_path / "file.safetensors"
    path.write_bytes(raw)
    return path


def sample():
    random = np.random.default_rng(0)
    arrays = {
        kind.name: random.integers(0, 2, (2, 3)).astype(kind.elements) for kind in TYPES.values()
    }
    return {
        **arrays,
        "scalar": np.array(3.5, np.float32),
        "empty": np.empty((0, 4), np.int16),
        "transposed": random.standard_normal((3, 4)).T,
        "nan": np.array([np.nan, np.inf, -0.0], np.float16),
    }


def assert_same(ours, theirs):
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert ours.tobytes() == np.require(theirs, requirements="C").tobytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("safetensors") / "small.safetensors"
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(3, dtype=np.int8),
        "c": np.array(True),
    }
    save_file(arrays, path, {"format": "np"})
    return path


@pytest.mark.parametrize("source", ["pydoc", "minilm"])
def test_published_checkpoint_reads_as_in_the_library(source, fixtures, request):
    pydoc = source == "pydoc"
    folder = fixtures / "pydoc-llama" if pydoc else request.getfixturevalue("minilm")
    file = open_checkpoint(folder)
    theirs = load_file(folder / "model.safetensors")
    assert set(file.tensors) == set(theirs)
    for name, array in theirs.items():
        assert_same(file.tensor(name), array)
        assert np.shares_memory(file.tensor(name), file.tensor(name))
        assert not file.tensor(name).flags.writeable
    assert file.metadata == {"format": "pt"}


def test_saved_file_reads_back_here_and_in_the_library(tmp_path):
    arrays = sample()
    save_safetensors(tmp_path / "x.safetensors", arrays, {"made by": "a test"})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert file.metadata == {"made by": "a test"}
    assert set(file.tensors) == set(arrays)
    for name, array in arrays.items():
        assert_same(file.tensor(name), array)
        assert file.tensors[name].dtype is dtype.from_numpy(array.dtype)
    assert set(load_names(tmp_path / "x.safetensors")) == set(arrays)
    plain = {name: array for name, array in arrays.items() if not name.startswith("float8")}
    save_safetensors(tmp_path / "x.safetensors", plain)  # the library loads no float8 to NumPy
    for name, array in load_file(tmp_path / "x.safetensors").items():
        assert_same(array, plain[name])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no file that is mapped")
def test_arrays_outlive_the_replacing_of_their_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": np.zeros(4)})
    before = SafetensorsFile(path).tensor("a")
    save_safetensors(path, {"a": np.ones(4)})
    assert before.tolist() == [0.0] * 4


def test_saving_replaces_the_file_at_once_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"a": np.zeros(4)})
    save_safetensors(path, {"a": np.ones(4)})
    assert SafetensorsFile(path).tensor("a").tolist() == [1.0] * 4
    with pytest.raises(DTypeError, match=r"tensor 'a'[\s\S]*complex128"):
        save_safetensors(path, {"a": np.zeros(4, np.complex128)})
    with pytest.raises(TypeError):
        save_safetensors(path, {"a": np.zeros(4)}, {"k": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    assert SafetensorsFile(path).tensor("a").tolist() == [1.0] * 4


def test_unaligned_tensor_is_copied(tmp_path):
    values = np.array([1.5, -2.5], np.float32)
    header = {"a": entry("U8", (1,), (0, 1)), "b": entry("F32", (2,), (1, 9))}
    file = SafetensorsFile(write(tmp_path, safetensors_bytes(header, b"\7" + values.tobytes())))
    np.testing.assert_array_equal(file.tensor("b"), values)
    assert not file.tensor("b").flags.writeable


def test_type_that_is_not_computed_on_is_listed_but_not_handed_out(tmp_path):
    header = {"a": entry("F6_E2M3", (4,), (0, 3)), "b": entry("F6_E3M2", (8,), (3, 9))}
    path = write(tmp_path, safetensors_bytes(header, bytes(9)))
    assert set(load_names(path)) == set(SafetensorsFile(path).tensors)
    with pytest.raises(FormatError, match="'a' has type F6_E2M3, which is not computed on yet"):
        SafetensorsFile(path).tensor("a")


def test_narrow_numbers_are_stored_as_they_are(tmp_path):
    path = tmp_path / "x.safetensors"
    kinds = (nt.float8_e8m0fnu, nt.float8_e4m3fnuz, nt.float8_e5m2fnuz, nt.float4_e2m1fn)
    made = {kind.name: nt.tensor([[0.5, 1.0], [2.0, 4.0]]).to(kind) for kind in kinds}
    nt.save({**made, "wide": nt.ones(3)}, path, {"made by": "a test"})
    found = nt.load(path)
    assert set(load_names(path)) == {*made, "wide"}
    for name, tensor in made.items():
        assert found[name].dtype is tensor.dtype
        assert found[name].float().tolist() == [[0.5, 1.0], [2.0, 4.0]]
    file = SafetensorsFile(path)
    assert file.tensors["float4_e2m1fn"].nbytes == 2 and file.metadata == {"made by": "a test"}
    raw = path.read_bytes()[file.tensors["float4_e2m1fn"].offset :][:2]
    assert raw == bytes([0x21, 0x64])
    with pytest.raises(DTypeError, match="two numbers of float4_e2m1fn lie in a byte, here are 3"):
        nt.save({"x": nt.ones(3).to(nt.float4_e2m1fn)}, path)
    with pytest.raises(DTypeError, match="the format has no int4"):
        nt.save({"x": nt.ones(3).to(nt.int4)}, path)


def load_names(path):
    with safetensors.safe_open(path, "np") as file:
        return list(file.keys())


def test_no_type_is_missing_that_the_library_knows(tmp_path):
    for kind, numbers in {**TYPES, **NOT_COMPUTED, "F4": FLOAT4}.items():
        shape = (numbers.block,)
        raw = safetensors_bytes(
            {"a": entry(kind, shape, (0, numbers.itemsize))}, bytes(numbers.itemsize)
        )
        path = write(tmp_path, raw)
        assert SafetensorsFile(path).tensors["a"].nbytes == numbers.itemsize
        assert load_names(path) == ["a"]


def test_byte_of_a_bool_that_is_neither_0_nor_1_is_refused(tmp_path):
    path = write(tmp_path, safetensors_bytes({"a": entry("BOOL", (2,), (0, 2))}, b"\1\2"))
    with pytest.raises(FormatError, match=r"a byte is not 0 or 1[\s\S]*tensor a"):
        SafetensorsFile(path).tensor("a")


def test_absent_tensor_is_refused(small):
    with pytest.raises(FormatError, match="no tensor 'z'"):
        SafetensorsFile(small).tensor("z")


F32 = entry()
TWICE = b'{"a": %s, "a": %s}' % ((json.dumps(F32).encode(),) * 2)
BROKEN = {
    "a file of 0 bytes has no header": b"",
    "a file of 7 bytes has no header": bytes(7),
    "header length 18446744073709551615 is above": safetensors_bytes(b"{}", length=2**64 - 1),
    "header of 3 bytes in a file of 10 bytes": safetensors_bytes(b"{}", length=3),
    "does not begin with '{'": safetensors_bytes(b" {}"),
    "not valid JSON: Expecting": safetensors_bytes(b"{x}"),
    "not valid JSON: Extra data": safetensors_bytes(b"{}{}"),
    "not valid JSON: 'utf-8'": safetensors_bytes(b'{"\xff": 1}'),
    "not valid JSON: arrays or objects are nested": safetensors_bytes(b'{"a":' + b"[" * 100000),
    "not valid JSON: key 'a' appears twice": safetensors_bytes(TWICE, bytes(8)),
    "not valid JSON: NaN": safetensors_bytes(b'{"a": NaN}'),
    "not valid JSON: an integer of 5000 digits": safetensors_bytes(b'{"a": ' + b"9" * 5000 + b"}"),
    "__metadata__ is not a map of str": safetensors_bytes({"__metadata__": {"a": 1}}),
    "__metadata__ is not a map": safetensors_bytes({"__metadata__": []}),
    "'a' has no dtype, shape and": safetensors_bytes({"a": {"dtype": "F32"}}),
    "'a' has no dtype": safetensors_bytes({"a": []}),
    "unknown dtype 'F33'": safetensors_bytes({"a": entry("F33")}, bytes(8)),
    "unknown dtype .'F32'": safetensors_bytes({"a": entry(["F32"])}, bytes(8)),
    "impossible shape .-2.": safetensors_bytes({"a": entry(shape=(-2,))}, bytes(8)),
    "impossible shape .2.0.": safetensors_bytes({"a": entry(shape=(2.0,))}, bytes(8)),
    "impossible shape .True, 2": safetensors_bytes({"a": entry(shape=(True, 2))}, bytes(8)),
    "impossible shape .1, 1, 1": safetensors_bytes({"a": entry(shape=(1,) * 65)}, bytes(8)),
    "impossible shape .99": safetensors_bytes({"a": entry(shape=(10**30 - 1,))}, bytes(8)),
    "impossible data_offsets .0.": safetensors_bytes({"a": entry(offsets=(0,))}, bytes(8)),
    "impossible data_offsets .8, 0": safetensors_bytes({"a": entry(offsets=(8, 0))}, bytes(8)),
    "impossible data_offsets .-8": safetensors_bytes({"a": entry(offsets=(-8, 0))}, bytes(8)),
    "too many elements": safetensors_bytes({"a": entry(shape=(2**40, 2**40))}, bytes(8)),
    "too many elements: .0,": safetensors_bytes(
        {"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}
    ),
    "F32 .3. does not take 8 bytes": safetensors_bytes({"a": entry(shape=(3,))}, bytes(8)),
    "'b' overlaps what precedes it": safetensors_bytes(
        {"a": F32, "b": entry(offsets=(4, 12))}, bytes(12)
    ),
    "'b' overlaps": safetensors_bytes({"a": F32, "b": F32}, bytes(8)),
    "'b' leaves a hole": safetensors_bytes({"a": F32, "b": entry(offsets=(12, 20))}, bytes(20)),
    "'a' leaves a hole": safetensors_bytes({"a": entry(offsets=(4, 12))}, bytes(12)),
    "tensors end at byte": safetensors_bytes({"a": F32}, bytes(9)),
    "tensors end at byte \\d+ of a file": safetensors_bytes({"a": F32}, bytes(7)),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_broken_file_is_refused(problem, tmp_path):
    path = write(tmp_path, BROKEN[problem])
    with pytest.raises(FormatError, match=problem) as caught:
        SafetensorsFile(path)
    assert str(path) in str(caught.value)


def test_every_prefix_is_refused(small, tmp_path):
    raw = small.read_bytes()
    for length in range(len(raw)):
        with pytest.raises(FormatError):
            SafetensorsFile(write(tmp_path, raw[:length]))


def read_within_a_mebibyte(path):
    """Every tensor, copied so that the file is not mapped any more; None where it is refused."""
    tracemalloc.start()
    try:
        file = SafetensorsFile(path)
        return {name: file.tensor(name).copy() for name in file.tensors}
    except FormatError:
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_give_an_error_or_what_the_library_reads(data, small, tmp_path):
    raw = small.read_bytes()
    for _ in range(20):
        changed = bytearray(raw)
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(raw) - 1))
            changed[place] = data.draw(st.integers(0, 255))
        path = write(tmp_path, changed)
        ours = read_within_a_mebibyte(path)
        if ours is not None:
            theirs = load_file(path)
            assert set(ours) == set(theirs)
            for name, array in theirs.items():
                assert_same(ours[name], array)


@pytest.fixture
def sharded(tmp_path):
    """A checkpoint in two shards: (folder, its index as a map)."""
    first = {"a": np.arange(3.0), "b": np.ones(2, np.float16)}
    second = {"c": np.zeros((2, 2), np.int32)}
    save_file(first, tmp_path / "model-00001-of-00002.safetensors", {"format": "pt"})
    save_file(second, tmp_path / "model-00002-of-00002.safetensors")
    index = {
        "metadata": {"total_size": 44},
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors",
            "b": "model-00001-of-00002.safetensors",
        },
    }
    (tmp_path / INDEX).write_text(json.dumps(index))
    return tmp_path, index


def test_shards_read_as_one_checkpoint(sharded):
    folder, _ = sharded
    checkpoint = open_checkpoint(folder)
    assert list(checkpoint.tensors) == ["a", "c", "b"]
    np.testing.assert_array_equal(checkpoint.tensor("a"), np.arange(3.0))
    np.testing.assert_array_equal(checkpoint.tensor("c"), np.zeros((2, 2)))
    assert checkpoint.tensors["c"].path.name == "model-00002-of-00002.safetensors"
    assert checkpoint.metadata == {"format": "pt"}
    with pytest.raises(FormatError, match="no tensor 'z'"):
        checkpoint.tensor("z")


def break_index(sharded, change):
    folder, index = sharded
    change(index)
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_missing_shard_is_named(sharded):
    folder, _ = sharded
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FormatError, match=r"shard model-00002-of-00002\.safetensors is missing"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda i: i["weight_map"].update(d="model-00001-of-00002.safetensors"), "'d' is not in"),
        (lambda i: i["weight_map"].pop("b"), "'b' of shard model-00001-of"),
        (lambda i: i["weight_map"].update(b="model-00002-of-00002.safetensors"), "'b' is not in"),
        (lambda i: i["weight_map"].update(b="../b.safetensors"), "is not the name of a file"),
        (lambda i: i["weight_map"].update(b="C:b.safetensors"), "is not the name of a file"),
        (lambda i: i["weight_map"].update(b=".."), "is not the name of a file"),
        (lambda i: i["weight_map"].update(b=3), "weight_map is not a map"),
        (lambda i: i.pop("weight_map"), "weight_map is not a map"),
    ],
)
def test_index_that_disagrees_with_its_shards_is_refused(sharded, change, problem):
    with pytest.raises(FormatError, match=problem):
        open_checkpoint(break_index(sharded, change))


def test_truncated_shard_and_broken_index_are_refused(sharded):
    folder, _ = sharded
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"model-00002-of-00002\.safetensors"):
        open_checkpoint(folder)
    (folder / INDEX).write_text("{")
    with pytest.raises(FormatError, match=r"not JSON: Expecting[^\n]*\n  file .*index.json"):
        open_checkpoint(folder)


def test_folder_without_weights_says_what_it_has(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FormatError, match=r"no safetensors weights[\s\S]*pytorch_model.bin"):
        open_checkpoint(tmp_path)


def test_header_length_is_little_endian(tmp_path):
    raw = struct.pack(">Q", 2) + b"{}"
    with pytest.raises(FormatError, match="header length"):
        SafetensorsFile(write(tmp_path, raw))


def test_save_says_what_it_takes_and_where(tmp_path) -> None:
    with pytest.raises(TypeError, match="save: takes tensors by name, not Tensor"):
        nt.save(nt.ones(3), tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match="save: no such folder"):
        nt.save({"x": nt.ones(3)}, tmp_path / "absent" / "x.safetensors")
