"""The method step by step: what each column shows, and how columns become one picture."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from seitpp.models import MTM, TokenAdapt
from seitpp.tokenizers import PatchKMeans
from seitpp.visualization.augmentations import AugmentationPictures
from seitpp.visualization.filled_in import filled_in_rows, load_mtm
from seitpp.visualization.method_steps import method_steps
from seitpp.visualization.pictures import PictureRow
from seitpp.visualization.step_picture import step_picture

K, CHANNELS, SIDE, PATCH = 8, 1, 12, 2
BLUE = (158, 202, 225)
NECK = dict(type="seitpp.MTMPretrainDecoder", embed_dims=16, decoder_embed_dims=8, num_layers=1, num_heads=2)
ENCODER = dict(num_layers=1, embed_dims=16, num_heads=2, feedforward_channels=16)


def mtm_config(grid: int = 6) -> dict:
    return dict(
        type="seitpp.MTM",
        backbone=dict(
            type="seitpp.MTMViT", arch=ENCODER, grid_size=grid, patch_size=1, codebook_size=K, code_dim=PATCH**2
        ),
        neck=dict(NECK, num_patches=grid**2),
        head=dict(
            type="seitpp.MTMPretrainHead", codebook_size=K, code_dim=PATCH**2, decoder_embed_dims=8, patch_size=1
        ),
        data_preprocessor=dict(
            type="seitpp.TokenDataPreprocessor", codebook=[[code / K] * PATCH**2 for code in range(K)], crop_size=grid
        ),
    )


def built(grid: int = 6) -> MTM:
    torch.manual_seed(0)
    config = mtm_config(grid)
    config.pop("type")
    return MTM(**config).eval()


@pytest.fixture
def tokenizer() -> PatchKMeans:
    greys = torch.linspace(0, 1, K)[:, None] + torch.tensor([0.0, 0.02, 0.04, -0.02])
    return PatchKMeans(SIDE, PATCH, CHANNELS, codebook=greys.clamp(0, 1))


@pytest.fixture
def images(tokenizer: PatchKMeans) -> Tensor:
    codes = torch.randint(K, (3, 6, 6), generator=torch.Generator().manual_seed(0))
    return tokenizer.to_bytes(tokenizer.decode(codes))


def test_hidden_patches_alone_are_blue_and_filled_in(tokenizer: PatchKMeans, images: Tensor) -> None:
    codes, model = tokenizer.tokenize(tokenizer.from_bytes(images)), built()
    decoded, seen, filled = (row.images for row in filled_in_rows(model, tokenizer, codes, torch.arange(3)))
    assert torch.equal(decoded, images)
    hidden = (seen == torch.tensor(BLUE).view(1, 3, 1, 1)).all(dim=1, keepdim=True)
    assert 0 < hidden.float().mean() < 1
    assert torch.equal(hidden[..., ::PATCH, ::PATCH].repeat_interleave(PATCH, -1).repeat_interleave(PATCH, -2), hidden)
    assert torch.equal(torch.where(hidden, decoded, filled), decoded) and not torch.equal(filled, decoded)


def test_smaller_grid_of_the_model_is_the_middle(tokenizer: PatchKMeans, images: Tensor) -> None:
    codes = tokenizer.tokenize(tokenizer.from_bytes(images))
    decoded, _, filled = (row.images for row in filled_in_rows(built(4), tokenizer, codes, torch.arange(3)))
    assert torch.equal(decoded, images[..., PATCH:-PATCH, PATCH:-PATCH]) and filled.shape == decoded.shape


def test_model_is_loaded_without_augmentation(tmp_path: Path) -> None:
    config = mtm_config()
    preprocessor = dict(config.pop("data_preprocessor"), augments=[dict(type="seitpp.TokenRRC", size=6)])
    path, checkpoint, model = tmp_path / "mtm.py", tmp_path / "mtm.pth", built()
    path.write_text(f"model = {config!r}\ndata_preprocessor = {preprocessor!r}\n")
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    loaded = load_mtm(path, checkpoint)
    assert not loaded.training and loaded.state_dict().keys() == model.state_dict().keys()
    torch.manual_seed(1)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_each_step_follows_from_the_one_before(tokenizer: PatchKMeans, images: Tensor) -> None:
    torch.manual_seed(0)
    network = TokenAdapt(K, PATCH**2, grid=6, out_grid=6, dims=8, num_heads=2, head_dims=4, mlp_dims=8).eval()
    steps = {row.label: row for row in method_steps(tokenizer, images, (144.4, 36), network, built())}
    assert list(steps) == ["image", "tokens", "decoded", "augmented", "masked", "filled in"]
    assert torch.equal(steps["image"].images, images) and torch.equal(steps["decoded"].images, images)
    assert steps["image"].caption == "144 bytes" and steps["tokens"].caption == "6 x 6 codes,\n36 bytes"
    assert steps["tokens"].images.shape == (3, 3, 6, 6)
    codes = tokenizer.tokenize(tokenizer.from_bytes(images))
    (panel,) = AugmentationPictures(tokenizer, codes, network).panels(["Affine"])
    assert panel.title == "Affine" and torch.equal(steps["augmented"].images, panel.rows[-1].images)
    same = (steps["masked"].images == steps["augmented"].images).all(dim=1)
    assert 0 < same.float().mean() < 1


def test_steps_of_networks_that_are_not_there_are_left_out(tokenizer: PatchKMeans, images: Tensor) -> None:
    steps = method_steps(tokenizer, images, (144, 36))
    assert [row.label for row in steps] == ["image", "tokens", "decoded"]
    *_, masked, filled = method_steps(tokenizer, images, (144, 36), mtm=built())
    shown = (masked.images != torch.tensor(BLUE).view(1, 3, 1, 1)).any(dim=1, keepdim=True)
    assert masked.label == "masked" and torch.equal(filled.images[shown], images[shown])


def test_columns_stand_beside_each_other_with_as_many_images() -> None:
    black = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    picture = step_picture([PictureRow("a", "below\nit", black), PictureRow("b", "", black)])
    assert picture.size == (2 * 112 + 28 + 8, picture.height) and picture.height > 2 * 112 + 4
    dark = [x for x in range(picture.width) if all(picture.getpixel((x, y)) == (0, 0, 0) for y in range(40, 100))]
    assert dark == [*range(4, 116), *range(144, 256)]
    codes = torch.zeros(2, 3, 3, 3, dtype=torch.uint8)
    assert step_picture([PictureRow("a", "below\nit", black), PictureRow("b", "", codes)]).size == picture.size
    with pytest.raises(ValueError, match=r"steps have \[1, 2\] images, expected as many in each"):
        step_picture([PictureRow("a", "", black), PictureRow("b", "", black[:1])])
    with pytest.raises(ValueError, match=r"steps have \[\] images"):
        step_picture([])
