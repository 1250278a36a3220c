"""What finished shards leave for the end of a run, and what became of them since: sound, damaged or gone.

A record holds the shard's entry for the header, and which of its images could be read. It is read by another run, after
a kill or days later; it has a checksum, and a damaged one counts as none.
"""

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seitpp.ingest.job import Plan, ShardPlan
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.io.text import shown
from seitpp.io.untrusted import parse_json_object, parsing
from seitpp.storage import header as store_header
from seitpp.storage.header import shard_entry
from seitpp.storage.label_files import label_file


def record_name(number: int) -> str:
    """Return the file that says that a shard is finished."""
    return f"{STAGING}/{store_header.shard_name(number).removesuffix('.bin')}.json"


def label_map_name(number: int) -> str:
    """Return the file that keeps the label map of an image until samples are numbered."""
    return f"{STAGING}/labels/{number:08d}.png"


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard."""

    entry: dict[str, Any] | None  # in the header's list; None if none of its images could be read
    num_images: int  # that it covers, read or not
    source_bytes: int  # of those that were read, in the source
    unreadable: list[tuple[int, str, str]]  # number, name and reason of the others
    label_maps: list[int] | None = None  # CRC-32 of each label map of those that were read

    def pack(self) -> bytes:
        """Return the bytes of its file."""
        return store_header.header_bytes(asdict(self))

    @classmethod
    def parse(cls, content: bytes, source: str | Path, shard: ShardPlan, annotated: bool) -> "ShardRecord":
        """Read a record's file `source`; raise `ValueError` if it is damaged or of another shard."""
        found = parse_json_object(content, source)
        if found.get("header_sha256") not in (None, store_header.header_checksum(found)):  # older versions wrote none
            raise ValueError(f"{source} does not match its checksum")
        num_images = len(shard.images)
        with parsing(source, f"the record of shard {shard.number}"):
            unreadable = [(int(number), str(name), str(reason)) for number, name, reason in found["unreadable"]]
            entry, label_maps, num_read = found["entry"], found.get("label_maps"), num_images - len(unreadable)
            found_sizes = found["num_images"], entry and (entry["file"], entry["num_samples"])
            sizes = num_images, entry and (store_header.shard_name(shard.number), num_read)
            if found_sizes != sizes or (entry is None) != (num_read == 0):
                raise ValueError(f"it holds {shown(found_sizes)}, expected {sizes}")
            if not all(number in shard.images for number, _, _ in unreadable):
                raise ValueError("it names images of another shard")
            if annotated != (label_maps is not None) or (annotated and len(label_maps) != num_read):
                raise ValueError(f"it holds checksums of {label_maps and len(label_maps)} label maps")
            return cls(entry, num_images, int(found["source_bytes"]), unreadable, label_maps)

    def readable(self, shard: ShardPlan) -> list[int]:
        """Return the numbers of the images that were read."""
        left_out = {number for number, _, _ in self.unreadable}
        return [number for number in shard.images if number not in left_out]


def read_records(plan: Plan) -> tuple[dict[int, ShardRecord], dict[int, str]]:
    """Return the records of finished shards by number, and for those that are damaged what is wrong."""
    output = plan.output
    records, problems = {}, {}
    for shard in plan.shards:
        name = record_name(shard.number)
        if (content := output.read(name)) is None:
            continue
        try:
            records[shard.number] = ShardRecord.parse(content, f"{output.path}/{name}", shard, plan.source.annotated)
        except ValueError as error:
            problems[shard.number] = str(error)
    return records, problems


def shard_problem(output: OutputFolder, record: ShardRecord) -> str | None:
    """Return what is wrong with the file of a finished shard, naming it; None if it is as it was written."""
    if record.entry is None:
        return None
    name = f"{output.path}/{record.entry['file']}"
    content = output.read(record.entry["file"])
    if content is None:
        return f"{name} is missing"
    found = shard_entry(record.entry["file"], content, record.entry["num_samples"])
    if found["num_bytes"] != record.entry.get("num_bytes"):
        return f"{name} has {len(content)} bytes, expected {record.entry.get('num_bytes')}"
    return None if found == record.entry else f"{name} does not match its SHA-256"


def label_map_problems(plan: Plan, records: dict[int, ShardRecord]) -> dict[int, str]:
    """Return, for shards with a label map that is missing or is not the one that was written, the first such."""
    output = plan.output
    if not plan.source.annotated:
        return {}
    problems: dict[int, str] = {}
    # A label map is put aside under its image's number, then moved to its sample's.
    waiting, moved = set(output.names(f"{STAGING}/labels")), set(output.names(store_header.LABEL_MAPS))
    sample = 0
    for number, record in records.items():
        for image, checksum in zip(record.readable(plan.shards[number]), record.label_maps or (), strict=True):
            names = {label_map_name(image): waiting, label_file(sample): moved}
            name = next((name for name, folder in names.items() if name.rpartition("/")[2] in folder), None)
            # Object storages check what they keep, and would be asked for each file by itself.
            content = output.read(name) if name is not None and output.is_local else None
            if name is None or (content is not None and zlib.crc32(content) != checksum):
                problems.setdefault(number, f"{output.path}/{name or label_map_name(image)}")
            sample += 1
    return problems
