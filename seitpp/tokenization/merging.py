"""The beginning and the end of a run: a header that says what is being written, and one that lists all shards.

An unfinished store has a header that lists the shards finished so far, so that it can be read; and a folder `.tokenize`
with a record for each of them. Merging turns the records into the final header. A store is finished when its header
says so and the run's own file, the first that `clean` removes, is gone.
"""

import json
from dataclasses import dataclass
from typing import Any

from seitpp.storage import NotAStoreError
from seitpp.storage import format as store_format
from seitpp.tokenization import run_lock
from seitpp.tokenization.job import Plan
from seitpp.tokenization.output import STAGING, OutputFolder
from seitpp.tokenization.shard_worker import label_map_name, record_name, unreadable_error

_RUN_FILE = f"{STAGING}/run.json"
_LABELS = "labels"
# What may change between the runs that make one store, but not without a word.
_SOFT = {"batch_size": "--batch-size", "device": "--device"}


@dataclass(frozen=True)
class Totals:
    """What a finished run amounts to.

    Attributes:
        num_samples: Images in the store.
        source_bytes: Bytes of those images in the source.
        unreadable: Number, name and reason of each image that was left out.
    """

    num_samples: int
    source_bytes: int
    unreadable: list[tuple[int, str, str]]


def refuse_foreign(out: str) -> None:
    """Refuse a folder that holds anything but a store, finished or not.

    Raises:
        FileExistsError: It does.
    """
    output = OutputFolder(out)
    foreign = [name for name in output.names() if name not in (STAGING, *store_format.SIDE_FILES)]
    if foreign and output.read(store_format.HEADER_FILE) is None:
        raise FileExistsError(
            f"{out} exists and holds {foreign[0]!r}, but no store that was begun by this command; name an empty or new "
            "folder"
        )


def is_finished(out: str) -> bool:
    """Whether a finished store lies there."""
    output = OutputFolder(out)
    header = read_header(output)
    return header is not None and bool(header.get("complete")) and output.read(_RUN_FILE) is None


def refuse_other_store(out: str, expected: dict[str, Any]) -> None:
    """Refuse a store that was begun with other settings.

    Args:
        out: Folder of the store.
        expected: Entries of this run's header. Of `source` those are compared that are given: facts are added at the
            end.

    Raises:
        ValueError: There is such a store; with the first entry that differs.
    """
    header = read_header(OutputFolder(out))
    for key, value in expected.items() if header is not None else ():
        found = header.get(key)
        if key == "source" and isinstance(found, dict):
            found = {name: found.get(name) for name in value}
        if found != value:
            name, found, value = _first_difference(key, found, value)
            raise ValueError(
                f"{out} is the store of another run: its {name} is {_short(found)}, this run's is {_short(value)}. "
                "Name another folder, or delete that one"
            )


def begin(plan: Plan) -> tuple[bool, list[str]]:
    """Prepare the store for writing, or recognise one that was begun before.

    Returns:
        Whether all is done already, and warnings.

    Raises:
        ValueError: Another run's store lies there: another source, tokenizer or setting.
    """
    output, expected = OutputFolder(plan.job.out), plan.settings.header()
    refuse_other_store(plan.job.out, expected)
    header = read_header(output)
    if is_finished(plan.job.out):
        if output.names(STAGING):  # killed while it cleaned
            output.remove_folder(STAGING)
        return True, []
    output.remove_unfinished_files()
    warnings = _compare_run(plan, output)
    if header is not None and header["complete"]:  # killed before the report was written
        return False, warnings
    for name, content in plan.settings.files().items():
        output.write(name, content)
    if header is None:
        _write_header(output, expected, [], complete=False)
    return False, warnings


def pending(plan: Plan) -> list[int]:
    """Numbers of the shards that have no record yet.

    Those of which an image was left out count as unfinished for a job that skips none: it may be there by now.
    """
    output = OutputFolder(plan.job.out)
    if not plan.job.skip_unreadable:
        _reopen(plan, output)
    finished = set(output.names(STAGING))
    return [shard.number for shard in plan.shards if record_name(shard.number).rpartition("/")[2] not in finished]


def _reopen(plan: Plan, output: OutputFolder) -> None:
    """Drop the records of shards that an image was left out of, and what depends on how many were."""
    records = dict(_records(plan, output))
    lacking = [number for number, record in records.items() if record["unreadable"]]
    if not lacking:
        return
    # Label maps that have moved bear numbers of samples, which are others now: all are made again.
    numbered = bool(output.names(_LABELS))
    kept = [] if numbered else [record for record in records.values() if not record["unreadable"]]
    _write_header(output, plan.settings.header(), _entries(kept), complete=False)
    if numbered:
        for number in records.keys() - set(lacking):
            output.remove(record_name(number))
        output.remove_folder(_LABELS)
    for number in lacking:  # last, since they lead here after a kill
        output.remove(record_name(number))


