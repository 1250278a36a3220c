"""`tools/merge_stores.py`: what the union of stores holds, and which stores cannot be united."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.tools import tool_main
from seitpp.storage import StoreReader, StoreWriter, merge_stores
from seitpp.storage.label_files import label_file

CODEBOOK = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
TOKENIZER = {"name": "a", "type": "PatchKMeans", "image_size": [8, 8]}


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("merge_stores.py")


def write(path: Path, count: int = 3, seed: int = 0, labels: Any = None, **changes: Any) -> StoreReader:
    options = dict(codebook_size=8, grid=(2, 2), tokenizer=TOKENIZER, codebook=CODEBOOK)
    if labels is not None:
        options["label_kind"] = "class"
    shape = (*changes.get("grid", (2, 2)), *([changes["channels"]] if "channels" in changes else []))
    with StoreWriter(path, **{**options, **changes}) as writer:
        writer.append(np.random.default_rng(seed).integers(0, 8, (count, *shape)), labels)
    return StoreReader(path)


def with_maps(path: Path, count: int, seed: int, png: Callable[[int], bytes], **changes: Any) -> StoreReader:
    with StoreWriter(
        path, codebook_size=8, grid=(2, 2), tokenizer=TOKENIZER, codebook=CODEBOOK, label_kind="segmentation", **changes
    ) as writer:
        writer.append(np.random.default_rng(seed).integers(0, 8, (count, 2, 2)))
        (path / "labels").mkdir()
        for number in range(count):
            (path / label_file(number)).write_bytes(png(seed + number))
    return StoreReader(path)


@pytest.fixture
def png() -> Callable[[int], bytes]:
    """Returns the PNG of a small label map."""
    import io

    from PIL import Image

    def content(seed: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.full((4, 4), seed, np.uint8)).save(file, "PNG")
        return file.getvalue()

    return content


def test_union_has_the_same_codes_and_the_classes_of_all(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    one = write(tmp_path / "one", 3, labels=[1, 0, 1], classes=["bee", "cow"])
    two = write(tmp_path / "two", 2, seed=1, labels=[0, 1], classes=["ant", "bee"], codec="zstd")
    assert main([str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "all")]) == 0
    store = StoreReader(tmp_path / "all")
    np.testing.assert_array_equal(store.read(range(5)), np.concatenate([one.read(range(3)), two.read(range(2))]))
    assert store.classes == ["ant", "bee", "cow"] and store.labels.tolist() == [2, 1, 2, 0, 1]
    assert store.verify() == [] and store.codebook_sha256 == one.codebook_sha256
    assert store.header["codec"]["name"] == "bitpacked"
    parts = store.header["source"]["parts"]
    assert [part["content_hash"] for part in parts] == [one.content_hash, two.content_hash]
    said = capsys.readouterr().out
    assert f"1 in {one.path} alone ('cow'), 1 in {two.path} alone ('ant')" in said and "5 samples, 3 classes" in said


def test_labels_without_names_keep_their_numbers(tmp_path: Path) -> None:
    readers = [write(tmp_path / str(seed), 2, seed, labels=[seed, 5], label_dtype="uint8") for seed in (0, 1)]
    merge_stores(readers, tmp_path / "all")
    store = StoreReader(tmp_path / "all")
    assert store.labels.tolist() == [0, 5, 1, 5] and store.classes is None


def test_values_with_channels(tmp_path: Path) -> None:
    options = dict(codebook=None, channels=2, codec="raw")
    readers = [write(tmp_path / str(seed), 2, seed, **options) for seed in (0, 1)]
    merge_stores(readers, tmp_path / "all")
    store = StoreReader(tmp_path / "all")
    np.testing.assert_array_equal(store.read([3]), readers[1].read([1]))
    assert store.header["codec"]["name"] == "raw"


def test_label_maps_are_copied(tmp_path: Path, png: Callable) -> None:
    readers = [with_maps(tmp_path / str(seed), 2, seed, png, classes=["a", "b"]) for seed in (0, 2)]
    merge_stores(readers, tmp_path / "all")
    store = StoreReader(tmp_path / "all")
    assert [store.read_label_map(number, sound=True) for number in range(4)] == [png(number) for number in range(4)]
    assert store.verify() == [] and store.label_map_checksums is not None


def test_label_maps_of_other_classes_are_refused(tmp_path: Path, png: Callable) -> None:
    readers = [with_maps(tmp_path / name, 1, 0, png, classes=["a", name], source={"n": name}) for name in ("b", "c")]
    readers[1] = with_maps(tmp_path / "d", 2, 0, png, classes=["a", "c"])
    with pytest.raises(ValueError, match=r"have other class names, .*; label maps are copied and not renumbered"):
        merge_stores(readers, tmp_path / "all")
    merge_stores(readers, tmp_path / "all", unlabelled=True)
    assert StoreReader(tmp_path / "all").header["labels"]["kind"] == "none"


OTHER_CODEBOOK = CODEBOOK[::-1].copy()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebook": OTHER_CODEBOOK}, r"codebook_sha256 '[0-9a-f]{15}\.\.\. and '"),
        ({"codebook_size": 9, "codebook": np.zeros((9, 4), np.float32)}, "codebook_size 8 and 9"),
        ({"grid": (4, 2)}, r"grid \(2, 2\) and \(4, 2\)"),
        ({"codebook": None, "channels": 3}, "channels None and 3"),
        ({"tokenizer": {**TOKENIZER, "image_size": [16, 16]}}, r"tokenizer\.image_size \[8, 8\] and \[16, 16\]"),
    ],
)
def test_stores_of_different_tokenizers_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    readers = [write(tmp_path / "one"), write(tmp_path / "two", seed=1, **changes)]
    with pytest.raises(ValueError, match=f"were not made by the same tokenizer: .*{message}"):
        merge_stores(readers, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_stores_that_cannot_be_united_are_refused(main: Callable, tmp_path: Path) -> None:
    named, nameless = (
        write(tmp_path / "named", labels=[0, 0, 0], classes=["x"]),
        write(tmp_path / "no", seed=1, labels=[0] * 3),
    )
    plain = write(tmp_path / "plain", seed=2)
    for readers, message in {
        (named,): "named alone is nothing to merge",
        (named, named): "hold the same samples; name each store once",
        (named, plain): r"different kinds of labels \(.*named: class, .*plain: none\)",
        (named, nameless): "no has class indices without names, and other stores have names",
    }.items():
        with pytest.raises(ValueError, match=message):
            merge_stores(readers, tmp_path / "all")
    for more in ([], ["--resume"]):  # into one of them
        assert main([str(named.path), str(plain.path), str(named.path), "--unlabelled", *more]) == 1
    assert named.verify() == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        merge_stores((named, plain), tmp_path / "full", unlabelled=True)


def test_damage_is_not_copied(tmp_path: Path) -> None:
    readers = [write(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    shard = next((tmp_path / "1").glob("shard-*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="a copy would hide it: restore or make the store again"):
        merge_stores([readers[0], StoreReader(tmp_path / "1")], tmp_path / "all")


@pytest.mark.parametrize("stop_at", [2, 5, 9])
@pytest.mark.parametrize("kind", ["class", "segmentation"])
def test_interrupted_run_goes_on_to_the_same_store(tmp_path: Path, stop_at: int, kind: str, png: Callable) -> None:
    readers = [
        with_maps(tmp_path / str(seed), 5, 10 * seed, png)
        if kind == "segmentation"
        else write(tmp_path / str(seed), 5, seed, labels=[0, 1, 0, 1, 0], classes=[f"{seed}", "x"])
        for seed in (0, 1)
    ]
    options = {"shard_bytes": 80}
    merge_stores(readers, tmp_path / "whole", **options)
    assert len(StoreReader(tmp_path / "whole").header["shards"]) > 2

    append, appended = StoreWriter.append, 0

    def dies(self: StoreWriter, tokens: np.ndarray, labels: np.ndarray | None = None) -> None:
        nonlocal appended
        for index in range(len(tokens)):
            appended += 1
            if appended > stop_at:
                raise KeyboardInterrupt
            append(self, tokens[index : index + 1], None if labels is None else labels[index : index + 1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreWriter, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            merge_stores(readers, tmp_path / "again", **options)
    merge_stores(readers, tmp_path / "again", resume=True, **options)
    merge_stores(readers, tmp_path / "again", resume=True, **options)  # nothing is left to do
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "whole")).read_bytes()
