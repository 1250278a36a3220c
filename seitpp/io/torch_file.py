"""Files of `torch.save`, read without running anything in them: the zip format, and the older one.

Pickles go through `InertUnpickler`; tensors are made here, on bytes of the file's own storages with every size
compared; other objects come from the table of `plain_objects`. Neither torch's unpickler nor its lists of functions has
a part in it: those lists hold functions that call what a file hands them. The checksums of a zip file are compared,
which torch does not do.
"""

import errno
import functools
import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from seitpp.io.inert_pickle import BoundedStream, InertName, InertUnpickler, kind_of
from seitpp.io.plain_objects import NotPlainError, ObjectMaker, UnreadTensor, check_plain
from seitpp.io.untrusted import PARSER_ERRORS, check_regular_file

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_PIECE = 1 << 20  # bytes read at a time
_MOST_NUMBER = 1 << 63  # of a size or stride: products of numbers of any length take for ever
_STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "storage.UntypedStorage": torch.uint8,
}
# Types without a storage of their own, which are laid over one of bytes.
_OVER_BYTES = (torch.uint16, torch.uint32, torch.uint64)
# What a damaged or hostile file makes the steps below raise.
_ERRORS = (*PARSER_ERRORS, RuntimeError, AssertionError, pickle.UnpicklingError)


class _Storage(NamedTuple):
    """A storage that the file names: its values, not yet read."""

    key: str
    kind: str
    dtype: torch.dtype | None  # None: a kind that is not read
    count: int


def load_torch_file(
    source: str | Path | BinaryIO, *, what: str = "checkpoint", inert: bool = False, device: Any = None
) -> Any:
    """Read a file of `torch.save`, executing nothing in it.

    Args:
        source: A path, or an open file.
        what: What it is, for messages.
        inert: Whether to read past objects that are no plain values; they come as `Inert` and `InertName`, and tensors
            of kinds that no weights have as `UnreadTensor`. By default a file that holds any is refused.
        device: Where the tensors go; the CPU by default. On "meta" they have no values, and none are read.

    Raises:
        NotPlainError: It holds other objects than tensors, plain values, and those of `plain_objects`.
        ValueError: It is damaged, no file of torch.save, or describes a tensor that its bytes do not hold.
    """
    if isinstance(source, str | Path):
        path = check_regular_file(source, what)
        with path.open("rb") as file:
            return _load(file, f"{what} {path}", inert, device)
    return _load(source, what, inert, device)


