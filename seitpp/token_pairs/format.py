"""Pairs of tokens prepared once, for training TokenAdapt where the tokenizer is the bottleneck.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.files import written_whole
from seitpp.io.untrusted import parse_json, read_file, shown, whole_number
from seitpp.storage import format as store_format
from seitpp.storage.codecs import check_codebook_size
from seitpp.storage.header_checks import MAX_CHANNELS, check_grid
from seitpp.token_pairs.part import CHECKSUMS, DRAWS, HEADER_HASH, PairPart, group_checksum, place_hash

_HEADER = "pairs.json"
_FORMAT = "seitpp token pairs"
_VERSION = 1
# What a header must say; the rest is for people and for comparison.
_NEEDED = ("num_pairs", "group_size", "groups_per_part", "augments", "grid", "out_grid", "codebook_sha256")
_MAX_HEADER_BYTES = 2**26
_MOST = {"num_pairs": 2**40, "group_size": 2**20, "groups_per_part": 2**30}


class TokenPairWriter:
    """Writes parts; a folder that was begun with the same settings is continued.

    Args:
        path: The folder.
        facts: What made the pairs; see `pairs.json`. With `num_pairs`, `group_size`, `groups_per_part`.

    Raises:
        ValueError: The folder holds something else, or pairs that were made with other settings.
    """

    def __init__(self, path: str | Path, facts: Mapping[str, Any]) -> None:
        self.path = Path(path)
        header = json.loads(json.dumps({"format": _FORMAT, "version": _VERSION, **facts}))
        if (self.path / _HEADER).exists():
            _refuse_other_settings(self.path, _read_header(self.path), header)
        elif self.path.exists() and (not self.path.is_dir() or _foreign(self.path)):
            raise ValueError(f"{self.path} exists and holds no token pairs; name a new folder")
        else:
            with written_whole(self.path / _HEADER) as temporary:
                temporary.write_bytes(store_format.header_bytes(header))
        self.header = header

    def missing_parts(self, among: Iterable[int] | None = None) -> list[int]:
        """Numbers of the parts that are not written yet, or were damaged since.

        Args:
            among: Numbers to look at; all by default.
        """
        numbers = range(num_parts(self.header)) if among is None else among
        return [number for number in numbers if not self._is_sound(number)]

    def _is_sound(self, number: int) -> bool:
        """Whether a part is there and holds what was written."""
        path, first = part_path(self.path, number), number * self.header["groups_per_part"]
        if not path.exists():
            return False
        last = min(first + self.header["groups_per_part"], self.header["num_pairs"] // self.header["group_size"])
        try:
            part = PairPart(path, self.header)
            for group in range(last - first):
                part.read_group(group)
        except ValueError:
            return False
        return True

    def write_part(
        self, number: int, source: np.ndarray, target: np.ndarray, draws: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        """Write one part: tokens (n, H, W) and (n, h, w), and arrays (n, ...) by name for each augmentation."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        arrays = {"source": source, "target": target}
        for place, drawn in enumerate(draws):
            arrays.update({f"{DRAWS}{place}.{name}": values for name, values in drawn.items()})
        arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        size = self.header["group_size"]
        checksums = [
            group_checksum({name: values[start : start + size] for name, values in arrays.items()})
            for start in range(0, len(source), size)
        ]
        arrays |= {
            CHECKSUMS: np.array(checksums, np.uint32),
            HEADER_HASH: place_hash(self.header, part_path(self.path, number)),
        }
        with written_whole(part_path(self.path, number)) as temporary:
            try:
                save_file(arrays, temporary)
            except SafetensorError as error:  # it tells the system's number in its text alone
                number_of_error = re.search(r"os error (\d+)", str(error))
                raise OSError(int(number_of_error[1]) if number_of_error else errno.EIO, str(error)) from error


class TokenPairReader:
    """Reads groups of pairs.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: There is no such folder, or no `pairs.json` in it.
        ValueError: It is of another format, or parts are missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header = _read_header(self.path)
        total = num_parts(self.header)
        if missing := _missing(self.path, total):
            raise ValueError(
                f"token pairs {self.path} lack {missing[1]} of {total} parts, such as "
                f"{part_path(self.path, missing[0]).name}; run tools/make_token_pairs.py again with the same options "
                "to continue"
            )
        self.group_size = int(self.header["group_size"])
        self.num_groups = int(self.header["num_pairs"]) // self.group_size
        self._open = self._parts()

    def _parts(self) -> Callable[[Path], "PairPart"]:
        """Opens parts, and keeps some of them open."""
        return lru_cache(maxsize=16)(partial(PairPart, header=self.header))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": None}

    def __setstate__(self, state: dict) -> None:
        # With the header that was read first: parts of other pairs, put there since, do not belong to it.
        self.__dict__.update(state)
        self._open = self._parts()

    def read_group(self, group: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
        """Source and target tokens of a group, and the draws of each augmentation.

        Raises:
            ValueError: The part is damaged, belongs to other pairs, or does not hold what the header says.
        """
        number, place = divmod(group, int(self.header["groups_per_part"]))
        return self._open(part_path(self.path, number)).read_group(place)


def num_parts(header: Mapping[str, Any]) -> int:
    """Parts that the pairs are written in."""
    return -(-int(header["num_pairs"]) // (int(header["group_size"]) * int(header["groups_per_part"])))


def part_path(folder: Path, number: int) -> Path:
    """File of one part."""
    return folder / f"part-{number:05d}.safetensors"


def _missing(folder: Path, total: int) -> tuple[int, int] | None:
    """The first part that is missing and how many are; None for none. Takes no longer than there are files."""
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries}
    first = next((number for number in range(total) if part_path(folder, number).name not in present), None)
    if first is None:
        return None
    there = sum(1 for number in range(min(total, len(present) + 1)) if part_path(folder, number).name in present)
    return first, total - there


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / _HEADER
    try:
        content = read_file(path, "header of token pairs", at_most=_MAX_HEADER_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no token pairs ({_HEADER}); make them with tools/make_token_pairs.py"
        ) from None
    try:
        header = parse_json(content, path)
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT or header.get("version") != _VERSION:
        raise ValueError(f"{path} is no header of {_FORMAT}, version {_VERSION}")
    found = header.pop("header_sha256", None)  # older versions wrote none
    if found is not None and found != store_format.header_checksum(header):
        raise ValueError(
            f"{path}: header_sha256 does not match, the header was damaged or edited by hand; restore it, or make the "
            "pairs again in another folder (tools/make_token_pairs.py)"
        )
    missing = [key for key in _NEEDED if key not in header]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    try:
        _check_header(header)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return header


def _check_header(header: Mapping[str, Any]) -> None:
    """Raise `ValueError` for sizes that no pairs can have."""
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


def _foreign(folder: Path) -> bool:
    """Whether there is anything but a header, which another process may be writing."""
    return any(_HEADER not in entry.name for entry in folder.iterdir())


def _refuse_other_settings(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differ = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if differ:
        values = "; ".join(f"{key} {found.get(key)!r}, now {wanted.get(key)!r}" for key in differ[:3])
        raise ValueError(f"token pairs in {folder} were begun with other settings ({values}); name a new folder")
