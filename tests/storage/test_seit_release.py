"""The authors' release files: decoding against the published rules, errors, and import and export to the byte."""

import errno
import gzip
import io
import json
import os
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.golden import golden_path
from seitpp.storage import (
    SeitRelease,
    StoreReader,
    decode_release_bytes,
    encode_release_bytes,
    import_release,
    is_release,
    open_source,
    store_stats,
    write_release,
)
from seitpp.storage.header import read_header, write_header

GRID, NUM = (3, 4), 9


def toy(num: int = NUM, highest: int = 390) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(240, highest + 1, (num, *GRID)), rng.integers(0, 5, num)


def release_files(folder: Path, images: list[bytes], **options: object) -> Path:
    """Write release files by hand, with the standard library's gzip; returns the data path."""
    folder.mkdir(exist_ok=True)
    stream = b"".join(images)
    offsets = np.cumsum([0, *map(len, images)])
    index = io.BytesIO()
    np.save(index, options.get("offsets", offsets).astype(options.get("dtype", np.int64)))
    level, mtime = options.get("level", 9), options.get("mtime", 0)
    for name, content in (("data.bin.gz", stream), ("index.npy.gz", index.getvalue())):
        packed = io.BytesIO()
        with gzip.GzipFile(options.get("filename", ""), "wb", level, packed, mtime) as file:
            file.write(content)
        (folder / f"t-token.{name}").write_bytes(packed.getvalue())
    labels = options.get("labels", "\n".join(["3"] * len(images)) + "\n")
    if labels is not None:
        (folder / "t-label.txt").write_text(labels)
    return folder / "t-token.data.bin.gz"


def canonical_images(tokens: np.ndarray) -> list[bytes]:
    return [
        bytes(b for code in image.ravel() for b in ([code] if code < 255 else [255, code - 255])) for image in tokens
    ]


def reference_decode(image: bytes) -> list[int]:
    """The reference reader's rule, byte by byte."""
    codes, escape = [], False
    for byte in image:
        if byte == 255:
            escape = True
        else:
            codes.append(byte + 255 * escape)
            escape = False
    return codes


@given(images=st.lists(st.lists(st.sampled_from([0, 5, 254, 255]), max_size=8).map(bytes), max_size=6))
def test_decoding_follows_the_byte_by_byte_rule(images: list[bytes]) -> None:
    offsets = np.cumsum([0, *map(len, images)])
    codes, counts, unused = decode_release_bytes(b"".join(images), offsets)
    expected = [reference_decode(image) for image in images]
    assert codes.tolist() == [code for image in expected for code in image]
    assert counts.tolist() == [len(image) for image in expected]
    assert unused == sum(image.count(255) - sum(code >= 255 for code in reference_decode(image)) for image in images)


@given(st.lists(st.integers(0, 509), min_size=4, max_size=4), st.integers(1, 3))
def test_encoding_round_trip_and_exact_length(codes: list[int], num_images: int) -> None:
    tokens = np.tile(np.array(codes).reshape(1, 2, 2), (num_images, 1, 1))
    content, offsets = encode_release_bytes(tokens)
    assert offsets.tolist() == [i * (4 + sum(code >= 255 for code in codes)) for i in range(num_images + 1)]
    decoded, counts, unused = decode_release_bytes(content, offsets)
    np.testing.assert_array_equal(decoded.reshape(tokens.shape), tokens)
    assert counts.tolist() == [4] * num_images and unused == 0


def test_encoding_examples_of_the_documentation() -> None:
    content, _ = encode_release_bytes(np.array([[[254, 255, 390, 509]]]))
    assert content == bytes.fromhex("FE FF00 FF87 FFFE")


