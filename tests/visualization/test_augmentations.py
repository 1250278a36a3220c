"""`seitpp.visualization.augmentations` and `seitpp.visualization.pictures`: what each row shows, what is refused."""

import base64
import io
import re

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seitpp.models import TokenAdapt
from seitpp.tokenizers import BlockDCT, PatchKMeans
from seitpp.tokenizers.codebook import nearest_codes_euclidean
from seitpp.visualization.augmentations import AugmentationPictures, augmentation_page
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid

SIZES = dict(code_dim=12, grid=4, out_grid=3, dims=8, num_heads=2, head_dims=4, mlp_dims=8)
GREYS = torch.linspace(0, 1, 6)[:, None].expand(6, 12)  # one flat patch of 2 x 2 RGB pixels a code, 0.2 apart
TITLES = ["Horizontal flip", "Affine", "Random resized crop", "Mixup, 1:1 with the next column", "Colours"]


def flat_patches() -> PatchKMeans:
    return PatchKMeans(8, 2, codebook=GREYS)


def some_tokens(size: int = 3, codes: int = 6) -> Tensor:
    return torch.randint(codes, (size, 4, 4), generator=torch.Generator().manual_seed(0))


def network(**changes: object) -> TokenAdapt:
    torch.manual_seed(0)
    return TokenAdapt(**{"codebook_size": 6, **SIZES, **changes}).eval()


def rows_of(pictures: AugmentationPictures, title: str) -> dict[str, Tensor]:
    (panel,) = [panel for panel in pictures.panels() if panel.title == title]
    return {row.label: row.images for row in panel.rows}


class Enlarging(torch.nn.Module):
    """Stands in for TokenAdapt: a map shows each embedding four times, and reversing takes their mean."""

    regresses = False
    out_map_grid = (8, 8)

    def convert(self, embeddings: Tensor) -> Tensor:
        return embeddings.repeat_interleave(2, -1).repeat_interleave(2, -2)

    def reverse_codes(self, maps: Tensor) -> Tensor:
        return nearest_codes_euclidean(F.avg_pool2d(maps, 2).movedim(1, -1), GREYS)


# What the rows show


def test_panels_and_rows() -> None:
    panels = AugmentationPictures(flat_patches(), some_tokens(), network()).panels()
    assert [panel.title for panel in panels] == TITLES
    compared = ["original", "pixels augmented, re-encoded", "tokens without TokenAdapt", "tokens with TokenAdapt"]
    assert all([row.label for row in panel.rows] == compared for panel in panels[:-1])
    assert [row.label for row in panels[-1].rows] == ["original", "Emb-Noise", "brightness", "contrast", "ColorAdapt"]


def test_rows_of_token_adapt_are_left_out_without_one() -> None:
    panels = AugmentationPictures(flat_patches(), some_tokens()).panels()
    assert [panel.title for panel in panels] == TITLES
    assert not [row for panel in panels for row in panel.rows if "with TokenAdapt" in row.label]


def test_original_is_the_decoded_middle_of_what_token_adapt_leaves() -> None:
    tokenizer, tokens = flat_patches(), some_tokens()
    shown = rows_of(AugmentationPictures(tokenizer, tokens, network()), "Colours")["original"]
    assert torch.equal(shown, tokenizer.to_bytes(tokenizer.decode(tokens))[..., 1:7, 1:7])


def test_all_tiles_are_of_one_size() -> None:
    panels = AugmentationPictures(flat_patches(), some_tokens(), network()).panels()
    assert {tuple(row.images.shape) for panel in panels for row in panel.rows} == {(3, 3, 6, 6)}
    assert {row.images.dtype for panel in panels for row in panel.rows} == {torch.uint8}


@pytest.mark.parametrize("label", ["pixels augmented, re-encoded", "tokens without TokenAdapt"])
def test_flip_of_flat_patches_is_the_mirrored_original(label: str) -> None:
    rows = rows_of(AugmentationPictures(flat_patches(), some_tokens()), "Horizontal flip")
    assert torch.equal(rows[label], rows["original"].flip(-1))


