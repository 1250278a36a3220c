"""What finished shards and label maps have become since they were written: sound, damaged or gone.

A run that goes on after a kill, days later perhaps, asks before it builds on them.
"""

import zlib
from pathlib import Path

from seitpp.ingest.job import Plan
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.ingest.records import ShardRecord
from seitpp.ingest.worker import label_map_name, record_name
from seitpp.storage import format as store_format
from seitpp.storage.label_files import label_file
from seitpp.storage.settings import shard_entry
from seitpp.storage.shard_file import open_shards

LABELS = "labels"


def require_shards(output: OutputFolder) -> None:
    """Raise `ValueError` unless the shards of a finished store are there, in their sizes."""
    try:
        open_shards(Path(output.path), store_format.read_header(Path(output.path)))
    except ValueError as error:
        raise ValueError(
            f"{error}. The store was complete and has been damaged since: restore it, or delete {output.path} and run "
            "the same command again"
        ) from error


def read_records(plan: Plan, output: OutputFolder) -> tuple[dict[int, ShardRecord], dict[int, str]]:
    """The records of finished shards by number, and for those that are damaged what is wrong."""
    records, problems = {}, {}
    for shard in plan.shards:
        content = output.read(record_name(shard.number))
        if content is None:
            continue
        try:
            records[shard.number] = ShardRecord.parse(
                content, f"{output.path}/{record_name(shard.number)}", shard, plan.source.annotated
            )
        except ValueError as error:
            problems[shard.number] = str(error)
    return records, problems


def shard_problem(output: OutputFolder, record: ShardRecord) -> str | None:
    """What is wrong with the file of a finished shard, naming it; None if it is as it was written."""
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


def label_map_problems(plan: Plan, output: OutputFolder, records: dict[int, ShardRecord]) -> dict[int, str]:
    """For shards with a label map that is missing or is not the one that was written, the first such."""
    problems: dict[int, str] = {}
    places = _label_map_places(plan, output, records) if plan.source.annotated else {}
    for number, record in records.items():
        for image, checksum in zip(record.readable(plan.shards[number]), record.label_maps or (), strict=False):
            name = places.get(image)
            # Object storages check what they keep, and would be asked for each file by itself.
            content = output.read(name) if name is not None and output.is_local else None
            if name is None or (content is not None and zlib.crc32(content) != checksum):
                problems[number] = f"{output.path}/{name or label_map_name(image)}"
                break
    return problems


def _label_map_places(plan: Plan, output: OutputFolder, records: dict[int, ShardRecord]) -> dict[int, str]:
    """Where the label map of each image is now: put aside, or moved to its sample's number."""
    waiting, moved = set(output.names(f"{STAGING}/labels")), set(output.names(LABELS))
    readable = [image for number, record in records.items() for image in record.readable(plan.shards[number])]
    places = {}
    for sample, image in enumerate(readable):
        staged, final = label_map_name(image), label_file(sample)
        if staged.rpartition("/")[2] in waiting:
            places[image] = staged
        elif final.rpartition("/")[2] in moved:
            places[image] = final
    return places