def _load(file: BinaryIO, source: str, inert: bool, device: Any) -> Any:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    file.seek(0)
    try:
        content = (_load_zip if is_zip else _load_legacy)(file, size, device)
        if not inert:
            check_plain(content)
        return content
    except NotPlainError as error:
        raise NotPlainError(
            f"{source} holds more than tensors and plain types: {str(error)[:300]}. It was refused and nothing in it "
            "was run. Ask its maker for a state dict, or take its weights with tools/convert_checkpoint.py"
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a position before the beginning, which a damaged zip file names
            raise
        raise ValueError(f"{source} cannot be read, and nothing in it was run: it is damaged") from None
    except _ERRORS as error:
        # The text of the error, not the error: it may hold values of the file, without end.
        reason = str(error)[:300]
        if not isinstance(error, ValueError | zipfile.BadZipFile):
            reason = f"it makes no sense ({type(error).__name__}: {reason})"
        raise ValueError(f"{source} cannot be read, and nothing in it was run: {reason}") from None


class _Tensors:
    """Makes the tensors of a file on its storages; `read` reads one, whole."""

    def __init__(self, read: Callable[[_Storage], Tensor]) -> None:
        self._values = functools.cache(read)
        self.storages: dict[str, _Storage] = {}

    def unpickled(self, stream: BoundedStream) -> Any:
        """Return the records of one pickle, and declare its storages."""
        return InertUnpickler(stream, self._stored).load()

    def made(self, content: Any) -> Any:
        """Return what such records stand for."""
        return ObjectMaker(self._tensor).made(content)

    def _stored(self, identity: Any) -> Any:
        """Return the storage that a persistent id names: ("storage", type, key, device, count[, view])."""
        match identity:
            case "module", InertName() as module, *_:  # before PyTorch 1.6, with its source
                return module
            case "storage", InertName(name=kind), str() as key, _, int() as count, *view if count >= 0:
                dtype = _STORAGE_TYPES.get(kind.removeprefix("torch.")) if view in ([], [None]) else None
                storage = self.storages.setdefault(key, _Storage(key, kind, dtype, count))
                if (storage.kind, storage.count) != (kind, count):
                    raise ValueError(f"storage {key[:40]} is declared twice, with different types or sizes")
                return storage
            case "storage", *_:
                raise ValueError("the type of a storage is no name, its key not text, or its size not a number")
        raise ValueError("a persistent id is not that of a storage")

    def _tensor(self, name: str, args: tuple) -> Any:
        match name.removeprefix("torch._utils._rebuild_"), args:
            case "tensor" | "tensor_v2", (storage, offset, size, stride, *_):
                return self._laid_out(storage, offset, size, stride)
            case "tensor_v3", (storage, offset, size, stride, _, _, torch.dtype() as dtype, *_):
                return self._laid_out(storage, offset, size, stride, dtype)
            case "parameter" | "parameter_with_state", (Tensor() | UnreadTensor() as tensor, *_):
                return tensor
        return _unread(f"it is made by {name[:100]}, which is not read; save it as a dense float32 tensor")

    def _laid_out(
        self, storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
    ) -> Tensor | UnreadTensor:
        """Return a tensor of the given layout on a storage, all of it inside; a mark if its kind is not read."""
        if not isinstance(storage, _Storage):
            raise ValueError(f"a tensor lies on a {kind_of(storage)}, expected a storage")
        size, stride = tuple(size), tuple(stride)  # a dict of such keys may hold values without end
        numbers = all(type(number) is int and 0 <= number < _MOST_NUMBER for number in (offset, *size, *stride))
        if len(size) != len(stride) or len(size) > 32 or not numbers:
            raise ValueError("a tensor's offset, size or stride is not made of non-negative integers of 63 bits")
        if storage.dtype is None or (dtype is not None and dtype not in _OVER_BYTES):
            kind = storage.kind if storage.dtype is None else dtype
            return _unread(f"its storage type {kind} is not known; save it as float32")
        held = storage.count if dtype is None else storage.count // dtype.itemsize
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
        if last >= max(held, 1):
            raise ValueError(f"a tensor of size {size} reaches beyond its storage of {held} values")
        if count > held:  # a few bytes could stand for more values than the memory holds
            return _unread(
                f"its size {size} has strides {stride} that repeat the {held} values of its storage, as expanded "
                "tensors do; save it contiguous"
            )
        values = self._values(storage)
        return torch.as_strided(values if dtype is None else values.view(dtype), size, stride, offset)


def _unread(reason: str) -> UnreadTensor:
    return UnreadTensor("torch.Tensor", reason=reason)


def _filled(storage: _Storage, read_into: Callable[[memoryview], int], device: Any) -> Tensor:
    """Return the values of a storage, (count,), from a function that reads the file's next bytes into a buffer."""
    assert storage.dtype is not None
    values = torch.empty(storage.count, dtype=torch.uint8 if storage.dtype == torch.bool else storage.dtype)
    content = memoryview(values.view(torch.uint8).numpy()) if storage.count else memoryview(b"")
    done = 0
    while done < len(content):
        read = read_into(content[done : done + _PIECE])
        if not read:
            raise ValueError(f"storage {storage.key[:40]} ends after {done} of {len(content)} bytes")
        done += read
    values = values.ne(0) if storage.dtype == torch.bool else values
    return values if device is None else values.to(device)


def _load_zip(file: BinaryIO, size: int, device: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"a file of torch.save has one data.pkl, this one has {len(names)}")
        prefix, left = names[0].removesuffix("data.pkl"), [size]
        without_checksums = not any(info.CRC for info in archive.infolist())  # torch can be told to leave them out

        def member(name: str) -> zipfile.ZipInfo:
            info = archive.getinfo(name)
            if without_checksums:
                del info.CRC
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name[:80]} is compressed, which torch.save never does")
            left[0] -= info.file_size
            if left[0] < 0:  # parts that lie on one another would fill the memory
                raise ValueError("its parts hold more bytes than the file has")
            return info

        def read(storage: _Storage) -> Tensor:
            info, declared = member(f"{prefix}data/{storage.key}"), storage.count * storage.dtype.itemsize
            if (held := info.file_size) != declared:
                raise ValueError(f"storage {storage.key[:40]} holds {held} bytes where {declared} are declared")
            if device == "meta":
                return torch.empty(storage.count, dtype=storage.dtype, device=device)
            with archive.open(info) as part:
                return _filled(storage, part.readinto, device)

        if f"{prefix}byteorder" in archive.namelist() and archive.read(member(f"{prefix}byteorder")) != b"little":
            raise ValueError("its numbers are not little-endian")
        stream = archive.read(member(names[0]))
        tensors = _Tensors(read)
        return tensors.made(tensors.unpickled(BoundedStream(io.BytesIO(stream), len(stream))))


def _load_legacy(file: BinaryIO, size: int, device: Any) -> Any:
    """Read the format before PyTorch 1.6: five pickles, the last with the keys of the storages that follow."""

    def read(storage: _Storage) -> Tensor:
        if device == "meta":
            return torch.empty(storage.count, dtype=storage.dtype, device=device)
        file.seek(offsets[storage.key])
        return _filled(storage, file.readinto, device)

    stream, tensors = BoundedStream(file, size), _Tensors(read)
    try:
        begins_so = tensors.unpickled(stream) == _LEGACY_MAGIC and tensors.unpickled(stream) == _LEGACY_PROTOCOL
    except _ERRORS:
        begins_so = False
    if not begins_so:
        raise ValueError("it does not begin as a file of torch.save does")
    machine = tensors.unpickled(stream)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    content, keys, offsets = tensors.unpickled(stream), tensors.unpickled(stream), {}
    for key in keys if isinstance(keys, list) else []:
        storage = tensors.storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.dtype is None:
            raise ValueError("it has a storage that no tensor lies on, or one of a type that is not known")
        (count,) = struct.unpack("<q", file.read(8))
        offsets[key], num_bytes = file.tell(), count * storage.dtype.itemsize
        if count != storage.count or offsets[key] + num_bytes > size:
            raise ValueError(f"storage {key[:40]} has {count} values where {storage.count} are declared, or ends early")
        file.seek(num_bytes, os.SEEK_CUR)
    return tensors.made(content)
