"""What is fuzzed: for each kind of file how a small one is made, how it is read, and what its checksums cover."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from scipy.io import savemat

from seitpp.benchmarking.synthetic import make_codebook, make_release, make_seg_store, make_store
from seitpp.converters import read_published
from seitpp.datasets import TokenSegDataset
from seitpp.evaluation.predictions import Predictions, read_predictions, write_predictions
from seitpp.images.label_maps import label_map_path, read_label_map, require_label_maps
from seitpp.ingest.sources import open_image_source
from seitpp.io.checkpoint import load_checkpoint_file, save_weights, state_dict_of
from seitpp.storage import SeitRelease, StoreReader, load_synonyms, subset_store
from seitpp.token_pairs.format import TokenPairReader, TokenPairWriter
from seitpp.tokenizers.codebook import load_codebook, save_codebook

sys.path.append(str(Path(__file__).parents[2] / "tools" / "dataset_converters"))
from class_lists import LabelledImages, read_classes_list
from flowers102 import read_flowers102
from inaturalist import read_inaturalist
from stanford_cars import read_stanford_cars

Content = dict[str, Any]
"""What a reader made of files: arrays, lists and numbers by name."""


def covers_everything(_file: str) -> bool:
    """For `Subject.covered`: all files have checksums."""
    return True


def covers_nothing(_file: str) -> bool:
    """For `Subject.covered`: a format without checksums."""
    return False


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    Attributes:
        make: Writes a sound one into a folder.
        read: Reads it as its users do; raises what they would meet.
        covered: Whether a checksum covers the file of this name, so that a change of any byte is seen.
        check: Raises `AssertionError` where a content contradicts itself: codes outside the codebook, and the like.
        verify: Lines about what is wrong, for what reading does not look for, such as a bit of a packed code.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], Content]
    covered: Callable[[str], bool] = covers_everything
    check: Callable[[Content], None] = lambda _content: None
    verify: Callable[[Path], list[str]] = lambda _folder: []


def tokens_fit(content: Content) -> None:
    """Raise `AssertionError` unless codes lie in the codebook, and labels belong to them and to the classes."""
    tokens, low = content["tokens"], content["minimum"]
    assert tokens.size == 0 or low <= tokens.min() <= tokens.max() < low + content["codebook_size"], "codes"
    labels, classes = content["labels"], content["classes"]
    assert labels is None or len(labels) == len(tokens), "number of labels"
    assert labels is None or not classes or labels.size == 0 or labels.max() < classes, "labels beyond the classes"


def read_store(folder: Path) -> Content:
    """Everything in a store, read in two ways."""
    reader = StoreReader(folder)
    some = np.arange(len(reader))[:: max(1, len(reader) // 3)]
    batch, tokens = reader.read(some), reader.read_all()
    assert np.array_equal(batch, tokens[some]), "a batch differs from the whole"
    return {
        "tokens": tokens,
        "labels": reader.labels,
        "codebook": reader.codebook,
        "synonyms": None if reader.synonyms is None else sorted(reader.synonyms.items()),
        "code_table": None if reader.code_table is None else reader.code_table.codes,
        "minimum": reader.minimum,
        "codebook_size": reader.codebook_size,
        "classes": len(reader.classes or []),
    }


def _verify_store(folder: Path) -> list[str]:
    return StoreReader(folder).verify()


def _store(**options: Any) -> Subject:
    sizes = dict(num_samples=7, grid=(4, 4), codebook_size=40, code_dim=3)
    return Subject(
        lambda folder: make_store(folder, **{**sizes, **options}), read_store, check=tokens_fit, verify=_verify_store
    )


def _make_subset(folder: Path) -> None:
    whole = make_store(folder.with_name(f"{folder.name}-whole"), num_samples=7, grid=(4, 4), codebook_size=40)
    reader = StoreReader(whole)
    subset_store(reader, folder, np.unique(reader.read_all()))


def _make_segmentation(folder: Path) -> None:
    make_seg_store(folder, num_samples=4, grid=(4, 4), codebook_size=40, code_dim=3)


def _read_segmentation(folder: Path) -> Content:
    dataset = TokenSegDataset(str(folder))
    batch = dataset.__getitems__(list(range(len(dataset))))
    content = read_store(folder)
    assert np.array_equal(batch["inputs"].numpy(), content["tokens"]), "the data set differs from the store"
    reader = StoreReader(folder)
    require_label_maps(reader)
    content["maps"] = [
        read_label_map(label_map_path(folder, number), reader.read_label_map(number)) for number in range(len(reader))
    ]
    return content


def _make_pairs(folder: Path) -> None:
    facts = dict(num_pairs=10, group_size=2, groups_per_part=2, grid=(3, 4), out_grid=(2, 2), codebook_sha256="ab" * 32)
    facts |= dict(augments=[{"type": "seitpp.BatchRandomFlip"}, {"type": "seitpp.BatchMixup"}], codebook_size=391)
    writer, rng = TokenPairWriter(folder, facts), np.random.default_rng(0)
    for number, count in enumerate((4, 4, 2)):
        draws = [{"flipped": rng.random(count) < 0.5}, {"weight": rng.random(count).astype(np.float32)}]
        source, target = (rng.integers(391, size=(count, *grid)).astype(np.uint16) for grid in ((3, 4), (2, 2)))
        writer.write_part(number, source, target, draws)


def _read_pairs(folder: Path) -> Content:
    reader = TokenPairReader(folder)
    content: Content = {}
    for group in range(reader.num_groups):
        source, target, draws = reader.read_group(group)
        content |= {f"{group}.source": source, f"{group}.target": target}
        content |= {f"{group}.{at}.{name}": value for at, drawn in enumerate(draws) for name, value in drawn.items()}
    return content


def _make_release(folder: Path) -> None:
    make_release(folder / "toy-train", num_samples=5, grid=(4, 4), codebook_size=300, code_dim=3)
    make_release(folder / "again-train", num_samples=5, grid=(4, 4), codebook_size=300, code_dim=3, seed=1)


def _read_release(folder: Path) -> Content:
    release = SeitRelease(folder / "toy-train-token.data.bin.gz", grid=(4, 4), codebook_size=300)
    tokens = release.read_all()
    assert np.array_equal(release.read(np.arange(len(release))), tokens), "a batch differs from the whole"
    facts = {"minimum": 0, "codebook_size": 300, "classes": 0}
    return {"tokens": tokens, "labels": release.labels, "codebook": load_codebook(folder / "codebook.ckpt"), **facts}


def _weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5))
    return {**network.state_dict(), "half": torch.randn(3, 4).half(), "wide": torch.randn(7).double()}


def _runner_checkpoint() -> dict[str, Any]:
    weights = _weights()
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    state = {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(5, 6)}}
    return {
        "meta": {"epoch": 1, "iter": 7, "seed": 3, "experiment_name": "x", "dataset_meta": {"classes": ["a", "b"]}},
        "state_dict": weights,
        "message_hub": {"log_scalars": {"train/loss": history}, "runtime_info": {"iter": np.float64(7)}},
        "optimizer": {"state": state, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "param_schedulers": [{"last_step": 7, "_global_step": 8}],
    }


def _read_weights(name: str, load: Callable[[Path], Any] = load_checkpoint_file) -> Callable[[Path], Content]:
    def read(folder: Path) -> Content:
        weights = state_dict_of(load(folder / name), folder / name)
        return {key: value.numpy() for key, value in weights.items()}

    return read


def _checkpoint(name: str, write: Callable[[Path], object], covered: bool, load: Any = load_checkpoint_file) -> Subject:
    return Subject(
        lambda folder: write(folder / name), _read_weights(name, load), covers_everything if covered else covers_nothing
    )


def _codebook(name: str, write: Callable[[Path], object], covered: bool) -> Subject:
    def read(folder: Path) -> Content:
        return {"codebook": load_codebook(folder / name)}

    return Subject(lambda folder: write(folder / name), read, covers_everything if covered else covers_nothing)


def _make_lists(folder: Path) -> None:
    (folder / "images").mkdir()
    rows = "".join(f"images/{number}.png,class-{number % 3}\n" for number in range(6))
    (folder / "train.csv").write_text("path,label\n" + rows)
    (folder / "classes.txt").write_text("class-0\nclass-1\nclass-2\n")


def _read_lists(folder: Path) -> Content:
    names = read_classes_list(folder / "classes.txt")
    source = open_image_source(str(folder / "train.csv"), classes_file=str(folder / "classes.txt"))
    return {
        "names": names,
        "classes": source.classes,
        "labels": None if source.labels is None else list(map(int, source.labels)),
    }


def _make_inaturalist(folder: Path) -> None:
    images = [f'{{"id": {n}, "file_name": "train_val2018/a/{n}.jpg"}}' for n in range(4)]
    annotations = [f'{{"id": {n}, "image_id": {n}, "category_id": {n % 2}}}' for n in range(4)]
    categories = '[{"id": 0, "name": "ant"}, {"id": 1, "name": "bee"}]'
    text = f'{{"images": [{", ".join(images)}], "annotations": [{", ".join(annotations)}], "categories": {categories}}}'
    for name in ("train2018.json", "val2018.json"):
        (folder / name).write_text(text)


def _make_flowers(folder: Path) -> None:
    savemat(
        folder / "imagelabels.mat",
        {"labels": np.array([[77, 1, 102, 77, 2, 3, 4, 5, 6]], np.uint8)},
        do_compression=True,
    )
    ids = {"trnid": [2, 6], "valid": [5, 7], "tstid": [4, 1, 3, 8, 9]}
    savemat(folder / "setid.mat", {name: np.array([numbers], np.uint16) for name, numbers in ids.items()})


def _make_cars(folder: Path) -> None:
    records = np.zeros((1, 3), [(name, object) for name in ("relative_im_path", "class", "test")])
    for name, values in (("relative_im_path", ["a.jpg", "b.jpg", "c.jpg"]), ("class", [2, 1, 2]), ("test", [0, 1, 0])):
        records[name][0, :] = values
    savemat(folder / "cars_annos.mat", {"annotations": records})


def _read_images(read: Callable[[Path], LabelledImages]) -> Callable[[Path], Content]:
    def content(folder: Path) -> Content:
        found = read(folder)
        return {"classes": list(found.classes), "images": {name: list(rows) for name, rows in found.images.items()}}

    return content


def _make_predictions(folder: Path) -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32)
    options = {"classes": ["a", "b", "c"], "source": {"store": "x"}, "store_indices": np.arange(5)}
    write_predictions(folder / "p.npz", Predictions(scores, np.arange(5), np.array([0, 1, 2, 0, 1]), **options))


def _read_predictions(folder: Path) -> Content:
    found = read_predictions(folder / "p.npz")
    arrays = {"scores": found.scores, "labels": found.labels, "store_indices": found.store_indices}
    return {**arrays, "classes": found.classes, "source": sorted(found.source.items())}


SUBJECTS: dict[str, Subject] = {
    "predictions": Subject(_make_predictions, _read_predictions),
    **{f"store, {codec}": _store(codec=codec) for codec in ("raw", "bitpacked", "zstd")},
    "store, unlabelled": _store(num_classes=None, codec="raw"),
    "store, channels": _store(channels=3, codec="zstd"),
    "store, subset": Subject(_make_subset, read_store, check=tokens_fit, verify=_verify_store),
    "segmentation store": Subject(_make_segmentation, _read_segmentation, check=tokens_fit, verify=_verify_store),
    "token pairs": Subject(_make_pairs, _read_pairs),
    "release files": Subject(_make_release, _read_release, covers_nothing, tokens_fit),
    "checkpoint, ours": _checkpoint("w.pth", lambda path: save_weights(path, _weights(), {"preset": "x"}), True),
    "checkpoint, safetensors": _checkpoint("w.safetensors", lambda path: save_weights(path, _weights(), {}), False),
    "checkpoint, runner's": _checkpoint("epoch_1.pth", lambda path: torch.save(_runner_checkpoint(), path), True),
    "checkpoint, published": _checkpoint(
        "p.ckpt", lambda path: torch.save({"state_dict": _weights(), "args": {"lr": 1.0}}, path), True, read_published
    ),
    "checkpoint, legacy": _checkpoint(
        "w.pth",
        lambda path: torch.save({"state_dict": _weights()}, path, _use_new_zipfile_serialization=False),
        False,
    ),
    "codebook, torch": _codebook("codebook.ckpt", lambda path: save_codebook(path, make_codebook(12, 3)), True),
    "codebook, numpy": _codebook("codebook.npy", lambda path: np.save(path, make_codebook(12, 3)), False),
    "codebook, store": _codebook("store", lambda path: make_store(path, num_samples=2, grid=(2, 2)), True),
    "synonyms": Subject(
        lambda folder: (folder / "s.json").write_text('{"0": [1, 2], "1": [0, 2], "2": [1, 0]}'),
        lambda folder: {"table": sorted(load_synonyms(folder / "s.json").items())},
        covers_nothing,
    ),
    "label lists": Subject(_make_lists, _read_lists, covers_nothing),
    "annotations, JSON": Subject(_make_inaturalist, _read_images(partial(read_inaturalist, year=2018)), covers_nothing),
    "annotations, arrays": Subject(_make_flowers, _read_images(read_flowers102), covers_nothing),
    "annotations, structs": Subject(_make_cars, _read_images(read_stanford_cars), covers_nothing),
}
