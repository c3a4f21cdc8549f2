"""Files of torch.save: tensors as they were saved; an error, and no code, for anything else."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import FormatError
from numbatorch.io.torch_file import MAGIC, PROTOCOL

OPS = {
    "global": lambda module, name: b"c" + module + b"\n" + name + b"\n",
    "text": lambda text: b"X" + struct.pack("<I", len(text)) + text,
}
named, text = OPS["global"], OPS["text"]


def number(value):
    return b"J" + struct.pack("<i", value)


def storage(key=b"0", count=6, kind=(b"torch", b"FloatStorage"), location=b"cpu"):
    inner = text(b"storage") + named(*kind) + text(key) + text(location) + number(count)
    return b"(" + inner + b"tQ"


def sizes(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def rebuilt(shape=(2, 3), strides=(3, 1), offset=0, hooks=b")", needs=b"\x89", store=None):
    """The opcodes that make one tensor."""
    function = named(b"torch._utils", b"_rebuild_tensor_v2")
    where = store or storage()
    inner = where + number(offset) + sizes(*shape) + sizes(*strides) + needs + hooks
    return function + b"(" + inner + b"tR"


def archive(path, code, entries=None, **more):
    if entries is None:
        entries = [("0", np.arange(6, dtype="f4").tobytes())]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", b"\x80\x02" + code + b".")
        for key, raw in entries:
            file.writestr(f"x/data/{key}", raw)
        for name, raw in more.items():
            file.writestr(f"x/{name.replace('_pkl', '.pkl')}", raw)
    return path


def legacy(path, code, storages=None, keys=None, little=True):
    if storages is None:
        storages = [("0", np.arange(6, dtype="f4"))] if b"FloatStorage" in code else []
    system = {"protocol_version": PROTOCOL, "little_endian": little, "type_sizes": {}}
    raw = b"".join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, system))
    raw += b"\x80\x02" + code + b"."
    raw += pickle.dumps([key for key, _ in storages] if keys is None else keys, 2)
    for _, array in storages:
        raw += struct.pack("<q", array.size) + array.tobytes()
    path.write_bytes(raw)
    return path


@pytest.fixture(params=["zip", "legacy"])
def write(request, tmp_path):
    """Writes the opcodes of a pickle into a file of either kind."""
    make = archive if request.param == "zip" else legacy
    return lambda code, **options: make(tmp_path / "file.pt", code, **options)


def test_tensors_have_the_strides_they_were_saved_with(write):
    found = nt.load(write(rebuilt((3, 2), (1, 3))))
    assert found.tolist() == [[0, 3], [1, 4], [2, 5]] and found.dtype is nt.float32
    assert nt.load(write(rebuilt((2,), (2,), 1))).tolist() == [1, 3]
    assert nt.load(write(rebuilt((2, 2), (0, 1), 4))).tolist() == [[4, 5], [4, 5]]
    assert nt.load(write(rebuilt((), (), 5))).item() == 5
    assert nt.load(write(rebuilt((0, 3), (3, 1), 6))).shape == (0, 3)
    leaf = nt.load(write(rebuilt(needs=b"\x88")))
    assert leaf.requires_grad and leaf.is_leaf


def test_a_view_far_larger_than_its_storage_takes_no_memory(write):
    found = nt.load(write(rebuilt((2**30, 2**30), (0, 0))))
    assert found.shape == (2**30, 2**30) and found[5, 7].item() == 0


def test_plain_containers_are_what_they_were(write):
    made = {
        "text": "caf\u00e9",
        "numbers": [1, 2.5, True, None, 10**30, -7, 300, 70000, 1 + 2j],
        "bytes": (b"raw", bytearray(b"ab"), ()),
        "sets": [{1, "a"}, frozenset([2.5])],
        "ordered": OrderedDict([("b", 1), ("a", [])]),
        (1, "key"): {},
    }
    made["itself"] = made["numbers"]
    for protocol in range(2, 6):
        code = pickle.dumps(made, protocol)[2:-1]
        found = nt.load(write(code))
        assert found == made and list(found["ordered"]) == ["b", "a"]
        assert found["itself"] is found["numbers"]
        assert type(found["bytes"][1]) is bytearray and type(found["sets"][1]) is frozenset


def test_what_stands_beside_tensors(write):
    built = named(b"torch", b"device") + b"(" + text(b"cuda") + number(1) + b"tR"
    size = named(b"torch", b"Size") + sizes(2, 3) + b"\x85R"
    found = nt.load(write(b"(" + named(b"torch", b"bfloat16") + built + size + b"t"))
    assert found == (nt.bfloat16, "cuda:1", (2, 3))
    metadata = text(b"_metadata") + b"}"
    state = named(b"collections", b"OrderedDict") + b")R" + b"}" + metadata + b"sb"
    assert nt.load(write(state))._metadata == {}
    parameter = named(b"torch._utils", b"_rebuild_parameter") + b"(" + rebuilt() + b"\x88)tR"
    assert nt.load(write(parameter)).requires_grad


def test_bytes_of_the_other_order_are_turned(tmp_path):
    big = np.arange(6, dtype=">f4")
    path = archive(tmp_path / "a.pt", rebuilt(), [("0", big.tobytes())], byteorder=b"big")
    assert nt.load(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    path = legacy(tmp_path / "b.pt", rebuilt(), [("0", big)], little=False)
    assert nt.load(path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_part_of_an_old_storage(tmp_path):
    part = b"(" + text(b"1") + number(2) + number(4) + b"t"
    store = storage()[:-2] + part + b"tQ"
    path = legacy(tmp_path / "a.pt", rebuilt((2, 2), (2, 1), store=store))
    assert nt.load(path).tolist() == [[2, 3], [4, 5]]
    path = legacy(tmp_path / "a.pt", rebuilt((2, 3), (3, 1), store=store))
    with pytest.raises(FormatError, match=r"leaves storage '?0'? of 4 elements"):
        nt.load(path)


ORDERED = named(b"collections", b"OrderedDict")
CALL = text(b"true") + b"\x85R"

ATTACKS = {
    # A name of a module.
    "global": (named(b"os", b"system") + CALL, r"GLOBAL asks for 'os.system'"),
    "python 2": (named(b"__builtin__", b"eval") + CALL, r"GLOBAL asks for 'builtins.eval'"),
    "stack global": (text(b"posix") + text(b"system") + b"\x93" + CALL, "'posix.system'"),
    "attribute": (
        text(b"collections") + text(b"OrderedDict.fromkeys") + b"\x93" + CALL,
        "asks for 'collections.OrderedDict.fromkeys'",
    ),
    "no name": (b"K\x01K\x02\x93", "STACK_GLOBAL asks for 2 of 1, which are no names"),
    "torch": (named(b"torch", b"load") + CALL, "asks for 'torch.load'"),
    "hub": (named(b"torch.hub", b"load") + CALL, "asks for 'torch.hub.load'"),
    "getattr": (named(b"builtins", b"getattr") + CALL, "asks for 'builtins.getattr'"),
    "numpy": (named(b"numpy.core.multiarray", b"_reconstruct") + CALL, "asks for 'numpy"),
    "long name": (named(b"o" * 5000, b"x") + CALL, r"'o{70,80}\.\.\.'"),
    "terminal": (named(b"\x1b[2J", b"x") + CALL, r"asks for '\\x1b\[2J.x'"),
    # A call.
    "of text": (text(b"a") + b")R", "REDUCE calls 'a'"),
    "of a type": (named(b"torch", b"float32") + b")R", "REDUCE calls a DType"),
    "of a class": (named(b"torch", b"Tensor") + b")R", "REDUCE calls torch.Tensor"),
    "of a list": (ORDERED + b"]R", "REDUCE calls collections.OrderedDict with a list"),
    "of numbers": (ORDERED + b"K\x01\x85R", "makes OrderedDict of 1"),
    "of no pairs": (ORDERED + b"]K\x01a\x85R", "makes OrderedDict of 1, which is no pair"),
    "memory": (named(b"builtins", b"bytearray") + b"J\xff\xff\xff\x7f\x85R", "makes a bytearray"),
    "codec": (named(b"_codecs", b"encode") + text(b"a") + text(b"zip") + b"\x86R", "in latin1"),
    # An object.
    "inst": (b"(" + text(b"true") + b"ios\nsystem\n", r"INST asks for 'os.system'"),
    "obj": (b"(" + ORDERED + text(b"true") + b"o", "OBJ makes an object of collections"),
    "newobj": (named(b"torch", b"Tensor") + b")\x81", "NEWOBJ calls torch.Tensor"),
    "newobj of text": (text(b"int") + b")\x81", "NEWOBJ calls 'int'"),
    "newobj_ex": (ORDERED + b")}\x92", "NEWOBJ_EX makes an object of collections.OrderedDict"),
    "ext1": (b"\x82\x01", "EXT1 asks for a number of a registry"),
    "ext2": (b"\x83\x01\x01", "EXT2 asks"),
    "ext4": (b"\x84\x01\x01\x01\x01", "EXT4 asks"),
    "buffer": (b"\x97", "NEXT_BUFFER takes a buffer from outside"),
    "read-only buffer": (b"\x98", "READONLY_BUFFER takes a buffer from outside"),
    # Attributes.
    "method": (
        ORDERED + b")R}" + text(b"items") + b"]sb",
        "BUILD gives a OrderedDict of 0 attributes: a dict of 1",
    ),
    "slots": (ORDERED + b")RN}" + text(b"_metadata") + b"}s\x86b", "attributes: a tuple of 2"),
    "metadata": (ORDERED + b")R}" + text(b"_metadata") + b"K\x01sb", "gives a OrderedDict"),
    "of the class": (ORDERED + b"}" + text(b"update") + b"]sb", "BUILD gives collections.Ordered"),
    "of a dict": (b"}}" + text(b"a") + b"]sb", "BUILD gives a dict of 0 attributes"),
    "of a tensor": (rebuilt() + b"}" + text(b"node") + b"Nsb", r"gives (a Tensor|None) attributes"),
    # Outside of the pickle.
    "persistent text": (b"P0\n", "PERSID asks for '0', which names no storage"),
    "persistent number": (b"K\x01Q", "BINPERSID asks for 1, which names no storage"),
    "persistent module": (b"(" + text(b"module") + b"NNNNtQ", "asks for a tuple of 5"),
    "unknown type": (rebuilt(store=storage(kind=(b"torch", b"QInt8Storage"))), "QInt8Storage"),
    "type of text": (b"(" + text(b"storage") + text(b"F") + text(b"0") + b"NK\x06tQ", "no storage"),
    "count below 0": (rebuilt(store=storage(count=-6)), "asks for a storage of -6 elements"),
    # Tensors.
    "beyond": (rebuilt((2, 4), (4, 1)), r"leaves storage [\s\S]*shape \(2, 4\), strides \(4, 1\)"),
    "offset beyond": (rebuilt((1,), (1,), 6), "leaves storage"),
    "offset of nothing": (rebuilt((0,), (1,), 7), "leaves storage"),
    "offset below 0": (rebuilt((1,), (1,), -1), r"the impossible offset \(-1,\)"),
    "stride below 0": (rebuilt((2,), (-1,), 3), r"the impossible strides \(-1,\)"),
    "size below 0": (rebuilt((-2,), (1,)), r"the impossible shape \(-2,\)"),
    "huge stride": (rebuilt((2,), (2**31 - 1,)), "leaves storage"),
    "huge": (rebuilt((2**30,) * 3, (0, 0, 0)), "the impossible shape"),
    "ranks": (rebuilt((2, 3), (1,)), "a tensor of 2 dimensions 1 strides"),
    "dimensions": (rebuilt((1,) * 65, (0,) * 65), "the impossible shape"),
    "digits": (
        rebuilt().replace(sizes(2, 3), b"\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b"\x85"),
        "the impossible shape a tuple with integers too long to write",
    ),
    "hooks": (rebuilt(hooks=b"]K\x01a"), "gives a tensor hooks: a list of 1"),
    "no storage": (rebuilt(store=b"}"), "makes a tensor of a dict of 0, which is no storage"),
    "few arguments": (
        named(b"torch._utils", b"_rebuild_tensor_v2") + b")R",
        "rebuilds a tensor of 0 arguments",
    ),
    "subclass": (
        named(b"torch._tensor", b"_rebuild_from_type_v2") + b"(NNN}tR",
        "makes a tensor of class None",
    ),
    "parameter": (
        named(b"torch._utils", b"_rebuild_parameter") + b"(K\x01\x88)tR",
        "makes a parameter of 1",
    ),
    # The stack and what was kept.
    "not kept": (b"h\x05", "BINGET asks for object 5, which was not kept"),
    "not kept by text": (b"g99\n", "GET asks for object 99"),
    "empty": (b"a", "APPEND takes from an empty stack"),
    "mark": (b"(a", "APPEND takes from an empty stack"),
    "no mark": (b"K\x01t", "TUPLE finds no mark"),
    "no list": (b"K\x01K\x02a", "APPEND does not take 1"),
    "odd": (b"}(K\x01u", "SETITEMS has a key without a value"),
    "nothing": (b"", "STOP takes from an empty stack"),
    "two": (b"NN", "STOP leaves more than one object"),
    "key": (b"}]Ns", "SETITEM does not take a list of 0 as a key"),
    "tensor as key": (b"}" + rebuilt() + b"Ns", "as a key"),
    "protocol": (b"\x80\x09N", "PROTO 9 is above the protocol 5"),
    "opcode": (b"\xff", r"no opcode of pickles has the byte 0xff"),
    "length": (b"\x8e" + struct.pack("<Q", 2**63) + b"abc", "BINBYTES8 of 9223372036854775808"),
    "line": (b"I12", "has no end of its line|is cut short|no number"),
    "digits of text": (b"I" + b"9" * 5000 + b"\n", "INT has no number in '999"),
    "not UTF-8": (b"X\x01\x00\x00\x00\xff", "the text of BINUNICODE is not UTF-8"),
    "class as value": (ORDERED, "STOP leaves collections.OrderedDict, which is neither"),
    "storage as value": (b"]" + storage() + b"a", "STOP leaves a TypedStorage"),
    # Bombs: each object is small, what is made of it is not.
    "hash": (b"K\x01" + b"q\x00h\x00\x86" * 60 + b"q\x01}h\x01Ns", "as a key"),
    "copies": (
        b"]q\x00(" + b"K\x01K\x02\x86q\x01" + b"h\x01" * 500 + b"e0"
        b"]" + (ORDERED + b"h\x00\x85Ra") * 500,
        "copies more than the pickle holds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_neither_tensor_nor_plain_is_refused_by_name_and_place(name, write):
    code, told = ATTACKS[name]
    path = write(code)
    with pytest.raises(FormatError, match=told) as error:
        nt.load(path)
    assert str(path) in str(error.value) and "byte " in str(error.value)


def test_nothing_of_a_pickle_runs(write, tmp_path):
    trace = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    for protocol in range(2, 6):
        code = pickle.dumps([1, Payload()], protocol)[2:-1]
        with pytest.raises(FormatError, match=r"asks for '_?io.open'"):
            nt.load(write(code))
    assert not trace.exists()


def test_nesting_of_any_depth_ends(write):
    depth = 20_000
    found = nt.load(write(b"]" * depth + b"a" * (depth - 1)))
    while found:
        (found,) = found
    assert nt.load(write(b")" + b"\x85" * depth)) is not None


def test_a_storage_is_as_large_as_the_pickle_says(tmp_path):
    path = archive(tmp_path / "a.pt", rebuilt(), [("0", bytes(20))])
    with pytest.raises(FormatError, match="asks for 24 bytes of storage x/data/0, which has 20"):
        nt.load(path)
    with pytest.raises(FormatError, match="asks for storage '0', which is not there"):
        nt.load(archive(tmp_path / "a.pt", rebuilt(), []))
    with pytest.raises(FormatError, match="which is not there"):
        nt.load(archive(tmp_path / "a.pt", rebuilt(store=storage(b"../data/0"))))
    kind = (b"torch", b"BoolStorage")
    path = archive(tmp_path / "a.pt", rebuilt(store=storage(kind=kind)), [("0", b"\1\0\1\0\0\2")])
    with pytest.raises(FormatError, match="a bool of storage x/data/0 is neither 0 nor 1"):
        nt.load(path)


def test_a_row_of_pickles_is_whole(tmp_path):
    six = np.arange(6, dtype="f4")
    cases = {
        "nothing says of what type": {"storages": [("1", six)]},
        "which is not there": {"storages": []},
        "two storages are called '0'": {"storages": [("0", six), ("0", six)]},
        "are no list of text": {"keys": [0]},
        "4 bytes follow": {"storages": [("0", six), ("0", six[:1])], "keys": ["0"]},
        "24 bytes of storage '0', which has 20": {"storages": [("0", six[:5])]},
        "does not say the order": {"little": 1},
    }
    for told, options in cases.items():
        if "follow" in told:
            path = legacy(tmp_path / "a.pt", rebuilt())
            path.write_bytes(path.read_bytes() + bytes(4))
        else:
            path = legacy(tmp_path / "a.pt", rebuilt(), **options)
        with pytest.raises(FormatError, match=told):
            nt.load(path)
    path.write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(FormatError, match=r"a pickle, but not one of torch.save"):
        nt.load(path)
    path = legacy(tmp_path / "a.pt", rebuilt())
    path.write_bytes(path.read_bytes().replace(pickle.dumps(PROTOCOL, 2), pickle.dumps(7, 2)))
    with pytest.raises(FormatError, match=r"its protocol is 7, not 1001"):
        nt.load(path)


def test_every_file_that_is_cut_short_is_refused(tmp_path):
    for make in (archive, legacy):
        whole = make(tmp_path / "whole.pt", rebuilt()).read_bytes()
        path = tmp_path / "cut.pt"
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(FormatError, match=r"cut\.pt"):
                nt.load(path)


def test_a_changed_byte_is_read_or_refused(tmp_path, pytestconfig):
    random = np.random.default_rng(0)
    metadata = b"(" + rebuilt() + text(b"a") + ORDERED + b")Rt"
    path = tmp_path / "changed.pt"
    for make in (archive, legacy):
        whole = make(tmp_path / "whole.pt", metadata).read_bytes()
        for _ in range(20_000 if pytestconfig.getoption("slow") else 300):
            raw = bytearray(whole)
            for place in random.integers(0, len(raw), 1 + int(random.integers(0, 3))):
                raw[place] = random.integers(0, 256)
            path.write_bytes(bytes(raw))
            try:
                nt.load(path)
            except FormatError as error:
                assert "changed.pt" in str(error)


def test_archives_that_are_no_files_of_torch(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(FormatError, match=r"holds TorchScript[\s\S]*torch\.jit\.load"):
        nt.load(archive(path, rebuilt(), constants_pkl=b""))
    with pytest.raises(FormatError, match=r"the order of its bytes is 'middle'"):
        nt.load(archive(path, rebuilt(), byteorder=b"middle"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"N.")
        file.writestr("b/data.pkl", b"N.")
    with pytest.raises(FormatError, match=r"one data\.pkl, not 2"):
        nt.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme", b"")
    with pytest.raises(FormatError, match=r"neither data\.pkl[\s\S]* nor arrays"):
        nt.load(path)


def changed(path, change):
    """The archive with its directory, and the headers of its entries, changed."""
    raw = bytearray(path.read_bytes())
    start = raw.index(b"PK\1\2")
    change(raw, start)
    path.write_bytes(bytes(raw))
    return path


def test_malformed_archives_are_refused(tmp_path):
    path = tmp_path / "a.pt"

    def refused(told, change):
        with pytest.raises(FormatError, match=told):
            nt.load(changed(archive(path, rebuilt()), change))

    def put(offset, form, *values):
        return lambda raw, start: struct.pack_into(form, raw, start + offset, *values)

    refused("cannot hold the", put(24, "<I", 2**31))  # a bomb: its unpacked size
    refused("ends outside of the file|cannot hold", put(20, "<2I", 2**31, 2**31))
    refused("is encrypted", put(8, "<H", 1))
    refused("is compressed by method 14", put(10, "<H", 14))
    refused("is compressed by method 99", put(10, "<H", 99))
    refused("no header where|outside of|zip archive", put(42, "<I", 5))
    refused("outside of the file|zip archive", put(42, "<I", 2**31))
    refused("another name in its header", lambda raw, start: raw.__setitem__(start + 46, ord("y")))

    def share(raw, start):  # both entries are where the first is
        second = raw.index(b"PK\1\2", start + 4)
        struct.pack_into("<I", raw, second + 42, 0)
        raw[second + 46 : second + 56] = b"x/data.pkl"
        struct.pack_into("<2I", raw, second + 20, *struct.unpack_from("<2I", raw, start + 20))

    code = rebuilt()
    with pytest.raises(FormatError, match=r"two entries are called|zip archive|share bytes"):
        nt.load(changed(archive(path, code, [("012", b"")]), share))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", b"\x80\x02" + rebuilt() + b".")
        file.writestr("x/data/0", bytes(24))
    with pytest.raises(FormatError, match="is compressed, which its writer never does"):
        nt.load(path)


def test_reading_copies_nothing_that_is_aligned(tmp_path):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as file:
        file.writestr("x/data.pkl", b"\x80\x02" + rebuilt() + b".")
        info = zipfile.ZipInfo("x/data/0")
        header = len(raw.getvalue()) + 30 + len(info.filename) + 4
        info.extra = b"FB" + struct.pack("<H", -header % 64) + bytes(-header % 64)
        file.writestr(info, np.arange(6, dtype="f4").tobytes())
    path = tmp_path / "a.pt"
    path.write_bytes(raw.getvalue())
    assert not nt.load(path, "cpu").node.buffer.pooled
