"""Sizes that follow from the images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seitpp.benchmarking.synthetic import make_store
from seitpp.workflow.images import open_pictures
from seitpp.workflow.setup import choose_setup, choose_tokenizer


@pytest.mark.parametrize(
    ("side", "asked", "grid", "patch"),
    [(8, None, 4, 2), (28, None, 7, 4), (27, None, 7, 4), (200, None, 16, 4), (200, 128, 16, 8), (8, 32, 8, 4)],
)
def test_size_and_patches_follow_the_images(
    tmp_path: Path, write_pictures: Callable[..., Path], side: int, asked: int | None, grid: int, patch: int
) -> None:
    tokenizer = choose_tokenizer(open_pictures(str(write_pictures(tmp_path, 8, side=side))), None, asked)
    assert tokenizer.grid == (grid, grid)
    assert tokenizer.config["patch_size"] == patch


def test_few_patches_get_few_codes(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path, 6, side=8, grey=True)))
    assert choose_tokenizer(pictures, None, None).codebook_size == 32  # of 160 different patches


def test_large_grids_get_larger_patches_of_tokens(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path, 8, side=64)))
    tokenizer = choose_tokenizer(pictures, None, None)
    assert choose_setup("out", "source", pictures, tokenizer, "tiny", "seit").patch_size == 2
    assert choose_setup("out", "source", pictures, tokenizer, "small", "seit").patch_size == 1


def test_a_size_that_patches_do_not_divide_is_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="--image-size 30 does not divide into patches of 4 x 4 pixels; use 28 or 32"):
        choose_tokenizer(open_pictures(str(write_pictures(tmp_path))), None, 30)


def test_a_store_that_names_no_type_is_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path / "images")))
    with pytest.raises(ValueError, match="the store does not say how to build its tokenizer"):
        choose_tokenizer(pictures, str(make_store(tmp_path / "store")), None)


def test_a_size_beside_a_store_is_refused(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path / "images")))
    with pytest.raises(ValueError, match="is a store, whose tokenizer has a size of its own; leave it out"):
        choose_tokenizer(pictures, str(make_store(tmp_path / "store")), 32)


def test_a_folder_that_is_no_store_is_named_with_the_store_below_it(
    tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path / "images")))
    make_store(tmp_path / "tokens" / "train")
    with pytest.raises(ValueError, match=r"tokens is a folder and no token store, .* did you mean .*train\?"):
        choose_tokenizer(pictures, str(tmp_path / "tokens"), None)


def test_a_wrong_tokenizer_gets_the_nearest_name(
    tmp_path: Path, write_pictures: Callable[..., Path], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    pictures = open_pictures(str(write_pictures(tmp_path)))
    with pytest.raises(FileNotFoundError, match=r"did you mean configs/tokenizers/block_dct_q50.py"):
        choose_tokenizer(pictures, "configs/tokenizers/block_dct_q55.py", None)


def test_images_without_classes_need_mtm(tmp_path: Path, write_pictures: Callable[..., Path]) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path, 12) / "ant"))
    tokenizer = choose_tokenizer(pictures, None, None)
    with pytest.raises(ValueError, match="has no classes, so there is nothing to classify"):
        choose_setup("out", "source", pictures, tokenizer, "tiny", "seit")
    assert choose_setup("out", "source", pictures, tokenizer, "tiny", "mtm").task == "pretraining"


def test_mtm_of_coefficients_is_refused(tmp_path: Path, write_pictures: Callable[..., Path], repository: Path) -> None:
    pictures = open_pictures(str(write_pictures(tmp_path)))
    tokenizer = choose_tokenizer(pictures, str(repository / "configs/tokenizers/block_dct_q50.py"), 16)
    assert tokenizer.grid == (2, 2)
    with pytest.raises(ValueError, match="33 integers per position and no codes, which --method mtm needs"):
        choose_setup("out", "source", pictures, tokenizer, "tiny", "mtm")
