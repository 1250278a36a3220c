"""Data sets held in memory give the batches of the store, bit for bit, and refuse what they cannot hold."""

import copy
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from seitpp.benchmarking.synthetic import make_codebook, make_release, make_store
from seitpp.datasets import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    SubsetDataset,
    TokenDataset,
    TokenSegDataset,
    identity_collate,
    resident,
)
from seitpp.engine.config_changes import fit_loaders
from seitpp.models import TokenDataPreprocessor
from seitpp.storage import CODECS, StoreReader, StoreWriter, copy_store
from seitpp.storage import header as store_header
from seitpp.storage.codecs import BitPackedCodec
from seitpp.token_pairs import TokenPairDataset

KINDS: dict[str, dict] = {
    "codes": dict(grid=(5, 7), codebook_size=300),
    "bytes": dict(grid=(3, 3), codebook_size=256),
    "one code": dict(grid=(2, 2), codebook_size=1),
    "all of uint16": dict(grid=(3, 1), codebook_size=2**16),
    "largest": dict(grid=(1, 5), codebook_size=2**18),
    "coefficients": dict(grid=(3, 2), codebook_size=400, channels=3),
    "small coefficients": dict(grid=(3, 2), codebook_size=9, channels=5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores `codes-raw`, `codes-bitpacked`, `codes-zstd` and so on of 40 samples, each in several shards."""
    folder = tmp_path_factory.mktemp("resident")
    for name, sizes in KINDS.items():
        make_store(folder / name, num_samples=40, code_dim=1, **sizes)
        for codec in CODECS:
            copy_store(StoreReader(folder / name), folder / f"{name}-{codec}", codec=codec, shard_bytes=400)
    make_store(folder / "unlabelled", num_samples=5, num_classes=None)
    return folder


def assert_equal_batches(first: dict, second: dict) -> None:
    assert list(first) == list(second)
    for key in first:
        assert first[key].dtype == second[key].dtype
        assert torch.equal(first[key], second[key]), key


def both(store: Path, **options: Any) -> tuple[TokenDataset, TokenDataset]:
    return TokenDataset(str(store), **options), TokenDataset(str(store), device="cpu", **options)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_store(folder: Path, kind: str, codec: str) -> None:
    stored, held = both(folder / f"{kind}-{codec}")
    assert len(StoreReader(folder / f"{kind}-{codec}").header["shards"]) > 1 or kind == "one code"
    for samples in ([3, 39, 0, 3], range(40), [7], []):
        assert_equal_batches(held.__getitems__(samples), stored.__getitems__(samples))
    assert_equal_batches(held[-1], stored[-1])
    assert held.metainfo == stored.metainfo


def test_data_without_labels(folder: Path) -> None:
    stored, held = both(folder / "unlabelled")
    assert_equal_batches(held.__getitems__([4, 0]), stored.__getitems__([4, 0]))
    stored, held = both(folder / "codes", with_labels=False)
    assert_equal_batches(held.__getitems__([4, 0]), stored.__getitems__([4, 0]))


@pytest.mark.parametrize(
    "options",
    [
        {"subset": {"fraction": 0.3, "seed": 1}},
        {"subset": {"count": 7}, "keep_length": True},
        {"indices": [9, 9, 2, 30]},
        {"indices": -5},
        {"indices": 0},
    ],
    ids=str,
)
def test_part_holds_its_samples_alone(folder: Path, options: dict) -> None:
    stored, held = both(folder / "codes-bitpacked", **options)
    assert len(held) == len(stored)
    assert_equal_batches(held.__getitems__(range(len(held))), stored.__getitems__(range(len(stored))))
    assert len(held._resident._rows) == len(stored._stored)


def test_subsets_of_a_loaded_set_are_its_samples(folder: Path) -> None:
    stored, held = both(folder / "codes", indices=[30, 20, 10, 0])
    for _ in range(2):  # of the set, and of its part
        stored, held = stored.get_subset([2, 1, 0]), held.get_subset([2, 1, 0])
        assert_equal_batches(held.__getitems__([1, 0, 2]), stored.__getitems__([1, 0, 2]))


WRAPPERS: dict[str, Callable[[Any, Any], Any]] = {
    "joined": lambda one, other: ConcatDataset([one, other]),
    "repeated": lambda one, _: RepeatDataset(one, 3),
    "balanced": lambda one, _: ClassBalancedDataset(one, 0.4),
    "part": lambda one, _: SubsetDataset(one, count=9, keep_length=True),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_data_are_the_same(folder: Path, wrap: Callable) -> None:
    """One of two that are joined may stay on disk."""
    stored, held = both(folder / "codes")
    before, now = wrap(stored, stored), wrap(held, stored)
    order = np.random.default_rng(0).permutation(len(before))
    assert_equal_batches(now.__getitems__(order), before.__getitems__(order))


@pytest.mark.parametrize("rank", [0, 1])
def test_loader_deals_the_same_epochs(folder: Path, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (rank, 2))
    found = []
    for device in (None, "cpu"):
        loader = dict(
            batch_size=7,
            num_workers=0,
            dataset=dict(type="seitpp.TokenDataset", store=str(folder / "codes"), device=device),
            sampler=dict(type="mmengine.DefaultSampler", shuffle=True, seed=3),
            collate_fn=dict(type="seitpp.identity_collate"),
        )
        loader = Runner.build_dataloader(Config({"loader": loader}).loader)
        for epoch in (0, 5):  # as a resumed run sets it
            loader.sampler.set_epoch(epoch)
            found.append(list(loader))
    for first, second in zip(found[0] + found[1], found[2] + found[3], strict=True):
        assert_equal_batches(first, second)


@pytest.mark.parametrize("bits", range(1, 33))
def test_unpacking_by_tensors(bits: int) -> None:
    """What a GPU does, against Python's integers; 13 codes leave bits over, and 3 none beyond their own bytes."""
    for num_codes in (13, 3):
        codes = np.random.default_rng(bits).integers(0, 2**bits, (4, num_codes))
        codes[0], codes[1] = 2**bits - 1, 0
        packed = [sum(code << bits * place for place, code in enumerate(row)) for row in codes.tolist()]
        size = (num_codes * bits + 7) // 8
        rows = np.array([list(number.to_bytes(size, "little")) for number in packed], np.uint8)
        unpack = resident.BitUnpacker(bits, num_codes, -5, torch.int64, torch.device("cpu"))
        np.testing.assert_array_equal(unpack(torch.from_numpy(rows)), codes - 5)


@pytest.mark.parametrize("kind", KINDS)
def test_unpacking_by_tensors_gives_the_types_of_the_store(folder: Path, kind: str) -> None:
    reader = StoreReader(folder / kind)
    codec, values = BitPackedCodec.for_codebook(reader.codebook_size), reader.read_all()
    codes = values.reshape(len(values), -1).astype(np.int64) - reader.minimum
    dtype = torch.from_numpy(values).dtype
    unpack = resident.BitUnpacker(codec.bits, codes.shape[1], reader.minimum, dtype, torch.device("cpu"))
    found = unpack(torch.from_numpy(codec.encode(codes))).view(values.shape)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


def test_data_preprocessor_takes_a_batch_that_lies_on_its_device_as_it_is(folder: Path) -> None:
    batch = TokenDataset(str(folder / "codes"), device="cpu").__getitems__([1, 2])
    moved = TokenDataPreprocessor(make_codebook(300, 1)).cast_data(dict(batch))
    assert all(moved[key].data_ptr() == batch[key].data_ptr() for key in batch)


def test_same_samples_are_loaded_once_and_let_go(folder: Path) -> None:
    first, again = (TokenDataset(str(folder / "codes"), device="cpu", subset={"count": 9}) for _ in range(2))
    other = TokenDataset(str(folder / "codes"), device="cpu", subset={"count": 9, "seed": 1})
    assert first._resident is again._resident is not other._resident
    again = copy.deepcopy(again)
    assert first._resident is again._resident
    in_use = weakref.ref(first._resident)
    del first, again
    assert in_use() is None


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(resident, "print_log", lambda line, **_options: lines.append(line))
    return lines


def test_bytes_are_said_before_they_are_taken(folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\nmore")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(ValueError, match=r"codes: 40 samples take 1,920 bytes .*, which cannot be had \(.*allocate"):
        TokenDataset(str(folder / "codes"), device="cpu")
    assert len(said) == 1 and "40 samples" in said[0] and ": 1,920 bytes of " in said[0]  # 40 x (35 x 9 bits + label)


def test_store_larger_than_the_memory_is_refused(
    folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "free_bytes", lambda device: 1919)
    monkeypatch.setattr(torch, "empty", lambda *_args, **_options: pytest.fail("memory was taken"))
    match = r"codes: 40 samples take 1,920 bytes of host memory, of which 1,919 are free; take a part .*\(subset\)"
    with pytest.raises(ValueError, match=match):
        TokenDataset(str(folder / "codes"), device="cpu")
    monkeypatch.undo()
    monkeypatch.setattr(resident, "free_bytes", lambda device: 1919)
    assert len(TokenDataset(str(folder / "codes"), device="cpu", subset={"count": 39})) == 39


def test_free_memory_is_that_of_the_machine_or_of_its_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2**20 < resident.free_bytes(torch.device("cpu")) < 2**50
    for name, content in (("max", "1000"), ("current", "700"), ("stat", "anon 300\ninactive_file 250\n")):
        (tmp_path / f"memory.{name}").write_text(content)
    group = resident._bytes_left_to_group
    assert group(tmp_path) == 550
    monkeypatch.setattr(resident, "_bytes_left_to_group", lambda folder: group(tmp_path))
    assert resident.free_bytes(torch.device("cpu")) == 550
    (tmp_path / "memory.max").write_text("max\n")
    assert group(tmp_path) > 2**60


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", r"codes: device 'cuda': no GPU is available here; use cpu, or leave device out to read from disk"),
        ("cuda:1", r"device 'cuda:1': no GPU is available here"),
        ("pinned", r"codes: device 'pinned': page-locked memory is for copies to a GPU, and none is available here"),
        ("cuda:x", r"device 'cuda:x' is none"),
        ("gpu", r"codes: device is 'gpu', expected cpu, pinned, cuda or cuda:N, or None to read from disk"),
        ("meta", "device is 'meta', expected cpu, pinned, cuda"),
        (0, "device is 0, expected cpu, pinned, cuda"),
        ("cpu:1", "device is 'cpu:1', expected cpu, pinned, cuda"),
    ],
)
def test_devices_that_are_not_here(folder: Path, device: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenDataset(str(folder / "codes"), device=device)


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("is_available", True), ("device_count", 4), ("current_device", 1)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    device = partial(resident._checked_device, store=Path("store"))
    assert device("cuda") == torch.device("cuda:1")  # as the process group has chosen it, or the user
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert device("cuda") == torch.device("cuda:2")  # before it has
    monkeypatch.setenv("LOCAL_RANK", "7")  # of a process that sees a part of the GPUs
    assert device("cuda") == torch.device("cuda:1")
    assert device("cuda:3") == torch.device("cuda:3")
    with pytest.raises(ValueError, match="device 'cuda:4': there are 4 GPUs here, counted from 0"):
        device("cuda:4")


def test_page_locked_memory_is_counted_as_torch_takes_it(
    folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(resident, "free_bytes", lambda device: 2000)
    with pytest.raises(ValueError, match="take 2,048 bytes of page-locked host memory, of which 2,000 are free"):
        TokenDataset(str(folder / "codes"), device="pinned")


def test_data_that_are_not_held_in_memory_say_so(tmp_path: Path) -> None:
    path = make_release(tmp_path / "toy", num_samples=2)
    with pytest.raises(ValueError, match=r"is a release, which is held in memory as it is; leave out device='cpu', or"):
        TokenDataset(str(path), codebook_size=391, device="cpu")
    with pytest.raises(ValueError, match="TokenSegDataset has no device='cuda': label maps are decoded from files"):
        TokenSegDataset("none", device="cuda")
    with pytest.raises(ValueError, match="TokenPairDataset has no device='cpu': pairs are read from files"):
        TokenPairDataset("none", device="cpu")


def test_damaged_shard_is_refused_where_it_is_read(folder: Path, tmp_path: Path) -> None:
    copy_store(StoreReader(folder / "codes"), tmp_path / "store", shard_bytes=400)
    first, second, *_ = StoreReader(tmp_path / "store").header["shards"]
    shard = tmp_path / "store" / second["file"]
    content = bytearray(shard.read_bytes())
    content[70] ^= 1
    shard.write_bytes(content)
    sound = first["num_samples"]
    assert len(TokenDataset(str(tmp_path / "store"), device="cpu", indices=sound)) == sound
    with pytest.raises(ValueError, match=rf"sample {sound} is damaged, CRC-32 is .*restore or make the store again"):
        TokenDataset(str(tmp_path / "store"), device="cpu")


def test_codes_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    """A store whose hashes are right and whose codes are not: a GPU would end the process at the first of them."""
    with StoreWriter(tmp_path / "store", codebook_size=8, grid=(2, 2), tokenizer={}) as writer:
        writer.append(np.full((3, 2, 2), 7))
    header = store_header.read_header(tmp_path / "store")
    store_header.write_header(tmp_path / "store", {**header, "codebook_size": 5})
    with pytest.raises(ValueError, match="sample 0 holds code 7, expected codes below 5"):
        TokenDataset(str(tmp_path / "store"), device="cpu")


def test_workers_cannot_fetch_from_a_gpu(folder: Path) -> None:
    dataset = TokenDataset(str(folder / "codes"), device="cpu")
    dataset._resident._pinned = True  # as it is where there is a GPU
    loader = DataLoader(dataset, batch_size=4, num_workers=1, collate_fn=identity_collate)
    with pytest.raises(ValueError, match="where worker processes cannot fetch them; set num_workers=0"):
        next(iter(loader))


def loaders(**options: object) -> Config:
    dataset = dict(type="seitpp.RepeatDataset", dataset=dict(type="seitpp.TokenDataset", store="train", **options))
    return Config({"train_dataloader": dict(num_workers=0, pin_memory=True, dataset=dataset), "val_dataloader": None})


def test_loaders_follow_the_memory_of_their_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, pinned in ((None, True), ("cpu", True), ("pinned", True), ("cuda", False), ("cuda:1", False)):
        config = loaders(device=device)
        fit_loaders(config)
        assert config.train_dataloader.pin_memory is pinned
    for device in ("cuda", "pinned"):
        config = loaders(device=device)
        config.train_dataloader.num_workers = 2
        with pytest.raises(
            ValueError, match=r"train_dataloader\.num_workers is 2, but its data lie in .*num_workers=0"
        ):
            fit_loaders(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = loaders()
    fit_loaders(config)
    assert config.train_dataloader.pin_memory is False
