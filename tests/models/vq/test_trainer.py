"""`VQTokenizerTrainer`: its terms, where their gradients go, what its checkpoints hold, and that it learns."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.golden import golden_vit_vqgan, golden_weights, load_golden
from seitpp.converters.tokenizers import from_published
from seitpp.models import VQTokenizerTrainer
from seitpp.registry import MODELS
from seitpp.tokenizers.psnr import image_psnr

STACK = dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=32)
VIT = dict(
    type="seitpp.ViTVQGAN",
    arch=dict(encoder=STACK, decoder=STACK),
    codebook_size=16,
    code_dim=4,
    image_size=16,
    patch_size=4,
)
CNN = dict(
    type="seitpp.VQGAN",
    arch=dict(
        channels=32,
        multipliers=(1, 1),
        num_res_blocks=1,
        attention_at=(),
        resolution=16,
        z_channels=8,
        codebook_size=16,
        code_dim=4,
    ),
    image_size=16,
)
ADVERSARIAL = dict(
    discriminator=dict(type="seitpp.PatchDiscriminator", base_channels=4, num_layers=1),
    weight=0.8,
    last_layer="decoder.to_pixels.weight",
)
PERCEPTUAL = dict(
    weight=0.5,
    backbone=dict(type="mmpretrain.ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1)),
    allow_random=True,
)


@pytest.fixture
def build() -> Callable[..., VQTokenizerTrainer]:
    def make(tokenizer: dict = VIT, seed: int = 0, **options: object) -> VQTokenizerTrainer:
        torch.manual_seed(seed)
        model = MODELS.build(dict(type="seitpp.VQTokenizerTrainer", tokenizer=copy.deepcopy(tokenizer), **options))
        model.init_weights()
        return model.train()

    return make


@pytest.fixture
def images() -> Tensor:
    """Eight smooth images in [0, 1]."""
    torch.manual_seed(5)
    return F.interpolate(torch.rand(8, 3, 4, 4), size=16, mode="bilinear")


def total(terms: dict[str, Tensor]) -> Tensor:
    return sum(value for name, value in terms.items() if "loss" in name)


def trained(model: VQTokenizerTrainer) -> set[str]:
    """Names of parameters with a gradient that is not zero."""
    return {name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0}


@pytest.mark.parity
def test_commitment_of_the_whole_model_is_the_references(build: Callable) -> None:
    golden = load_golden("vitvqgan.npz")
    tokenizer = dict(type="seitpp.ViTVQGAN", **golden_vit_vqgan(golden))
    model = build(tokenizer, commitment_weight=golden["meta"]["config"]["beta"], codebook=dict(init=None))
    weights = from_published(golden_weights(golden), "vitvqgan_base", model.tokenizer).weights
    model.tokenizer.load_weights(weights, "the fixture")
    images = torch.from_numpy(golden["in/image"])
    terms = model.loss(images)
    assert (terms["loss_commitment"] + terms["loss_codebook"]).item() == pytest.approx(
        float(golden["out/commit_loss"]), rel=1e-4
    )
    expected = F.mse_loss(torch.from_numpy(golden["out/recon"]), images)
    assert terms["loss_l2"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("tokenizer", [VIT, CNN], ids=["ViTVQGAN", "VQGAN"])
def test_every_parameter_is_trained(build: Callable, images: Tensor, tokenizer: dict) -> None:
    model = build(tokenizer)
    total(model(images, mode="loss")).backward()
    assert trained(model) == {name for name, _ in model.named_parameters()}


def test_straight_through_gives_the_encoder_the_decoders_gradient(build: Callable, images: Tensor) -> None:
    model = build(commitment_weight=0.0, codebook_weight=0.0)
    total(model.loss(images)).backward()
    names = trained(model)
    assert any(name.startswith("tokenizer.encoder") for name in names)
    assert "tokenizer.codebook" not in names


@pytest.mark.parametrize(("weights", "codebook", "encoder"), [((1.0, 0.0), False, True), ((0.0, 1.0), True, False)])
def test_quantisation_terms_move_their_side(
    build: Callable, images: Tensor, weights: tuple[float, float], codebook: bool, encoder: bool
) -> None:
    model = build(l2_weight=0.0, commitment_weight=weights[0], codebook_weight=weights[1], codebook=dict(init=None))
    total(model.loss(images)).backward()
    names = trained(model)
    assert ("tokenizer.codebook" in names) == codebook
    assert any(name.startswith("tokenizer.encoder") for name in names) == encoder
    assert not any(name.startswith("tokenizer.decoder") for name in names)


def test_moving_averages_take_the_codebook_from_the_optimizer(build: Callable, images: Tensor) -> None:
    model = build(codebook=dict(rule="ema"))
    assert not model.tokenizer.codebook.requires_grad
    model.loss(images)
    before = model.tokenizer.codebook.detach().clone()
    terms = model.loss(images)
    assert not torch.equal(model.tokenizer.codebook, before)
    assert "loss_codebook" not in terms
    total(terms).backward()
    assert trained(model) == {name for name, value in model.named_parameters() if value.requires_grad}


def test_evaluation_leaves_everything_as_it_is(build: Callable, images: Tensor) -> None:
    model = build(codebook=dict(rule="ema")).eval()
    before = copy.deepcopy(model.state_dict())
    model(images, mode="predict")
    model(images, mode="tensor")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_terms_are_weighted(build: Callable, images: Tensor) -> None:
    one = build(l1_weight=1.0, perceptual=dict(PERCEPTUAL, weight=1.0), commitment_weight=1.0).loss(images)
    weights = dict(l1_weight=2.0, l2_weight=3.0, commitment_weight=5.0, codebook_weight=6.0)
    two = build(perceptual=dict(PERCEPTUAL, weight=4.0), **weights).loss(images)
    for name, factor in {"l1": 2, "l2": 3, "perceptual": 4, "commitment": 5, "codebook": 6}.items():
        assert two[f"loss_{name}"].item() == pytest.approx(factor * one[f"loss_{name}"].item(), rel=1e-5), name


def test_perceptual_network_is_nowhere_in_the_model(build: Callable, images: Tensor) -> None:
    plain, perceptual = build(), build(perceptual=PERCEPTUAL)
    assert plain.state_dict().keys() == perceptual.state_dict().keys()
    assert [name for name, _ in plain.named_modules()] == [name for name, _ in perceptual.named_modules()]
    before = copy.deepcopy(perceptual.perceptual.network.state_dict())
    total(perceptual.loss(images)).backward()
    assert all(parameter.grad is None for parameter in perceptual.perceptual.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in perceptual.perceptual.network.state_dict().items())


def test_adversarial_training_reaches_both_networks(build: Callable, images: Tensor) -> None:
    model = build(adversarial=ADVERSARIAL, perceptual=PERCEPTUAL)
    terms = model.loss(images)
    total(terms).backward()
    assert all(value.grad is not None for value in model.parameters())
    # The last bias shifts real and reconstructed scores alike, and both hinges are open at first.
    still = {"adversarial.discriminator.layers.4.bias"}
    assert trained(model) == {name for name, _ in model.named_parameters()} - still
    assert terms["adversarial_weight"] > 0


def test_adaptive_weight_counts_reconstruction_and_perceptual_terms(build: Callable, images: Tensor) -> None:
    def weight(**options: object) -> float:
        return build(adversarial=ADVERSARIAL, **options).loss(images)["adversarial_weight"].item()

    assert weight(l2_weight=2.0) == pytest.approx(2 * weight(l2_weight=1.0), rel=1e-4)
    assert weight(commitment_weight=9.0) == weight()
    assert weight(perceptual=PERCEPTUAL) != weight()


def test_a_copy_that_was_saved_and_loaded_goes_on_the_same(build: Callable, images: Tensor) -> None:
    codebook = dict(rule="ema", revive_interval=2, revive_below=0.9)
    options = dict(codebook=codebook, adversarial=dict(ADVERSARIAL, start_step=3))
    first = build(**options)
    for _ in range(2):
        first.loss(images)
    second = build(seed=1, **options)
    second.loss(images)  # at another step, which loading must forget
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        terms = []
        for model in (first, second):
            torch.manual_seed(2)
            terms.append(model.loss(images))
        assert {name: value.item() for name, value in terms[0].items()} == {
            name: value.item() for name, value in terms[1].items()
        }
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert first.num_steps == 5


def test_accumulated_batches_move_the_codebook_as_one_large_batch(build: Callable, images: Tensor) -> None:
    codebook = dict(rule="ema", decay=0.5, init=None, revive_below=0.9, revive_interval=2)
    large, small = build(codebook=codebook), build(codebook=codebook)
    small.batches_per_step = 2
    for step in range(4):
        for model, batches in ((large, [images]), (small, images.chunk(2))):
            torch.manual_seed(step)
            if step == 2:  # where dead codes are looked for, and first batches differ
                model.codebook_update.revive_below = 0.0
            before = model.tokenizer.codebook.detach().clone()
            for batch in batches:
                assert torch.equal(model.tokenizer.codebook, before), "codes move with the last batch of a step alone"
                model.loss(batch)
        torch.testing.assert_close(small.tokenizer.codebook, large.tokenizer.codebook)
        torch.testing.assert_close(small.codebook_update.counts, large.codebook_update.counts)
        assert small.num_steps == large.num_steps == step + 1


def test_predictions_are_encoded_and_decoded(build: Callable, images: Tensor) -> None:
    model = build().eval()
    samples = model(images, mode="predict")
    codes = model.tokenizer.encode(images)
    assert torch.equal(torch.stack([sample.codes for sample in samples]), codes)
    reconstructed = torch.stack([sample.reconstruction for sample in samples])
    assert torch.equal(reconstructed, model.tokenizer.decode(codes))
    assert torch.equal(reconstructed, model(images, mode="tensor"))
    assert (samples[0].pixel_range, samples[0].codebook_size) == ((0.0, 1.0), 16)
    with pytest.raises(ValueError, match=r"mode must be .*, got 'train'"):
        model(images, mode="train")


def preprocessor(mean: float, std: float) -> dict:
    return dict(type="mmpretrain.SelfSupDataPreprocessor", mean=[mean] * 3, std=[std] * 3)


def test_pixels_of_another_range_are_refused(build: Callable) -> None:
    build(VIT, data_preprocessor=preprocessor(0, 255))
    build(CNN, data_preprocessor=preprocessor(127.5, 127.5))
    for tokenizer, options, message in (
        (VIT, preprocessor(127.5, 127.5), r"lie in \[0, 1\]; set its mean to \[0.0, 0.0, 0.0\] and its std to \[255.0"),
        (
            CNN,
            preprocessor(0, 255),
            r"lie in \[-1, 1\]; set its mean to \[127.5, 127.5, 127.5\] and its std to \[127.5",
        ),
        (VIT, dict(type="mmpretrain.SelfSupDataPreprocessor"), r"bytes 0 and 255 into \[0.0\] and \[255.0\]"),
    ):
        with pytest.raises(ValueError, match=message):
            build(tokenizer, data_preprocessor=options)


def test_wrong_last_layer_is_refused(build: Callable) -> None:
    with pytest.raises(ValueError, match=r"last_layer is 'to_pixel', .* decoder\.to_pixels\.weight"):
        build(adversarial=dict(ADVERSARIAL, last_layer="to_pixel"))


@pytest.mark.parametrize(
    "tokenizer",
    [dict(type="seitpp.PatchKMeans", image_size=16, patch_size=4), dict(type="seitpp.VQGAN", arch="vqgan_gumbel_f8")],
)
def test_tokenizers_without_nearest_codes_are_refused(build: Callable, tokenizer: dict) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="cannot be trained here: expected a tokenizer that"):
        build(tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["ema", "gradient"])
def test_a_few_images_are_learnt(build: Callable, images: Tensor, rule: str) -> None:
    wider = dict(STACK, dims=64, mlp_dims=128)
    images = images[:2]  # 32 patches, one code for each
    tokenizer = dict(VIT, arch=dict(encoder=wider, decoder=wider), codebook_size=32)
    model = build(tokenizer, codebook=dict(rule=rule, decay=0.9, revive_interval=5))
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=2e-3)
    for _ in range(500):
        optimizer.zero_grad()
        terms = model.loss(images)
        total(terms).backward()
        optimizer.step()
    assert image_psnr(model(images), images, 1.0).mean() > 27
    assert terms["codes_used"] > 0.8


def test_codes_of_a_checkpoint_are_kept(build: Callable, images: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.pth"
    torch.save({"state_dict": build().tokenizer.state_dict()}, path)
    kept, anew = (build(dict(VIT, checkpoint=str(path)), codebook=options) for options in (None, dict(init="random")))
    before = kept.tokenizer.codebook.detach().clone()
    for model in (kept, anew):
        model.loss(images)
    assert torch.equal(kept.tokenizer.codebook, before)
    assert not torch.equal(anew.tokenizer.codebook, before)
