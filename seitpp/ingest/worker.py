"""Images to finished shards: the part of a run that every process does, with one process or with many.

A shard is a function of the source, the tokenizer and its number alone. Its codes are put aside every so often, so that
a killed process loses seconds; when all are there, the shard is written, then a record that says so.
"""

import io
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import Tensor

from seitpp.ingest.job import Plan, ShardPlan
from seitpp.ingest.loading import LoadedBatch, load_batches
from seitpp.ingest.output import STAGING
from seitpp.ingest.records import ShardRecord, label_map_name, record_name
from seitpp.io.untrusted import parse_json_object, parse_npz, parsing, whole_number
from seitpp.storage.codecs import code_dtype
from seitpp.storage.header import shard_entry, shard_name
from seitpp.tokenizers.encoding import encode_pixels

Progress = Callable[[int], None]
"""Called with the number of images done since the last call."""


def partial_name(number: int, first: int) -> str:
    """Return the file with codes of an unfinished shard, from its `first` image on."""
    return f"{STAGING}/partial/{shard_name(number).removesuffix('.bin')}-{first:08d}.npz"


@dataclass
class ShardState:
    """What is known of the images of an unfinished shard, in their order; lists hold one array per batch."""

    tokens: list[np.ndarray] = field(default_factory=list)  # of each image, read or not
    readable: list[np.ndarray] = field(default_factory=list)  # whether each could be read
    label_maps: list[np.ndarray] = field(default_factory=list)  # CRC-32 of each label map, 0 where there is none
    source_bytes: int = 0  # of the readable ones in the source
    failures: list[tuple[int, str, str]] = field(default_factory=list)  # number, name and reason of the others
    saved: int = 0  # batches that are put aside
    files: list[str] = field(default_factory=list)  # the files that they are in

    @property
    def done(self) -> int:
        """Images dealt with."""
        return sum(len(batch) for batch in self.readable)

    def add(self, tokens: np.ndarray, readable: np.ndarray, label_maps: np.ndarray) -> None:
        """Take in a batch: tokens (B, H, W) or (B, H, W, C), and per image what the lists hold."""
        self.tokens.append(tokens)
        self.readable.append(readable)
        self.label_maps.append(label_maps)

    def pack(self) -> bytes:
        """Return what is not put aside yet, and all failures so far, as the bytes of an `.npz` file."""
        metadata = json.dumps({"source_bytes": self.source_bytes, "failures": self.failures})
        parts = (self.tokens, self.readable, self.label_maps)
        tokens, readable, label_maps = (np.concatenate(part[self.saved :]) for part in parts)
        file = io.BytesIO()
        np.savez(file, tokens=tokens, readable=readable, label_maps=label_maps, facts=np.array(metadata))
        return file.getvalue()

    def take_back(self, name: str, content: bytes, shape: tuple[int, ...], dtype: np.dtype, most: int) -> None:
        """Add what `pack` put into the file `name`, of samples of a shape and type, at most so many.

        Raises:
            ValueError: The file is damaged; nothing was added.
        """
        arrays = parse_npz(content, name, at_most=2**32)
        with parsing(name, "what this run put aside"):
            parts = tuple(arrays[key] for key in ("tokens", "readable", "label_maps"))
            metadata = parse_json_object(str(arrays["facts"]), name)
            count = len(parts[1])
            found = [(part.shape, part.dtype) for part in parts]
            expected = [((count, *shape), dtype), ((count,), np.bool_), ((count,), np.uint32)]
            if found != expected or not 1 <= count <= most:
                raise ValueError(f"it holds {found}")
            source_bytes = whole_number(metadata["source_bytes"], "source_bytes", 0, 2**63)
            failures = [(int(number), str(which), str(reason)) for number, which, reason in metadata["failures"]]
        self.add(*parts)
        self.source_bytes, self.failures = source_bytes, failures
        self.files.append(name)
        self.saved = len(self.tokens)


