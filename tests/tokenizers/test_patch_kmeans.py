"""The k-means tokenizer: fitting, encoding, decoding, and what every tokenizer shares."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope, Registry
from torch import Tensor

from seitpp.registry import MODELS
from seitpp.tokenizers import PatchKMeans


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Waves of colour, of random direction and phase, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    down, right, phase = torch.rand(3, 12, 3, 1, 1, generator=generator) * 9
    axis = torch.linspace(0, 1, 16)
    return (down * axis[:, None] + right * axis + phase).sin() / 2 + 0.5


@pytest.fixture(scope="module")
def fitted(images: Tensor) -> PatchKMeans:
    return PatchKMeans(image_size=16, patch_size=2).fit(images, codebook_size=20)


def slow_patches(images: Tensor, size: int) -> np.ndarray:
    """(B, h, w, C size size), patch by patch."""
    batch, channels, rows, columns = images.shape
    patches = np.zeros((batch, rows // size, columns // size, channels * size * size))
    for row in range(rows // size):
        for column in range(columns // size):
            patch = images[:, :, row * size : (row + 1) * size, column * size : (column + 1) * size]
            patches[:, row, column] = patch.reshape(batch, -1).numpy()
    return patches


def test_shapes_and_types(fitted: PatchKMeans, images: Tensor) -> None:
    codes = fitted.encode(images)
    assert codes.shape == (12, 8, 8) and codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < 20
    decoded = fitted.decode(codes)
    assert decoded.shape == images.shape and decoded.dtype == torch.float32


def test_facts_of_the_interface(fitted: PatchKMeans) -> None:
    assert (fitted.codebook_size, fitted.stride, fitted.grid, fitted.image_size) == (20, 2, (8, 8), (16, 16))
    assert fitted.codebook.shape == (20, 12) and fitted.codebook.dtype == torch.float32 and fitted.spatial


def test_each_patch_goes_to_its_nearest_centre(fitted: PatchKMeans, images: Tensor) -> None:
    patches = slow_patches(images, 2)
    distances = np.stack([((patches - centre) ** 2).sum(axis=-1) for centre in fitted.codebook.double().numpy()], -1)
    ordered = np.sort(distances, axis=-1)
    clear = ordered[..., 1] - ordered[..., 0] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(fitted.encode(images).numpy()[clear], distances.argmin(axis=-1)[clear])


def test_decoding_lays_down_the_centres(fitted: PatchKMeans) -> None:
    codes = torch.randint(0, 20, (2, 3, 5))
    np.testing.assert_array_equal(slow_patches(fitted.decode(codes), 2), fitted.codebook[codes].numpy())


def test_encoding_a_decoded_image_gives_back_the_codes(fitted: PatchKMeans, images: Tensor) -> None:
    codes = fitted.encode(images)
    assert torch.equal(fitted.encode(fitted.decode(codes)), codes)


def test_reconstruction_beats_the_mean_colour(fitted: PatchKMeans, images: Tensor) -> None:
    error = (fitted.decode(fitted.encode(images)) - images).square().mean()
    of_the_mean = (images.mean(dim=(0, 2, 3), keepdim=True) - images).square().mean()
    assert error < 0.3 * of_the_mean


def test_more_codes_reconstruct_better(images: Tensor) -> None:
    def error(codes: int) -> float:
        tokenizer = PatchKMeans(16, 2).fit(images, codes)
        return (tokenizer.decode(tokenizer.encode(images)) - images).square().mean().item()

    assert error(40) < error(10) < error(2)


def test_centres_are_the_means_of_their_patches() -> None:
    dark, light = torch.zeros(3, 1, 4, 4), torch.ones(1, 1, 4, 4)
    dark[0] = 0.3
    tokenizer = PatchKMeans(4, 4, in_channels=1).fit(torch.cat((dark, light)), 2)
    torch.testing.assert_close(tokenizer.codebook, torch.tensor([[0.1], [1.0]]).expand(2, 16))


def test_frequent_codes_come_first(fitted: PatchKMeans, images: Tensor) -> None:
    counts = torch.bincount(fitted.encode(images).flatten(), minlength=20)
    assert (counts.diff() <= 0).all() and counts[0] > counts[-1] > 0


def test_same_seed_same_codebook(fitted: PatchKMeans, images: Tensor) -> None:
    again = PatchKMeans(image_size=16, patch_size=2).fit(images, codebook_size=20)
    assert torch.equal(again.codebook, fitted.codebook)
    other = PatchKMeans(image_size=16, patch_size=2).fit(images, codebook_size=20, seed=1)
    assert not torch.equal(other.codebook, fitted.codebook)


def test_choice_of_patches_follows_the_seed(images: Tensor) -> None:
    first, again, other = (PatchKMeans(16, 2).fit(images, 5, seed=seed, max_patches=200) for seed in (0, 0, 1))
    assert torch.equal(first.codebook, again.codebook) and not torch.equal(first.codebook, other.codebook)
    assert not torch.equal(first.codebook, PatchKMeans(16, 2).fit(images, 5).codebook)


def test_fewer_different_patches_than_codes_is_refused() -> None:
    images = torch.cat((torch.zeros(3, 3, 16, 16), torch.ones(2, 3, 16, 16)))
    with pytest.raises(ValueError, match="5 images have 2 different patches, fewer than the 3 codes wanted"):
        PatchKMeans(16, 2).fit(images, 3)
    two = PatchKMeans(16, 2).fit(images, 2).codebook
    torch.testing.assert_close(two, torch.tensor([[0.0], [1.0]]).expand(2, 12), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda tokenizer: tokenizer.encode(torch.zeros(1, 3, 16, 16)), id="encode"),
        pytest.param(lambda tokenizer: tokenizer.decode(torch.zeros(1, 8, 8, dtype=torch.int64)), id="decode"),
    ],
)
def test_use_before_fitting_is_refused(use: Callable[[PatchKMeans], Tensor]) -> None:
    with pytest.raises(ValueError, match="PatchKMeans has no codebook yet; call fit"):
        use(PatchKMeans(16, 2))


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 3, 15, 16), (1, 3, 16, 17)])
def test_images_that_do_not_fit_are_refused(fitted: PatchKMeans, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not fit: expected \(B, 3, H, W\) with sides that are multiples of 2"):
        fitted.encode(torch.zeros(shape))


def test_image_size_that_is_not_a_multiple_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image size \(16, 18\) is not a multiple of the patch size 4"):
        PatchKMeans((16, 18), 4)


@pytest.mark.parametrize("shape", [(5, 11), (12,), (1, 5, 12)])
def test_codebook_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"does not fit patches of 3 x 2 x 2 pixels; expected \(K, 12\)"):
        PatchKMeans(16, 2, codebook=torch.zeros(shape))


@pytest.mark.parametrize("scope", ["seitpp", "mmpretrain"])
@pytest.mark.parametrize("registry", [ROOT_MODELS, MODELS], ids=["root", "seitpp"])
def test_registry_builds_it_in_any_scope(fitted: PatchKMeans, images: Tensor, scope: str, registry: Registry) -> None:
    config = dict(type="seitpp.PatchKMeans", image_size=16, patch_size=2, codebook=fitted.codebook.numpy())
    with DefaultScope.overwrite_default_scope(scope):
        built = registry.build(config)
    assert type(built) is PatchKMeans and torch.equal(built.encode(images), fitted.encode(images))


def test_description_rebuilds_it(fitted: PatchKMeans, images: Tensor) -> None:
    facts = fitted.describe()
    facts.pop("preprocessing")
    assert facts == {"type": "PatchKMeans", "image_size": [16, 16], "patch_size": 2, "in_channels": 3}
    built = MODELS.build({**facts, "codebook": fitted.codebook})
    assert torch.equal(built.encode(images), fitted.encode(images))


def test_codebook_is_a_copy_and_a_buffer(fitted: PatchKMeans) -> None:
    values = fitted.codebook.clone()
    tokenizer = PatchKMeans(16, 2, codebook=values)
    values.zero_()
    assert torch.equal(tokenizer.state_dict()["codebook"], fitted.codebook) and not list(tokenizer.parameters())


def test_fitted_codebook_is_saved_with_the_module(fitted: PatchKMeans) -> None:
    assert torch.equal(fitted.state_dict()["codebook"], fitted.codebook)


def test_images_of_the_right_size_are_not_resized(fitted: PatchKMeans, images: Tensor) -> None:
    assert fitted.resize(images) is images


def test_resized_images_stay_in_range(fitted: PatchKMeans) -> None:
    stripes = (torch.arange(40) // 5 % 2).float().expand(2, 3, 30, 40)
    resized = fitted.resize(stripes)
    assert resized.shape == (2, 3, 16, 16) and resized.min() >= 0 and resized.max() <= 1


def test_tokenize_resizes_and_works_in_batches(fitted: PatchKMeans, images: Tensor) -> None:
    large = images.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    expected = fitted.encode(fitted.resize(large))
    assert expected.shape == (12, 8, 8)
    assert torch.equal(fitted.tokenize(large, batch_size=5), expected)
    assert torch.equal(fitted.tokenize(images), fitted.encode(images))
