"""Files of token pairs, which are made once for training TokenAdapt where the tokenizer is the bottleneck.

One folder: `pairs.json` with what made the pairs, and parts `part-00000.safetensors`, each with the tokens of images
(`source`), those of the same images augmented (`target`), what had been drawn (`draws.<number>.<name>`), a CRC-32 per
group (`checksums`) and a hash of the header and of the part's name (`header`); older parts lack the last two.

Pairs come in groups that were augmented together: a sample that was mixed has its partner in its group. A part is
written aside and renamed, so that a run that was stopped continues with the next one.
"""

import errno
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.atomic_write import write_whole, written_whole
from seitpp.io.stable_file import file_identity
from seitpp.io.text import shown
from seitpp.io.untrusted import check_regular_file, parse_json, read_file, whole_number
from seitpp.storage import header as store_header
from seitpp.storage.codecs import check_codebook_size
from seitpp.storage.header import MAX_CHANNELS, check_grid

_HEADER = "pairs.json"
_FORMAT, _VERSION = "seitpp token pairs", 1
# What a header must say; the rest is for people and for comparison.
_NEEDED = ("num_pairs", "group_size", "groups_per_part", "augments", "grid", "out_grid", "codebook_sha256")
_MOST = {"num_pairs": 2**40, "group_size": 2**20, "groups_per_part": 2**30}
_MAX_HEADER_BYTES = 2**26
# Names of arrays in a part: prefix of what was drawn, and what protects the rest.
_DRAWS, _CHECKSUMS, _HEADER_HASH = "draws.", "checksums", "header"
_REMEDY = "delete the file and run tools/make_token_pairs.py again"

Group = tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]


class TokenPairWriter:
    """Writes parts; a folder that was begun with the same settings is continued.

    Args:
        path: The folder.
        metadata: What made the pairs; see `pairs.json`. With `num_pairs`, `group_size`, `groups_per_part`.

    Raises:
        ValueError: The folder holds something else, or pairs that were made with other settings.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, Any]) -> None:
        self.path = Path(path)
        header = json.loads(json.dumps({"format": _FORMAT, "version": _VERSION, **metadata}))
        if (self.path / _HEADER).exists():
            _refuse_other_settings(self.path, _read_header(self.path), header)
        elif self.path.exists() and not (
            # Another process may be writing the header.
            self.path.is_dir() and all(_HEADER in entry.name for entry in self.path.iterdir())
        ):
            raise ValueError(f"{self.path} exists and holds no token pairs; name a new folder")
        else:
            write_whole(self.path / _HEADER, store_header.header_bytes(header))
        self.header = header

    def missing_parts(self, among: Iterable[int] | None = None) -> list[int]:
        """List the parts, by default of all, that are not written yet or are damaged."""
        numbers = range(num_parts(self.header)) if among is None else among
        return [number for number in numbers if not self._is_sound(number)]

    def _is_sound(self, number: int) -> bool:
        header, per_part = self.header, self.header["groups_per_part"]
        try:
            part = _Part(_part_path(self.path, number), header)
            for group in range(min(per_part, header["num_pairs"] // header["group_size"] - number * per_part)):
                part.read_group(group)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def write_part(
        self, number: int, source: np.ndarray, target: np.ndarray, draws: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        """Write one part: tokens (n, H, W) and (n, h, w), and arrays (n, ...) by name for each augmentation."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        path, size = _part_path(self.path, number), self.header["group_size"]
        arrays = {"source": source, "target": target}
        for augment, drawn in enumerate(draws):
            arrays.update({f"{_DRAWS}{augment}.{name}": values for name, values in drawn.items()})
        arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        checksums = [
            _checksum({name: values[start : start + size] for name, values in arrays.items()})
            for start in range(0, len(source), size)
        ]
        arrays |= {_CHECKSUMS: np.array(checksums, np.uint32), _HEADER_HASH: _header_hash(self.header, path)}
        with written_whole(path) as temporary:
            try:
                save_file(arrays, temporary)
            except SafetensorError as error:  # which tells the system's error number in its text alone
                found = re.search(r"os error (\d+)", str(error))
                raise OSError(int(found[1]) if found else errno.EIO, str(error)) from error


