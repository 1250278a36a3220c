"""Pairs of tokens prepared once, for training TokenAdapt where the tokenizer is the bottleneck.

One folder: `pairs.json` with what made the pairs, and parts `part-00000.safetensors`, each with the tokens of images
(`source`), those of the same images augmented (`target`) and what had been drawn (`draws.<number>.<name>`). Pairs come
in groups that were augmented together: a sample that was mixed has its partner in its group. A part is written aside
and renamed, so that a run that was stopped continues with the next one.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.files import written_whole

_HEADER = "pairs.json"
_FORMAT = "seitpp token pairs"
_VERSION = 1
_DRAWS = "draws."
# What a header must say; the rest is for people and for comparison.
_NEEDED = ("num_pairs", "group_size", "groups_per_part", "augments", "grid", "out_grid", "codebook_sha256")


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
                temporary.write_text(json.dumps(header, indent=1) + "\n")
        self.header = header

    def missing_parts(self) -> list[int]:
        """Numbers of the parts that are not written yet."""
        return [number for number in range(num_parts(self.header)) if not part_path(self.path, number).exists()]

    def write_part(
        self, number: int, source: np.ndarray, target: np.ndarray, draws: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        """Write one part: tokens (n, H, W) and (n, h, w), and arrays (n, ...) by name for each augmentation."""
        from safetensors.numpy import save_file

        arrays = {"source": source, "target": target}
        for place, drawn in enumerate(draws):
            arrays.update({f"{_DRAWS}{place}.{name}": values for name, values in drawn.items()})
        with written_whole(part_path(self.path, number)) as temporary:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, temporary)


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
        missing = [part_path(self.path, number) for number in range(num_parts(self.header))]
        missing = [part for part in missing if not part.exists()]
        if missing:
            raise ValueError(
                f"token pairs {self.path} lack {len(missing)} of {num_parts(self.header)} parts, such as "
                f"{missing[0].name}; run tools/make_token_pairs.py again with the same options to continue"
            )
        self.group_size = int(self.header["group_size"])
        self.num_groups = int(self.header["num_pairs"]) // self.group_size
        self._open = lru_cache(maxsize=16)(_open_part)

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"])

    def read_group(self, group: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
        """Source and target tokens of a group, and the draws of each augmentation."""
        from safetensors import SafetensorError

        part, place = divmod(group, int(self.header["groups_per_part"]))
        rows = slice(place * self.group_size, (place + 1) * self.group_size)
        path = part_path(self.path, part)
        file = self._open(path)
        draws: list[dict[str, np.ndarray]] = [{} for _ in self.header["augments"]]
        names = set(file.keys())
        try:
            for name in sorted(names - {"source", "target"}):
                number, field = name.removeprefix(_DRAWS).split(".", 1)
                draws[int(number)][field] = file.get_slice(name)[rows]
            source, target = file.get_slice("source")[rows], file.get_slice("target")[rows]
        except (ValueError, IndexError, SafetensorError) as error:
            raise ValueError(f"token pairs {path} do not hold what their header says: {error}") from error
        if len(source) != self.group_size or len(target) != self.group_size:
            raise ValueError(f"token pairs {path} hold {len(source)} pairs in a group, expected {self.group_size}")
        return source, target, draws


def num_parts(header: Mapping[str, Any]) -> int:
    """Parts that the pairs are written in."""
    return -(-int(header["num_pairs"]) // (int(header["group_size"]) * int(header["groups_per_part"])))


def part_path(folder: Path, number: int) -> Path:
    """File of one part."""
    return folder / f"part-{number:05d}.safetensors"


def _open_part(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="np")
    except SafetensorError as error:
        raise ValueError(
            f"token pairs {path} are damaged ({error}); delete the file and run tools/make_token_pairs.py again"
        ) from error


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / _HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no token pairs ({_HEADER}); make them with tools/make_token_pairs.py")
    try:
        header = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT or header.get("version") != _VERSION:
        raise ValueError(f"{path} is no header of {_FORMAT}, version {_VERSION}")
    missing = [key for key in _NEEDED if key not in header]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return header


def _foreign(folder: Path) -> bool:
    """Whether there is anything but a header, which another process may be writing."""
    return any(_HEADER not in entry.name for entry in folder.iterdir())


def _refuse_other_settings(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differ = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if differ:
        values = "; ".join(f"{key} {found.get(key)!r}, now {wanted.get(key)!r}" for key in differ[:3])
        raise ValueError(f"token pairs in {folder} were begun with other settings ({values}); name a new folder")
