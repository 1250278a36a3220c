"""Append-only writer of a token store: shards appear whole or not at all, and a killed run can be continued."""

import math
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from seitpp.io.atomic_write import write_whole
from seitpp.io.locks import LOCK_FILE, FolderLock
from seitpp.storage import header as store_header
from seitpp.storage.codecs import code_dtype
from seitpp.storage.label_files import found_checksums, pack_checksums
from seitpp.storage.settings import StoreSettings
from seitpp.storage.shard import open_shards

_OWN_NAMES = (
    r"(header\.json|shards\.jsonl|codebook\.npy|synonyms\.json|code_table\.npy|label_maps\.npy|shard-\d{5,}\.bin)"
)
# Files of a writer, and what killed ones left: as they are written aside now, and as earlier versions did.
_OWN_FILES = re.compile(rf"{_OWN_NAMES}|{_OWN_NAMES}\.tmp|\.{_OWN_NAMES}\.tmp[0-9a-f]+")
_SHARD = re.compile(r"shard-\d{5,}\.bin")
_REMAINS = re.compile(rf"{_OWN_NAMES}\.tmp|\.{_OWN_NAMES}\.tmp[0-9a-f]+")


class StoreWriter:
    """Writes tokens, and class labels if there are any, into a new store or continues an interrupted one.

    The samples of a shard are collected in memory and committed together: the shard is written under a temporary name,
    renamed, then entered into `shards.jsonl`, whose lines the header takes over in the end. Killing the process loses
    at most the open shard. Shards are cut by sample count alone, so the finished files do not depend on batch sizes or
    interruptions.

    A writer locks its folder until it is closed, or ends otherwise: two would lose each other's samples.

    Args:
        path: Folder of the store. It must not exist or be empty, unless `resume` is set.
        resume: Continue after the last committed sample if the store was begun before with the same settings.
        **options: Instead of `settings`, its fields by name.

    Raises:
        FileExistsError: The folder is not empty, and `resume` is not set.
        BlockingIOError: Another writer is at work in the folder.
        NotAStoreError: Something else lies in the folder.
        ValueError: The settings contradict each other, or are not those that the store was begun with.
        OSError: The folder cannot be written to or locked.
    """

    def __init__(
        self, path: str | Path, settings: StoreSettings | None = None, *, resume: bool = False, **options: Any
    ) -> None:
        self.path = Path(path)
        self.settings = StoreSettings(**options) if settings is None else settings
        header = self.settings.header()
        self._updates: dict[str, Any] = {}
        num_samples, num_codes = header["samples_per_shard"], math.prod(self.settings.sample_shape)
        self._codes = np.zeros((num_samples, num_codes), code_dtype(self.settings.codebook_size))
        self._labels = np.zeros(num_samples, store_header.label_layout(header["labels"])[0] or np.uint8)
        self._fill = 0
        self._open = True
        self._check_folder(resume)  # before anything is written to a folder that is not ours
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.path, "store")
        try:
            self._begin(header, resume)
        except BaseException:
            self._end()
            raise

    @property
    def num_samples(self) -> int:
        """Samples appended so far, those of earlier runs included."""
        return self.num_committed + self._fill

    @property
    def num_committed(self) -> int:
        """Samples that are safe on disk; a resumed run continues with the sample of this number."""
        return self._header["num_samples"]

    @property
    def complete(self) -> bool:
        """Whether the store has been closed, now or by an earlier run."""
        return self._header["complete"]

    def append(self, tokens: np.ndarray, labels: np.ndarray | None = None) -> None:
        """Add samples (n, *sample_shape) in [m, m + K), and class indices (n,) exactly if the label kind is `class`.

        What is out of range, or of another shape or type, is a `ValueError`, and nothing of it is added.
        """
        if not self._open:
            raise ValueError(f"{self.path}: the writer is closed")
        if self.complete:
            raise ValueError(
                f"{self.path}: the store is complete, nothing can be appended; write a new one elsewhere, or "
                "delete it first"
            )
        codes = self.settings.checked_codes(tokens, self.num_samples)
        checked_labels = self.settings.checked_labels(labels, len(codes), self.num_samples)
        start = 0
        while start < len(codes):
            stop = min(len(codes), start + len(self._codes) - self._fill)
            fill = self._fill + stop - start
            self._codes[self._fill : fill] = codes[start:stop]
            if checked_labels is not None:
                self._labels[self._fill : fill] = checked_labels[start:stop]
            self._fill, start = fill, stop
            if self._fill == len(self._codes):
                self._commit()

    def update_source(self, entries: dict[str, Any]) -> None:
        """Add to the header's `source` what is known only at the end; written by `close`."""
        self._updates.update(store_header.json_copy(entries, "source"))

    def close(self) -> None:
        """Commit the open shard and declare the store complete, with checksums of the label maps if all are there."""
        if self._open and not self.complete:
            if self._fill:
                self._commit()
            self._write_header(complete=True, source={**self._header["source"], **self._updates}, **self._label_maps())
        self._end()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._end()  # after an exception the open shard is dropped and the store stays incomplete

    def _end(self) -> None:
        """Take no more samples, and let other writers in."""
        self._open = False
        self._lock.release()

    def _commit(self) -> None:
        labels = self._labels[: self._fill] if self.settings.label_kind == "class" else None
        content = self.settings.encode_checked(self._codes[: self._fill], labels)
        name = store_header.shard_name(self._next_number)
        write_whole(self.path / name, content)
        shard = store_header.shard_entry(name, content, self._fill)
        store_header.append_to_list(self.path, shard)
        self._header["shards"].append(shard)
        self._header["num_samples"] += self._fill
        self._next_number += 1
        self._fill = 0

    def _label_maps(self) -> dict[str, Any]:
        """Write the checksums of the label maps that lie in the folder, and return their header entry; often none."""
        is_segmentation = self.settings.label_kind == "segmentation"
        if not is_segmentation or (checksums := found_checksums(self.path, self.num_committed)) is None:
            return {}
        content, entry = pack_checksums(checksums)
        write_whole(self.path / entry["file"], content)
        return {"label_maps": entry}

    def _write_header(self, **changes: Any) -> None:
        """Replace the header, which lists all shards then."""
        header = {**self._header, **changes}
        store_header.write_header(self.path, header)
        (self.path / store_header.SHARD_LIST_FILE).unlink(missing_ok=True)
        self._header = header

    def _check_folder(self, resume: bool) -> list[str]:
        """Return the names in the folder; an error if it is not empty and holds anything but a store to continue."""
        present = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
        present = [name for name in present if name != LOCK_FILE]
        if present and not resume:
            raise FileExistsError(
                f"{self.path} exists and is not empty; pass resume=True (--resume) to continue an "
                "unfinished store in it, or delete it"
            )
        foreign = [name for name in present if not _OWN_FILES.fullmatch(name) or _SHARD.fullmatch(name)]
        # Killed before the first header: nothing was committed, provided that nothing foreign lies there.
        if foreign and store_header.HEADER_FILE not in present:
            raise store_header.NotAStoreError(
                f"{self.path} is not a token store: it has {foreign[0]!r}, no header.json"
            )
        return present

    def _begin(self, settings: dict[str, Any], resume: bool) -> None:
        """Write the first header, or take over a store that was begun before."""
        present = self._check_folder(resume)
        if store_header.HEADER_FILE in present:
            self._resume(settings, present)
        else:
            for name in present:
                (self.path / name).unlink()
            for name, content in self.settings.files().items():
                write_whole(self.path / name, content)
            self._header = {**settings, "num_samples": 0, "complete": False, "shards": []}
        if not self.complete:
            self._write_header()
        self._next_number = store_header.next_shard_number(self._header["shards"])

    def _resume(self, settings: dict[str, Any], present: list[str]) -> None:
        """Take over a store that was begun with the same settings, and remove what a killed writer left."""
        header = store_header.read_header(self.path)
        for key in settings:
            if key == "version":  # a store of version 1 goes on as one of version 2
                continue
            found, expected = header.get(key), settings[key]
            if key == "source" and header["complete"]:  # entries added at the end may come on top
                found = {name: found.get(name) for name in expected}
            if found != expected:
                raise ValueError(
                    f"{self.path}: cannot resume, {key} is {expected!r}, but the store was begun with {found!r}"
                )
        for key in ("synonyms", "channels", "minimum", "code_table"):
            if key in header and key not in settings:
                raise ValueError(f"{self.path}: cannot resume, the store was begun with {key}, now there are none")
        for shard, entry in zip(open_shards(self.path, header), header["shards"], strict=True):
            if not header["complete"] and shard.found_sha256() != entry["sha256"]:
                raise ValueError(
                    f"{shard.path} was damaged after it was written, its SHA-256 is not that in header.json: restore "
                    f"it, or delete {self.path} and write the store again"
                )
        self._header = {key: value for key, value in header.items() if key != "header_sha256"}
        self._header["version"] = settings["version"]
        listed = {shard["file"] for shard in header["shards"]}
        for name in present:
            is_remains = _REMAINS.fullmatch(name) or (name == store_header.SHARD_LIST_FILE and header["complete"])
            if is_remains or (_SHARD.fullmatch(name) and name not in listed):
                (self.path / name).unlink()
