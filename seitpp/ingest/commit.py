"""The beginning and the end of a run: a header that says what is being written, and one that lists all shards.

An unfinished store has a header that lists the shards finished so far, so that it can be read; and a folder `.tokenize`
with a record for each of them. `finish` turns the records into the final header. A store is finished when its header
says so and the run's own file, the first that `clean` removes, is gone.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.ingest.job import Plan
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.ingest.records import (
    ShardRecord,
    label_map_name,
    label_map_problems,
    read_records,
    record_name,
    shard_problem,
)
from seitpp.ingest.worker import first_reasons, unreadable_error
from seitpp.io.progress import progress_bar
from seitpp.io.text import shown
from seitpp.io.untrusted import parse_json, parse_json_object
from seitpp.storage import header as store_header
from seitpp.storage.label_files import label_file, pack_checksums
from seitpp.storage.shard import open_shards

_RUN_FILE = f"{STAGING}/run.json"
_KEPT_RECORDS = "report/shards.json"
# What may change between the runs that make one store, but not without a word.
_SOFT = {"batch_size": "--batch-size", "device": "--device"}


@dataclass(frozen=True)
class Totals:
    """What a finished run amounts to."""

    num_samples: int  # images in the store
    source_bytes: int  # of those images in the source
    unreadable: list[tuple[int, str, str]]  # number, name and reason of each image that was left out


def refuse_foreign(out: str) -> None:
    """Raise `FileExistsError` for a folder that holds anything but a store, finished or not."""
    output = OutputFolder(out)
    foreign = [name for name in output.names() if name not in (STAGING, *store_header.SIDE_FILES)]
    if foreign and output.read(store_header.HEADER_FILE) is None and output.read(_RUN_FILE) is None:
        raise FileExistsError(
            f"{out} exists and holds {foreign[0]!r}, but no store that was begun by this command; name an empty or new "
            "folder"
        )


def is_finished(out: str) -> bool:
    """Whether a finished store lies there."""
    output = OutputFolder(out)
    header = read_header(output)
    return header is not None and header.get("complete") is True and output.read(_RUN_FILE) is None


def refuse_other_store(out: str, expected: dict[str, Any]) -> None:
    """Raise `ValueError` for a store that was begun with other settings, naming the first that differs.

    `expected` are entries of this run's header. Of `source` those that are given are compared: counts come at the end.
    """
    header = read_header(OutputFolder(out))
    for key, value in expected.items() if header is not None else ():
        found = header.get(key)
        if key == "version" and found in store_header.READ_VERSIONS:
            continue  # goes on, or is found finished, as it would be in this version
        if key == "source" and isinstance(found, dict):
            found = {name: found.get(name) for name in value}
        if found != value:
            name, found, value = _first_difference(key, found, value)
            raise ValueError(
                f"{out} is the store of another run: its {name} is {shown(found, 100)}, this run's is "
                f"{shown(value, 100)}. Name another folder, or delete that one"
            )


def begin(plan: Plan, warn: Callable[[str], None] = print) -> bool:
    """Prepare the store for writing, or recognise one that was begun before; return whether all is done already.

    Raises:
        ValueError: Another run's store lies there: another source, tokenizer or setting; or a finished one that lacks
            a shard or part of one.
    """
    output, expected = plan.output, plan.settings.header()
    refuse_other_store(plan.job.out, expected)
    header = read_header(output)
    if is_finished(plan.job.out):
        if output.is_local:
            _require_shards(output)
        output.remove_folder(STAGING)  # left by a run that was killed while it cleaned
        if not (number := num_left_out(header)) or not plan.job.retry_left_out:
            if number and not plan.job.skip_unreadable:
                raise ValueError(
                    f"{plan.job.out} is complete, but {number} images were left out of it, with the reasons: "
                    f"{plan.job.out}/report/unreadable.txt. Mend them, then pass --retry-left-out to read them again"
                )
            return True
        output.lock(alone=True)
        _restore_records(output)
    output.remove_unfinished_files()
    _compare_run(plan, header, warn)
    if header is not None and header.get("complete"):  # killed before the report was written
        return False
    for name, content in plan.settings.files().items():
        output.write(name, content)
    if header is None:
        _write_header(output, expected, {}, complete=False)
    return False


def num_left_out(header: dict[str, Any] | None) -> int:
    """Return how many images were left out of a finished store, as its header says."""
    found = ((header or {}).get("source") or {}).get("num_unreadable")
    return found if isinstance(found, int) else 0


def _require_shards(output: OutputFolder) -> None:
    """Raise `ValueError` unless the shards of a finished store are there, in their sizes."""
    try:
        open_shards(Path(output.path), store_header.read_header(Path(output.path)))
    except ValueError as error:
        raise ValueError(
            f"{error}. The store was complete and has been damaged since: restore it, or delete {output.path} and run "
            "the same command again"
        ) from error


def keep_records(plan: Plan, totals: Totals) -> None:
    """Keep the records of shards with the report, for a run that reads images again; nothing if none was left out."""
    if not totals.unreadable:
        plan.output.remove(_KEPT_RECORDS)
        return
    names = [record_name(shard.number) for shard in plan.shards]
    contents = {name: (plan.output.read(name) or b"").decode() for name in names}
    plan.output.write(_KEPT_RECORDS, json.dumps(contents).encode())


def _restore_records(output: OutputFolder) -> None:
    """Put the records of a finished store's shards back, as if its run had not been cleaned up."""
    content, path = output.read(_KEPT_RECORDS), f"{output.path}/{_KEPT_RECORDS}"
    remedy = f"To read images again that were left out, delete {output.path} and run the same command"
    if content is None:
        raise ValueError(f"{path} is missing, so it is not known which shards lack images. {remedy}")
    try:
        records = parse_json_object(content, path)
    except ValueError as error:
        raise ValueError(f"{error}. {remedy}") from error
    for name, record in records.items():
        if isinstance(record, str) and name == f"{STAGING}/{name.rpartition('/')[2]}":
            output.write(name, record.encode())


