"""ViT-VQGAN: numbers of the reference, sizes of the published models, other image sizes, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor

from helpers.golden import golden_vit_vqgan, golden_weights, load_golden
from seitpp.converters import from_published
from seitpp.layers.positions import sincos_position_table
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import ViTVQGAN, tokenizer_from_store
from seitpp.tokenizers.vit_vqgan import PositionTables, from_tiles, to_tiles, training_size

STACK = {"dims": 16, "depth": 1, "num_heads": 2, "mlp_dims": 32}
SMALL = {"arch": {"encoder": STACK, "decoder": STACK}, "codebook_size": 30, "code_dim": 6, "patch_size": 4}


def build(seed: int = 0, **options: object) -> ViTVQGAN:
    torch.manual_seed(seed)
    return ViTVQGAN(**{**SMALL, "image_size": 16, "tile_size": 16, **options}).eval()


def golden_tokenizer(golden: dict) -> ViTVQGAN:
    """The fixture's networks with its weights."""
    tokenizer = ViTVQGAN(**golden_vit_vqgan(golden))
    weights = from_published(golden_weights(golden), "vitvqgan_base", tokenizer).weights
    tokenizer.load_weights(weights, "the fixture")
    return tokenizer.eval()


def assert_close(found: Tensor, golden: dict, name: str, tolerance: float) -> None:
    expected = torch.from_numpy(golden[f"out/{name}"])
    torch.testing.assert_close(found.detach().view_as(expected), expected, atol=tolerance, rtol=0)


@pytest.mark.parity
def test_numbers_of_the_reference() -> None:
    golden = load_golden("vitvqgan.npz")
    tokenizer = golden_tokenizer(golden)
    images = torch.from_numpy(golden["in/image"])
    assert_close(tokenizer.encoder.features(images), golden, "encoder", 5e-6)
    vectors = tokenizer.embed(images)
    assert_close(vectors.flatten(2).mT, golden, "prequant", 5e-6)
    codes = tokenizer.encode(images)
    np.testing.assert_array_equal(codes.flatten(1).numpy(), golden["out/codes"])
    rows = tokenizer.lookup(codes)
    assert_close(rows.flatten(2).mT, golden, "quant", 5e-6)
    assert_close(tokenizer.reconstruct(rows), golden, "recon", 2e-5)
    assert_close(tokenizer.decode(codes), golden, "recon_from_codes", 2e-5)


@pytest.mark.parity
def test_commitment_loss_of_the_reference() -> None:
    golden = load_golden("vitvqgan.npz")
    tokenizer = golden_tokenizer(golden)
    vectors = tokenizer.embed(torch.from_numpy(golden["in/image"]))
    units = torch.nn.functional.normalize(vectors, dim=1)
    error = (tokenizer.lookup(tokenizer.quantize(vectors)) - units).square().mean()
    beta = golden["meta"]["config"]["beta"]
    assert ((1 + beta) * error).item() == pytest.approx(golden["out/commit_loss"].item(), rel=1e-5)


@pytest.mark.parametrize(("arch", "published"), [("small", 51_956_771), ("base", 172_237_347)], ids=["small", "base"])
def test_size_of_the_published_models(arch: str, published: int) -> None:
    with torch.device("meta"):
        tokenizer = ViTVQGAN(arch)
    tables = sum(1024 * part.positions.dims for part in (tokenizer.encoder, tokenizer.decoder))
    assert sum(value.numel() for value in tokenizer.parameters()) + tables == published
    assert tokenizer.grid == (32, 32) and tokenizer.codebook.shape == (8192, 32)


def test_large_has_the_small_encoder_and_a_wide_decoder() -> None:
    with torch.device("meta"):
        large, small = ViTVQGAN("large"), ViTVQGAN("small")
    shapes = {name: value.shape for name, value in small.encoder.state_dict().items()}
    assert {name: value.shape for name, value in large.encoder.state_dict().items()} == shapes
    stack = large.decoder.transformer
    assert (len(stack.layers), stack.layers[0].num_heads, stack.layers[0].fc1.out_features) == (32, 16, 5120)