class ShardWorker:
    """Writes the shards it is given."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.job = plan, plan.job
        self.output = plan.output
        self._dtype = code_dtype(plan.tokenizer.codebook_size, plan.tokenizer.minimum)

    def run(self, shards: Sequence[ShardPlan], progress: Progress | None = None) -> None:
        """Finish shards, from where an earlier run left them.

        Raises:
            ValueError: An image cannot be read, and the job does not skip such.
            OSError: The store cannot be written.
        """
        states = {shard.number: self._load_state(shard) for shard in shards}
        todo = [
            (shard, shard.images[first : first + self.job.batch_size])
            for shard in shards
            for first in range(states[shard.number].done, len(shard.images), self.job.batch_size)
        ]
        if progress is not None:
            progress(sum(state.done for state in states.values()))
        for shard in shards:
            self._finish_if_done(shard, states)
        batches = load_batches(
            self.plan.source, self.plan.fitting, [numbers for _, numbers in todo], self.job.num_workers
        )
        saved = time.monotonic()
        for (shard, numbers), (batch, tokens) in zip(todo, self._encode(batches), strict=True):
            state = states[shard.number]
            if batch.failures and not self.job.skip_unreadable:
                self._save(shard, state)
                raise unreadable_error(batch.failures)
            checksums = np.zeros(len(numbers), np.uint32)
            for at, label_map in enumerate(batch.label_maps):  # none without annotations
                if label_map is not None:
                    self.output.write(label_map_name(numbers[at]), label_map)
                    checksums[at] = zlib.crc32(label_map)
            state.add(tokens.astype(self._dtype), batch.readable, checksums)
            state.source_bytes += int(batch.num_bytes.sum())
            state.failures += batch.failures
            if progress is not None:
                progress(len(batch.readable))
            if self._finish_if_done(shard, states):
                saved = time.monotonic()
            elif time.monotonic() - saved >= self.job.save_seconds:
                self._save(shard, state)
                saved = time.monotonic()

    def _encode(self, batches: Iterator[LoadedBatch]) -> Iterator[tuple[LoadedBatch, np.ndarray]]:
        """Yield each batch with its tokens, one batch behind: the device works on the next one meanwhile."""
        waiting: tuple[LoadedBatch, Tensor] | None = None
        for batch in batches:
            tokens = encode_pixels(self.plan.tokenizer, batch.pixels, self.job.device, self.job.batch_size)
            if waiting is not None:
                yield waiting[0], waiting[1].cpu().numpy()
            waiting = batch, tokens
        if waiting is not None:
            yield waiting[0], waiting[1].cpu().numpy()

    def _load_state(self, shard: ShardPlan) -> ShardState:
        """Take back what an earlier run put aside, up to the first damaged file."""
        state = ShardState()
        while (content := self.output.read(name := partial_name(shard.number, state.done))) is not None:
            try:
                most = len(shard.images) - state.done
                state.take_back(name, content, self.plan.settings.sample_shape, self._dtype, most)
            except ValueError as error:
                print_log(f"{error}; the images from there on are read again", logger=None)
                self.output.remove(name)
                break
        if state.failures and not self.job.skip_unreadable:
            self._forget(state)
            return ShardState()  # an image that could not be read may be there by now
        return state

    def _forget(self, state: ShardState) -> None:
        """Remove what was put aside, the last first: a run killed here leaves a beginning."""
        for name in reversed(state.files):
            self.output.remove(name)

    def _save(self, shard: ShardPlan, state: ShardState) -> None:
        """Put aside what is not yet."""
        if state.saved < len(state.tokens):
            name = partial_name(shard.number, sum(len(batch) for batch in state.readable[: state.saved]))
            self.output.write(name, state.pack())
            state.files.append(name)
            state.saved = len(state.tokens)

    def _finish_if_done(self, shard: ShardPlan, states: dict[int, ShardState]) -> bool:
        """Write the shard's file, then its record, if all of its images are dealt with."""
        state = states[shard.number]
        if state.done < len(shard.images):
            return False
        source, readable, entry = self.plan.source, np.concatenate(state.readable), None
        label_maps = np.concatenate(state.label_maps)[readable].tolist() if source.annotated else None
        if readable.any():
            tokens, first = np.concatenate(state.tokens)[readable], shard.images.start
            labels = None if source.labels is None else source.labels[first + np.flatnonzero(readable)]
            name, content = shard_name(shard.number), self.plan.settings.encode_shard(tokens, labels)
            self.output.write(name, content)
            entry = shard_entry(name, content, len(tokens))
        record = ShardRecord(entry, len(shard.images), state.source_bytes, state.failures, label_maps)
        self.output.write(record_name(shard.number), record.pack())
        self._forget(state)
        states[shard.number] = ShardState()  # frees its memory; nothing asks for it again
        return True


def unreadable_error(failures: Sequence[Sequence[Any]]) -> ValueError:
    """Return the error that ends a run at an image that cannot be read."""
    _, name, reason = failures[0]
    return ValueError(
        f"{name} cannot be read: {reason}. Repair or remove it, or pass --on-error skip to leave such images out; what "
        "was done so far is kept"
    )


def first_reasons(failures: Sequence[Sequence[Any]]) -> str:
    """Return names and reasons of the first images that cannot be read."""
    return "; ".join(f"{name}: {reason}" for _, name, reason in failures[:3])