def test_code_beyond_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image 1: code 510 is not in \[0, 510\)"):
        encode_release_bytes(np.array([[[1]], [[510]]]))
    with pytest.raises(ValueError, match="image 1: code 510"):
        write_release(np.array([[[1]], [[510]]]), tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_release_reads_like_a_store(tmp_path: Path) -> None:
    tokens, _ = toy()
    release = SeitRelease(release_files(tmp_path, canonical_images(tokens)), grid=GRID, codebook_size=391)
    assert len(release) == NUM and release.grid == GRID and release.codebook_size == 391
    assert release.classes is None and release.codebook_sha256 is None
    np.testing.assert_array_equal(release.read([8, 0, 8]), tokens[[8, 0, 8]])
    np.testing.assert_array_equal(release.read(slice(2, 5)), tokens[2:5])
    assert release.read_all().dtype == np.uint16
    np.testing.assert_array_equal(release.labels, [3] * NUM)
    assert store_stats(release)["samples_per_class_max"] == NUM
    with pytest.raises(IndexError, match="index 9 is out of range for 9 samples"):
        release.read([9])


def test_release_without_labels(tmp_path: Path) -> None:
    release = SeitRelease(release_files(tmp_path, canonical_images(toy()[0]), labels=None), grid=GRID)
    assert release.labels is None and len(release) == NUM and release.codebook_size == 510


def test_progress_counts_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    release = SeitRelease(release_files(tmp_path, canonical_images(toy()[0])), grid=GRID)
    release.read_all(lambda done, total: calls.append((done, total)))
    assert calls == [(NUM, NUM)]


@pytest.mark.parametrize("name", ["t-token", "t"])
def test_labels_are_found_with_and_without_token_in_the_name(tmp_path: Path, name: str) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    for key in ("data.bin.gz", "index.npy.gz"):
        (tmp_path / f"t-token.{key}").rename(tmp_path / f"{name}.{key}")
    release = open_source(data.with_name(f"{name}.data.bin.gz"), grid=GRID)
    assert release.label_path == tmp_path / "t-label.txt" and release.labels.tolist() == [3] * NUM


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/x-token.data.bin.gz", True), ("x.data.bin.gz", True), ("x.index.npy.gz", False), ("x.data.bin.gz/s", False)],
)
def test_release_is_known_by_its_ending(path: str, expected: bool) -> None:
    assert is_release(path) is is_release(Path(path)) is expected


def test_labels_may_lie_elsewhere(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    (tmp_path / "mine.txt").write_text("7\n" * NUM)
    release = SeitRelease(str(data), tmp_path / "mine.txt", grid=GRID, codebook_size=391)
    assert isinstance(release, SeitRelease) and release.grid == GRID and release.codebook_size == 391
    assert release.labels.tolist() == [7] * NUM


def test_index_path_replaces_every_data_bin(tmp_path: Path) -> None:
    (tmp_path / "data.bin").mkdir()
    with pytest.raises(FileNotFoundError, match=r"index\.npy/t-token\.index\.npy\.gz does not exist"):
        SeitRelease(release_files(tmp_path / "data.bin", canonical_images(toy()[0])))


def test_data_path_without_data_bin_needs_an_index(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    renamed = data.rename(tmp_path / "other.gz")
    with pytest.raises(ValueError, match=r"no 'data\.bin' in its name"):
        SeitRelease(renamed)
    index, labels = tmp_path / "t-token.index.npy.gz", tmp_path / "t-label.txt"
    np.testing.assert_array_equal(SeitRelease(renamed, labels, index, GRID).read_all(), toy()[0])


# What is refused


@pytest.mark.parametrize("lines", [NUM - 1, NUM + 1])
def test_label_count_must_equal_the_images(tmp_path: Path, lines: int) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]), labels="0\n" * lines)
    with pytest.raises(ValueError, match=rf"label\.txt has {lines} labels, but .*index\.npy\.gz has 9 images"):
        SeitRelease(data, grid=GRID)


@pytest.mark.parametrize("line", ["cat", "-1", "", "1.5"])
def test_label_that_is_no_class_index_is_refused(tmp_path: Path, line: str) -> None:
    data = release_files(tmp_path, canonical_images(toy(3)[0]), labels=f"0\n{line}\n2\n")
    with pytest.raises(ValueError, match=rf"label\.txt, line 2: '{line}' is not a class index"):
        SeitRelease(data, grid=GRID)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none-token\.data\.bin\.gz does not exist"):
        SeitRelease(tmp_path / "none-token.data.bin.gz")
    data = release_files(tmp_path, canonical_images(toy()[0]))
    with pytest.raises(FileNotFoundError, match=r"labels\.txt does not exist"):
        SeitRelease(data, tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([1, 5, 9], "the first offset is 1, expected 0"),
        ([0, 9, 5], "image 1 ends at 5, before its start at 9"),
        ([0], "holds no images"),
        ([[0, 1]], r"int64 of shape \(1, 2\)"),
    ],
)
def test_malformed_index_is_refused(tmp_path: Path, offsets: list, message: str) -> None:
    data = release_files(tmp_path, canonical_images(toy(2)[0]), offsets=np.array(offsets))
    with pytest.raises(ValueError, match=message):
        SeitRelease(data, grid=GRID)


