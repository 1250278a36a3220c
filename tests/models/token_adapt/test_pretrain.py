"""`TokenAdaptPretrain`: pairs by one draw, its loss, what its checkpoints hold, its predictions, what it refuses."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from helpers.shrinking import shrink
from seitpp.augment.affine import Affines, Flips
from seitpp.augment.crops import CropBoxes
from seitpp.models import TokenAdaptPretrain
from seitpp.models.token_adapt import pretrain
from seitpp.registry import MODELS, TOKENIZERS
from seitpp.structures.draws import tensors_of
from seitpp.tokenizers import PatchKMeans
from seitpp.tokenizers.codebook import codebook_sha256, nearest_codes_euclidean

K, GRID, PATCH = 8, 4, 2
PIXELS = GRID * PATCH
FLIP = dict(type="seitpp.BatchRandomFlip", prob=0.5)
AFFINE = dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15)
CROP = dict(type="seitpp.BatchRandomResizedCrop", size=PIXELS, scale=(0.3, 1.0))
MIXUP = dict(type="seitpp.BatchMixup", alpha=0.8)
CUTMIX = dict(type="seitpp.BatchCutMix")
MIDDLE = dict(type="seitpp.BatchCenterCrop", size=4)  # 2 x 2 tokens
ALL = [FLIP, AFFINE, CROP, MIXUP, CUTMIX]
SMALL = dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=32)


def greys() -> Tensor:
    """A codebook of patches that are one grey all over, so that mirrored patches are the same code."""
    return (torch.arange(K) / (K - 1))[:, None].expand(K, PATCH**2).clone()


def kmeans(codebook: Tensor | None = None, **options: object) -> PatchKMeans:
    options = {"image_size": PIXELS, "patch_size": PATCH, "in_channels": 1, **options}
    return PatchKMeans(**options, codebook=greys() if codebook is None else codebook)


def random_codebook() -> Tensor:
    return torch.rand(K, PATCH**2, generator=torch.Generator().manual_seed(1))


def random_tokens(count: int = 6) -> Tensor:
    return torch.randint(K, (count, GRID, GRID), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def build() -> Callable[..., TokenAdaptPretrain]:
    def make(
        augments: list[dict] | None = None,
        tokenizer: nn.Module | dict | None = None,
        network: dict | None = None,
        **options: object,
    ) -> TokenAdaptPretrain:
        sizes = {"codebook_size": K, "code_dim": PATCH**2, "grid": GRID, "out_grid": GRID, **(network or {})}
        torch.manual_seed(0)
        model = MODELS.build(
            dict(
                type="seitpp.TokenAdaptPretrain",
                token_adapt=dict(type="seitpp.TokenAdapt", **SMALL, **sizes),
                tokenizer=kmeans() if tokenizer is None else tokenizer,
                augments=ALL if augments is None else augments,
                **options,
            )
        )
        model.init_weights()
        return model

    return make


class PixelMap(nn.Module):
    """In TokenAdapt's place: its map is the decoded image, and what it reverses is encoded again."""

    def __init__(self, network: nn.Module, codebook: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", codebook)
        self.weight = nn.Parameter(torch.zeros(1))
        for name in ("grid", "out_grid", "map_grid", "out_map_grid", "codebook_size", "code_dim"):
            setattr(self, name, getattr(network, name))

    def convert(self, embeddings: Tensor) -> Tensor:
        return F.pixel_shuffle(embeddings, PATCH)

    def reverse(self, maps: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(maps.clamp(0, 1), PATCH).movedim(1, -1)
        codes = nearest_codes_euclidean(patches, self.table)
        return torch.eye(K)[codes] + 0 * self.weight


def with_pixel_map(model: TokenAdaptPretrain) -> TokenAdaptPretrain:
    model.token_adapt = PixelMap(model.token_adapt, model.codebook)
    return model


class TestPairs:
    @pytest.mark.parametrize("augment", ALL, ids=lambda augment: augment["type"].removeprefix("seitpp."))
    def test_one_draw_acts_on_pixels_and_map(self, build: Callable, augment: dict) -> None:
        model = with_pixel_map(build([augment], kmeans(random_codebook())))
        images = model.tokenizer().decode(random_tokens())
        torch.manual_seed(4)
        assert model.loss(images)["code_accuracy"] == 1

    def test_the_whole_chain_acts_on_pixels_and_map(self, build: Callable) -> None:
        model = with_pixel_map(build(ALL, kmeans(random_codebook())))
        assert model.loss(model.tokenizer().decode(random_tokens()))["code_accuracy"] == 1

    def test_targets_are_the_augmented_images_tokens(self, build: Callable) -> None:
        model, codes = build([FLIP]), random_tokens(3)
        flipped = torch.tensor([True, False, True])
        tokens, targets = model.pairs(model.tokenizer().decode(codes), [Flips(flipped)])
        assert torch.equal(tokens, codes)
        assert torch.equal(targets[flipped], codes[flipped].flip(-1))
        assert torch.equal(targets[~flipped], codes[~flipped])

    def test_boxes_are_of_the_image_whatever_its_pixels(self, build: Callable) -> None:
        # 4 x 4 pixels per token: the map, for which boxes are drawn, has half as many positions.
        codebook = greys()[:, :1].expand(K, 16).clone()
        tokenizer = kmeans(codebook, image_size=4 * GRID, patch_size=4)
        middle = dict(type="seitpp.BatchRandomResizedCrop", size=4)
        model = build([middle], tokenizer, dict(code_dim=16, out_grid=2))
        codes = random_tokens(2)
        box = CropBoxes(torch.tensor([[0, 0, 4, 4], [4, 2, 4, 4]]), (2 * GRID, 2 * GRID))
        targets = model.pairs(tokenizer.decode(codes), [box])[1]
        assert torch.equal(targets[0], codes[0, :2, :2])
        assert torch.equal(targets[1], codes[1, 2:4, 1:3])

    @pytest.mark.parametrize("low", [0.0, -1.0])
    def test_outside_is_black_in_the_tokenizers_pixels(self, build: Callable, low: float) -> None:
        tokenizer = kmeans(greys() * (1 - low) + low)
        tokenizer.pixel_range = (low, 1.0)
        model = build([AFFINE], tokenizer)
        right = Affines(torch.zeros(2), torch.tensor([[0.5, 0.0]] * 2), torch.ones(2), torch.zeros(2, 2))
        codes = random_tokens(2).clamp(min=1)
        targets = model.pairs(tokenizer.decode(codes), [right])[1]
        assert (targets[:, :, :2] == 0).all()
        assert torch.equal(targets[:, :, 2:], codes[:, :, :2])

    def test_images_stay_in_the_tokenizers_pixel_range(self, build: Callable) -> None:
        seen = []

        class Watched(PatchKMeans):
            def encode(self, images: Tensor) -> Tensor:
                seen.append(images)
                return super().encode(images)

        model = build([CROP], Watched(PIXELS, PATCH, 1, greys()))
        images = (torch.rand(8, 1, PIXELS, PIXELS) > 0.5).float()
        model.pairs(images, model.draw(8, "cpu"))
        assert (seen[1].min(), seen[1].max()) == (0, 1)
        assert model.augments[0].apply(images, model.draw(8, "cpu")[0]).max() > 1  # what interpolation leaves

    def test_draws_depend_on_the_seed_only(self, build: Callable) -> None:
        first, second = build(), build(tokenizer=kmeans(random_codebook()))
        first.loss(torch.rand(6, 1, PIXELS, PIXELS))  # any history
        drawn = []
        for model in (first, second):
            torch.manual_seed(7)
            drawn.append([tensors_of(draws) for draws in model.draw(6, "cpu")])
        for one, two in zip(*drawn, strict=True):
            assert all(torch.equal(one[name], two[name]) for name in one)

    def test_reading_the_tokenizer_draws_nothing(self, tmp_path: Path) -> None:
        config = vit_vqgan(tmp_path)
        torch.manual_seed(3)
        pretrain.FrozenTokenizer(config).on("cpu")
        after = torch.rand(1)
        torch.manual_seed(3)
        assert after == torch.rand(1)


def vit_vqgan(folder: Path, pixels: int = PIXELS) -> dict:
    """Config of a network as tokenizer, with weights in a file."""
    config = dict(
        type="seitpp.ViTVQGAN",
        arch=dict(encoder=SMALL, decoder=SMALL),
        codebook_size=K,
        code_dim=4,
        image_size=pixels,
        patch_size=PATCH,
    )
    path = folder / "tokenizer.pth"
    torch.manual_seed(8)
    torch.save({"state_dict": TOKENIZERS.build(config).state_dict()}, path)
    return {**config, "checkpoint": str(path)}


class TestTraining:
    def test_loss_falls(self, build: Callable) -> None:
        model = build([FLIP])
        images = model.tokenizer().decode(random_tokens(8))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        torch.manual_seed(0)
        for _ in range(150):
            optimizer.zero_grad()
            terms = model.loss(images)
            terms["loss"].backward()
            optimizer.step()
        assert terms["loss"] < 0.3 < 2 < build([FLIP]).loss(images)["loss"]
        assert terms["code_accuracy"] > 0.95

    def test_loss_is_the_mean_cross_entropy_of_tokens(self, build: Callable) -> None:
        model, codes, targets = build([FLIP]), random_tokens(2), random_tokens(4)[2:]
        draws = [Flips(torch.tensor([True, False]))]
        terms = model.pair_loss(codes, targets, draws)
        maps = model.token_adapt.convert(model.codebook[codes].movedim(-1, 1))
        logits = model.token_adapt.reverse(torch.stack((maps[0].flip(-1), maps[1])))
        expected = -logits.log_softmax(dim=-1).gather(-1, targets[..., None]).mean()
        assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
        assert terms["code_accuracy"].item() == pytest.approx((logits.argmax(-1) == targets).float().mean().item())

    def test_only_token_adapt_is_trained(self, build: Callable, tmp_path: Path) -> None:
        model = build([FLIP], vit_vqgan(tmp_path), dict(code_dim=4))
        model.loss(torch.rand(4, 3, PIXELS, PIXELS))["loss"].backward()
        assert all(name.startswith("token_adapt.") for name, _ in model.named_parameters())
        assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in model.parameters())
        assert all(value.grad is None for value in model.tokenizer().parameters())

    def test_checkpoint_holds_the_network_and_its_codebook(self, build: Callable, tmp_path: Path) -> None:
        model = build([FLIP], vit_vqgan(tmp_path), dict(code_dim=4))
        state = model.state_dict()
        assert {name.split(".")[0] for name in state} == {"token_adapt", "codebook"}
        assert torch.equal(state["codebook"], model.tokenizer().codebook)
        assert not any("tokenizer" in name for name, _ in model.named_modules())

    def test_codebook_is_named_as_stores_name_it(self, build: Callable) -> None:
        assert build().codebook_sha256 == codebook_sha256(greys())

    def test_copies_share_the_tokenizer(self, build: Callable) -> None:
        model = build()
        assert copy.deepcopy(model).tokenizer() is model.tokenizer()

    def test_built_without_values_it_reads_no_tokenizer(self) -> None:
        tokenizer = dict(type="seitpp.PatchKMeans", image_size=8, patch_size=2, in_channels=1, codebook="nowhere.npy")
        network = dict(type="seitpp.TokenAdapt", codebook_size=K, code_dim=4, grid=4, out_grid=4, **SMALL)
        config = dict(type="seitpp.TokenAdaptPretrain", token_adapt=network, tokenizer=tokenizer, augments=[FLIP])
        with torch.device("meta"):
            MODELS.build(config)
        with pytest.raises(FileNotFoundError, match=r"nowhere\.npy does not exist"):
            MODELS.build(config).init_weights()

    def test_modes(self, build: Callable) -> None:
        model, images = build([FLIP]), torch.rand(3, 1, PIXELS, PIXELS)
        torch.manual_seed(1)
        tokens = model(images, mode="tensor")
        assert (tokens.shape, tokens.dtype) == ((3, GRID, GRID), torch.int64)
        assert set(model(images, mode="loss")) == {"loss", "code_accuracy"}
        assert len(model(images, mode="predict")) == 3
        with pytest.raises(ValueError, match=r"mode must be .*, got 'train'"):
            model(images, mode="train")


class TestStoredPairs:
    def test_loss_is_that_of_pairs_made_on_the_fly(self, build: Callable) -> None:
        model, images = build(), torch.rand(6, 1, PIXELS, PIXELS)
        torch.manual_seed(5)
        expected = model.loss(images)
        torch.manual_seed(5)
        drawn = model.draw(6, "cpu")
        tokens, targets = model.pairs(images, drawn)
        draws = [dict(tensors_of(one)) for one in drawn]
        terms = model(tokens.to(torch.uint8), mode="loss", targets=targets, draws=draws)
        assert {name: value.item() for name, value in terms.items()} == {
            name: value.item() for name, value in expected.items()
        }

    def test_another_number_of_augmentations_is_refused(self, build: Callable) -> None:
        draws = [{"flipped": torch.zeros(2, dtype=torch.bool)}] * 2
        with pytest.raises(ValueError, match="made by 2 augmentations, the model has 1; train with the config"):
            build([FLIP]).loss_of_stored_pairs(random_tokens(2), random_tokens(2), draws)

    def test_other_draws_are_refused(self, build: Callable) -> None:
        with pytest.raises(ValueError, match="draws of Flips consist of flipped, got angle"):
            build([FLIP]).loss_of_stored_pairs(random_tokens(2), random_tokens(2), [{"angle": torch.zeros(2)}])


def scores_of(model: TokenAdaptPretrain, images: Tensor, indices: list[int] | None = None) -> Tensor:
    indices = list(range(len(images))) if indices is None else indices
    samples = [DataSample(metainfo={"sample_idx": index}) for index in indices]
    return torch.stack([sample.token_adapt_scores for sample in model(images, samples, mode="predict")])


class TestPredictions:
    FLIPPED = dict(mirrored=[dict(FLIP, prob=1.0)])

    def scores(self, model: TokenAdaptPretrain, images: Tensor) -> dict[str, Tensor]:
        """Exact tokens and squared error of each sample, (B, 2), of the one augmentation, by kind of prediction."""
        values = scores_of(model, images)[:, 0].unbind(1)
        return dict(zip(pretrain.PREDICTIONS, values, strict=True))

    def test_direct_is_exact_where_mirrored_codes_are_themselves(self, build: Callable) -> None:
        model = build([FLIP], eval_augments=self.FLIPPED)
        scores = self.scores(model, model.tokenizer().decode(random_tokens()))
        assert (scores["direct"] == torch.tensor([1.0, 0.0])).all()
        assert (scores["tokenizer"] == torch.tensor([1.0, 0.0])).all()

    def test_direct_fails_where_a_code_has_a_left_and_a_right(self, build: Callable) -> None:
        sides = torch.stack([torch.tensor([left, 1 - left] * 2) for left in torch.linspace(0, 1, K)])
        model = build([FLIP], kmeans(sides), eval_augments=self.FLIPPED)
        codes = random_tokens()
        scores = self.scores(model, model.tokenizer().decode(codes))
        # Mirroring such a patch turns code k into K - 1 - k, which the embeddings of a grid cannot tell.
        assert torch.equal(scores["direct"][:, 0], (codes == K - 1 - codes).flatten(1).float().mean(dim=1))
        assert (scores["tokenizer"][:, 0] == 1).all()

    def test_copy_are_the_inputs_tokens(self, build: Callable) -> None:
        model, codes = build([FLIP], eval_augments=self.FLIPPED), random_tokens()
        images = model.tokenizer().decode(codes)
        scores = self.scores(model, images)
        assert torch.equal(scores["copy"][:, 0], (codes == codes.flip(-1)).flatten(1).float().mean(dim=1))
        assert torch.allclose(scores["copy"][:, 1], (images - images.flip(-1)).square().flatten(1).mean(dim=1))

    def test_copy_are_the_middle_ones_where_the_grid_shrinks(self, build: Callable) -> None:
        model = build([MIDDLE], network=dict(out_grid=2))
        scores = self.scores(model, model.tokenizer().decode(random_tokens()))
        assert (scores["copy"] == torch.tensor([1.0, 0.0])).all()
        assert (scores["direct"] == torch.tensor([1.0, 0.0])).all()

    def test_token_adapt_is_the_networks(self, build: Callable) -> None:
        model = build([FLIP], eval_augments=self.FLIPPED)
        codes = random_tokens()
        scores = self.scores(model, model.tokenizer().decode(codes))
        maps = model.token_adapt.convert(model.codebook[codes].movedim(-1, 1))
        predicted = model.token_adapt.reverse(maps.flip(-1)).argmax(dim=-1)
        assert torch.equal(scores["token_adapt"][:, 0], (predicted == codes.flip(-1)).flatten(1).float().mean(dim=1))

    def test_error_is_of_pixels_scaled_to_one(self, build: Callable) -> None:
        results = []
        for low in (0.0, -1.0):
            tokenizer = kmeans(greys() * (1 - low) + low)
            tokenizer.pixel_range = (low, 1.0)
            model = build([FLIP], tokenizer, eval_augments=self.FLIPPED)
            results.append(self.scores(model, tokenizer.decode(random_tokens()))["copy"])
        assert torch.allclose(*results)

    def test_error_is_unknown_where_the_tokenizer_cannot_decode(self, build: Callable) -> None:
        tokenizer = kmeans()
        images = tokenizer.decode(random_tokens())
        tokenizer.can_decode = False
        scores = scores_of(build([FLIP], tokenizer), images)
        assert scores[..., 1].isnan().all()
        reencoded = pretrain.PREDICTIONS.index("reencode")
        assert scores[:, :, reencoded].isnan().all()
        assert scores[..., 0].isfinite().sum() == scores[..., 0].numel() * 4 / 5

    def test_reencoding_is_exact_where_tokens_hold_the_whole_image(self, build: Callable) -> None:
        tokenizer = kmeans(random_codebook())
        images = tokenizer.decode(random_tokens())
        model = build([FLIP, AFFINE], tokenizer)
        assert (self.scores(model, images)["reencode"][:, 0] == 1).all()

    def test_each_named_augmentation_is_scored(self, build: Callable) -> None:
        model = build([FLIP], eval_augments=dict(still=[dict(FLIP, prob=0.0)], mirrored=[dict(FLIP, prob=1.0)]))
        (sample,) = model(model.tokenizer().decode(random_tokens(1)), mode="predict")
        assert sample.token_adapt_names == ("still", "mirrored")
        assert sample.token_adapt_scores.shape == (2, 5, 2)
        assert sample.token_adapt_scores[0, 2, 0] == 1  # nothing moved: the copy is right

    def test_draws_of_training_are_scored_by_default(self, build: Callable) -> None:
        (sample,) = build([FLIP])(torch.rand(1, 1, PIXELS, PIXELS), mode="predict")
        assert sample.token_adapt_names == ("all",)

    def test_draws_belong_to_places_in_the_data_set(self, build: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretrain, "_EVAL_BLOCK", 4)  # ten samples lie in three blocks
        chain = [FLIP, AFFINE, CROP]
        images = torch.rand(10, 1, PIXELS, PIXELS)
        whole = scores_of(build(chain), images)
        alone = build(chain)
        order = [9, 3, 0, 7, 1, 2, 8, 4, 6, 5]
        assert torch.equal(torch.cat([scores_of(alone, images[[place]], [place]) for place in order]), whole[order])
        assert torch.equal(scores_of(build(chain), images[order], order), whole[order])

    def test_every_place_has_its_own_draw(self, build: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretrain, "_EVAL_BLOCK", 4)
        scores = scores_of(build([AFFINE]), torch.rand(1, 1, PIXELS, PIXELS).expand(12, -1, -1, -1))
        assert len({str(row) for row in scores[:, 0, 2, 1].tolist()}) == 12

    def test_draws_are_the_same_at_every_validation(self, build: Callable) -> None:
        model, images = build(), torch.rand(6, 1, PIXELS, PIXELS)
        first = scores_of(model, images)
        torch.manual_seed(9)
        assert torch.equal(scores_of(model, images), first)
        assert not torch.equal(scores_of(build(eval_seed=1), images), first)

    def test_validation_draws_nothing_from_the_training(self, build: Callable) -> None:
        model = build()
        torch.manual_seed(0)
        scores_of(model, torch.zeros(6, 1, PIXELS, PIXELS))
        after = torch.rand(1)
        torch.manual_seed(0)
        assert after == torch.rand(1)


DCT = dict(
    type="seitpp.BlockDCT", image_size=8 * GRID, in_channels=1, quality=50, luma_coefficients=3, chroma_coefficients=0
)
VALUES = dict(codebook_size=None, code_dim=3)


class TestRegression:
    @pytest.fixture
    def images(self) -> Tensor:
        torch.manual_seed(6)
        return F.interpolate(torch.rand(6, 1, GRID, GRID), size=8 * GRID, mode="bilinear")

    def test_moments_are_those_of_the_first_batch(self, build: Callable, images: Tensor) -> None:
        model = build([FLIP], DCT, VALUES)
        model.loss(images)
        rows = model.tokenizer().encode(images).flatten(0, 2).float()
        assert torch.allclose(model.token_adapt.mean, rows.mean(dim=0), atol=1e-4)
        deviation = rows.std(dim=0, correction=0)
        assert (deviation > 1).all()
        assert torch.allclose(model.token_adapt.std, deviation, rtol=1e-4)
        model.loss(images[:2] * 0.5)
        assert torch.allclose(model.token_adapt.mean, rows.mean(dim=0), atol=1e-4)

    def test_a_channel_that_is_always_the_same_has_the_unit_one(self, build: Callable) -> None:
        model = build([FLIP], DCT, VALUES)
        assert model.loss(torch.full((2, 1, 8 * GRID, 8 * GRID), 0.5))["loss"].isfinite()
        assert model.token_adapt.std.tolist() == [1, 1, 1]

    def test_moments_are_kept_in_the_checkpoint(self, build: Callable, images: Tensor) -> None:
        first, second = build([FLIP], DCT, VALUES), build([FLIP], DCT, VALUES)
        first.loss(images)
        second.load_state_dict(first.state_dict())
        second.loss(images[:2] * 0.5)
        assert torch.equal(second.token_adapt.mean, first.token_adapt.mean)
        assert torch.equal(second.token_adapt.std, first.token_adapt.std)

    def test_loss_is_the_squared_error_in_deviations(self, build: Callable, images: Tensor) -> None:
        model = build([FLIP], DCT, VALUES)
        draws = [Flips(torch.zeros(6, dtype=torch.bool))]
        tokens, targets = model.pairs(images, draws)
        loss = model.pair_loss(tokens, targets, draws)["loss"]
        values = model.token_adapt.reverse(model.token_adapt.convert(tokens.movedim(-1, 1).float()))
        expected = ((values - targets) / model.token_adapt.std).square().mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert 0 < loss < 100

    def test_tokens_are_rounded_and_kept_to_what_there_is(
        self, build: Callable, images: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = build([FLIP], DCT, VALUES)
        values = torch.tensor([1.4, -1e6, 1e6]).expand(6, GRID, GRID, 3)
        monkeypatch.setattr(model.token_adapt, "reverse", lambda maps: values)
        largest = -model.tokenizer().minimum
        assert model(images, mode="tensor")[0, 0, 0].tolist() == [1, -largest, largest]

    def test_predictions_are_scored(self, build: Callable, images: Tensor) -> None:
        scores = scores_of(build([FLIP], DCT, VALUES), images)
        assert scores.isfinite().all()
        assert (scores[:, 0, pretrain.PREDICTIONS.index("tokenizer"), 0] == 1).all()


class TestRefusals:
    def test_another_grid(self, build: Callable) -> None:
        with pytest.raises(ValueError, match=r"PatchKMeans has {'grid': \(8, 8\), .*token_adapt has {'grid': \(4, 4"):
            build([FLIP], kmeans(image_size=2 * PIXELS))

    @pytest.mark.parametrize("network", [dict(codebook_size=K + 1), dict(code_dim=5), dict(codebook_size=None)])
    def test_another_codebook_size_or_code_dim(self, build: Callable, network: dict) -> None:
        message = r"PatchKMeans has .*'codebook_size': 8, 'code_dim': 4}, token_adapt has .*; set it to the tokenizer's"
        with pytest.raises(ValueError, match=message):
            build([FLIP], network=network)

    def test_tokens_without_a_codebook_for_a_network_with_one(self, build: Callable) -> None:
        with pytest.raises(ValueError, match=r"BlockDCT has .*'codebook_size': None, 'code_dim': 3}"):
            build([FLIP], DCT, dict(code_dim=3))

    @pytest.mark.parametrize(
        ("augments", "network", "found"), [([MIDDLE], {}, r"\(4, 4\)"), ([FLIP], dict(out_grid=3), r"\(8, 8\)")]
    )
    def test_chain_that_ends_at_another_size(
        self, build: Callable, augments: list[dict], network: dict, found: str
    ) -> None:
        with pytest.raises(ValueError, match=rf"take TokenAdapt's map of \(8, 8\) positions to {found}, and its"):
            build(augments, network=network)

    def test_chain_of_validation_that_ends_at_another_size(self, build: Callable) -> None:
        with pytest.raises(ValueError, match=r"small take TokenAdapt's map .*; let them end with a crop of that size"):
            build([FLIP], eval_augments=dict(small=[MIDDLE]))

    def test_augmentation_that_draws_nothing_to_share(self, build: Callable) -> None:
        choice = dict(type="seitpp.OneOf", transforms=[MIXUP, CUTMIX])
        with pytest.raises(ValueError, match="augments have a OneOf, which draws nothing that pixels and map could"):
            build([FLIP, choice])

    def test_tokenizer_without_a_spatial_grid(self, build: Callable) -> None:
        tokenizer = kmeans()
        tokenizer.spatial = False
        with pytest.raises(ValueError, match="PatchKMeans has no spatial grid"):
            build([FLIP], tokenizer)

    def test_checkpoint_of_another_codebook(self, build: Callable) -> None:
        other = build([FLIP], kmeans(random_codebook())).state_dict()
        with pytest.raises(ValueError, match="the checkpoint and the config's tokenizer belong to different") as caught:
            build([FLIP]).load_state_dict(other)
        assert codebook_sha256(greys())[:12] in str(caught.value)
        assert codebook_sha256(random_codebook())[:12] in str(caught.value)


@pytest.fixture
def refusal(
    repository: Path, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> Callable[[Callable[[Config], object]], str]:
    """The message with which training from pairs is refused, after the model's config was changed."""

    def message(edit: Callable[[Config], object]) -> str:
        leaf = repository / "configs" / "tokenadapt" / "tokenadapt_d384_1xb128-1e_in1k-token-pairs.py"
        cfg = shrink(Config.fromfile(leaf), tmp_path, epochs=1)
        edit(cfg)
        runner = build_runner(cfg)
        with pytest.raises(ValueError) as caught:
            runner.train()
        assert runner.iter == 0
        return str(caught.value)

    return message


def other_strength(cfg: Config) -> None:
    cfg.model.augments[1].degrees = 20


def other_codebook(cfg: Config) -> None:
    cfg.model.tokenizer.checkpoint = None  # random weights


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (other_strength, "were made with augments"),
        (other_codebook, "and the model belong to different tokenizers: codebook_sha256"),
    ],
)
def test_run_on_pairs_of_another_model_is_refused(refusal: Callable, edit: Callable, found: str) -> None:
    message = refusal(edit)
    assert "the pairs in " in message and f"token-pairs {found} " in message
    assert "Train with the config that made them" in message


def test_own_pairs_are_accepted_and_images_tell_nothing(build: Callable) -> None:
    model = build()
    model.prepare_training(model.pair_metadata(), "own")
    model.prepare_training({"classes": None}, "images")


def test_pairs_of_other_options_of_a_tokenizer_without_codebook_are_refused(build: Callable) -> None:
    model = build([FLIP], DCT, VALUES)
    facts = model.pair_metadata()
    model.prepare_training(facts, "own")
    with pytest.raises(ValueError, match=r"the pairs in other and the model .*: quality 90 and 50"):
        model.prepare_training({**facts, "tokenizer": {**facts["tokenizer"], "quality": 90}}, "other")


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_embedded_codes_start_with_deviation_one_whatever_the_codebooks_scale(
    build: Callable[..., TokenAdaptPretrain], scale: float
) -> None:
    model = build(tokenizer=kmeans(random_codebook() * scale))
    embedded = model.codebook @ model.token_adapt.conversion.embed.weight.T
    assert embedded.std().item() == pytest.approx(1, rel=1e-4)


def test_weights_that_a_config_initialises_are_not_scaled(build: Callable[..., TokenAdaptPretrain]) -> None:
    init = dict(type="Constant", layer="Linear", val=0.5)
    model = build(network=dict(init_cfg=init))
    assert (model.token_adapt.conversion.embed.weight == 0.5).all()
