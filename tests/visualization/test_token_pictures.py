"""`seitpp.visualization.token_pictures`: decoded pictures where that is possible, codes as colours elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seitpp.benchmarking.synthetic import make_codebook
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import PatchKMeans
from seitpp.visualization.token_pictures import TokenPictures, code_colours, fitted, side_by_side

GREYS = torch.linspace(0, 1, 6)[:, None].expand(6, 12)  # one flat patch of 2 x 2 RGB pixels per code
TOKENS = torch.arange(18).reshape(2, 3, 3) % 6


def store(path: Path, tokenizer: dict, codebook: np.ndarray | None) -> StoreReader:
    options = {"codebook_size": 6, "grid": (3, 3), "tokenizer": tokenizer, "codebook": codebook}
    with StoreWriter(path, **options) as writer:
        writer.append(TOKENS.numpy())
    return StoreReader(path)


def test_tokens_are_decoded_by_the_store_s_tokenizer(tmp_path: Path) -> None:
    pictures = TokenPictures.of_store(
        store(tmp_path / "s", PatchKMeans(6, 2, codebook=GREYS).describe(), GREYS.numpy())
    )
    images = pictures.images(TOKENS.numpy())
    assert pictures.decodes and "decoded by PatchKMeans" in pictures.note
    assert torch.equal(images[:, 0, ::2, ::2], (TOKENS * 51).byte()) and images.shape == (2, 3, 6, 6)


@pytest.mark.parametrize(("codebook", "said"), [(GREYS.numpy(), "similar colours"), (None, "a colour of its own")])
def test_codes_are_colours_where_the_tokenizer_is_unknown(
    tmp_path: Path, codebook: np.ndarray | None, said: str
) -> None:
    pictures = TokenPictures.of_store(store(tmp_path / "s", {"name": "seit"}, codebook))
    images = pictures.images(TOKENS)
    assert not pictures.decodes and pictures.patches(torch.arange(2)) is None
    assert said in pictures.note and "'seit', cannot be built again" in pictures.note
    colours = images.movedim(1, -1).reshape(-1, 3)
    assert len(colours.unique(dim=0)) == 6 and torch.equal(colours[:6], colours[6:12])


def test_codes_are_colours_where_the_decoder_is_missing() -> None:
    tokenizer = PatchKMeans(6, 2, codebook=GREYS)
    tokenizer.can_decode = False
    pictures = TokenPictures(tokenizer, GREYS)
    assert pictures.images(TOKENS).shape == (2, 3, 3, 3) and "PatchKMeans have no decoder" in pictures.note


def test_channels_without_a_tokenizer_are_the_first_three_over_their_range() -> None:
    tokens = torch.randint(-50, 50, (4, 5, 5, 8), generator=torch.Generator().manual_seed(0))
    pictures = TokenPictures(None, channels=8)
    images = pictures.images(tokens)
    assert images.shape == (4, 3, 5, 5) and images.amin() == 0 and images.amax() == 255
    assert "as red, green and blue" in pictures.note


def test_wrong_checkpoint_is_an_error_and_not_colours(tmp_path: Path) -> None:
    reader = store(tmp_path / "s", {"type": "ViTVQGAN", "name": "x"}, None)
    assert not TokenPictures.of_store(reader).decodes
    with pytest.raises(ValueError, match="ViTVQGAN"):
        TokenPictures.of_store(reader, tmp_path / "weights.pth")


def test_like_codes_have_like_colours() -> None:
    codebook = make_codebook(64, 8)
    codebook[7] = codebook[3] + 1e-4
    colours = code_colours(64, codebook).astype(int)
    distances = np.abs(colours - colours[3]).sum(axis=1)
    assert distances[7] <= np.sort(distances)[1] + 12 and distances.max() > 200


def test_a_patch_is_what_a_grid_of_the_code_decodes_to() -> None:
    patches = TokenPictures(PatchKMeans(6, 2, codebook=GREYS)).patches(torch.tensor([5, 2]))
    assert patches.shape == (2, 3, 2, 2) and patches[0].unique().item() == 255 and patches[1].unique().item() == 102


def test_maps_become_the_nearest_codes_with_and_without_a_tokenizer() -> None:
    maps = GREYS[TOKENS].movedim(-1, 1) + 0.01
    for pictures in (TokenPictures(PatchKMeans(6, 2, codebook=GREYS)), TokenPictures(None, GREYS)):
        assert torch.equal(pictures.tokens_of_maps(maps, GREYS, "euclidean"), TOKENS)
        assert torch.equal(pictures.tokens_of_maps(TOKENS), TOKENS)
    rounded = TokenPictures(None, channels=2).tokens_of_maps(torch.tensor([[[[1.4]], [[-2.6]]]]))
    assert rounded.tolist() == [[[[1, -3]]]]


def test_images_are_brought_to_a_size_and_beside_each_other() -> None:
    small, large = torch.zeros(2, 1, 10, 20, dtype=torch.uint8), torch.full((1, 3, 300, 200), 7, dtype=torch.uint8)
    assert fitted(small, 96).shape == (2, 1, 40, 80)
    assert fitted(large, 96).shape == (1, 3, 96, 64) and (fitted(large, 96) == 7).all()
    strip = side_by_side(small)
    assert strip.shape == (3, 10, 42) and (strip[..., 20:22] == 255).all() and (strip[..., 22:] == 0).all()