def test_float_index_is_refused(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy(2)[0]), dtype=np.float32)
    with pytest.raises(ValueError, match="holds float32 of shape"):
        SeitRelease(data)


@pytest.mark.parametrize("change", [-1, 1, 10**9])
def test_index_that_does_not_match_the_data_is_refused(tmp_path: Path, change: int) -> None:
    images = canonical_images(toy()[0] % 200)
    offsets = np.cumsum([0, *map(len, images)])
    data = release_files(tmp_path, images, offsets=np.concatenate([offsets[:-1], offsets[-1:] + change]))
    message = "the stream has 108 bytes, the index ends at 109" if change == 1 else "has 11 codes|asks for"
    with pytest.raises(ValueError, match=message):
        SeitRelease(data, grid=GRID).read_all()


def test_data_beyond_the_index_is_refused(tmp_path: Path) -> None:
    images = canonical_images(toy()[0] % 200)
    data = release_files(tmp_path, images, offsets=np.arange(9) * 12, labels=None)
    with pytest.raises(ValueError, match="the stream has 108 bytes, the index ends at 96"):
        SeitRelease(data, grid=GRID).read_all()


@pytest.mark.parametrize(("image", "count"), [(b"\x01" * 11, 11), (b"\x01" * 12 + b"\xff\x01", 13), (b"", 0)])
def test_wrong_number_of_codes_names_the_image(tmp_path: Path, image: bytes, count: int) -> None:
    images = canonical_images(toy()[0])
    images[4] = image
    with pytest.raises(ValueError, match=rf"data\.bin\.gz: image 4 has {count} codes, expected 12 for a grid of 3 x 4"):
        SeitRelease(release_files(tmp_path, images), grid=GRID).read([0])


def test_code_outside_the_codebook_names_the_image(tmp_path: Path) -> None:
    tokens, _ = toy()
    tokens[6, 2, 1] = 391
    data = release_files(tmp_path, canonical_images(tokens))
    SeitRelease(data, grid=GRID, codebook_size=392).read_all()
    with pytest.raises(ValueError, match="image 6 holds code 391, expected codes below 391"):
        SeitRelease(data, grid=GRID, codebook_size=391).read_all()


def test_codebook_beyond_the_format_is_refused(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    with pytest.raises(ValueError, match="codebook_size is 511, a release holds at most 510"):
        SeitRelease(data, codebook_size=511)


@pytest.mark.parametrize("which", ["data.bin", "index.npy"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "garbage"])
def test_corrupt_gzip_is_refused(tmp_path: Path, which: str, damage: str) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    path = Path(str(data).replace("data.bin", which))
    content = bytearray(path.read_bytes())
    content[-7] ^= 1  # in the CRC-32
    path.write_bytes({"truncate": content[:-12], "flip": content, "garbage": b"no gzip here, sorry"}[damage])
    with pytest.raises(ValueError, match=rf"{which}\.gz is (truncated or damaged|damaged or is not a whole gzip file)"):
        SeitRelease(data, grid=GRID).read_all()


# Import and export


def content_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"level": 1, "mtime": 1700000000, "filename": "imagenet-token.data.bin"},
        {"dtype": np.uint32},
        {"labels": "\n".join("012345678")},
        {"labels": None},
    ],
)
def test_import_then_export_gives_the_same_contents(tmp_path: Path, options: dict) -> None:
    data = release_files(tmp_path / "in", canonical_images(toy()[0]), **options)
    stream = content_of(data)
    data.write_bytes(gzip.compress(stream[:9]) + gzip.compress(stream[9:]))  # two members
    import_release(release := SeitRelease(data, grid=GRID), tmp_path / "store")
    assert release.noncanonical_escapes == 0
    files = write_release(StoreReader(tmp_path / "store"), tmp_path / "out" / "t")
    assert {file.path.name for file in files} == {path.name for path in (tmp_path / "in").iterdir()}
    for file in files:
        assert file.same_content and content_of(file.path) == content_of(tmp_path / "in" / file.path.name)
        assert file.num_bytes == file.path.stat().st_size


