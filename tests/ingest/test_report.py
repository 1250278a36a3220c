"""What a finished run tells: files and numbers of the report."""

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seitpp.ingest import Processes, TokenizeJob, Totals, make_plan, make_report, report_folder, tokenize
from seitpp.ingest.report import unreadable_list
from seitpp.storage import StoreReader
from seitpp.structures.indices import spread
from seitpp.tokenizers import PatchKMeans
from seitpp.visualization.pictures import reconstruction_grid


def finished(job: TokenizeJob) -> tuple:
    plan = make_plan(job, Processes())
    return plan, tokenize(plan, Processes(), lambda done, total: None, print)


def test_report_states_what_is_in_the_store(class_folder: Callable, make_job: Callable, tmp_path: Path) -> None:
    job = make_job(class_folder(tmp_path / "images", per_class=5, damaged=True), tmp_path / "store")
    plan, totals = finished(job)
    report = make_report(plan, totals)
    written = json.loads((tmp_path / "store" / "report" / "report.json").read_bytes())
    assert written == report.__dict__

    reader = StoreReader(tmp_path / "store")
    tokens = reader.read_all()
    counts = np.unique(tokens, return_counts=True)[1] / tokens.size
    source_bytes = sum(path.stat().st_size for path in (tmp_path / "images").rglob("?.png"))
    assert (report.num_samples, report.num_unreadable, report.codebook_size) == (10, 1, 16)
    assert report.codes_used == len(counts)
    assert report.entropy_bits == pytest.approx(-(counts * np.log2(counts)).sum())
    assert report.token_bytes_per_image == 2  # 4 codes of 4 bits
    assert report.bytes_per_image == pytest.approx(reader.num_bytes / 10)
    assert report.source_bytes_per_image == pytest.approx(source_bytes / 10)
    assert report.share_of_source == pytest.approx(reader.num_bytes / source_bytes)
    assert report.sample_images == 10 and report.codes_reproduced == 1
    assert report.codes_changed_by_precision is None


def test_psnr_is_that_of_the_round_trip(class_folder: Callable, make_job: Callable, tmp_path: Path) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    plan, totals = finished(job)
    report = make_report(plan, totals)
    tokenizer = job.build_tokenizer()
    psnr = []
    for index in range(8):
        pixels = np.asarray(plan.source.load(index, 3)[0]).transpose(2, 0, 1)[None]
        images = tokenizer.from_bytes(torch.from_numpy(pixels.copy()))
        decoded = tokenizer.decode(tokenizer.encode(images)).mul(255).round().clamp(0, 255)
        psnr.append(10 * math.log10(255**2 / float(((decoded - images * 255) ** 2).mean())))
    assert report.psnr_db == pytest.approx(np.mean(psnr), abs=1e-3)
    assert report.psnr_db_min == pytest.approx(min(psnr), abs=1e-3)


def test_left_out_images_are_listed_with_their_reasons(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images", damaged=True)
    (source / "bee" / "größe 1.jpg").touch()
    run_job(make_job(source, tmp_path / "store"))
    lines = (tmp_path / "store" / "report" / "unreadable.txt").read_text("utf-8").splitlines()
    assert lines == [
        "ant/1_damaged.png\tit is of no known image format, or its header is damaged",
        "bee/größe 1.jpg\tthe file is empty",
    ]


def test_names_that_are_no_text_are_listed() -> None:
    unreadable = [(0, "a\udcff\n.jpg", "first\tline\r\nsecond")]
    assert unreadable_list(Totals(1, 1, unreadable)) == b"a\xff .jpg\tfirst line second\n"


def test_name_that_is_no_text_does_not_end_a_run(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images")
    (source / "ant" / "a\udcff.jpg").write_text("no image")
    assert run_job(make_job(source, tmp_path / "store")).num_samples == 8
    assert b"ant/a\xff.jpg\t" in (tmp_path / "store" / "report" / "unreadable.txt").read_bytes()


def test_picture_shows_originals_above_reconstructions(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    run_job(make_job(class_folder(tmp_path / "images", per_class=8), tmp_path / "store"))
    with Image.open(io.BytesIO((tmp_path / "store" / "report" / "reconstructions.png").read_bytes())) as picture:
        assert picture.size == (8 * (96 + 4) + 4, 2 * (96 + 4) + 4)
        shown = np.asarray(picture)
    with Image.open(tmp_path / "images" / "ant" / "0.png") as first:
        np.testing.assert_array_equal(shown[4:100:6, 4:100:6], np.asarray(first))


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_of_small_images_is_enlarged(channels: int) -> None:
    images = torch.zeros(2, channels, 300, 300, dtype=torch.uint8)
    assert reconstruction_grid(images, images).size == (2 * 304 + 4, 2 * 304 + 4)


def test_tokenizer_without_a_decoder_has_no_picture(
    class_folder: Callable, make_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatchKMeans, "can_decode", False)
    report = make_report(*finished(make_job(class_folder(tmp_path / "images"), tmp_path / "store")))
    assert report.psnr_db is None and report.psnr_db_min is None and report.codes_reproduced == 1
    assert sorted(path.name for path in (tmp_path / "store" / "report").iterdir()) == ["report.json", "unreadable.txt"]


def test_codes_that_differ_from_the_stored_ones_show(
    class_folder: Callable, make_job: Callable, tmp_path: Path
) -> None:
    plan, totals = finished(make_job(class_folder(tmp_path / "images"), tmp_path / "store"))
    other = replace(plan, tokenizer=plan.job.build_tokenizer(np.roll(plan.tokenizer.codebook.numpy(), 1, 0)))
    assert make_report(other, totals).codes_reproduced == 0


def test_images_that_changed_before_a_run_went_on_are_named(
    class_folder: Callable, make_job: Callable, put_aside: Callable, image: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store", samples_per_shard=8, save_seconds=0.0)
    put_aside(job)
    image(tmp_path / "images" / "ant" / "1.png", seed=999)
    plan = make_plan(job, Processes())
    report = make_report(plan, tokenize(plan, Processes(), lambda done, total: None, print))
    assert report.changed_images == ["ant/1.png"]
    (warning,) = report.warnings()
    assert warning.startswith("1 of the 8 images looked at give other codes than the store has, such as ant/1.png")


def test_sample_is_evenly_spread() -> None:
    assert spread(10, 4) == [0, 2, 5, 7] and spread(3, 64) == [0, 1, 2]


def test_folder_of_the_report(tmp_path: Path) -> None:
    assert report_folder(str(tmp_path)) == report_folder(f"file://{tmp_path}") == str(tmp_path / "report")
    assert report_folder("memory://store/") == "memory://store/report"