def test_seit_is_the_base_model_with_391_codes() -> None:
    with torch.device("meta"):
        seit = ViTVQGAN("seit")
    assert seit.codebook.shape == (391, 32) and seit.preset == "seit_vitvqgan"


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (32, 20)])
def test_positions_are_those_of_the_actual_grid(size: tuple[int, int]) -> None:
    tokenizer = build()
    images = torch.rand(3, 3, *size)
    codes = tokenizer.encode(images)
    assert codes.shape == (3, size[0] // 4, size[1] // 4)
    assert tokenizer.decode(codes).shape == images.shape
    patches = tokenizer.encoder.patch_embed(images).flatten(2).mT
    table = sincos_position_table((size[0] // 4, size[1] // 4), 16)
    expected = tokenizer.encoder.transformer(patches + table)
    torch.testing.assert_close(tokenizer.encoder.features(images), expected, atol=1e-5, rtol=0)


def test_tables_are_kept_and_stay_few() -> None:
    tables = PositionTables(8)
    device = torch.device("cpu")
    assert tables(2, 3, device) is tables(2, 3, device)
    for columns in range(1, 40):
        assert tables(2, columns, device).shape == (1, 2 * columns, 8)
    assert len(tables._tables) <= 8 and not tables.state_dict()


def test_tiles_are_encoded_and_decoded_each_on_its_own() -> None:
    tokenizer = build(positions="tiles", image_size=(32, 48))
    images = torch.rand(2, 3, 32, 48)
    codes = tokenizer.encode(images)
    decoded = tokenizer.decode(codes)
    assert codes.shape == (2, 8, 12) and decoded.shape == images.shape
    whole = build()
    for row in range(2):
        for column in range(3):
            tile = whole.encode(images[:, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16])
            assert torch.equal(codes[:, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4], tile)
            pixels = decoded[:, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            torch.testing.assert_close(pixels, whole.decode(tile), atol=1e-5, rtol=0)


def test_both_ways_agree_at_the_training_size_and_differ_elsewhere() -> None:
    one, two = build(positions="tiles"), build()
    images = torch.rand(4, 3, 16, 16)
    assert torch.equal(one.encode(images), two.encode(images))
    images = torch.rand(4, 3, 32, 32)
    assert not torch.equal(one.encode(images), two.encode(images))


def test_tiles_come_back_in_their_places() -> None:
    maps = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    tiles = to_tiles(maps, 2)
    assert tiles.shape == (12, 3, 2, 2) and torch.equal(tiles[1, 0], maps[0, 0, :2, 2:4])
    assert torch.equal(from_tiles(tiles, 2, 3), maps)


def test_images_that_cannot_be_cut_into_tiles_are_refused() -> None:
    tokenizer = build(positions="tiles")
    with pytest.raises(ValueError, match=r"images of 16 x 20 pixels cannot be cut into tiles of 16 x 16"):
        tokenizer.encode(torch.rand(1, 3, 16, 20))
    with pytest.raises(ValueError, match=r"a grid of \(4, 5\) codes cannot be cut into tiles of 4 x 4"):
        tokenizer.decode(torch.zeros(1, 4, 5, dtype=torch.int64))


@pytest.mark.parametrize("size", [(16, 18), (3, 16), (0, 16)])
def test_images_that_are_no_whole_number_of_patches_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        build().encode(torch.rand(1, 3, *size))


def test_facts_say_how_positions_are_made() -> None:
    facts = build(positions="tiles", image_size=32).describe()
    assert (facts["positions"], facts["tile_size"], facts["image_size"]) == ("tiles", 16, [32, 32])
    options = {key: value for key, value in facts.items() if key in (*SMALL, "positions", "tile_size", "image_size")}
    assert ViTVQGAN(**options).describe().keys() == facts.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="huge"), "arch 'huge' is not known; expected one of small, base, large, seit"),
        (dict(arch={"encoder": STACK}), "arch has the keys encoder; expected encoder and decoder"),
        (dict(positions="learned"), "positions must be 'recompute' or 'tiles', got 'learned'"),
        (dict(image_size=18), r"\(18, 18\) is not a multiple of the patch size 4; use \(16, 16\) or \(20, 20\)"),
        (dict(image_size=20, positions="tiles"), r"image_size \(20, 20\) is not a multiple of the tile size 16"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., ViTVQGAN]:
    """A tokenizer with weights of a run at 16 x 16 pixels, whose checkpoint holds the run's config."""
    weights = {f"tokenizer.{name}": value for name, value in build().state_dict().items()}
    config = Config(dict(model=dict(tokenizer=dict(type="seitpp.ViTVQGAN", image_size=16))))
    torch.save({"meta": {"cfg": config.pretty_text}, "state_dict": weights}, tmp_path / "epoch_1.pth")
    return lambda **options: ViTVQGAN(**{**SMALL, "checkpoint": str(tmp_path / "epoch_1.pth"), **options}).eval()


@pytest.mark.parametrize("options", [{}, {"tile_size": 16}])
def test_weights_encode_a_multiple_of_their_size_in_tiles(trained: Callable, options: dict) -> None:
    tokenizer, images = trained(image_size=(32, 48), **options), torch.rand(2, 3, 32, 48)
    assert (tokenizer.positions, tokenizer.tile_size, tokenizer.advice) == ("tiles", 16, None)
    assert torch.equal(tokenizer.encode(images), build(positions="tiles").encode(images))


def test_weights_at_their_own_size_are_described_as_ever(trained: Callable) -> None:
    described = trained(image_size=16).describe()
    assert (described["positions"], described["tile_size"]) == ("recompute", 256)


def test_weights_at_no_multiple_of_their_size_recompute_positions_and_say_so(trained: Callable) -> None:
    logger = MMLogger.get_current_instance()
    with patch.object(logger, "log") as log:
        tokenizer = trained(image_size=20)
    assert tokenizer.positions == "recompute"
    assert "trained at 16 x 16 pixels encodes 20 x 20 with positions that it has not seen" in log.call_args.args[1]
    assert tokenizer.advice == (
        "it was trained at 16 x 16 pixels; take a multiple of that as image_size, which it then encodes in tiles"
    )


def test_advice_names_tiles_where_they_would_help(trained: Callable) -> None:
    advice = 'it was trained at 16 x 16 pixels, and positions="tiles" encodes squares of that size, as in training'
    assert trained(image_size=32, positions="recompute").advice == advice
    assert trained(image_size=16).advice is None


def test_random_weights_recompute_positions() -> None:
    assert build(image_size=32).positions == "recompute"


def test_published_sizes_were_trained_at_256() -> None:
    assert training_size("base", "checkpoints/vitvqgan_base.pth") == 256


@pytest.mark.parametrize("size", [[16, 32], "large", None])
def test_checkpoint_that_does_not_tell_its_size(tmp_path: Path, size: object) -> None:
    config = Config(dict(model=dict(tokenizer=dict(image_size=size))))
    torch.save({"meta": {"cfg": config.pretty_text}, "state_dict": {}}, tmp_path / "run.pth")
    assert training_size(SMALL["arch"], tmp_path / "run.pth") is None


def test_store_that_was_made_by_recompute_is_decoded_so(trained: Callable, tmp_path: Path) -> None:
    maker = trained(image_size=32, positions="recompute")
    codes = maker.encode(torch.rand(1, 3, 32, 32))
    settings = dict(codebook_size=30, grid=(8, 8), tokenizer=maker.describe(), codebook=maker.codebook.detach().numpy())
    with StoreWriter(tmp_path / "store", **settings) as writer:
        writer.append(codes.numpy())
    again = tokenizer_from_store(StoreReader(tmp_path / "store"))
    assert again.positions == "recompute" and torch.equal(again.decode(codes), maker.decode(codes))