def test_noncanonical_escapes_are_accepted_and_counted(tmp_path: Path) -> None:
    images = canonical_images(toy()[0])
    images[3] = b"\xff" + bytes([255, 5]) + b"\x01" * 11 + b"\xff"
    release = SeitRelease(release_files(tmp_path / "in", images), grid=GRID)
    import_release(release, tmp_path / "store")
    assert release.noncanonical_escapes == 2
    reader = StoreReader(tmp_path / "store")
    assert reader.read([3]).ravel().tolist() == [260] + [1] * 11
    assert reader.header["source"]["release_stream"]["noncanonical_escapes"] == 2
    data, index, labels = write_release(reader, tmp_path / "out" / "t")
    assert data.same_content is False and index.same_content is False and labels.same_content


def test_import_keeps_codebook_classes_and_synonyms(tmp_path: Path) -> None:
    codebook = np.random.default_rng(0).normal(size=(391, 2)).astype(np.float32)
    import_release(
        SeitRelease(release_files(tmp_path / "in", canonical_images(toy()[0])), grid=GRID),
        tmp_path / "store",
        codebook=codebook,
        tokenizer={"name": "vit-vqgan"},
        classes=list("abcd"),
        synonyms={0: [5, 6], 390: []},
    )
    reader = StoreReader(tmp_path / "store")
    np.testing.assert_array_equal(reader.codebook, codebook)
    assert reader.codebook_size == 391 and reader.classes == list("abcd")
    files = write_release(reader, tmp_path / "out" / "t")
    assert json.loads(files[-1].path.read_text()) == {"0": [5, 6], "390": []}
    assert files[-1].path.name == "t-synonyms.json"
    assert files[-1].same_content is None  # the table came from no file


def test_import_with_a_codebook_of_another_size_is_refused(tmp_path: Path) -> None:
    data = release_files(tmp_path / "in", canonical_images(toy()[0]))
    with pytest.raises(ValueError, match="the codebook has 300 rows, the release 391 codes"):
        import_release(SeitRelease(data, None, None, GRID, 391), tmp_path / "store", codebook=np.zeros((300, 2)))