def pending(plan: Plan, warn: Callable[[str], None] = print) -> list[int]:
    """Return the numbers of the shards that have no record yet, or were damaged since they were written.

    Shards that an image was left out of count as unfinished for a job that skips none, or is to read those again: the
    image may be there by now.
    """
    output = plan.output
    with progress_bar("checking what an earlier run wrote", unit="shards") as progress:
        records, problems = read_records(plan)
        for done, (number, record) in enumerate(records.items(), 1):
            if problem := shard_problem(output, record):
                problems[number] = problem
            progress(done, len(records))
        problems = {**label_map_problems(plan, records), **problems}
    for number, problem in problems.items():
        warn(f"{problem}: it was damaged after it was written. {store_header.shard_name(number)} is made again")
    again = plan.job.retry_left_out or not plan.job.skip_unreadable
    left_out = (key for key, record in records.items() if again and record.unreadable)
    _make_again(plan, records, {*problems, *left_out})
    finished = set(output.names(STAGING))
    return [shard.number for shard in plan.shards if record_name(shard.number).rpartition("/")[2] not in finished]


def _make_again(plan: Plan, records: dict[int, ShardRecord], lacking: set[int]) -> None:
    """Drop the records of the shards `lacking`, and what depends on how many images they left out."""
    output = plan.output
    if not lacking:
        return
    # Label maps that have moved bear numbers of samples, which may be others now: all are made again.
    numbered = bool(output.names(store_header.LABEL_MAPS))
    kept = {} if numbered else {number: record for number, record in records.items() if number not in lacking}
    _write_header(output, plan.settings.header(), kept, complete=False)
    if numbered:
        for number in records.keys() - lacking:
            output.remove(record_name(number))
        output.remove_folder(store_header.LABEL_MAPS)
    for number in lacking:  # last, since they lead here after a kill
        output.remove(record_name(number))


def publish(plan: Plan) -> None:
    """Let the header of an unfinished store list the shards that are there, so that they can be read."""
    header = read_header(plan.output)
    if header is not None and not header.get("complete"):
        _write_header(plan.output, plan.settings.header(), read_records(plan)[0], complete=False)


def finish(plan: Plan) -> Totals:
    """Check that all is there, and declare the store complete. What a rerun would need is kept until `clean`."""
    output = plan.output
    records, problems = read_records(plan)
    files = set(output.names())
    for shard in plan.shards:
        if shard.number not in records:
            problems.setdefault(shard.number, f"{output.path}/{record_name(shard.number)} is missing")
        elif (entry := records[shard.number].entry) is not None and entry["file"] not in files:
            problems[shard.number] = f"{output.path}/{entry['file']} is missing"
    if problems := problems or label_map_problems(plan, records):
        _make_again(plan, records, set(problems))
        raise ValueError(
            f"{'; '.join(list(problems.values())[:3])}: damaged or removed by something else while this run was at "
            "work. Run the same command again to make what is lacking"
        )
    unreadable = [failure for record in records.values() for failure in record.unreadable]
    if unreadable and not plan.job.skip_unreadable:
        raise unreadable_error(unreadable)
    num_samples = len(plan.source) - len(unreadable)
    if not num_samples:
        output.remove_folder(STAGING)  # a rerun is to look again
        raise ValueError(f"none of the {len(unreadable)} images could be read. {first_reasons(unreadable)}")
    header = plan.settings.header()
    header["source"] = {**header["source"], "num_unreadable": len(unreadable)}
    if plan.source.annotated:
        header["label_maps"] = _number_label_maps(plan, records)
    _write_header(output, header, records, complete=True)
    return Totals(num_samples, sum(record.source_bytes for record in records.values()), unreadable)