def test_flip_of_tokens_leaves_their_inside_as_it_was() -> None:
    codebook = torch.rand(6, 12, generator=torch.Generator().manual_seed(0))
    rows = rows_of(AugmentationPictures(PatchKMeans(8, 2, codebook=codebook), some_tokens()), "Horizontal flip")
    patches = rows["original"].unflatten(-1, (4, 2))
    assert torch.equal(rows["tokens without TokenAdapt"], patches.flip(-2).flatten(-2))


def test_mixup_is_half_of_the_next_sample() -> None:
    tokens = torch.tensor([0, 2, 4])[:, None, None].expand(3, 4, 4)
    rows = rows_of(AugmentationPictures(flat_patches(), tokens), "Mixup, 1:1 with the next column")
    for label in ("pixels augmented, re-encoded", "tokens without TokenAdapt"):
        assert [image.unique().item() for image in rows[label]] == [51, 153, 102]  # codes 1, 3 and 2


@pytest.mark.parametrize("title", ["Horizontal flip", "Mixup, 1:1 with the next column"])
def test_token_adapt_sees_the_draw_of_the_other_rows(title: str) -> None:
    rows = rows_of(AugmentationPictures(flat_patches(), some_tokens(codes=5), Enlarging()), title)
    assert torch.equal(rows["tokens with TokenAdapt"], rows["tokens without TokenAdapt"])
    assert not torch.equal(rows["tokens with TokenAdapt"], rows["original"])


@pytest.mark.parametrize("title", ["Affine", "Random resized crop"])
def test_pixels_embeddings_and_map_are_moved_alike(title: str) -> None:
    ramp = (torch.arange(4)[:, None] + torch.arange(4)).clamp(max=5).expand(2, 4, 4)
    rows = rows_of(AugmentationPictures(flat_patches(), ramp, Enlarging()), title)
    pixels = rows["pixels augmented, re-encoded"].float()
    for label in ("tokens without TokenAdapt", "tokens with TokenAdapt"):
        assert (rows[label] - pixels).abs().mean() < 51  # one code
    assert (rows["original"] - pixels).abs().mean() > 25


def test_brightness_adds_a_fifth() -> None:
    tokens = some_tokens(codes=5)
    rows = rows_of(AugmentationPictures(flat_patches(), tokens), "Colours")
    assert torch.equal(rows["brightness"], rows["original"] + 51)


def test_contrast_moves_values_from_their_mean() -> None:
    tokens = torch.tensor([0, 0, 4, 4]).expand(2, 4, 4)  # half as much again from 2 is -1 and 5
    rows = rows_of(AugmentationPictures(flat_patches(), tokens), "Colours")
    assert rows["original"].unique().tolist() == [0, 204]
    assert rows["contrast"].unique().tolist() == [0, 255]


def test_color_adapt_takes_the_next_samples_colours() -> None:
    tokens = torch.tensor([0, 2, 4])[:, None, None].expand(3, 4, 4)
    rows = rows_of(AugmentationPictures(flat_patches(), tokens), "Colours")
    assert [image.unique().item() for image in rows["ColorAdapt"]] == [102, 204, 0]


def test_noise_changes_every_sample() -> None:
    rows = rows_of(AugmentationPictures(flat_patches(), some_tokens()), "Colours")
    assert (rows["Emb-Noise"] != rows["original"]).flatten(1).any(dim=1).all()


def test_seed_decides_the_draws_alone() -> None:
    def shown(seed: int) -> list[Tensor]:
        panels = AugmentationPictures(flat_patches(), some_tokens(), network(), seed).panels()
        return [row.images for panel in panels for row in panel.rows]

    first = shown(1)
    pictures = AugmentationPictures(flat_patches(), some_tokens(), network(), 1)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    again = [row.images for panel in pictures.panels() for row in panel.rows]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, shown(2)))


