"""The store that comes out of a run: headers, labels and label maps, left-out images, and what else may lie there."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seitpp.ingest import Processes, TokenizeJob, commit, make_plan, tokenize
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.ingest.sources import ImageSource
from seitpp.registry import TOKENIZERS
from seitpp.storage import CodeTable, StoreReader, copy_store
from seitpp.storage.header import write_header
from seitpp.tokenizers import PatchKMeans


@pytest.fixture
def register() -> Iterator[Callable[[type], str]]:
    """Makes a tokenizer known for the test; returns its type as configs have it."""
    names: list[str] = []

    def add(kind: type) -> str:
        TOKENIZERS.register_module(module=kind)
        names.append(kind.__name__)
        return f"seitpp.{kind.__name__}"

    yield add
    for name in names:
        TOKENIZERS.module_dict.pop(name)


def test_store_holds_tokens_and_labels_in_the_order_of_the_source(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images", per_class=5), tmp_path / "store")
    totals = run_job(job)
    reader, tokenizer, source = StoreReader(tmp_path / "store"), job.build_tokenizer(), job.open_source()
    pixels = np.stack([np.asarray(source.load(index, 3)[0]).transpose(2, 0, 1) for index in range(10)])
    tokens = tokenizer.tokenize(tokenizer.from_bytes(torch.from_numpy(pixels)))
    np.testing.assert_array_equal(reader.read_all(), tokens)
    np.testing.assert_array_equal(reader.labels, [0] * 5 + [1] * 5)
    assert reader.classes == ["ant", "bee"] and not reader.verify() and totals.num_samples == 10
    assert totals.source_bytes == sum(path.stat().st_size for path in (tmp_path / "images").rglob("*.png"))
    facts = reader.header["source"]
    assert facts == {
        "kind": "folder",
        "num_images": 10,
        "images_sha256": source.fingerprint(),
        "num_unreadable": 0,
    }
    assert [shard["num_samples"] for shard in reader.header["shards"]] == [4, 4, 2]


def test_left_out_images_leave_no_gap(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    class_folder(tmp_path / "whole", per_class=4)
    class_folder(tmp_path / "damaged", per_class=4)
    for number in range(4):  # a whole shard, so that its file is missing
        (tmp_path / "damaged" / "ant" / f"{number}.png").write_text("damaged")
    run_job(make_job(tmp_path / "whole", tmp_path / "a"))
    totals = run_job(make_job(tmp_path / "damaged", tmp_path / "b"))
    whole, rest = StoreReader(tmp_path / "a"), StoreReader(tmp_path / "b")
    np.testing.assert_array_equal(rest.read_all(), whole.read_all()[4:])
    np.testing.assert_array_equal(rest.labels, [1] * 4)
    assert [shard["file"] for shard in rest.header["shards"]] == ["shard-00001.bin"]
    assert rest.header["source"]["num_unreadable"] == len(totals.unreadable) == 4


def test_unlabelled_store(image: Callable, make_job: Callable, run_job: Callable, tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    run_job(make_job(tmp_path / "images", tmp_path / "store"))
    reader = StoreReader(tmp_path / "store")
    assert reader.labels is None and reader.header["labels"] == {"kind": "none", "dtype": None}


def test_labels_without_class_names_take_the_type_they_need(
    image: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png 70000\n")
    run_job(make_job(tmp_path / "list.txt", tmp_path / "store"))
    reader = StoreReader(tmp_path / "store")
    assert reader.labels.tolist() == [70000] and reader.header["labels"]["dtype"] == "uint32"


@pytest.mark.parametrize(("label_size", "expected"), [(None, (16, 16)), ((4, 8), (8, 4)), ((0, 0), (20, 12))])
def test_label_maps_have_the_numbers_of_their_samples(
    image: Callable,
    make_job: Callable,
    run_job: Callable,
    tmp_path: Path,
    label_size: tuple[int, int] | None,
    expected: tuple[int, int],
) -> None:
    for number in range(6):
        image(tmp_path / "ade" / "images" / "val" / f"{number}.png", seed=number, size=(40, 24))
        path = tmp_path / "ade" / "annotations" / "val" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 12), number).save(path)
    (tmp_path / "ade" / "images" / "val" / "2.png").write_text("damaged")
    Image.new("RGB", (20, 12)).save(tmp_path / "ade" / "annotations" / "val" / "4.png")
    totals = run_job(make_job(tmp_path / "ade", tmp_path / "store", split="val", label_size=label_size))
    assert [name for _, name, _ in totals.unreadable] == ["2.png", "4.png"]
    found = {}
    for path in (tmp_path / "store" / "labels").iterdir():
        with Image.open(path) as label_map:
            assert label_map.size == expected and label_map.mode == "L"
            found[path.name] = label_map.getpixel((0, 0))
    assert found == {"00000000.png": 0, "00000001.png": 1, "00000002.png": 3, "00000003.png": 5}
    header = StoreReader(tmp_path / "store").header
    size = "kept" if label_size == (0, 0) else list(label_size or (16, 16))
    assert header["labels"]["kind"] == "segmentation" and header["source"]["label_maps"]["size"] == size


@pytest.fixture
def cut_job(
    image: Callable, make_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TokenizeJob]:
    """A run that cuts a square out of one long image, whose label map numbers the columns."""
    monkeypatch.setattr(PatchKMeans, "resize_mode", "center-crop")
    image(tmp_path / "ade" / "images" / "val" / "0.png", size=(48, 16))
    (tmp_path / "ade" / "annotations" / "val").mkdir(parents=True)
    columns = Image.fromarray(np.arange(48, dtype=np.uint8)[None].repeat(16, 0))
    columns.save(tmp_path / "ade" / "annotations" / "val" / "0.png")
    return lambda **options: make_job(tmp_path / "ade", tmp_path / "store", split="val", **options)


@pytest.mark.parametrize(("label_size", "step"), [(None, 1), ((8, 8), 2)])
def test_label_maps_are_cut_like_their_images(
    cut_job: Callable, run_job: Callable, tmp_path: Path, label_size: tuple[int, int] | None, step: int
) -> None:
    run_job(cut_job(label_size=label_size))
    with Image.open(tmp_path / "store" / "labels" / "00000000.png") as label_map:
        found = np.asarray(label_map)
    assert found.shape == (16 // step, 16 // step)
    np.testing.assert_allclose(found[0], np.arange(16, 32, step), atol=step - 1)


@pytest.mark.parametrize(("label_size", "told"), [((0, 0), r"0 0 \(kept\)"), ((8, 24), "8 24")])
def test_label_maps_of_more_than_the_cut_are_refused(
    cut_job: Callable, run_job: Callable, label_size: tuple[int, int], told: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"cuts 16 x 16 pixels out of each image .* cut alike, .* --label-size is {told}"
    ):
        run_job(cut_job(label_size=label_size))


def test_output_behind_a_url_is_that_of_a_folder(
    pair_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    memory: fsspec.AbstractFileSystem,
) -> None:
    source = pair_folder(tmp_path / "ade", 5)
    (source / "images" / "training" / "2.png").write_text("damaged")
    job = make_job(source, "memory://bucket/store", split="training")
    assert run_job(job).num_samples == 4 and run_job(job) is None
    run_job(replace(job, out=str(tmp_path / "store")))
    run_job(replace(job, out=f"file://{tmp_path}/by url"))
    local, remote = files_of(tmp_path / "store"), {}
    for name in memory.find("/bucket/store"):
        remote[name.removeprefix("/bucket/store/")] = memory.cat_file(name)
    assert files_of(tmp_path / "by url") == local
    reports = [json.loads(files.pop("report/report.json")) for files in (local, remote)]
    assert remote == {name: content for name, content in local.items() if name not in ("labels", "report")}
    assert reports[0]["psnr_db"] == reports[1]["psnr_db"] and reports[1]["codes_used"] is None


def test_output_behind_a_url_continues_after_an_error(
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    tmp_path: Path,
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(class_folder(tmp_path / "images"), "memory://bucket/store")
    write = OutputFolder.write

    def fail(self: OutputFolder, name: str, content: bytes) -> None:
        if name == "shard-00001.bin":
            raise OSError("the bucket is full")
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "write", fail)
        with pytest.raises(OSError, match="the bucket is full"):
            run_job(job)
    header = json.loads(memory.cat_file("/bucket/store/header.json"))
    assert [shard["file"] for shard in header["shards"]] == ["shard-00000.bin"] and not header["complete"]
    assert run_job(job).num_samples == 8
    assert not any(STAGING in name for name in memory.find("/bucket"))


def test_store_of_channels_and_negative_values(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    config = {"type": "seitpp.BlockDCT", "image_size": 16, "quality": 50, "luma_coefficients": 3}
    config["chroma_coefficients"] = 1
    totals = run_job(make_job(class_folder(tmp_path / "images"), tmp_path / "store", tokenizer=config))
    reader = StoreReader(tmp_path / "store")
    assert reader.sample_shape == (2, 2, 5) and reader.minimum < 0 and totals.num_samples == 8
    assert reader.read_all().min() < 0 and not reader.verify()
    report = json.loads((tmp_path / "store" / "report" / "report.json").read_bytes())
    assert report["codes_reproduced"] == 1 and report["psnr_db"] > 5


def test_code_table_of_a_tokenizer_is_kept(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path, register: Callable
) -> None:
    class CutKMeans(PatchKMeans):
        code_table = CodeTable(np.arange(0, 64, 4), 64)

    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    run_job(replace(job, tokenizer={**job.tokenizer, "type": register(CutKMeans)}))
    np.testing.assert_array_equal(StoreReader(tmp_path / "store").code_table.codes, np.arange(0, 64, 4))


def test_codes_do_not_depend_on_how_many_images_are_left(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path, register: Callable
) -> None:
    class Watched(PatchKMeans):
        sizes: set[int] = set()

        def encode(self, images: Tensor) -> Tensor:
            self.sizes.add(len(images))
            return super().encode(images)

    job = make_job(class_folder(tmp_path / "images", per_class=5), tmp_path / "store", batch_size=3)
    run_job(replace(job, tokenizer={**job.tokenizer, "type": register(Watched)}))
    assert Watched.sizes == {2}  # what a CPU encodes at once; of ten images in threes, some pieces are filled up


def test_tokenizer_is_fitted_once_to_the_images(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    fit = {"codebook_size": 8, "num_images": 5, "seed": 3}
    tokenizer = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "fit": fit}
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store", tokenizer=tokenizer)
    run_job(job)
    reader = StoreReader(tmp_path / "store")
    assert reader.codebook.shape == (8, 192) and reader.header["source"]["tokenizer_fit"] == fit
    assert "fit" not in reader.header["tokenizer"]
    assert run_job(job) is None
    other = replace(job, tokenizer={**tokenizer, "fit": {**fit, "codebook_size": 6}})
    with pytest.raises(ValueError, match=r"its source.tokenizer_fit.codebook_size is 8, this run's is 6. Name another"):
        run_job(other)


def test_codebook_put_aside_for_another_fit_is_not_used(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "fit": {"codebook_size": 8}}
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store", tokenizer=tokenizer)
    make_plan(job, Processes())  # and killed then
    assert [path.name for path in (tmp_path / "store" / STAGING).glob("fitted*")] == ["fitted_codebook.npz"]
    other = replace(job, tokenizer={**tokenizer, "fit": {"codebook_size": 6}})
    assert run_job(other).num_samples == 8
    assert StoreReader(tmp_path / "store").codebook_size == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec": "raw"}, "its codec.name is 'bitpacked', this run's is 'raw'"),
        ({"samples_per_shard": 5}, "its samples_per_shard is 4, this run's is 5"),
        ({"tokenizer": {"type": "seitpp.BlockDCT", "image_size": 16}}, "its tokenizer.type is 'PatchKMeans'"),
        (
            {"tokenizer": {"type": "seitpp.PatchKMeans", "image_size": 32, "patch_size": 16, "fit": {}}},
            r"its tokenizer.image_size is \[16, 16\], this run's is \[32, 32\]",
        ),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_store_of_another_run_is_refused(
    class_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
    finished: bool,
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    if finished:
        run_job(job)
    else:
        tokenize(make_plan(job, Processes()), Processes(), lambda done, total: None, print)
    before = files_of(tmp_path / "store")
    with pytest.raises(ValueError, match=f"is the store of another run: {message}"):
        run_job(replace(job, **change))
    assert {name for name in files_of(tmp_path / "store") if "lock" not in name} == {
        name for name in before if "lock" not in name
    }


@pytest.mark.parametrize("finished", [True, False])
def test_run_of_format_version_1_goes_on(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path, finished: bool
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    if finished:
        run_job(job)
    else:
        tokenize(make_plan(job, Processes()), Processes(), lambda done, total: None, print)
    header = {**json.loads((tmp_path / "store" / "header.json").read_bytes()), "version": 1}
    write_header(tmp_path / "store", {key: value for key, value in header.items() if key != "header_sha256"})
    run_job(job)
    reader = StoreReader(tmp_path / "store")
    assert reader.verify() == [] and len(reader) == 8 and reader.header["version"] == (1 if finished else 2)


def test_dense_store_of_a_run_is_that_of_a_writer(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    images = class_folder(tmp_path / "images", per_class=5)
    run_job(make_job(images, tmp_path / "plain"))
    run_job(replace(make_job(images, tmp_path / "dense"), codec="zstd"))
    dense = StoreReader(tmp_path / "dense")
    copy_store(StoreReader(tmp_path / "plain"), tmp_path / "copy", codec="zstd", shard_bytes=1)
    np.testing.assert_array_equal(dense.read_all(), StoreReader(tmp_path / "plain").read_all())
    np.testing.assert_array_equal(dense.read_all(), StoreReader(tmp_path / "copy").read_all())
    assert dense.verify() == [] and len(dense.header["shards"]) == 3 and dense.labels.tolist() == [0] * 5 + [1] * 5


def test_store_of_other_images_is_refused(
    class_folder: Callable, image: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    run_job(job)
    image(tmp_path / "images" / "bee" / "more.png")
    with pytest.raises(ValueError, match=r"its source.num_images is 8, this run's is 9. Name another folder"):
        run_job(job)


def test_folder_with_something_else_is_refused(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    class_folder(tmp_path / "images")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"exists and holds 'thesis.tex', but no store that was begun by this"):
        run_job(make_job(tmp_path / "images", tmp_path / "out"))
    with pytest.raises(FileExistsError, match="exists and holds 'images', but no store"):  # the source inside
        run_job(make_job(tmp_path / "images", tmp_path))
    with pytest.raises(ValueError, match=r"lies inside .*images, where images are looked for"):
        run_job(make_job(tmp_path / "images", tmp_path / "images" / "store"))


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "header.json is damaged"), ("{}", "header.json belongs to something else than a token store")],
)
def test_header_of_something_else_is_refused(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "header.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        run_job(make_job(class_folder(tmp_path / "images"), tmp_path / "out"))


def test_source_without_a_readable_image_is_refused_and_looked_at_again(
    image: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_text("no image")
    (tmp_path / "images" / "b.jpg").touch()
    job = make_job(tmp_path / "images", tmp_path / "store")
    message = r"none of the 2 images could be read. a.jpg: it is of no known .*; b.jpg: the file is empty"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            run_job(job)
    fitted = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "fit": {"codebook_size": 4}}
    with pytest.raises(
        ValueError, match=r"to fit the tokenizer to could be read. a.jpg: it is of no known .*; b.jpg: the file is"
    ):
        run_job(replace(job, out=str(tmp_path / "fitted"), tokenizer=fitted))
    image(tmp_path / "images" / "b.jpg")
    assert run_job(job).num_samples == 1


def test_first_unreadable_image_ends_a_run_that_skips_none(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    source = class_folder(tmp_path / "images", damaged=True)
    job = make_job(source, tmp_path / "store", skip_unreadable=False, samples_per_shard=2)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"ant/1_damaged.png cannot be read: .* pass --on-error skip to leave"):
            run_job(job)
    assert run_job(replace(job, skip_unreadable=True)).num_samples == 8
    run_job(replace(job, skip_unreadable=True, out=str(tmp_path / "whole")))
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected a positive number"),
        ({"samples_per_shard": 0}, "samples_per_shard is 0, expected a positive number"),
        ({"samples_per_shard": 2**70}, f"samples_per_shard is {2**70}, expected a positive number up to 2147483648"),
        ({"num_workers": -1}, "num_workers is -1, expected 0 or more"),
        ({"label_size": (0, 4)}, r"label_size is \(0, 4\), expected two positive numbers, or \(0, 0\)"),
    ],
)
def test_wrong_settings_are_refused(make_job: Callable, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_job("images", "store", **options)


@pytest.mark.parametrize("config", [{"type": "seitpp.Nothing"}, {"type": "seitpp.PatchKMeans", "sizes": 3}])
def test_unknown_tokenizer_is_refused(make_job: Callable, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the tokenizer cannot be built: the config "):
        make_job("images", "store", tokenizer=config).build_tokenizer()


def test_unfinished_store_can_be_read_up_to_there(class_folder: Callable, make_job: Callable, tmp_path: Path) -> None:
    job: TokenizeJob = make_job(class_folder(tmp_path / "images"), tmp_path / "store")
    plan = make_plan(job, Processes())
    seen: list[int] = []

    def look(done: int, total: int) -> None:
        commit.publish(plan)
        header = json.loads((tmp_path / "store" / "header.json").read_bytes())
        assert total == 8 and not header["complete"]
        seen.append(header["num_samples"])

    tokenize(plan, Processes(), look, print)
    assert seen == sorted(seen) and {0, 4} <= set(seen)
    reader = StoreReader(tmp_path / "store")
    commit.publish(plan)  # too late
    assert StoreReader(tmp_path / "store").header == reader.header


@pytest.mark.parametrize("annotated", [False, True])
def test_images_that_were_left_out_are_read_again(
    class_folder: Callable,
    pair_folder: Callable,
    make_job: Callable,
    run_job: Callable,
    files_of: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    annotated: bool,
) -> None:
    root = pair_folder(tmp_path / "images", 10) if annotated else class_folder(tmp_path / "images", per_class=5)
    split = "training" if annotated else None
    run_job(make_job(root, tmp_path / "whole", split=split))
    damaged = root / "images" / "training" / "6.png" if annotated else root / "bee" / "1.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:50])
    job = replace(make_job(root, tmp_path / "store", split=split), retry_left_out=True)
    run_job(job)
    assert len(StoreReader(tmp_path / "store")) == 9
    damaged.write_bytes(content)

    read = []
    load = ImageSource.load
    monkeypatch.setattr(ImageSource, "load", lambda self, n, c: read.append(n) or load(self, n, c))
    plan = make_plan(job, Processes())
    tokenize(plan, Processes(), lambda done, total: None, print)
    assert sorted(read) == (list(range(10)) if annotated else [4, 5, 6, 7])  # the shard that lacked one
    run_job(job)
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")
    read.clear()
    assert run_job(job) is None and not read  # nothing is left out any more


def test_run_that_reads_again_may_be_killed_at_any_write(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path
) -> None:
    root = class_folder(tmp_path / "images", per_class=5)
    run_job(make_job(root, tmp_path / "whole"))
    content = (root / "bee" / "1.png").read_bytes()
    (root / "bee" / "1.png").write_bytes(content[:50])
    run_job(make_job(root, tmp_path / "damaged"))
    (root / "bee" / "1.png").write_bytes(content)
    for allowed in range(12):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        shutil.copytree(tmp_path / "damaged", tmp_path / "store")
        job = replace(make_job(root, tmp_path / "store"), retry_left_out=True)
        writes = iter(range(allowed))
        write = OutputFolder.write

        def killed(self: OutputFolder, name: str, content: bytes, writes: Any = writes, write: Any = write) -> None:
            if next(writes, None) is None:
                raise KeyboardInterrupt
            write(self, name, content)

        with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(OutputFolder, "write", killed)
            run_job(job)
        run_job(job)
        assert files_of(tmp_path / "store") == files_of(tmp_path / "whole"), allowed


def test_store_that_kept_no_records_says_how_to_make_it_again(
    class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path
) -> None:
    job = make_job(class_folder(tmp_path / "images", damaged=True), tmp_path / "store")
    run_job(job)
    (tmp_path / "store" / "report" / "shards.json").write_text("{")
    with pytest.raises(ValueError, match=r"shards\.json .*To read images again that were left out, delete "):
        run_job(replace(job, retry_left_out=True))
    (tmp_path / "store" / "report" / "shards.json").unlink()
    with pytest.raises(ValueError, match=r"shards\.json is missing, so it is not known which shards lack images"):
        run_job(replace(job, retry_left_out=True))
    with pytest.raises(ValueError, match=r"is complete, but 1 images were left out of it, .*--retry-left-out"):
        run_job(replace(job, skip_unreadable=False))