def test_interrupted_import_resumes_to_the_same_files(tmp_path: Path) -> None:
    release = SeitRelease(release_files(tmp_path / "in", canonical_images(toy()[0])), grid=GRID)

    def cut(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_release(release, tmp_path / "a", shard_bytes=160, progress=cut)
    with pytest.raises(ValueError, match="incomplete: 8 samples"):
        StoreReader(tmp_path / "a")
    import_release(release, tmp_path / "a", shard_bytes=160, resume=True)
    import_release(release, tmp_path / "b", shard_bytes=160)
    for file in (tmp_path / "b").iterdir():
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()


def test_import_is_not_resumed_from_another_release(tmp_path: Path) -> None:
    def cut(done: int, total: int) -> None:
        raise KeyboardInterrupt

    tokens, _ = toy()
    with pytest.raises(KeyboardInterrupt):
        release = SeitRelease(release_files(tmp_path / "in", canonical_images(tokens)), grid=GRID)
        import_release(release, tmp_path / "store", shard_bytes=160, progress=cut)
    tokens[8, 2, 3] = 240 if tokens[8, 2, 3] != 240 else 241  # in an image that the import has not reached
    other = SeitRelease(release_files(tmp_path / "other", canonical_images(tokens)), grid=GRID)
    before = {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    with pytest.raises(ValueError, match="cannot resume, source is "):
        import_release(other, tmp_path / "store", shard_bytes=160, resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()} == before


def test_arrays_are_written_as_the_same_files_each_time(tmp_path: Path) -> None:
    tokens, labels = toy()
    files = write_release(tokens, tmp_path / "out" / "t", labels=labels)
    text = "".join(f"{label}\n" for label in labels)
    release_files(tmp_path / "in", canonical_images(tokens), labels=text)
    for file in files:
        assert file.same_content is None and content_of(file.path) == content_of(tmp_path / "in" / file.path.name)
    again = write_release(tokens, tmp_path / "again" / "t", labels=labels)
    assert [file.path.read_bytes() for file in again] == [file.path.read_bytes() for file in files]
    with pytest.raises(FileExistsError, match=r"t-token\.data\.bin\.gz exists already"):
        write_release(tokens, tmp_path / "out" / "t")
    with pytest.raises(ValueError, match="8 labels were given for 9 samples"):
        write_release(tokens, tmp_path / "out" / "u", labels=labels[1:])


@pytest.mark.parity
def test_golden_token_file_is_read_imported_and_exported(tmp_path: Path) -> None:
    folder = golden_path("token_file")
    (data,) = folder.glob("*-token.data.bin.gz")
    with np.load(folder / "expected.npz") as expected:
        tokens, labels, starts = expected["tokens"], expected["labels"], expected["start_indices"]
    release = SeitRelease(data, grid=tokens.shape[1:], codebook_size=int(tokens.max()) + 1)
    assert len(release) == len(tokens)
    np.testing.assert_array_equal(release.read_all(), tokens)
    np.testing.assert_array_equal(release.labels, labels)
    content, offsets = encode_release_bytes(tokens)
    assert content == gzip.decompress(data.read_bytes())
    np.testing.assert_array_equal(offsets, starts)

    import_release(release, tmp_path / "store")
    reader = StoreReader(tmp_path / "store")
    np.testing.assert_array_equal(reader.read_all(), tokens)
    np.testing.assert_array_equal(reader.labels, labels)
    assert reader.verify() == []
    files = write_release(reader, tmp_path / data.name.removesuffix("-token.data.bin.gz"))
    assert len(files) == 3
    for file in files:
        assert file.same_content and content_of(file.path) == content_of(folder / file.path.name)


# What may not become a release


def damaged(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("codec", ["raw", "bitpacked", "zstd"])
@pytest.mark.parametrize("section", ["tokens", "labels"])
def test_damaged_rows_and_labels_are_not_exported(tmp_path: Path, codec: str, section: str) -> None:
    tokens, _ = toy()
    release = SeitRelease(release_files(tmp_path / "in", canonical_images(tokens)), grid=GRID, codebook_size=391)
    import_release(release, tmp_path / "s", codec=codec, shard_bytes=150)
    shard = StoreReader(tmp_path / "s")._shards[1]
    damaged(shard.path, shard.layout.tokens_offset if section == "tokens" else shard.layout.labels_offset)
    with pytest.raises(ValueError, match=r"shard-00001\.bin: sample \d+ is damaged.*restore or make the store again"):
        write_release(StoreReader(tmp_path / "s"), tmp_path / "out" / "toy")
    assert list((tmp_path / "out").iterdir()) == []


def test_full_disk_leaves_no_half_of_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("seitpp.storage.release.transfer._index_bytes", no_space)
    with pytest.raises(OSError, match=r"No space left on device: '.*toy-token\.index\.npy\.gz'"):
        write_release(toy()[0], tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "entry", "message"),
    [
        ("index", {"dtype": "O"}, "source.release.index.dtype is 'O', expected one of"),
        ("index", "none", "source.release.index is 'none', expected an object"),
        ("labels", [1], r"source.release.labels is \[1\], expected an object"),
    ],
)
def test_forged_record_of_the_imported_files_is_refused(tmp_path: Path, part: str, entry: object, message: str) -> None:
    release = SeitRelease(release_files(tmp_path / "in", canonical_images(toy()[0])), grid=GRID, codebook_size=391)
    import_release(release, tmp_path / "s")
    header = read_header(tmp_path / "s")
    header["source"]["release"][part] = entry
    write_header(tmp_path / "s", header)
    with pytest.raises(ValueError, match=message):
        write_release(StoreReader(tmp_path / "s"), tmp_path / "out" / "toy")


# Files that ask for more than there is


def test_small_index_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = b"".join([*(packer.compress(bytes(2**22)) for _ in range(32)), packer.flush()])
    (tmp_path / "t-token.index.npy.gz").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"index\.npy\.gz .*it unpacks to more than [\d,]+ bytes"):
        SeitRelease(data, grid=GRID)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_data_that_unpack_to_more_than_the_index_says_are_refused(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy()[0]))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data.write_bytes(b"".join([*(packer.compress(bytes(2**22)) for _ in range(32)), packer.flush()]))
    release = SeitRelease(data, grid=GRID)
    with pytest.raises(ValueError, match=r"does not match .*: the stream has|holds code|has .* codes"):
        release.read_all()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.array([0, 12, 2**64 - 1], np.uint64), "offset 2 is 18446744073709551615, which no file can have"),
        (np.array([0, 12, 2**62], np.int64), "it asks for 4611686018427387904 bytes, of which"),
        (np.array([0, -12, 12], np.int64), "image 0 ends at -12, before its start at 0"),
        (np.zeros((2, 2), np.int64), r"holds int64 of shape \(2, 2\)"),
        (np.array(5), r"holds int64 of shape \(\)"),
        (np.array(["0", "12"]), "index.npy.gz is damaged or is not a .npy file of plain numbers"),
        (np.array([0, 12, None]), "index.npy.gz is damaged or is not a .npy file of plain numbers"),
    ],
)
def test_impossible_index_is_refused(tmp_path: Path, index: np.ndarray, message: str) -> None:
    data, file = release_files(tmp_path, canonical_images(toy(2)[0])), io.BytesIO()
    np.save(file, index)
    (tmp_path / "t-token.index.npy.gz").write_bytes(gzip.compress(file.getvalue()))
    with pytest.raises(ValueError, match=message):
        SeitRelease(data, grid=GRID)


