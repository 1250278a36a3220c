"""`TokenDataset` over a store and over release files: content, metadata, subsets, and loading in batches."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.golden import golden_path
from seitpp.benchmarking.synthetic import make_codebook, make_release, make_store, make_tokens
from seitpp.datasets import TokenDataset, identity_collate
from seitpp.storage import NotAStoreError, StoreReader, StoreWriter
from seitpp.storage.release import reader as seit_release
from seitpp.tokenizers.codebook import codebook_sha256

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CLASSES = [f"class-{number}" for number in range(4)]
SIZES = dict(num_samples=40, grid=(6, 8), codebook_size=300, code_dim=5, num_classes=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    make_store(folder / "store", **SIZES)
    make_release(folder / "toy", **SIZES)
    make_store(folder / "unlabelled", **{**SIZES, "num_classes": None})
    return folder


@pytest.fixture(params=["store", "toy-token.data.bin.gz"], ids=["store", "release"])
def data(request: pytest.FixtureRequest, folder: Path) -> Callable[..., TokenDataset]:
    """Makes a data set of the same samples in either format."""
    more = {} if request.param == "store" else {"grid": [6, 8], "codebook_size": 300}
    return lambda **options: TokenDataset(request.param, data_root=str(folder), **more, **options)


@pytest.fixture
def store(folder: Path) -> Callable[..., TokenDataset]:
    return lambda **options: TokenDataset("store", data_root=str(folder), **options)


def content() -> tuple[np.ndarray, np.ndarray]:
    return make_tokens(SIZES["num_samples"], SIZES["grid"], SIZES["codebook_size"], SIZES["num_classes"])


def test_samples_are_those_that_were_written(data: Callable) -> None:
    tokens, labels = content()
    batch = data().__getitems__(range(40))
    np.testing.assert_array_equal(batch["inputs"], tokens)
    np.testing.assert_array_equal(batch["gt_label"], labels)


@pytest.mark.parity
def test_release_fixture_is_read() -> None:
    expected = dict(np.load(golden_path("token_file/expected.npz")))
    (data,) = golden_path("token_file").glob("*-token.data.bin.gz")
    dataset = TokenDataset(str(data), codebook_size=510, grid=expected["tokens"].shape[1:])
    batch = dataset.__getitems__(range(len(dataset)))
    np.testing.assert_array_equal(batch["inputs"], expected["tokens"])
    np.testing.assert_array_equal(batch["gt_label"], expected["labels"])


def test_batch_has_the_declared_keys_types_and_shapes(data: Callable) -> None:
    batch = data().__getitems__([3, 1, 2])
    assert list(batch) == ["inputs", "sample_idx", "gt_label"]
    assert batch["inputs"].shape == (3, 6, 8)
    assert batch["inputs"].dtype == torch.uint16
    assert batch["sample_idx"].tolist() == [3, 1, 2]
    assert batch["sample_idx"].dtype == batch["gt_label"].dtype == torch.int64


def test_small_codebook_travels_as_bytes(tmp_path: Path) -> None:
    make_store(tmp_path / "store", **{**SIZES, "codebook_size": 200})
    assert TokenDataset(str(tmp_path / "store")).__getitems__([0])["inputs"].dtype == torch.uint8


@pytest.mark.parametrize("codec", ["raw", "bitpacked"])
@pytest.mark.parametrize("size", [2**16, 2**16 + 1, 2**18])
def test_codes_of_the_largest_codebooks_arrive_as_they_are(tmp_path: Path, codec: str, size: int) -> None:
    codes = np.array([[[0, size - 1]], [[size // 2, 1]]])
    options = {"codebook_size": size, "grid": (1, 2), "tokenizer": {}, "codec": codec, "label_kind": "class"}
    with StoreWriter(tmp_path / "s", **options, label_dtype="uint32") as writer:
        writer.append(codes, np.array([2**32 - 1, 2**31]))
    batch = TokenDataset(str(tmp_path / "s")).__getitems__([0, 1])
    assert batch["inputs"].dtype == (torch.uint16 if size == 2**16 else torch.int32)
    np.testing.assert_array_equal(batch["inputs"].long(), codes)
    assert batch["gt_label"].tolist() == [2**32 - 1, 2**31]


def test_batch_equals_stacked_samples(data: Callable) -> None:
    dataset = data()
    places = [5, 0, 39, 5]
    batch = dataset.__getitems__(places)
    for key, value in batch.items():
        assert torch.equal(value, torch.stack([dataset[place][key] for place in places]))


def test_negative_sample_counts_from_the_end(data: Callable) -> None:
    dataset = data()
    assert torch.equal(dataset[-1]["inputs"], dataset[39]["inputs"])
    assert dataset[-1]["sample_idx"] == 39


@pytest.mark.parametrize("index", [40, -41])
def test_sample_beyond_the_data_is_refused(data: Callable, index: int) -> None:
    with pytest.raises(IndexError, match=f"sample {index} of a data set of 40"):
        data()[index]


@pytest.mark.parametrize("index", [40, -1])
def test_batch_beyond_the_data_is_refused(data: Callable, index: int) -> None:
    with pytest.raises(IndexError, match=f"sample {index} of a data set of 40"):
        data().__getitems__([0, index])


def test_iteration_ends(data: Callable) -> None:
    assert sum(1 for _ in data()) == 40


def test_store_describes_itself(store: Callable, folder: Path) -> None:
    reader = StoreReader(folder / "store")
    assert store().metainfo == {
        "classes": ["class-0", "class-1", "class-2", "class-3"],
        "codebook_size": 300,
        "codebook_sha256": codebook_sha256(make_codebook(300, 5)),
        "grid": [6, 8],
        "channels": None,
        "content_hash": reader.content_hash,
    }


def test_release_is_described_by_the_config(folder: Path) -> None:
    path = str(folder / "toy-token.data.bin.gz")
    known = TokenDataset(path, grid=(6, 8), codebook_size=300, metainfo={"classes": ["a", "b", "c", "d"]}).metainfo
    assert (known["classes"], known["codebook_size"]) == (["a", "b", "c", "d"], 300)
    assert known["codebook_sha256"] is None
    assert len(known["content_hash"]) == 64


def test_metainfo_is_a_copy(store: Callable) -> None:
    dataset = store()
    dataset.metainfo["classes"].clear()
    assert len(dataset.metainfo["classes"]) == 4


def test_release_refuses_codes_beyond_the_codebook(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"holds code \d+, expected codes below 20"):
        TokenDataset(str(folder / "toy-token.data.bin.gz"), grid=(6, 8), codebook_size=20)


def test_label_file_can_be_named(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "mine.txt"
    labels.write_text("7\n" * 40)
    dataset = TokenDataset(
        str(folder / "toy-token.data.bin.gz"), label_file=str(labels), grid=(6, 8), codebook_size=300
    )
    assert set(dataset.labels) == {7}


def test_lazy_data_set_opens_on_first_use(tmp_path: Path) -> None:
    dataset = TokenDataset(str(tmp_path / "store"), lazy_init=True)
    make_store(tmp_path / "store", **SIZES)
    assert not dataset._fully_initialized
    assert len(dataset) == 40


def test_eager_data_set_opens_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match=r"store is not a token store: it has no header\.json"):
        TokenDataset(str(tmp_path / "store"))


def test_data_without_labels(folder: Path) -> None:
    dataset = TokenDataset(str(folder / "unlabelled"))
    assert dataset.labels is None
    assert set(dataset.__getitems__([0, 1])) == {"inputs", "sample_idx"}
    assert dataset.get_data_info(3) == {"sample_idx": 3, "store_index": 3}


def test_data_info_names_place_and_class(data: Callable) -> None:
    _, labels = content()
    info = data(indices=[9, 4]).get_data_info(1)
    assert info == {"sample_idx": 1, "store_index": 4, "gt_label": labels[4]}
    assert data(indices=[9, 4]).get_cat_ids(1) == [labels[4]]


@pytest.mark.parametrize("indices", [[40], [-41], [1.5], [[1]], "1"])
def test_indices_that_are_none_are_refused(data: Callable, indices: object) -> None:
    with pytest.raises(ValueError, match=r"indices are .*, expected a number of samples, or integers from -40 to 39"):
        data(indices=indices)
    with pytest.raises(ValueError, match=r"indices are .*, expected a number of samples, or integers from -40 to 39"):
        data().get_subset(indices)


@pytest.mark.parametrize(
    ("indices", "places"),
    [(3, [0, 1, 2]), (-2, [38, 39]), ([7, 3, 3], [7, 3, 3]), (0, []), ([], [])],
)
def test_indices_keep_those_samples(data: Callable, indices: object, places: list[int]) -> None:
    tokens, labels = content()
    dataset = data(indices=indices)
    assert len(dataset) == len(places)
    np.testing.assert_array_equal(dataset.labels, labels[places])
    np.testing.assert_array_equal(dataset.__getitems__(range(len(places)))["inputs"], tokens[places])


def test_get_subset_is_a_copy(data: Callable) -> None:
    tokens, _ = content()
    dataset = data()
    part = dataset.get_subset([4, 2])
    assert (len(dataset), len(part)) == (40, 2)
    np.testing.assert_array_equal(part.__getitems__([0, 1])["inputs"], tokens[[4, 2]])


def test_get_subset_in_place(data: Callable) -> None:
    tokens, labels = content()
    dataset = data()
    dataset.get_subset_(-3)
    np.testing.assert_array_equal(dataset.__getitems__(range(3))["inputs"], tokens[-3:])
    np.testing.assert_array_equal(dataset.labels, labels[-3:])


@pytest.mark.parametrize("subset", [{"fraction": 0.25}, {"count": 10}])
def test_subset_is_balanced(data: Callable, subset: dict) -> None:
    dataset = data(subset=subset)
    counts = np.bincount(dataset.labels, minlength=4)
    assert counts.sum() == len(dataset) == 10
    assert counts.max() - counts.min() <= 1


def test_subset_by_bytes_counts_the_stored_size(store: Callable, folder: Path) -> None:
    reader = StoreReader(folder / "store")
    assert len(store(subset={"budget_bytes": reader.num_bytes * 10.5 / 40})) == 10


def test_subset_is_recorded_with_a_hash_of_its_samples(store: Callable) -> None:
    dataset = store(subset={"count": 8, "seed": 3})
    places = np.array([dataset.get_data_info(sample)["store_index"] for sample in range(8)], dtype="<i8")
    assert dataset.metainfo["subset"] == {
        "count": 8,
        "seed": 3,
        "class_balanced": True,
        "num_samples": 8,
        "indices_sha256": hashlib.sha256(places.tobytes()).hexdigest(),
    }


def test_subset_is_the_same_in_both_formats(folder: Path) -> None:
    options = {"subset": {"fraction": 0.3, "seed": 5}}
    first = TokenDataset("store", data_root=str(folder), **options)
    second = TokenDataset("toy-token.data.bin.gz", data_root=str(folder), grid=(6, 8), codebook_size=300, **options)
    assert first.metainfo["subset"] == second.metainfo["subset"]


def test_seed_decides_the_subset(store: Callable) -> None:
    first, again, other = (store(subset={"count": 8, "seed": seed}).metainfo["subset"] for seed in (1, 1, 2))
    assert first == again
    assert first["indices_sha256"] != other["indices_sha256"]


def test_subset_is_drawn_from_the_kept_indices(store: Callable) -> None:
    dataset = store(indices=range(10, 20), subset={"count": 5})
    assert {dataset.get_data_info(sample)["store_index"] for sample in range(5)} <= set(range(10, 20))


def test_kept_length_repeats_the_subset_evenly(data: Callable) -> None:
    dataset = data(subset={"count": 12}, keep_length=True)
    assert len(dataset) == 40
    places = [dataset.get_data_info(sample)["store_index"] for sample in range(40)]
    counts = np.unique(places, return_counts=True)[1]
    assert len(counts) == 12
    assert counts.max() - counts.min() == 1
    assert torch.equal(dataset[13]["inputs"], dataset[1]["inputs"])


def loader_of(folder: Path, num_workers: int, **options: object) -> dict:
    return dict(
        batch_size=7,
        num_workers=num_workers,
        dataset=dict(type="seitpp.TokenDataset", store=str(folder / "store"), **options),
        sampler=dict(type="mmengine.DefaultSampler", shuffle=True, seed=0),
        collate_fn=dict(type="seitpp.identity_collate"),
    )


def test_workers_give_the_same_batches(folder: Path) -> None:
    alone, helped = (list(Runner.build_dataloader(loader_of(folder, workers))) for workers in (0, 2))
    assert [len(batch["inputs"]) for batch in alone] == [7] * 5 + [5]
    for first, second in zip(alone, helped, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_loader_fetches_a_batch_in_one_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = StoreReader.read
    monkeypatch.setattr(StoreReader, "read", lambda self, places: reads.append(len(places)) or read(self, places))
    list(Runner.build_dataloader(loader_of(folder, 0)))
    assert reads == [7] * 5 + [5]


def test_config_builds_a_lazy_data_set(folder: Path) -> None:
    loader = Runner.build_dataloader(Config({"loader": loader_of(folder, 0, lazy_init=True)}).loader)
    assert sum(len(batch["inputs"]) for batch in loader) == 40


def test_release_needs_the_number_of_codes(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"toy-token\.data\.bin\.gz does not say how many codes .* set codebook_size"):
        TokenDataset("toy-token.data.bin.gz", data_root=str(folder), grid=[6, 8])


def test_store_takes_no_label_file(store: Callable) -> None:
    with pytest.raises(ValueError, match="is a store and holds its own labels; leave out label_file"):
        store(label_file="labels.txt")


def test_store_with_another_number_of_codes_is_refused(store: Callable) -> None:
    with pytest.raises(ValueError, match="has 300 codes, codebook_size says 299"):
        store(codebook_size=299)


def test_subset_record_names_what_was_left_to_defaults(store: Callable) -> None:
    assert store(subset={"count": 8}).metainfo["subset"].items() >= {"seed": 0, "class_balanced": True}.items()


def test_balance_without_labels_is_refused(folder: Path) -> None:
    unlabelled = {"store": "unlabelled", "data_root": str(folder)}
    with pytest.raises(ValueError, match="has no labels, so a subset of it cannot be class_balanced"):
        TokenDataset(**unlabelled, subset={"count": 8, "class_balanced": True})
    assert TokenDataset(**unlabelled, subset={"count": 8}).metainfo["subset"]["class_balanced"] is False


def test_get_subset_renews_the_record(store: Callable) -> None:
    whole = store(subset={"count": 8})
    part = whole.get_subset(3)
    assert (whole.metainfo["subset"]["num_samples"], part.metainfo["subset"]["num_samples"]) == (8, 3)
    assert whole.metainfo["subset"]["indices_sha256"] != part.metainfo["subset"]["indices_sha256"]


def test_categories_need_labels(folder: Path) -> None:
    with pytest.raises(ValueError, match="has no labels, so its samples have no category"):
        TokenDataset("unlabelled", data_root=str(folder)).get_cat_ids(0)


def test_collate_refuses_samples() -> None:
    with pytest.raises(TypeError, match="got a list; a wrapper around the data set hides its __getitems__"):
        identity_collate([{"inputs": torch.zeros(1)}])


def test_pipeline_of_other_projects_tools_is_empty(store: Callable) -> None:
    assert store().metainfo["classes"] == store(pipeline=[]).CLASSES
    with pytest.raises(ValueError, match="pipeline has 1 steps, and this data set fetches whole batches"):
        store(pipeline=[{"type": "Resize"}])


@pytest.fixture
def poisoned_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores and releases whose labels must not be read."""

    def refuse(*_: object) -> None:
        raise AssertionError("labels were read")

    monkeypatch.setattr(StoreReader, "labels", property(refuse))
    monkeypatch.setattr(seit_release, "_load_labels", refuse)


def test_labels_are_not_read_where_none_are_wanted(data: Callable, poisoned_labels: None) -> None:
    """Nor by a subset, which is then uniform, and the same as a classifier's uniform one."""
    subset = {"fraction": 0.3, "class_balanced": False}
    dataset = data(with_labels=False, subset=subset, keep_length=True)
    batch = dataset.__getitems__(range(40))
    assert "gt_label" not in batch and dataset.labels is None and dataset.metainfo["classes"] in (None, CLASSES)
    assert dataset.metainfo["subset"] == data(with_labels=False, subset={"fraction": 0.3}).metainfo["subset"]
    with pytest.raises(AssertionError, match="labels were read"):
        data(with_labels=False, subset={"fraction": 0.3, "class_balanced": True}).full_init()


@pytest.mark.parametrize("size", [{"fraction": 0.3}, {"count": 12}, {"budget_bytes": 900}])
def test_uniform_subset_is_the_same_with_and_without_labels(data: Callable, size: dict) -> None:
    subset = {**size, "class_balanced": False}
    first, second = (data(with_labels=with_labels, subset=subset) for with_labels in (True, False))
    assert first.metainfo["subset"] == second.metainfo["subset"]
    assert first.labels is not None and second.labels is None
