"""Stored tokens held in memory, bit-packed: batches are gathered and unpacked there, in operations on whole tensors."""

import hashlib
import math
import os
import sys
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import get_worker_info

from seitpp.io.devices import check_device
from seitpp.io.progress import progress_bar
from seitpp.io.text import shown
from seitpp.storage import StoreReader
from seitpp.storage.codecs import BitPackedCodec, samples_at_a_time

_REMEDY = "take a part of the data (subset), another device, or leave device out to read from disk, which takes none"


class BitUnpacker:
    """Unpack rows of codes of `bits` bits, least significant bit first, on the device that holds them.

    Every code is cut out of the few bytes that it touches, for all codes of all rows at once. A row has `num_codes`
    codes; `minimum` is the value of code 0.
    """

    def __init__(self, bits: int, num_codes: int, minimum: int, dtype: torch.dtype, device: torch.device) -> None:
        starts = torch.arange(num_codes) * bits
        num_bytes = (int((starts % 8).max()) + bits + 7) // 8  # that a code may touch
        last = (num_codes * bits + 7) // 8 - 1
        self._positions = [(starts // 8 + byte).clamp(max=last).to(device) for byte in range(num_bytes)]
        # Four bytes fit int32: its sign is masked away.
        self._words = torch.int32 if num_bytes <= 4 and bits < 32 else torch.int64
        self._shifts = (starts % 8).to(device, self._words)
        self._mask, self._minimum, self._dtype = (1 << bits) - 1, minimum, dtype

    def __call__(self, rows: Tensor) -> Tensor:
        words = rows.index_select(1, self._positions[0]).to(self._words)
        for byte, positions in enumerate(self._positions[1:], start=1):
            words |= rows.index_select(1, positions).to(self._words) << (8 * byte)
        values = (words >> self._shifts).bitwise_and_(self._mask)
        if self._minimum:
            values += self._minimum
        if self._dtype == torch.uint16:  # the same bits; few operations know this type on a GPU
            return values.to(torch.int16).view(torch.uint16)
        return values.to(self._dtype)


class ResidentTokens:
    """Samples of a store in memory, with their labels, as `dataset.device` asks for.

    Rows are packed as the codec `bitpacked` packs them: its own are kept as stored, those of other codecs are packed
    anew. Loading decodes every row once, which checks its codes, and compares the shards with their hashes.

    Args:
        indices: Indices of the samples in the store, (N,).
        labels: Their classes, (N,), int64, or None.
        device: `cpu`; `pinned`, page-locked host memory, from which batches are copied to a GPU while it computes;
            `cuda`, the GPU of this process; or `cuda:1` and so on.

    Raises:
        ValueError: There is no such device, they do not fit into its memory, or a shard is damaged.
    """

    def __init__(self, source: StoreReader, indices: np.ndarray, labels: np.ndarray | None, device: str) -> None:
        self.device = _checked_device(device, source.path)
        self._pinned = device == "pinned"
        self._shape, self._minimum, self._dtype = source.sample_shape, source.minimum, source.dtype
        self._codec = BitPackedCodec.for_codebook(source.codebook_size)
        self._num_codes = math.prod(self._shape)
        self._rows = self._allocate(source, len(indices), 0 if labels is None else labels.nbytes)
        _check_shards(source, indices)
        self._fill(source, indices)
        self._labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        self._unpack = None
        if self.device.type == "cuda":
            dtype = torch.from_numpy(np.empty(0, self._dtype)).dtype
            self._unpack = BitUnpacker(self._codec.bits, self._num_codes, self._minimum, dtype, self.device)

    def __deepcopy__(self, memo: dict) -> "ResidentTokens":
        return self  # nothing changes it, and it may be most of the memory

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Return tokens (B, *sample_shape) and labels (B,), or None without, by index among the loaded samples, (B,).

        Data on a GPU or page-locked are a `ValueError` in a worker process of a loader.
        """
        if (self._pinned or self._unpack is not None) and get_worker_info() is not None:
            raise ValueError(
                "the data lie in the memory of a GPU, or page-locked, where worker processes cannot fetch them; set "
                "num_workers=0 (and persistent_workers=False): a batch is one fetch, with which workers cannot help"
            )
        if self._unpack is not None:
            positions = torch.from_numpy(rows).pin_memory().to(self.device, non_blocking=True)
            values = self._unpack(self._rows.index_select(0, positions))
        else:
            positions = torch.from_numpy(rows)
            codes = self._codec.decode(self._rows.numpy()[rows], self._num_codes)
            if self._minimum:
                codes = (codes.astype(np.int64) + self._minimum).astype(self._dtype)
            values = torch.from_numpy(codes)
        tokens = values.view(-1, *self._shape)
        labels = None if self._labels is None else self._labels.index_select(0, positions)
        if self._pinned:
            return tokens.pin_memory(), None if labels is None else labels.pin_memory()
        return tokens, labels

    def _allocate(self, source: StoreReader, num_samples: int, label_bytes: int) -> Tensor:
        row_bytes = self._codec.row_bytes(self._num_codes)
        needed = num_samples * row_bytes + label_bytes
        if self._pinned:  # torch takes the next power of two
            needed = 1 << (needed - 1).bit_length()
        on_host = "page-locked host memory" if self._pinned else "host memory"
        where = f"the memory of {self.device}" if self.device.type == "cuda" else on_host
        free = free_bytes(self.device)
        print_log(
            f"Loading {num_samples:,} samples of {source.path} into {where}: {needed:,} bytes of {free:,} that are "
            "free, in each process.",
            logger="current",
        )
        lacks = f"{source.path}: {num_samples:,} samples take {needed:,} bytes of {where}"
        if needed > free:
            raise ValueError(f"{lacks}, of which {free:,} are free; {_REMEDY}")
        try:
            return torch.empty((num_samples, row_bytes), dtype=torch.uint8, device=self.device, pin_memory=self._pinned)
        except RuntimeError as error:  # a limit of the process, or memory in pieces
            raise ValueError(f"{lacks}, which cannot be had ({str(error).splitlines()[0]}); {_REMEDY}") from error

    def _fill(self, source: StoreReader, indices: np.ndarray) -> None:
        step = samples_at_a_time(self._num_codes)
        with progress_bar(f"loading {source.path}") as progress:
            for start in range(0, len(indices), step):
                chunk = indices[start : start + step]
                self._rows[start : start + step] = torch.from_numpy(self._packed(source, chunk))
                progress(start + len(chunk), len(indices))

    def _packed(self, source: StoreReader, indices: np.ndarray) -> np.ndarray:
        """Return rows (n, row_bytes), uint8, after checking that their codes exist."""
        values = source.read(indices)
        if source.header["codec"]["name"] == self._codec.name:
            return source.read_rows(indices)
        codes = values.astype(np.int64) - self._minimum if self._minimum else values
        return self._codec.encode(codes.reshape(-1, self._num_codes))


# What is loaded, for as long as a data set holds it: two data sets of the same samples share it.
_LOADED: WeakValueDictionary[tuple, ResidentTokens] = WeakValueDictionary()


def load_resident(source: StoreReader, indices: np.ndarray, labels: np.ndarray | None, device: str) -> ResidentTokens:
    """Return `ResidentTokens`, loaded once per process for the same samples, labels and device."""
    chosen = (hashlib.sha256(indices.tobytes()).hexdigest(), labels is None)
    key = (source.content_hash, *chosen, device, _checked_device(device, source.path))
    found = _LOADED.get(key)
    if found is None:
        found = _LOADED[key] = ResidentTokens(source, indices, labels, device)
    return found


def free_bytes(device: torch.device) -> int:
    """Return the bytes that this process may still take of a GPU's memory or of the host's."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError):  # not Linux
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(0, min(available, _bytes_left_to_group(Path("/sys/fs/cgroup"))))


def _bytes_left_to_group(folder: Path) -> int:
    """Return the bytes that a container's control group may still take, without cached files; unlimited without one."""
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return limit - used + int(statistics["inactive_file"])
    except (OSError, ValueError, KeyError):  # no such groups here, or "max"
        return sys.maxsize


def _checked_device(name: str, store: Path) -> torch.device:
    if not isinstance(name, str) or (name not in ("cpu", "pinned") and name.split(":")[0] != "cuda"):
        raise ValueError(
            f"{store}: device is {shown(name)}, expected cpu, pinned, cuda or cuda:N, or None to read from disk"
        )
    try:
        check_device("cuda" if name == "pinned" else name)
    except ValueError as error:
        page_locked = "device 'pinned': page-locked memory is for copies to a GPU, and none is available here; use cpu"
        reason = page_locked if name == "pinned" else error
        raise ValueError(f"{store}: {reason}, or leave device out to read from disk") from error
    if name != "cuda":
        return torch.device("cpu" if name == "pinned" else name)
    # The model's device; where no process group has chosen it yet, the one that it will choose.
    local = int(os.environ.get("LOCAL_RANK") or 0)
    chosen = local if 0 < local < torch.cuda.device_count() else torch.cuda.current_device()
    return torch.device("cuda", chosen)


def _check_shards(source: StoreReader, indices: np.ndarray) -> None:
    ordered, done = np.unique(indices), 0
    while done < len(ordered):
        done = int(np.searchsorted(ordered, source.require_sound_shard(int(ordered[done]))))


def refuse_device(device: str | None, kind: str, reason: str) -> None:
    """Raise `ValueError` for data that are not held in memory."""
    if device is not None:
        raise ValueError(f"{kind} has no device={shown(device)}: {reason}; leave it out")