def test_index_of_more_bytes_than_it_has_is_refused(tmp_path: Path) -> None:
    data, file = release_files(tmp_path, canonical_images(toy(2)[0])), io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (2**42,)})
    (tmp_path / "t-token.index.npy.gz").write_bytes(gzip.compress(file.getvalue()))
    with pytest.raises(ValueError, match=r"index\.npy\.gz .*its header declares 35184372088832 bytes of values"):
        SeitRelease(data, grid=GRID)


@pytest.mark.parametrize("line", ["\u0663", "4294967296", "9" * 5000, "1_0", "+3", "\ud7ff", "0x3", "3\x00", "1 2"])
def test_strange_numbers_are_no_labels(tmp_path: Path, line: str) -> None:
    data = release_files(tmp_path, canonical_images(toy(2)[0]), labels=None)
    (tmp_path / "t-label.txt").write_bytes(f"3\n{line}\n".encode())
    with pytest.raises(ValueError, match=r"t-label\.txt, line 2: .* is not a class index|expected at most"):
        SeitRelease(data)


def test_label_files_of_other_systems_are_read(tmp_path: Path) -> None:
    data = release_files(tmp_path, canonical_images(toy(2)[0]), labels=None)
    (tmp_path / "t-label.txt").write_bytes(b" 3\r\n4294967295")
    assert SeitRelease(data).labels.tolist() == [3, 2**32 - 1]
    (tmp_path / "t-label.txt").write_bytes(b"3\n\xff\n")
    with pytest.raises(ValueError, match=r"t-label\.txt is damaged or is not a text file of class indices"):
        SeitRelease(data)


@pytest.mark.parametrize("name", ["t-token.data.bin.gz", "t-token.index.npy.gz", "t-label.txt"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    data, path = release_files(tmp_path, canonical_images(toy(2)[0])), tmp_path / name
    path.unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda path: os.symlink(path, path)}[kind](path)
    expected = {"pipe": "is a pipe", "folder": "is a folder", "loop": "Too many levels of symbolic links"}[kind]
    with pytest.raises(ValueError, match=f"{name} (cannot be opened: )?{expected}"):
        SeitRelease(data, tmp_path / "t-label.txt", grid=GRID)


def test_release_that_changes_while_it_is_open_is_refused(tmp_path: Path) -> None:
    tokens = toy()[0] % 200
    release = SeitRelease(release_files(tmp_path, canonical_images(tokens)), grid=GRID)
    release_files(tmp_path, canonical_images(tokens[::-1]))
    with pytest.raises(ValueError, match=r"data\.bin\.gz has changed since the release was opened"):
        release.read([0])