def publish(plan: Plan) -> None:
    """Let the header of an unfinished store list the shards that are there, so that they can be read."""
    output = OutputFolder(plan.job.out)
    header = read_header(output)
    if header is not None and not header["complete"]:
        records = [record for _, record in _records(plan, output)]
        _write_header(output, plan.settings.header(), _entries(records), complete=False)


def finish(plan: Plan) -> Totals:
    """Declare the store complete. What a rerun would need is kept until `clean`.

    Raises:
        ValueError: An image was left out though the job skips none, or none could be read.
    """
    output = OutputFolder(plan.job.out)
    records = [record for _, record in _records(plan, output)]
    assert len(records) == len(plan.shards)
    unreadable = [tuple(failure) for record in records for failure in record["unreadable"]]
    if unreadable and not plan.job.skip_unreadable:
        raise unreadable_error(unreadable)
    if not (entries := _entries(records)):
        output.remove_folder(STAGING)  # a rerun is to look again
        reasons = "; ".join(f"{name}: {reason}" for _, name, reason in unreadable[:3])
        raise ValueError(f"none of the {len(unreadable)} images could be read. {reasons}")
    num_samples = sum(entry["num_samples"] for entry in entries)
    if plan.source.annotated:
        _number_label_maps(plan, output, {number for number, _, _ in unreadable})
    header = plan.settings.header()
    header["source"] = {**header["source"], "num_unreadable": len(unreadable)}
    _write_header(output, header, entries, complete=True)
    return Totals(num_samples, sum(record["source_bytes"] for record in records), unreadable)


def clean(out: str) -> None:
    """Remove what a rerun would have needed; the last step."""
    output = OutputFolder(out)
    output.remove(_RUN_FILE)  # from here on the store is finished
    output.remove_folder(STAGING)
    run_lock.release(out)


def read_header(output: OutputFolder) -> dict[str, Any] | None:
    """The header of a store, finished or not; None if there is none.

    Raises:
        NotAStoreError: It is no header of a token store.
    """
    content = output.read(store_format.HEADER_FILE)
    if content is None:
        return None
    try:
        header = json.loads(content)
    except ValueError as error:
        raise NotAStoreError(f"{output.path}/{store_format.HEADER_FILE} is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("format") != store_format.FORMAT:
        raise NotAStoreError(f"{output.path}/{store_format.HEADER_FILE} belongs to something else than a token store")
    return header


def _first_difference(name: str, found: Any, expected: Any) -> tuple[str, Any, Any]:
    """Descend to the first entry in which two values differ; what says most comes first, hashes come last."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({**found, **expected}, key=lambda key: ("sha256" in key, key not in ("type", "kind"))):
            if found.get(key) != expected.get(key):
                return _first_difference(f"{name}.{key}", found.get(key), expected.get(key))
    return name, found, expected


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _compare_run(plan: Plan, output: OutputFolder) -> list[str]:
    """Record settings that do not show in the header; warn of those that changed since the run began."""
    now = {"batch_size": plan.job.batch_size, "device": plan.job.device.partition(":")[0]}
    content = output.read(_RUN_FILE)
    if content is None:
        output.write(_RUN_FILE, json.dumps(now).encode())
        return []
    began = json.loads(content)
    return [
        f"{option} was {began[key]} when this store was begun and is {now[key]} now: near a tie between two codes, "
        "rounding may decide otherwise than in an uninterrupted run"
        for key, option in _SOFT.items()
        if began[key] != now[key] and not (key == "batch_size" and now["device"] == "cpu")  # pieces are small there
    ]


def _records(plan: Plan, output: OutputFolder) -> list[tuple[int, dict[str, Any]]]:
    """Number and record of each finished shard."""
    contents = [(shard.number, output.read(record_name(shard.number))) for shard in plan.shards]
    return [(number, json.loads(content)) for number, content in contents if content is not None]


def _entries(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["entry"] for record in records if record["entry"] is not None]


def _write_header(
    output: OutputFolder, header: dict[str, Any], entries: list[dict[str, Any]], *, complete: bool
) -> None:
    num_samples = sum(entry["num_samples"] for entry in entries)
    content = {**header, "num_samples": num_samples, "complete": complete, "shards": entries}
    output.write(store_format.HEADER_FILE, store_format.header_bytes(content))


def _number_label_maps(plan: Plan, output: OutputFolder, unreadable: set[int]) -> None:
    """Move label maps from their image's number to their sample's; goes on where a killed run stopped."""
    waiting = set(output.names(f"{STAGING}/labels"))
    kept = (number for number in range(len(plan.source)) if number not in unreadable)
    for sample, number in enumerate(kept):
        staged = label_map_name(number)
        if staged.rpartition("/")[2] in waiting:
            output.move(staged, f"{_LABELS}/{sample:08d}.png")
