"""What a finished shard leaves for the merging of a run: its entry in the header, and what became of its images.

A record is read by another run, after a kill or days later; it has a checksum, and a damaged one counts as none.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seitpp.ingest.job import ShardPlan
from seitpp.io.untrusted import entry, parse_json_object, shown, whole_number
from seitpp.storage import format as store_format

_NONE = type(None)
_MOST_BYTES = 2**63


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard.

    Attributes:
        entry: Its entry in the header's list; None if none of its images could be read.
        num_images: Images that it covers, read or not.
        source_bytes: Bytes of those that were read, in the source.
        unreadable: Number, name and reason of each that could not be read.
        label_maps: CRC-32 of the label map of each image that was read; None for a source without.
    """

    entry: dict[str, Any] | None
    num_images: int
    source_bytes: int
    unreadable: list[tuple[int, str, str]]
    label_maps: list[int] | None = None

    def pack(self) -> bytes:
        """The bytes of its file."""
        return store_format.header_bytes(asdict(self))

    @classmethod
    def parse(cls, content: bytes, source: str | Path, shard: ShardPlan, annotated: bool) -> "ShardRecord":
        """The record in the bytes of a file.

        Args:
            content: The bytes.
            source: The file, for messages.
            shard: The shard that it should be of.
            annotated: Whether there should be label maps.

        Raises:
            ValueError: It is damaged, or of another shard.
        """
        found = parse_json_object(content, source)
        if found.get("header_sha256") not in (None, store_format.header_checksum(found)):  # older versions wrote none
            raise ValueError(f"{source} does not match its checksum")
        unreadable = [_failure(one, shard, source) for one in entry(found, "unreadable", list, source)]
        num_images, num_read = shard.stop - shard.start, shard.stop - shard.start - len(unreadable)
        whole_number(found.get("num_images"), f"{source}: num_images", num_images, num_images)
        header_entry = entry(found, "entry", (dict, _NONE), source)
        num_samples = 0 if header_entry is None else header_entry.get("num_samples")
        name = store_format.shard_name(shard.number)
        if num_samples != num_read or (header_entry is not None and header_entry.get("file") != name):
            raise ValueError(f"{source}: entry is {shown(header_entry)}, expected {num_read} samples of its shard")
        checksums = entry(found, "label_maps", list if annotated else _NONE, source)
        if annotated and len(checksums) != num_read:
            raise ValueError(f"{source}: label_maps has {len(checksums)} checksums, expected {num_read}")
        for checksum in checksums or ():
            whole_number(checksum, f"{source}: label_maps", 0, 2**32 - 1)
        source_bytes = whole_number(found.get("source_bytes"), f"{source}: source_bytes", 0, _MOST_BYTES)
        return cls(header_entry, num_images, source_bytes, unreadable, checksums)

    def readable(self, shard: ShardPlan) -> list[int]:
        """Numbers of the images that were read."""
        left_out = {number for number, _, _ in self.unreadable}
        return [number for number in range(shard.start, shard.stop) if number not in left_out]


def _failure(value: Any, shard: ShardPlan, source: str | Path) -> tuple[int, str, str]:
    """One of `unreadable`."""
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{source}: unreadable has {shown(value)}, expected number, name and reason")
    number = whole_number(value[0], f"{source}: number of an image", shard.start, shard.stop - 1)
    for part in value[1:]:  # the name of a file may be no text that can be written
        if not isinstance(part, str):
            raise ValueError(f"{source}: unreadable has {shown(value)}, expected number, name and reason")
    return number, value[1], value[2]
