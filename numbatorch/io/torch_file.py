"""PyTorch's files: the zip archives of `torch.save`, and the row of pickles it wrote before 1.6.

Pickles run on the machine of unpickling.py, which runs no code. Storages stay where they lie in the
mapped file, and tensors are read out of them when somebody asks.

The formats: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import FormatError, message
from numbatorch.io.archive import Archive
from numbatorch.io.mapping import Array
from numbatorch.io.reading import short
from numbatorch.io.torch_names import NAMES, Storage, StorageType, StoredTensor, TypedStorage
from numbatorch.io.unpickling import Machine, shown

MAGIC = 0x1950A86A20F9469CFC6C
# How a row of pickles begins: with the protocol, or in protocols 0 and 1 with the number as text.
STARTS = (b"\x80", f"L{MAGIC}L".encode())
PROTOCOL = 1001
OPERATOR = "load"


class TorchMachine(Machine):
    """Builds the tensors of a file, each as `file.make` has it."""

    names = NAMES

    def __init__(self, file: TorchFile, data: memoryview, start: int, where: str) -> None:
        super().__init__(data, start, lambda problem, at: file.fail(problem, at, where))
        self._file = file
        self.leaves = (file.leaf,)

    def tensor(self, stored: StoredTensor) -> Any:
        """What stands for a tensor."""
        return self._file.make(self._file, stored)

    def parameter(self, data: Any, requires_grad: bool) -> Any:
        """What stands for a parameter."""
        if not isinstance(data, self.leaves):
            self.refuse(f"makes a parameter of {shown(data)}")
        return self._file.as_leaf(data, requires_grad)

    def persistent(self, key: Any) -> TypedStorage:
        """A storage: ('storage', type, key, location, count), then a part of it in old files."""
        plain = type(key) is tuple and len(key) in (5, 6) and key[0] == "storage"
        if not plain or type(key[1]) is not StorageType or type(key[2]) is not str:
            self.refuse(f"asks for {shown(key)}, which names no storage")
        _, kind, name, _, count, *part = key
        if type(count) is not int or not 0 <= count < 2**63:
            self.refuse(f"asks for a storage of {shown(count)} elements")
        return self._part(TypedStorage(self.storage(kind, name, count), kind.dtype, 0, count), part)

    def storage(self, kind: StorageType, name: str, count: int) -> Storage:
        """The storage of a name, which has to be as large as the pickle says."""
        found = self._file.storages.get(name)
        if found is None:
            self.refuse(f"asks for storage {short(name)!a}, which is not there")
        nbytes = count * _itemsize(kind)
        if found.nbytes != nbytes:
            problem = f"asks for {nbytes} bytes of storage {found.name}"
            self.refuse(f"{problem}, which has {found.nbytes}")
        return found

    def _part(self, whole: TypedStorage, part: list[Any]) -> TypedStorage:
        if part in ([], [None]):
            return whole
        view = part[0]
        if type(view) is not tuple or len(view) != 3 or whole.dtype is None:
            self.refuse(f"asks for a part of a storage by {shown(view)}")
        _, start, count = view
        sizes = all(type(size) is int and size >= 0 for size in (start, count))
        if not sizes or start + count > whole.numel:
            self.refuse(f"asks for {shown(count)} elements from {shown(start)} of {whole.numel}")
        return whole._replace(start=start, numel=count)


class _Measuring(TorchMachine):
    """Looks at which storages a pickle asks for, which lie behind it, and makes no tensors."""

    def __init__(self, file: TorchFile, data: memoryview, start: int, where: str) -> None:
        super().__init__(file, data, start, where)
        self.itemsizes: dict[str, int] = {}

    def storage(self, kind: StorageType, name: str, count: int) -> Storage:
        size = self.itemsizes.setdefault(name, _itemsize(kind))
        if size != _itemsize(kind):
            self.refuse(f"asks for storage {short(name)!a} of two types")
        return Storage(name, 0, count * size)

    def tensor(self, stored: StoredTensor) -> Any:
        return None

    def parameter(self, data: Any, requires_grad: bool) -> Any:
        return None


class TorchFile:
    """A file of `torch.save` with the bytes `data`.

    Attributes:
        path: the file.
        value: what it holds, with what `make` gives in place of each tensor.
        make: (this file, a stored tensor) -> what stands for it.
        as_leaf: (what stands for a tensor, requires_grad) -> what stands for that parameter.
        leaf: the class of what they give.
        storages: by their keys.

    Raises:
        FormatError: anything that does not follow the format; names the file, what it asks for and
            the byte of the pickle, or of the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        data: Array,
        make: Callable[[TorchFile, StoredTensor], Any],
        as_leaf: Callable[[Any, bool], Any],
        leaf: type,
    ) -> None:
        self.path = Path(path)
        self.make, self.as_leaf, self.leaf = make, as_leaf, leaf
        self.storages: Mapping[str, Storage] = {}
        self._data = data
        self._swapped = False
        is_zip = self._data[:2].tobytes() == b"PK"
        self.value = self._from_zip() if is_zip else self._from_pickles()

    def __repr__(self) -> str:
        return f"TorchFile({str(self.path)!r}, {len(self.storages)} storages)"

    def fail(self, problem: str, at: int | None = None, where: str = "") -> NoReturn:
        """Raise FormatError with the file and the byte of what is in it."""
        place = "" if at is None else f", byte {at}" + (f" of {where}" if where else "")
        raise FormatError(message(OPERATOR, problem, f"file {self.path}{place}"))

    def elements(self, storage: Storage, dtype: DType) -> Array:
        """The elements of a storage in a row, read-only; a copy only where they are not aligned."""
        found: Array | None = storage.kept.get(dtype)
        if found is not None:
            return found
        whole = storage.nbytes // dtype.itemsize * dtype.itemsize
        raw = self._data[storage.offset : storage.offset + whole]
        element = dtype.numpy
        if self._swapped and dtype.itemsize > 1:
            word = dtype.part.itemsize
            raw = np.ascontiguousarray(raw.reshape(-1, word)[:, ::-1]).reshape(-1)
        if raw.ctypes.data % element.alignment:
            raw = raw.copy()
        if dtype.kind == "b" and raw.size and raw.max() > 1:
            self.fail(f"a bool of storage {storage.name} is neither 0 nor 1", storage.offset)
        found = raw.view(dtype.elements)
        found.flags.writeable = False
        storage.kept[dtype] = found
        return found

    # The archive.

    def _from_zip(self) -> Any:
        archive = Archive(OPERATOR, self.path, self._data, "a file of PyTorch")
        pickles = [name for name in archive.entries if f"/{name}".endswith("/data.pkl")]
        if len(pickles) != 1:
            self.fail(f"an archive of torch.save has one data.pkl, not {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        if root + "constants.pkl" in archive.entries:
            hint = "torch.jit.load(path).state_dict() gives its tensors"
            problem = "holds TorchScript, which is a program"
            raise FormatError(message(OPERATOR, problem, f"file {self.path}", hint=hint))
        self._swapped = self._order(archive, root) != sys.byteorder
        prefix = root + "data/"
        for name, entry in archive.entries.items():
            if name.startswith(prefix):
                archive.stored(entry)
        self.storages = {
            name.removeprefix(prefix): Storage(short(name), entry.offset, entry.nbytes)
            for name, entry in archive.entries.items()
            if name.startswith(prefix)
        }
        raw = archive.stored(archive.entries[pickles[0]]).data
        return TorchMachine(self, raw, 0, short(pickles[0])).run()

    def _order(self, archive: Archive, root: str) -> str:
        """The order of bytes, which files of older versions do not say."""
        entry = archive.entries.get(root + "byteorder")
        said = "little" if entry is None else archive.start(entry, 16).decode("latin-1")
        if said not in ("little", "big"):
            self.fail(f"the order of its bytes is {said!a}", entry.offset if entry else None)
        return said

    # The row of pickles.

    def _from_pickles(self) -> Any:
        raw, where = self._data.data, "the file"
        number, at = self._plain(raw, 0)
        if number != MAGIC:
            self.fail("a pickle, but not one of torch.save", 0)
        protocol, at = self._plain(raw, at)
        if protocol != PROTOCOL:
            self.fail(f"its protocol is {shown(protocol)}, not {PROTOCOL}")
        begin = at
        system, at = self._plain(raw, at)
        little = system.get("little_endian") if isinstance(system, dict) else None
        if type(little) is not bool:
            self.fail("does not say the order of its bytes", begin)
        self._swapped = little is not (sys.byteorder == "little")
        measuring = _Measuring(self, raw, at, where)
        measuring.run()
        keys_at = measuring.end
        keys, data_at = self._plain(raw, keys_at)
        if type(keys) is not list or not all(type(key) is str for key in keys):
            self.fail("the keys of its storages are no list of text", keys_at)
        self.storages = self._lie(keys, data_at, measuring.itemsizes)
        return TorchMachine(self, raw, at, where).run()

    def _plain(self, raw: memoryview, start: int) -> tuple[Any, int]:
        machine = Machine(raw, start, lambda problem, at: self.fail(problem, at, "the file"))
        return machine.run(), machine.end

    def _lie(self, keys: list[str], at: int, itemsizes: Mapping[str, int]) -> dict[str, Storage]:
        """Where each storage lies: a count of elements, then these, one storage after the other."""
        found: dict[str, Storage] = {}
        size = self._data.size
        for key in keys:
            name = repr(short(key))
            if key in found:
                self.fail(f"two storages are called {name}", at)
            if key not in itemsizes:
                self.fail(f"nothing says of what type storage {name} is", at)
            if at + 8 > size:
                self.fail(f"storage {name} is cut short", at)
            count = int.from_bytes(self._data[at : at + 8].tobytes(), "little", signed=True)
            nbytes = count * itemsizes[key]
            if not 0 <= nbytes <= size - at - 8:
                problem = f"storage {name} has {count} elements of {itemsizes[key]} bytes"
                self.fail(f"{problem} where {size - at - 8} bytes are left", at)
            found[key] = Storage(name, at + 8, nbytes)
            at += 8 + nbytes
        if at != size:
            self.fail(f"{size - at} bytes follow the last storage", at)
        return found


def _itemsize(kind: StorageType) -> int:
    return 1 if kind.dtype is None else kind.dtype.itemsize
