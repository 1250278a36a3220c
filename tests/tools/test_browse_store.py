"""`tools/visualization/browse_store.py`: pages of all kinds of stores, planted duplicates and leaks, JSON."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.tools import tool_main
from seitpp.benchmarking.synthetic import make_release, make_seg_store
from seitpp.storage import StoreWriter
from seitpp.tokenizers import BlockDCT, PatchKMeans
from seitpp.visualization import store_page

GREYS = torch.linspace(0, 1, 64)[:, None].expand(64, 12).numpy()
TOKENS = np.random.default_rng(0).integers(64, size=(30, 4, 4))


@pytest.fixture(scope="module")
def main() -> Callable[..., int]:
    tool = tool_main("visualization/browse_store.py")
    return lambda *line: tool(line)


def write(
    path: Path,
    tokens: np.ndarray = TOKENS,
    labels: np.ndarray | None = None,
    classes: list | None = None,
    **options: object,
) -> Path:
    options = {
        "codebook_size": 64,
        "codebook": GREYS,
        "tokenizer": PatchKMeans(8, 2, codebook=torch.from_numpy(GREYS)).describe(),
        "label_kind": "none" if labels is None else "class",
        "classes": classes,
        **options,
    }
    with StoreWriter(path, grid=tokens.shape[1:3], **options) as writer:
        writer.append(tokens, labels)
    return path


def text_of(folder: Path) -> str:
    return re.sub(r'(src|alt)="[^"]*"', "", (folder / "store.html").read_text(encoding="utf-8"))


def test_planted_duplicates_and_leaks_are_on_the_page_and_in_json(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tokens, val = TOKENS.copy(), np.random.default_rng(1).integers(64, size=(6, 4, 4))
    tokens[20] = tokens[3]
    tokens[21] = tokens[4]
    tokens[21, 0, 0] = (tokens[4, 0, 0] + 1) % 64
    val[5] = tokens[7]
    classes = ["cat", "dog"]
    train = write(tmp_path / "train", tokens, np.arange(30) % 2, classes)
    other = write(tmp_path / "val", val, np.zeros(6, int), classes)
    assert main(train, "--against", other, "--out", tmp_path / "out", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["duplicates"]["pairs"] == [[3, 20, 0], [4, 21, 1]] and found["leaks"]["pairs"] == [[7, 5, 0]]
    assert found["duplicates"]["groups"] == [[3, 20], [4, 21]]
    page = text_of(tmp_path / "out")
    assert "1 of 6 images of val differ from one in train at no more than 1 of 16 positions; 1 have the same" in page
    assert "train 7 (dog) and val 5 (cat): the same tokens" in page
    assert "4 of 30 images of the store differ from another one" in page and "All pairs were compared." in page
    assert page.count("3 (dog) and 20 (cat): the same tokens") == 2  # as one with different labels, too
    assert "4 (cat) and 21 (dog): 1 of 16 differ" in page and "2 of 2 pairs have different labels" in page


def test_page_shows_classes_codes_and_how_pictures_were_made(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = write(tmp_path / "s", labels=np.arange(30) % 3 + 1, classes=["none here", "a<b", "c", "d"])
    assert main(store, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/store.html\n"
    page = text_of(tmp_path / "out")
    assert "Pictures are tokens decoded by PatchKMeans." in page
    assert "Classes with images: 3; without any: 1 (none here). Images of a class: 10 to 10, median 10." in page
    assert "<figcaption" in page and "a&lt;b: 10</figcaption>" in page
    used = len(np.unique(TOKENS))
    assert f"<td>{used} of 64</td>" in page and "Frequent codes" in page and "Rare codes" in page
    counts = np.bincount(TOKENS.ravel())
    assert f"{counts.argmax()}: {counts.max() / counts.sum():.3%}</figcaption>" in page


def test_one_image_without_a_label(main: Callable, tmp_path: Path) -> None:
    assert main(write(tmp_path / "s", TOKENS[:1]), "--out", tmp_path / "out") == 0
    page = text_of(tmp_path / "out")
    assert "The store has no labels." in page and "0 of 1 images" in page


def test_store_without_a_decoder_says_so_and_shows_codes(main: Callable, tmp_path: Path) -> None:
    store = write(tmp_path / "s", tokenizer={"name": "seit"}, codebook=None)
    assert main(store, "--out", tmp_path / "out") == 0
    page = text_of(tmp_path / "out")
    assert "Pictures show codes as colours, not images" in page and "&#x27;seit&#x27;, cannot be built again" in page
    assert "Of each code where it occurs" in page


def test_coefficients_have_a_chart_of_their_integers(main: Callable, tmp_path: Path) -> None:
    tokenizer = BlockDCT(32, 50)
    tokens = tokenizer.encode(torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))).numpy()
    options = dict(channels=tokenizer.channels, minimum=tokenizer.minimum, codebook_size=tokenizer.codebook_size)
    store = write(tmp_path / "s", tokens, codebook=None, tokenizer=tokenizer.describe(), **options)
    assert main(store, "--out", tmp_path / "out") == 0
    page = text_of(tmp_path / "out")
    assert "decoded by BlockDCT" in page and "The entropy is" in page
    assert "Frequent codes" not in page


def test_label_maps_lie_over_images_and_are_counted(main: Callable, tmp_path: Path) -> None:
    store = make_seg_store(tmp_path / "s", num_samples=3, grid=(4, 4), codebook_size=12)
    assert main(store, "--out", tmp_path / "out") == 0
    page = text_of(tmp_path / "out")
    assert "Images and label maps" in page and "12.50% of all pixels are ignored" in page
    assert page.count("class-") == 8  # in the legend and in the table


def test_of_many_classes_some_are_shown(main: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_page, "_MOST_CLASSES", 3)
    store = write(tmp_path / "s", labels=np.arange(30) % 6, classes=[f"class number {one}" for one in range(6)])
    assert main(store, "--out", tmp_path / "out") == 0
    page = text_of(tmp_path / "out")
    assert "3 of the classes, evenly spread over their order, are shown." in page
    assert re.findall(r"class number (\d): 5", page) == ["0", "2", "4"]


@pytest.mark.slow
def test_page_of_a_thousand_classes_stays_small(main: Callable, tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(64, size=(1100, 64, 64))
    store = write(
        tmp_path / "s",
        tokens,
        np.arange(1100) % 1000,
        [f"class number {one}" for one in range(1000)],
        tokenizer=PatchKMeans(128, 2, codebook=torch.from_numpy(GREYS)).describe(),
    )
    assert main(store, "--out", tmp_path / "out") == 0
    assert text_of(tmp_path / "out").count("class number") == 1000
    assert (tmp_path / "out" / "store.html").stat().st_size < 10e6


def test_stores_of_other_codes_cannot_be_compared(
    main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    one, other = write(tmp_path / "a"), write(tmp_path / "b", codebook=1 - GREYS)
    assert main(one, "--against", other, "--out", tmp_path / "out") == 1
    assert "differ in codebook_sha256" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_no_store_to_compare_is_refused(main: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = write(tmp_path / "a")
    assert main(store, "--against", store) == 1
    assert "--against is the store itself" in capsys.readouterr().err
    assert main(make_release(tmp_path / "r", num_samples=2, grid=(4, 4)), "--out", tmp_path / "out") == 1
    assert "is a release file; import it first: tools/convert_store.py" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(store, "--max-distance", "1.5")
    assert "'1.5' is no number from 0 to below 1" in capsys.readouterr().err
