"""What is said of label maps before and after a run, and which pairs are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.images.label_maps import label_histogram, label_map_path
from seitpp.ingest import Processes, TokenizeJob, make_plan, make_report, open_image_source, tokenize
from seitpp.ingest.report import TokenizeReport
from seitpp.storage import StoreReader


@pytest.fixture
def pairs(pair_folder: Callable, tmp_path: Path) -> Callable[..., Path]:
    """Writes three pairs with label maps of the given values, in turn."""

    def write(*values: int, kind: type = np.uint8) -> Path:
        root = pair_folder(tmp_path / "pairs", 3)
        for path in (root / "annotations" / "training").iterdir():
            Image.fromarray(np.resize(np.array(values, kind), (16, 16))).save(path)
        (root / "classes.txt").write_text("sky\nsea\nsand\n")
        return root

    return write


def report_of(job: TokenizeJob) -> TokenizeReport:
    plan = make_plan(job, Processes())
    return make_report(plan, tokenize(plan, Processes(), lambda done, total: None, print))


def job_of(make_job: Callable, root: Path, out: Path, **options: object) -> TokenizeJob:
    job = make_job(root, out, split="training")
    return replace(job, source={**job.source, **options})


def test_masks_of_0_and_255_are_warned_of(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 255)
    (line,) = open_image_source(root, split="training").warnings()
    assert "the 3 label maps looked at hold 0 and 255 alone, and 255 means ignore" in line
    job = job_of(make_job, root, tmp_path / "store", classes_file=str(root / "classes.txt"))
    report = report_of(job)
    assert report.share_ignored_pixels == pytest.approx(0.5)
    assert report.classes_without_pixels == ["sea", "sand"] and report.num_classes_with_pixels == 1
    lines = report.warnings()
    assert len(lines) == 3
    assert "50.0% of the label maps' pixels mean ignore" in lines[0]
    assert "2 classes have no pixel in any label map: sea, sand" in lines[1]
    assert "the label maps hold 1 class; a segmentation model needs two or more" in lines[2]
    written = json.loads((tmp_path / "store" / "report" / "report.json").read_bytes())
    assert written["classes_without_pixels"] == ["sea", "sand"]


def test_second_reduction_is_warned_of(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 255)
    opened = open_image_source(root, split="training", reduce_zero_label=True)
    (line,) = opened.warnings()
    assert "hold 255 (ignore) already, as if 0 had been made ignore before" in line
    job = job_of(make_job, root, tmp_path / "store", reduce_zero_label=True)
    assert any(
        "% of the label maps' pixels mean ignore; was a class lost" in line for line in report_of(job).warnings()
    )


def test_sound_maps_are_not_warned_of(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 1, 2, 255)
    assert not open_image_source(root, split="training").warnings()
    assert not open_image_source(root, split="training", unlabelled=True).warnings()
    job = job_of(make_job, root, tmp_path / "store", classes_file=str(root / "classes.txt"))
    report = report_of(job)
    assert report.classes_without_pixels == [] and not report.warnings()


def test_gaps_between_values_without_names_are_reported(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 3)
    assert report_of(job_of(make_job, root, tmp_path / "store")).classes_without_pixels == ["1", "2"]


def test_values_beyond_the_classes_leave_a_pair_out(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 1, 2)
    Image.fromarray(np.full((16, 16), 7, np.uint8)).save(root / "annotations" / "training" / "1.png")
    job = job_of(make_job, root, tmp_path / "store", classes_file=str(root / "classes.txt"))
    assert report_of(job).num_unreadable == 1
    reasons = (tmp_path / "store" / "report" / "unreadable.txt").read_text()
    assert reasons.startswith("1.png\tits annotation has the value 7, expected 0 to 2 for the 3 classes")


def test_jpeg_masks_are_refused(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 1, 2)
    for path in list((root / "annotations" / "training").iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"))
        path.unlink()
    with pytest.raises(ValueError, match=r"none of the 3 images could be read\. 0\.png: its annotation is a JPEG file"):
        report_of(job_of(make_job, root, tmp_path / "store"))


def test_image_that_exif_turns_and_a_map_that_it_does_not(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 1, 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("0.png", "2.png"):
        with Image.open(root / "images" / "training" / name) as image:
            image.save(root / "images" / "training" / name, exif=exif.tobytes())
    path = root / "annotations" / "training" / "2.png"
    with Image.open(path) as label_map:
        values = np.asarray(label_map)
        label_map.save(path, exif=exif.tobytes())
    report_of(job_of(make_job, root, tmp_path / "store"))
    reasons = (tmp_path / "store" / "report" / "unreadable.txt").read_text()
    assert reasons.startswith("0.png\tits annotation has the EXIF orientation 1 and the image 6")
    with Image.open(label_map_path(tmp_path / "store", 1)) as kept:
        np.testing.assert_array_equal(np.asarray(kept), np.rot90(values, -1))


def test_255_in_wide_maps_is_no_class_anywhere(pairs: Callable, make_job: Callable, tmp_path: Path) -> None:
    root = pairs(0, 1, 255, 65535, kind=np.uint16)
    report_of(job_of(make_job, root, tmp_path / "store"))
    histogram = label_histogram(StoreReader(tmp_path / "store"))
    assert histogram["ignored_pixels"] == 3 * 128
    assert [entry["class"] for entry in histogram["classes"]] == [0, 1]