def test_tokens_without_a_codebook() -> None:
    tokenizer = BlockDCT(8, 16)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens = tokenizer.encode(images)
    assert tokens.ndim == 4
    regressing = network(codebook_size=None, code_dim=tokens.shape[-1], grid=tokens.shape[1], out_grid=tokens.shape[1])
    pictures = AugmentationPictures(tokenizer, tokens, regressing)
    assert len({row.images.shape for panel in pictures.panels() for row in panel.rows}) == 1
    original = rows_of(pictures, "Colours")["original"]
    assert torch.equal(original, tokenizer.to_bytes(tokenizer.decode(tokens)))


# What is refused


def test_tokens_without_a_spatial_grid_are_refused() -> None:
    tokenizer = flat_patches()
    tokenizer.spatial = False
    with pytest.raises(ValueError, match="the tokens of PatchKMeans have no spatial grid"):
        AugmentationPictures(tokenizer, some_tokens())


def test_tokenizer_without_a_decoder_is_refused() -> None:
    tokenizer = flat_patches()
    tokenizer.can_decode = False
    with pytest.raises(ValueError, match="PatchKMeans has no decoder"):
        AugmentationPictures(tokenizer, some_tokens())


def test_single_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="number of samples to show is 1, expected at least 2"):
        AugmentationPictures(flat_patches(), some_tokens(1))


# Pictures and the page


def panel(label: str = "a", count: int = 2, side: int = 6, channels: int = 3) -> PicturePanel:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, channels, side, side)
    return PicturePanel("Title", [PictureRow(label, "Caption.", images), PictureRow(label, "Caption.", images + 100)])


def test_tiles_stand_right_of_the_labels_enlarged() -> None:
    grid = labelled_grid([panel()], titles=False)
    assert grid.size == (136 + 2 * 100, 4 + 2 * 100)
    assert [grid.getpixel(place) for place in [(136, 4), (231, 99), (236, 4), (136, 104)]] == [
        (0, 0, 0),
        (0, 0, 0),
        (1, 1, 1),
        (100, 100, 100),
    ]
    assert grid.getpixel((233, 50)) == grid.getpixel((150, 101)) == (255, 255, 255)  # gaps


@pytest.mark.parametrize(("side", "shown"), [(28, 112), (95, 190), (96, 96), (200, 200)])
def test_small_tiles_are_enlarged_to_96_pixels_at_least(side: int, shown: int) -> None:
    assert labelled_grid([panel(side=side)]).width == 136 + 2 * (shown + 4)


def test_grey_images_are_shown() -> None:
    assert labelled_grid([panel(channels=1)]).getpixel((300, 200)) == (101, 101, 101)


@pytest.mark.parametrize(("count", "columns", "in_column"), [(2, 2, 3), (8, 1, 5)])
def test_narrow_panels_stand_in_two_columns(count: int, columns: int, in_column: int) -> None:
    one, five = labelled_grid([panel(count=count)]), labelled_grid([panel(count=count)] * 5)
    assert five.size == (columns * one.width, in_column * one.height)


def test_labels_and_titles_are_written() -> None:
    def dark(picture: Image.Image, box: tuple[int, int, int, int]) -> bool:
        return picture.convert("L").crop(box).getextrema()[0] < 50

    written, empty = labelled_grid([panel("two words that need lines")]), labelled_grid([panel("")], titles=False)
    assert dark(written, (0, 0, 136, 40)) and dark(written, (0, 44, 132, 140))
    assert not dark(empty, (0, 0, 132, 204))
    assert not dark(written, (132, 44, 136, 240))


def test_page_needs_no_other_file_and_says_what_rows_are() -> None:
    page = augmentation_page([panel("a <b>")] * 2, "Title & more", ["Note <1>."]).render()
    assert "<title>Title &amp; more</title>" in page and "<p>Note &lt;1&gt;.</p>" in page
    assert page.count("<dt>a &lt;b&gt;</dt><dd>Caption.</dd>") == 4
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(sources) == page.count("src=") == 2 and "://" not in page and "href" not in page
    with Image.open(io.BytesIO(base64.b64decode(sources[0]))) as picture:
        assert picture.size == labelled_grid([panel()], titles=False).size