class TokenPairReader:
    """Reads groups of pairs from a folder, whose parts must all be there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header = _read_header(self.path)
        self._refuse_missing_parts()
        self.group_size = int(self.header["group_size"])
        self.num_groups = int(self.header["num_pairs"]) // self.group_size
        self.__setstate__({})

    def _refuse_missing_parts(self) -> None:
        total, present = num_parts(self.header), set(os.listdir(self.path))
        first = next((number for number in range(total) if _part_path(self.path, number).name not in present), None)
        if first is None:
            return
        # Takes no longer than there are files, whatever total the header claims.
        found = sum(_part_path(self.path, number).name in present for number in range(min(total, len(present) + 1)))
        raise ValueError(
            f"token pairs {self.path} lack {total - found} of {total} parts, such as "
            f"{_part_path(self.path, first).name}; run tools/make_token_pairs.py again with the same options to "
            "continue"
        )

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": None}

    def __setstate__(self, state: dict) -> None:
        # Parts are opened with the header that was read first: those of other pairs, put there since, are refused.
        self.__dict__.update(state)
        self._open = lru_cache(maxsize=16)(partial(_Part, header=self.header))

    def read_group(self, group: int) -> Group:
        """Read the source and target tokens of a group, and the draws of each augmentation."""
        number, index = divmod(group, int(self.header["groups_per_part"]))
        return self._open(_part_path(self.path, number)).read_group(index)


class _Part:
    """An open part; `ValueError` if the file is damaged or belongs to other pairs than `header` says."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        from safetensors import SafetensorError, safe_open

        self.path, self.header = path, header
        self._identity = file_identity(check_regular_file(path, "token pairs"))
        try:
            self._file = safe_open(path, framework="np")
            names = set(self._file.keys())
            own = {name: self._file.get_tensor(name) for name in (_CHECKSUMS, _HEADER_HASH) if name in names}
        except (SafetensorError, ValueError, TypeError, KeyError) as error:  # what it raises for damaged headers
            raise ValueError(f"token pairs {path} are damaged ({error}); {_REMEDY}") from error
        self._names, self._checksums = sorted(names - set(own)), own.get(_CHECKSUMS)
        if len(own) == 1 or (own and not np.array_equal(own[_HEADER_HASH], _header_hash(header, path))):
            raise ValueError(
                f"token pairs {path} belong to other pairs than pairs.json says, or are damaged; {_REMEDY}"
            )
        if self._checksums is not None and (self._checksums.dtype != np.uint32 or self._checksums.ndim != 1):
            raise ValueError(f"token pairs {path} are damaged (their checksums are none); {_REMEDY}")

    def read_group(self, index: int) -> Group:
        from safetensors import SafetensorError

        if file_identity(self.path) != self._identity:
            raise ValueError(f"token pairs {self.path} have changed since they were opened; open them again")
        size = int(self.header["group_size"])
        rows = slice(index * size, (index + 1) * size)
        try:
            arrays = {name: self._file.get_slice(name)[rows] for name in self._names}
            group = self._sorted_out(arrays, size)
        except (ValueError, IndexError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"token pairs {self.path} do not hold what their header says: {error}") from error
        if self._checksums is not None:
            expected = int(self._checksums[index]) if index < len(self._checksums) else None
            if _checksum(arrays) != expected:
                raise ValueError(f"token pairs {self.path}: group {index} is damaged, its CRC-32 is wrong; {_REMEDY}")
        return group

    def _sorted_out(self, arrays: Mapping[str, np.ndarray], size: int) -> Group:
        """Return the arrays of a group by their purpose; raise `ValueError` where they cannot be those of a group."""
        draws: list[dict[str, np.ndarray]] = [{} for _ in self.header["augments"]]
        for name, values in arrays.items():
            if len(values) != size:
                raise ValueError(f"{name} has {len(values)} pairs in a group, expected {size}")
            if name in ("source", "target"):
                _check_tokens(name, values, self.header)
                continue
            augment, field = name.removeprefix(_DRAWS).split(".", 1)
            draws[whole_number(int(augment), name, 0, len(draws) - 1)][field] = values
            if field == "partner" and (values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= size):
                raise ValueError(f"{name} has a partner that is none of the {size} pairs of a group")
        return arrays["source"], arrays["target"], draws


