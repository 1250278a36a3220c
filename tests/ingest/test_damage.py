"""What was damaged, shortened or deleted between a kill and the run that goes on: made again, or refused by name."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seitpp.ingest import Processes, commit, make_plan, tokenize
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.storage import StoreReader
from seitpp.storage.header import header_bytes


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def garble(path: Path) -> None:
    path.write_bytes(b'{"entry": [' * 5000)


def remove(path: Path) -> None:
    path.unlink()


def begun(job: object) -> None:
    """All is done but the report, after which a run cleans up."""
    tokenize(make_plan(job, Processes()), Processes(), lambda done, total: None, print)


@pytest.mark.parametrize("damage", [flip, shorten, remove])
def test_damaged_shard_is_made_again_and_named(
    damage: Callable, class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images", damaged=True), tmp_path / "store")
    begun(job)
    damage(tmp_path / "store" / "shard-00001.bin")
    warnings: list[str] = []
    assert run_job(job, warn=warnings.append).num_samples == 8
    (warning,) = warnings
    assert "shard-00001.bin" in warning and warning.endswith(
        "it was damaged after it was written. shard-00001.bin is made again"
    )
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("name", [f"{STAGING}/shard-00001.json", f"{STAGING}/run.json", "header.json"])
@pytest.mark.parametrize("damage", [flip, shorten, garble])
def test_damaged_records_do_not_end_a_run(
    name: str,
    damage: Callable,
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    begun(job)
    damage(tmp_path / "store" / name)
    try:
        assert run_job(job).num_samples == 8
    except ValueError as error:  # a flipped bit in the header may make it that of another run
        assert name == "header.json" and "is the store of another run" in str(error)
        return
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


def test_records_of_an_earlier_version_are_taken(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    begun(job)
    for path in (tmp_path / "store" / STAGING).glob("shard-*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({key: record[key] for key in ("entry", "num_images", "source_bytes", "unreadable")}))
    warnings: list[str] = []
    assert run_job(job, warn=warnings.append).num_samples == 8
    assert warnings == []


def test_without_a_header_nothing_of_another_run_is_taken(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    begun(job)
    (tmp_path / "store" / "header.json").unlink()
    with pytest.raises(ValueError, match=r"header\.json is missing or damaged, so that nothing tells .*; delete"):
        run_job(replace(job, codec="raw"))
    assert run_job(job).num_samples == 8


@pytest.mark.parametrize("damage", [flip, shorten, garble])
def test_damaged_codes_put_aside_are_made_again(
    damage: Callable,
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    put_aside: Callable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    source = class_folder(tmp_path / "images", per_class=5)
    job = make_job(source, tmp_path / "store", samples_per_shard=8, save_seconds=0.0)
    parts = put_aside(job)
    assert len(parts) == 2
    damage(parts[1])
    assert run_job(job).num_samples == 10
    assert f"{parts[1].name} is damaged or is not" in "".join(capsys.readouterr())
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("damage", [flip, shorten, remove])
@pytest.mark.parametrize("moved", [True, False])
def test_damaged_label_map_is_made_again(
    moved: bool,
    damage: Callable,
    pair_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = pair_folder(tmp_path / "ade", count=6, split="val")
    (source / "images" / "val" / "1.png").write_text("no image")
    job, folder = make_job(source, tmp_path / "store", split="val"), "labels"
    with monkeypatch.context() as patch:
        if not moved:
            folder = f"{STAGING}/labels"

            def killed(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(commit, "finish", killed)
            with pytest.raises(KeyboardInterrupt):
                begun(job)
        else:
            begun(job)
    damage(sorted((tmp_path / "store" / folder).iterdir())[2])
    warnings: list[str] = []
    assert run_job(job, warn=warnings.append).num_samples == 5
    assert f"{folder}/0000000" in warnings[0] and "it was damaged after it was written" in warnings[0]
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")
    reader = StoreReader(tmp_path / "store")
    assert reader.label_map_checksums is not None and reader.verify() == []


@pytest.mark.parametrize("name", ["shard-00001.bin", f"{STAGING}/shard-00001.json"])
def test_what_goes_away_while_a_run_is_at_work_is_named(
    name: str,
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    finish = commit.finish

    def finish_later(plan: object) -> object:
        (tmp_path / "store" / name).unlink()
        return finish(plan)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "finish", finish_later)
        with pytest.raises(ValueError, match=rf"{name} is missing: damaged or removed .* Run the same command again"):
            run_job(job)
    assert not StoreReader(tmp_path / "store", allow_incomplete=True).header["complete"]
    assert run_job(job).num_samples == 8


@pytest.mark.parametrize("damage", [shorten, remove])
def test_finished_store_that_was_damaged_is_not_called_complete(
    damage: Callable, class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    run_job(job)
    damage(tmp_path / "store" / "shard-00001.bin")
    with pytest.raises(ValueError, match=r"shard-00001\.bin (is missing|has \d+ bytes).*restore it, or delete"):
        run_job(job)


@pytest.mark.parametrize("damage", [flip, shorten, garble])
def test_damaged_fit_is_made_again(
    damage: Callable, class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    tokenizer = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "fit": {"codebook_size": 8}}
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store", tokenizer=tokenizer)
    make_plan(job, Processes())  # and killed then
    damage(tmp_path / "store" / STAGING / "fitted_codebook.npz")
    assert run_job(job).num_samples == 8
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert StoreReader(tmp_path / "store").codebook_sha256 == StoreReader(tmp_path / "whole").codebook_sha256


def test_links_in_the_output_stay(
    pair_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "labels").mkdir(parents=True)
    rename = os.rename

    def across(source: Path, target: Path) -> None:  # as if `elsewhere` were another file system
        if Path(target).parent.is_symlink() and STAGING in str(source):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    job = make_job(pair_folder(tmp_path / "ade", count=3, split="val"), tmp_path / "store", split="val")
    commit.begin(make_plan(job, Processes()))
    (tmp_path / "store" / "labels").symlink_to(tmp_path / "elsewhere" / "labels")
    begun(job)
    (tmp_path / "store" / "header.json").rename(tmp_path / "elsewhere" / "header.json")
    (tmp_path / "store" / "header.json").symlink_to(tmp_path / "elsewhere" / "header.json")
    assert run_job(job).num_samples == 3
    assert (tmp_path / "store" / "header.json").is_symlink()
    assert len(list((tmp_path / "elsewhere" / "labels").iterdir())) == 3
    assert StoreReader(tmp_path / "store").verify() == []


def test_pipes_in_the_output_are_named(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    begun(job)
    (tmp_path / "store" / "shard-00001.bin").unlink()
    os.mkfifo(tmp_path / "store" / "shard-00001.bin")
    with pytest.raises(ValueError, match=r"shard-00001\.bin is a pipe, expected a file"):
        run_job(job)


def test_a_record_that_names_no_file_counts_as_none(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    begun(job)
    record = tmp_path / "store" / STAGING / "shard-00001.json"
    content = json.loads(record.read_bytes())
    del content["entry"]["file"]
    record.write_bytes(header_bytes(content))
    run_job(job)
    run_job(replace(job, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


def test_a_lock_that_cannot_be_opened_is_named_again_and_again(tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path))
    output.lock(alone=True)
    lock = tmp_path / STAGING / "run.lock"
    output.unlock()
    lock.mkdir()
    for _ in range(2):
        with pytest.raises(IsADirectoryError, match="the store cannot be locked for writing: Is a directory"):
            output.lock(alone=True)


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "codebook.npy")
    with pytest.raises(ValueError, match=r"codebook\.npy is a pipe, expected a file"):
        OutputFolder(str(tmp_path)).write("codebook.npy", b"values")
