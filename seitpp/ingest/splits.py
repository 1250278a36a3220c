"""Several splits of a source in one run: one fit of the tokenizer, one order of the classes, a store for each split."""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from seitpp.ingest import commit
from seitpp.ingest.job import Plan, TokenizeJob
from seitpp.ingest.output import OutputFolder
from seitpp.ingest.run import Processes, make_plan


def make_plans(job: TokenizeJob, splits: Sequence[str], processes: Processes) -> list[Plan]:
    """Plan the stores of a job's splits: the first one's tokenizer, fitted if its config asks for that, makes all.

    One split is written to the job's folder, or none; of several each to the folder there that has its name, by the
    class indices of the first. Everything is looked at before anything is written but the fitted codebook.

    Raises:
        ValueError: See `make_plan`; or a split has classes that the first lacks, or a store lies in the job's folder.
    """
    if len(splits) < 2:
        return [make_plan(_of_split(job, next(iter(splits), None)), processes)]
    _check_names(splits)
    if processes.is_first and commit.read_header(OutputFolder(job.out)) is not None:
        raise FileExistsError(
            f"{job.out} is a store itself, and several splits are written to {_folder(job.out, splits[0])} and so on; "
            "name another folder"
        )
    jobs = [replace(_of_split(job, split), out=_folder(job.out, split)) for split in splits]
    sources = [jobs[0].open_source()]
    if jobs[0].source.get("classes_file") is None and sources[0].classes is not None:
        jobs[1:] = [replace(each, classes=tuple(sources[0].classes)) for each in jobs[1:]]
    sources += [each.open_source() for each in jobs[1:]]
    first = make_plan(jobs[0], processes, sources[0])
    plans = [first]
    for each, source in zip(jobs[1:], sources[1:], strict=True):
        plans.append(make_plan(each.fitted_as(first.tokenizer), processes, source, first.tokenizer))
        if processes.is_first:
            commit.refuse_other_store(each.out, plans[-1].settings.header())
    return plans


def _of_split(job: TokenizeJob, split: str | None) -> TokenizeJob:
    return replace(job, source={**job.source, "split": split})


def _folder(out: str, split: str) -> str:
    return posixpath.join(out, split)


def _check_names(splits: Sequence[str]) -> None:
    for number, split in enumerate(splits):
        if split in splits[:number]:
            raise ValueError(f"--split names {split} twice")
        if "/" in split or split in ("", ".", ".."):
            raise ValueError(f"--split {split!r} cannot name a store; of several splits each is the name of a folder")