def num_parts(header: Mapping[str, Any]) -> int:
    return -(-int(header["num_pairs"]) // (int(header["group_size"]) * int(header["groups_per_part"])))


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.safetensors"


def _checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the CRC-32 over the names, types, shapes and values of the arrays of a group."""
    crc = 0
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        crc = zlib.crc32(f"{name}:{values.dtype}:{values.shape};".encode(), crc)
        crc = zlib.crc32(values.reshape(-1).view(np.uint8), crc)
    return crc


def _header_hash(header: Mapping[str, Any], path: Path) -> np.ndarray:
    """Return the SHA-256 of a header and of a part's name as an array, (32,), uint8: parts are made of arrays."""
    content = f"{store_header.header_checksum(dict(header))} {path.name}".encode()
    return np.frombuffer(bytes.fromhex(store_header.sha256_hex(content)), np.uint8)


def _check_tokens(name: str, tokens: np.ndarray, header: Mapping[str, Any]) -> None:
    grid = header["grid" if name == "source" else "out_grid"]
    expected = tuple(grid) + (() if header.get("channels") is None else (header["channels"],))
    if tokens.dtype.kind not in "iu" or tokens.shape[1:] != expected:
        raise ValueError(f"{name} is {tokens.dtype} of shape {tokens.shape}, expected integers (n, *{expected})")
    size = header.get("codebook_size") if header["codebook_sha256"] is not None else None
    if size is not None and (tokens.min() < 0 or tokens.max() >= size):
        raise ValueError(f"{name} has codes in [{tokens.min()}, {tokens.max()}], expected them in [0, {size})")


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / _HEADER
    try:
        content = read_file(path, "header of token pairs", at_most=_MAX_HEADER_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no token pairs ({_HEADER}); make them with tools/make_token_pairs.py"
        ) from None
    header = parse_json(content, path)
    if not isinstance(header, dict) or header.get("format") != _FORMAT or header.get("version") != _VERSION:
        raise ValueError(f"{path} is no header of {_FORMAT}, version {_VERSION}")
    found = header.pop("header_sha256", None)  # older versions wrote none
    if found is not None and found != store_header.header_checksum(header):
        raise ValueError(
            f"{path}: header_sha256 does not match, the header was damaged or edited by hand; restore it, or make the "
            "pairs again in another folder (tools/make_token_pairs.py)"
        )
    if missing := [key for key in _NEEDED if key not in header]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    try:
        _check_header(header)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return header


def _check_header(header: Mapping[str, Any]) -> None:
    for key, most in _MOST.items():
        whole_number(header[key], key, 1, most)
    if header["num_pairs"] % header["group_size"]:
        raise ValueError(f"num_pairs is {header['num_pairs']}, expected groups of {header['group_size']}")
    if not isinstance(header["augments"], list) or not all(isinstance(one, dict) for one in header["augments"]):
        raise ValueError(f"augments is {shown(header['augments'])}, expected a list of objects")
    for key in ("grid", "out_grid"):
        check_grid(header[key])
    if header.get("channels") is not None:
        whole_number(header["channels"], "channels", 1, MAX_CHANNELS)
    if header.get("codebook_size") is not None:
        check_codebook_size(header["codebook_size"])
    if not isinstance(header["codebook_sha256"], str | type(None)):
        raise ValueError(f"codebook_sha256 is {shown(header['codebook_sha256'])}, expected text or null")


def _refuse_other_settings(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if differ := [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]:
        values = "; ".join(f"{key} {found.get(key)!r}, now {wanted.get(key)!r}" for key in differ[:3])
        raise ValueError(f"token pairs in {folder} were begun with other settings ({values}); name a new folder")