def clean(out: str) -> None:
    """Remove what a rerun would have needed; the last step."""
    output = OutputFolder(out)
    output.remove(_RUN_FILE)  # from here on the store is finished
    output.remove_folder(STAGING)
    output.unlock()


def read_header(output: OutputFolder) -> dict[str, Any] | None:
    """Return the header of a store, finished or not; None if there is none, or a damaged one of a run that goes on."""
    content, path = output.read(store_header.HEADER_FILE), f"{output.path}/{store_header.HEADER_FILE}"
    if content is None:
        return None
    try:
        header = parse_json(content, path)
    except ValueError as error:
        if output.read(_RUN_FILE) is not None:
            return None  # it is written anew from the records of the shards
        raise store_header.NotAStoreError(str(error)) from error
    if not isinstance(header, dict) or header.get("format") != store_header.FORMAT:
        raise store_header.NotAStoreError(f"{path} belongs to something else than a token store")
    return header


def _first_difference(name: str, found: Any, expected: Any) -> tuple[str, Any, Any]:
    """Return name and values of the first entry in which two values differ; kinds come first, hashes come last."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({**found, **expected}, key=lambda key: ("sha256" in key, key not in ("type", "kind"))):
            if found.get(key) != expected.get(key):
                return _first_difference(f"{name}.{key}", found.get(key), expected.get(key))
    return name, found, expected


def _compare_run(plan: Plan, header: dict[str, Any] | None, warn: Callable[[str], None]) -> None:
    """Record settings that do not show in the header; warn of those that changed since the run began."""
    output = plan.output
    settings = store_header.sha256_hex(store_header.canonical_json(plan.settings.header()))
    now = {"batch_size": plan.job.batch_size, "device": plan.job.device.partition(":")[0], "settings": settings}
    began = now
    if (content := output.read(_RUN_FILE)) is not None:
        try:
            began = parse_json_object(content, f"{output.path}/{_RUN_FILE}")
        except ValueError as error:
            warn(f"{error}: --batch-size and --device cannot be compared with those that this store was begun with")
            began, content = {key: now[key] for key in _SOFT}, None
    has_shards = any(name.endswith(".json") and name.startswith("shard-") for name in output.names(STAGING))
    if header is None and has_shards and began.get("settings") != settings:
        raise ValueError(
            f"{output.path}/{store_header.HEADER_FILE} is missing or damaged, so that nothing tells whether the shards "
            f"there are those of this run; delete {output.path} and run the same command again"
        )
    if content is None:
        output.write(_RUN_FILE, json.dumps(now).encode())
    for key, option in _SOFT.items():
        if began.get(key) != now[key] and not (
            key == "batch_size" and now["device"] == "cpu"
        ):  # pieces are small there
            warn(
                f"{option} was {began.get(key)} when this store was begun and is {now[key]} now: near a tie between "
                "two codes, rounding may decide otherwise than in an uninterrupted run"
            )


def _write_header(
    output: OutputFolder, header: dict[str, Any], records: dict[int, ShardRecord], *, complete: bool
) -> None:
    entries = [record.entry for record in records.values() if record.entry is not None]
    num_samples = sum(entry["num_samples"] for entry in entries)
    content = {**header, "num_samples": num_samples, "complete": complete, "shards": entries}
    output.write(store_header.HEADER_FILE, store_header.header_bytes(content))


def _number_label_maps(plan: Plan, records: dict[int, ShardRecord]) -> dict[str, Any]:
    """Move label maps from their image's number to their sample's; return the header's entry of their checksums."""
    output = plan.output
    waiting = set(output.names(f"{STAGING}/labels"))
    readable = [image for number, record in records.items() for image in record.readable(plan.shards[number])]
    for sample, image in enumerate(readable):
        staged = label_map_name(image)
        if staged.rpartition("/")[2] in waiting:
            output.move(staged, label_file(sample))
    checksums = [checksum for record in records.values() for checksum in record.label_maps or ()]
    content, entry = pack_checksums(np.array(checksums, np.uint32))
    output.write(entry["file"], content)
    return entry
