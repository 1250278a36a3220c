"""The segmentor: predictions at each sample's own size, sliding windows, mirrored tokens, and its parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from seitpp.models import TokenAdapt, TokenSegmentor, TokenViT
from seitpp.models.segmentation.segmentor import enlarge_at, pixels_in, window_starts
from seitpp.registry import MODELS, TRANSFORMS

K, D, WIDTH, CLASSES, GRID = 32, 6, 16, 5, 8
ADAPT = dict(codebook_size=K, code_dim=D, grid=GRID, out_grid=GRID, dims=16, num_heads=2, head_dims=8, mlp_dims=32)


def table() -> Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0))


def tokens(count: int = 2, grid: tuple[int, int] = (GRID, GRID)) -> Tensor:
    return torch.randint(K, (count, *grid), generator=torch.Generator().manual_seed(1))


def config(arch: dict, kind: str = "seitpp.TokenSegmentor", **options: object) -> dict:
    norm = dict(type="BN", requires_grad=True)
    loss = dict(type="CrossEntropyLoss", avg_non_ignore=True)
    embeddings = options.pop("embeddings", False)
    stem = dict(patch_cfg=dict(kernel_size=4, stride=2, padding=1)) if embeddings else dict(codebook_size=K)
    return dict(
        type=kind,
        _scope_="mmseg",
        data_preprocessor=dict(
            type="seitpp.TokenSegDataPreprocessor",
            codebook=table().numpy(),
            augments=options.pop("augments", None),
            output="embeddings" if embeddings else "codes",
        ),
        backbone=dict(
            type="seitpp.TokenViT",
            arch={**arch, "num_layers": 4},
            grid_size=options.pop("grid_size", GRID),
            code_dim=D,
            out_type="featmap",
            out_indices=[0, 1, 2, 3],
            final_norm=False,
            init_cfg=options.pop("init_cfg", None),
            **stem,
        ),
        neck=dict(type="Feature2Pyramid", embed_dim=WIDTH, norm_cfg=norm),
        decode_head=dict(
            type="UPerHead",
            in_channels=[WIDTH] * 4,
            in_index=[0, 1, 2, 3],
            channels=WIDTH,
            num_classes=CLASSES,
            norm_cfg=norm,
            align_corners=False,
            loss_decode=loss,
        ),
        auxiliary_head=dict(
            type="FCNHead",
            in_channels=WIDTH,
            in_index=2,
            channels=WIDTH,
            num_convs=1,
            concat_input=False,
            num_classes=CLASSES,
            norm_cfg=norm,
            align_corners=False,
            loss_decode=dict(loss, loss_weight=0.4),
        ),
        **options,
    )


@pytest.fixture
def build(arch: dict) -> Callable[..., TokenSegmentor]:
    def make(**options: object) -> TokenSegmentor:
        torch.manual_seed(0)
        model = MODELS.build(config(arch, **options))
        for parameter in model.backbone.parameters():  # positions and class token start at 0
            torch.nn.init.normal_(parameter, std=0.2)
        return model.eval()

    return make


def samples(*sizes: tuple[int, int], value: int | None = None) -> list[SegDataSample]:
    made = []
    for number, size in enumerate(sizes):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, sample_idx=number))
        labels = torch.full((1, *size), value) if value is not None else torch.randint(CLASSES, (1, *size))
        sample.gt_sem_seg = PixelData(data=labels.to(torch.uint8))
        made.append(sample)
    return made


def predict(model: TokenSegmentor, inputs: Tensor, *sizes: tuple[int, int]) -> list[SegDataSample]:
    return model.test_step({"inputs": inputs, "data_samples": samples(*sizes)})


@pytest.mark.parametrize("embeddings", [False, True], ids=["codes", "embeddings"])
def test_predictions_have_the_size_of_each_label_map(build: Callable, embeddings: bool) -> None:
    model = build(embeddings=embeddings)
    sizes = [(64, 64), (50, 31)]
    results = predict(model, tokens(), *sizes)
    coarse = model._forward(model.data_preprocessor({"inputs": tokens()})["inputs"])
    assert coarse.shape == (2, CLASSES, 16, 16)  # four times the patches
    for place, (size, result) in enumerate(zip(sizes, results, strict=True)):
        expected = F.interpolate(coarse[place : place + 1], size, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(result.seg_logits.data, expected)
        assert torch.equal(result.pred_sem_seg.data, expected.argmax(dim=0, keepdim=True))
        assert result.gt_sem_seg.shape == size


def test_one_size_is_what_mmseg_predicts(build: Callable, arch: dict) -> None:
    model = build()
    plain = MODELS.build(config(arch, kind="EncoderDecoder", test_cfg=ConfigDict(mode="whole"))).eval()
    plain.load_state_dict(model.state_dict())
    for ours, theirs in zip(
        predict(model, tokens(), (64, 64), (64, 64)), predict(plain, tokens(), (64, 64), (64, 64)), strict=True
    ):
        torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data)


def test_without_samples_the_prediction_has_the_heads_resolution(build: Callable) -> None:
    for mode in (dict(mode="whole"), dict(mode="slide", crop_size=GRID, stride=GRID // 2)):
        (result,) = build(test_cfg=mode).predict(tokens(1))
        assert result.pred_sem_seg.shape == (16, 16)


def test_logits_can_be_left_out(build: Callable) -> None:
    (result,) = predict(build(test_cfg=dict(keep_logits=False)), tokens(1), (64, 64))
    assert "pred_sem_seg" in result and "seg_logits" not in result


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (5, 64)])
def test_one_window_over_everything_is_the_whole(build: Callable, size: tuple[int, int]) -> None:
    whole = build()
    slide = build(test_cfg=dict(mode="slide", crop_size=2 * GRID, stride=GRID))
    for expected, found in zip(predict(whole, tokens(), size, size), predict(slide, tokens(), size, size), strict=True):
        torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data, rtol=1e-4, atol=1e-5)


def test_windows_lie_as_exactly_in_bfloat16(build: Callable) -> None:
    whole, slide = build(), build(test_cfg=dict(mode="slide", crop_size=GRID, stride=GRID))
    with torch.autocast("cpu", torch.bfloat16):
        (expected,), (found,) = (predict(model, tokens(1), (160, 160)) for model in (whole, slide))
    assert found.seg_logits.data.dtype == expected.seg_logits.data.dtype == torch.float32
    torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(8, 8), (12, 20), (9, 31)])
@pytest.mark.parametrize("size", [(96, 160), (71, 85), (7, 11)])
def test_constant_model_gives_a_constant_everywhere(
    build: Callable, monkeypatch: pytest.MonkeyPatch, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    model = build(test_cfg=dict(mode="slide", crop_size=(8, 6), stride=(5, 6), windows_at_once=3))
    constant = torch.arange(CLASSES).float()
    seen = []

    def forward(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return constant.view(1, -1, 1, 1).expand(len(windows), -1, 4, 4)

    monkeypatch.setattr(model, "_forward", forward)
    logits = model.slide_inference(tokens(1, grid), size)
    torch.testing.assert_close(logits, constant.view(1, -1, 1, 1).expand(1, -1, *size))
    assert max(seen) <= 3


def test_windows_are_enlarged_by_themselves_and_in_their_places(
    build: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(test_cfg=dict(mode="slide", crop_size=(4, 4), stride=(4, 4)))
    monkeypatch.setattr(model, "_forward", lambda windows: windows)
    embeddings = torch.randn(1, 3, 8, 12)
    logits = model.slide_inference(embeddings, (32, 48))
    for row in (0, 1):
        for column in (0, 1, 2):
            window = embeddings[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            expected = F.interpolate(window, scale_factor=4, mode="bilinear", align_corners=False)
            found = logits[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            torch.testing.assert_close(found, expected)


def test_overlapping_windows_are_averaged(build: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(test_cfg=dict(mode="slide", crop_size=4, stride=2, windows_at_once=1))
    numbers = iter((1.0, 2.0))
    monkeypatch.setattr(model, "_forward", lambda windows: torch.full((1, 1, 4, 4), next(numbers)))
    logits = model.slide_inference(tokens(1, (4, 6)), (4, 6))
    assert logits[0, 0, 0].tolist() == [1, 1, 1.5, 1.5, 2, 2]


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [(8, 8, 4, [0]), (6, 8, 4, [0]), (12, 8, 4, [0, 4]), (13, 8, 4, [0, 4, 5]), (20, 8, 8, [0, 8, 12])],
)
def test_window_starts(length: int, window: int, stride: int, starts: list[int]) -> None:
    assert window_starts(length, window, stride) == starts


def test_pixels_belong_to_the_window_that_holds_their_centre() -> None:
    chosen, places = pixels_in(2, 4, 4, 10)  # tokens 2 and 3 of 4, pixels 5 to 9 of 10
    assert (chosen.start, chosen.stop) == (5, 10)
    assert places.tolist() == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])
    chosen, places = pixels_in(1, 2, 4, 2)  # its token lies between the centres of two pixels
    assert chosen == slice(0, 0) or len(places) == chosen.stop - chosen.start


def test_enlarging_is_interpolation() -> None:
    logits = torch.randn(3, 5, 7)
    rows, columns = ((2 * torch.arange(side) + 1) / side - 1 for side in (16, 11))
    expected = F.interpolate(logits[None], (16, 11), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(enlarge_at(logits, rows, columns), expected, rtol=1e-4, atol=1e-5)


def adapt(**changes: int) -> dict:
    torch.manual_seed(3)
    network = TokenAdapt(**{**ADAPT, **changes})
    return dict(type="seitpp.TokenAdaptAugment", token_adapt=network, augments=[])


@pytest.mark.parametrize("slide", [False, True])
def test_mirrored_prediction_is_averaged(build: Callable, monkeypatch: pytest.MonkeyPatch, slide: bool) -> None:
    mode = dict(mode="slide", crop_size=GRID, stride=4) if slide else {}
    plain, both = build(test_cfg=mode), build(test_cfg=dict(mode, flip=True))
    monkeypatch.setattr(both, "mirrored", lambda codes: codes.flip(-1))
    inputs = tokens(1, (GRID, 12 if slide else GRID))
    (one,), (other,), (mean,) = (
        predict(model, codes, (32, 48)) for model, codes in ((plain, inputs), (plain, inputs.flip(-1)), (both, inputs))
    )
    expected = (one.seg_logits.data + other.seg_logits.data.flip(-1)) / 2
    torch.testing.assert_close(mean.seg_logits.data, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embeddings", [False, True], ids=["codes", "embeddings"])
@pytest.mark.parametrize("source", ["augmentations", "options"])
def test_tokens_are_mirrored_by_token_adapt(build: Callable, tmp_path: Path, embeddings: bool, source: str) -> None:
    network = adapt()["token_adapt"]
    torch.save({"state_dict": network.state_dict()}, tmp_path / "adapt.pth")
    own = dict(token_adapt=ADAPT, checkpoint=str(tmp_path / "adapt.pth"))
    split = dict(type="seitpp.SplitBatch", first=[], second=[dict(adapt(), token_adapt=network)])
    model = build(
        embeddings=embeddings,
        augments=[split] if source == "augmentations" else None,
        test_cfg=dict(flip=True if source == "augmentations" else own),
    )
    mirror = TRANSFORMS.build(dict(adapt(), augments=[dict(type="seitpp.BatchRandomFlip", prob=1.0)]))
    expected = mirror({"inputs": tokens(), "codebook": table()})["inputs"]
    assert not torch.equal(expected, tokens().flip(-1))
    found = model.mirrored(model.data_preprocessor({"inputs": tokens()})["inputs"])
    wanted = F.embedding(expected, table()).permute(0, 3, 1, 2) if embeddings else expected
    assert torch.equal(found, wanted)
    assert not any("adapt" in name or "mirror" in name for name in model.state_dict())


def test_mirroring_without_token_adapt_is_refused(build: Callable) -> None:
    with pytest.raises(ValueError, match=r"the tokens of the mirrored image .* no TokenAdapt"):
        predict(build(test_cfg=dict(flip=True)), tokens(1), (64, 64))


def test_mirroring_by_a_cropping_token_adapt_is_refused(build: Callable) -> None:
    with pytest.raises(ValueError, match=r"TokenAdapt crops \(8, 8\) tokens to \(6, 6\)"):
        predict(build(test_cfg=dict(flip=True), augments=[adapt(out_grid=6)]), tokens(1), (64, 64))


@pytest.mark.parametrize(
    ("test_cfg", "message"),
    [
        (dict(mode="hole"), "test_cfg.mode is 'hole', expected one of whole, slide"),
        (dict(mode="slide", crop_size=8), "set its crop_size and stride, in tokens"),
        (dict(mode="slide", crop_size=8, stride=9), r"stride is \(9, 9\) and crop_size \(8, 8\); a stride above"),
        (dict(mode="slide", crop_size=8, stride=(4, 0)), r"stride is \(4, 0\)"),
        (dict(mode="slide", crop_size=8, stride=4, windows_at_once=0), "windows_at_once is 0, expected at least 1"),
    ],
)
def test_options_that_leave_tokens_out_are_refused(arch: dict, test_cfg: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(arch, test_cfg=test_cfg))


def test_pretrained_positions_are_resized_and_features_follow(build: Callable, arch: dict, tmp_path: Path) -> None:
    options = dict(arch={**arch, "num_layers": 4}, codebook_size=K, code_dim=D)
    classifier = TokenViT(grid_size=GRID, out_type="avg_featmap", final_norm=False, **options)
    for parameter in classifier.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = {f"backbone.{name}": value for name, value in classifier.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "classifier.pth")
    start = dict(type="Pretrained", checkpoint=str(tmp_path / "classifier.pth"), prefix="backbone.")
    model = build(grid_size=2 * GRID, init_cfg=start)
    model.init_weights()
    before, after = classifier.pos_embed.detach(), model.backbone.pos_embed.detach()
    patches = before[:, 1:].transpose(1, 2).unflatten(2, (GRID // 2, GRID // 2))
    resized = F.interpolate(patches, (GRID, GRID), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(after, torch.cat([before[:, :1], resized], dim=1))
    # The same network of the small grid resizes when it runs, so features must agree.
    small = TokenViT(grid_size=GRID, out_type="featmap", out_indices=[0, 1, 2, 3], final_norm=False, **options)
    small.load_state_dict(classifier.state_dict(), strict=False)
    small.eval()
    model.eval()
    inputs = tokens(2, (2 * GRID, 2 * GRID))
    maps = model.backbone(inputs)
    assert [tuple(one.shape) for one in maps] == [(2, WIDTH, GRID, GRID)] * 4
    torch.testing.assert_close(maps, small(inputs))


def test_unlabelled_pixels_do_not_weigh_on_the_loss(build: Callable) -> None:
    model = build().eval()
    inputs, ones = tokens(1), samples((16, 16), value=1)
    ones[0].gt_sem_seg.data[0, :8] = 255
    ones = model.data_preprocessor({"inputs": inputs, "data_samples": ones}, training=True)["data_samples"]
    losses = model.loss(inputs, ones)
    assert set(losses) == {"decode.loss_ce", "decode.acc_seg", "aux.loss_ce", "aux.acc_seg"}
    logits = F.interpolate(model._forward(inputs), (16, 16), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(logits, ones[0].gt_sem_seg.data, ignore_index=255)  # the mean over what has a label
    torch.testing.assert_close(losses["decode.loss_ce"], expected)


def test_grid_that_patches_do_not_divide_is_refused(build: Callable) -> None:
    model = build()
    patch = model.backbone.patch_embed.projection.stride[0]
    assert patch == 2
    with pytest.raises(ValueError, match=rf"{GRID + 1} x {GRID} tokens do not divide into patches of 2 x 2; tokenise"):
        model.predict(tokens(1, (GRID + 1, GRID)), samples((8, 8)))
