"""What must also hold on a CUDA device; `bash tools/run_tests.sh -m gpu` runs it where there is one."""

import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from seitpp.augment import TokenAdaptAugment
from seitpp.augment.crops import crop_resize_codes, sample_crop_boxes
from seitpp.benchmarking.synthetic import make_store
from seitpp.datasets import TokenDataset
from seitpp.engine import config_changes
from seitpp.engine.compiling import compile_networks, why_not_compiled
from seitpp.models import MTM, TokenAdapt, TokenDataPreprocessor, VQTokenizerTrainer
from seitpp.registry import TOKENIZERS, TRANSFORMS
from seitpp.storage import StoreReader
from seitpp.structures.draws import draws_to
from seitpp.tokenizers.codebook import nearest_codes

TOOL = Path(__file__).resolve().parents[1] / "tools" / "tokenize_images.py"

pytestmark = pytest.mark.gpu


@pytest.fixture
def codebook() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(391, 32)).astype(np.float32))


def build_mtm(codebook: torch.Tensor) -> MTM:
    return MTM(
        backbone=dict(type="seitpp.MTMViT", arch="deit-tiny", grid_size=28, codebook_size=391, token_drop_rate=0.0),
        neck=dict(
            type="seitpp.MTMPretrainDecoder",
            num_patches=196,
            embed_dims=192,
            decoder_embed_dims=64,
            num_layers=1,
            num_heads=2,
            drop_rate=0.0,
            attn_drop_rate=0.0,
        ),
        head=dict(type="seitpp.MTMPretrainHead", codebook_size=391, decoder_embed_dims=64),
        data_preprocessor=dict(
            type="seitpp.TokenDataPreprocessor",
            codebook=codebook,
            augments=[dict(type="seitpp.TokenRRC", size=28, scale=(0.2, 1.0))],
        ),
    )


def test_crop_and_codes_equal_the_cpus(codebook: torch.Tensor) -> None:
    codes = torch.randint(0, 391, (16, 32, 32))
    boxes = sample_crop_boxes(16, (32, 32), (0.2, 1.0))
    on_cpu = crop_resize_codes(codes, codebook, boxes, (28, 28))
    on_gpu = crop_resize_codes(codes.cuda(), codebook.cuda(), boxes.cuda(), (28, 28)).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, atol=2e-5, rtol=0)
    assert (
        nearest_codes(on_cpu.cuda(), codebook.cuda()).cpu() == nearest_codes(on_cpu, codebook)
    ).float().mean() > 0.999


GEOMETRY = [
    dict(type="seitpp.BatchRandomFlip", prob=0.5),
    dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, scale=(0.8, 1.2)),
    dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.2, 1.0)),
]


@pytest.mark.parametrize("config", GEOMETRY, ids=lambda config: config["type"])
def test_geometry_equals_the_cpus(config: dict) -> None:
    transform, maps = TRANSFORMS.build(config), torch.randn(8, 32, 64, 64)
    labels = torch.randint(0, 150, (8, 256, 256))
    params = transform.sample(8, (64, 64))
    on_gpu = draws_to(params, torch.device("cuda"))
    torch.testing.assert_close(
        transform.apply(maps.cuda(), on_gpu).cpu(), transform.apply(maps, params), atol=1e-4, rtol=0
    )
    # A place on the border of two labels may round to either.
    same = transform.apply_labels(labels.cuda(), on_gpu).cpu() == transform.apply_labels(labels, params)
    assert same.float().mean() > 0.999


def build_adapt(precision: str) -> TokenAdaptAugment:
    torch.manual_seed(0)
    network = TokenAdapt(391, 32)
    network.init_weights()
    crop = dict(type="seitpp.BatchCenterCrop", size=56)
    return TokenAdaptAugment(network, augments=[crop], precision=precision)


@pytest.mark.parametrize(("precision", "share"), [("float32", 0.99), ("bfloat16", 0.8)])
def test_token_adapt_gives_the_codes_of_the_cpu(codebook: torch.Tensor, precision: str, share: float) -> None:
    codes = torch.randint(0, 391, (8, 32, 32)).to(torch.uint16)
    on_cpu = build_adapt("float32")({"inputs": codes, "codebook": codebook})["inputs"]
    on_gpu = build_adapt(precision)({"inputs": codes.cuda(), "codebook": codebook.cuda()})["inputs"]
    assert on_gpu.is_cuda and on_gpu.dtype == torch.int64
    assert (on_gpu.cpu() == on_cpu).float().mean() > share


def test_pixels_augmented_on_the_device_give_the_codes_of_the_cpu() -> None:
    stack = dict(dims=32, depth=1, num_heads=2, head_dims=16, mlp_dims=64)
    tokenizer = dict(type="seitpp.ViTVQGAN", arch=dict(encoder=stack, decoder=stack), codebook_size=50, code_dim=8)
    torch.manual_seed(0)
    given = TOKENIZERS.build(tokenizer)
    augment = TRANSFORMS.build(
        dict(type="seitpp.PixelAugment", tokenizer=given, augments=[GEOMETRY[0] | {"prob": 1.0}])
    )
    codes = torch.randint(0, 50, (4, 32, 32)).to(torch.uint16)
    on_cpu = augment({"inputs": codes})["inputs"]
    with torch.autocast("cuda", torch.bfloat16):
        on_gpu = augment({"inputs": codes.cuda()})["inputs"]
    assert on_gpu.is_cuda and next(given.parameters()).is_cuda
    assert (on_gpu.cpu() == on_cpu).float().mean() > 0.99


def test_token_adapt_follows_autocast(codebook: torch.Tensor) -> None:
    augments = [dict(type="seitpp.TokenAdaptAugment", token_adapt=TokenAdapt(391, 32), augments=GEOMETRY)]
    preprocessor = TokenDataPreprocessor(codebook, augments).cuda()
    network, seen = preprocessor.augments.transforms[0].load(), []
    network.reversal.head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    batch = {"inputs": torch.randint(0, 391, (4, 32, 32)), "sample_idx": torch.arange(4)}
    for enabled in (True, False):
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            assert preprocessor(batch, training=True)["inputs"].shape == (4, 28, 28)
    assert list(dict.fromkeys(seen)) == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_preprocessor_takes_stored_types(codebook: torch.Tensor, dtype: torch.dtype) -> None:
    preprocessor = TokenDataPreprocessor(codebook, augments=[dict(type="seitpp.TokenRRC", size=28)]).cuda()
    codes = torch.randint(0, 200, (4, 32, 32)).to(dtype)
    batch = preprocessor({"inputs": codes, "sample_idx": torch.arange(4)}, training=True)
    assert batch["inputs"].is_cuda and batch["inputs"].dtype == torch.int64


def test_images_become_the_tokens_of_the_cpu() -> None:
    config = dict(type="seitpp.BlockDCT", image_size=64, luma_coefficients=10, chroma_coefficients=3)
    preprocessor = TokenDataPreprocessor(channels=16, output="embeddings", tokenizer=config)
    batch = {"images": torch.randint(256, (5, 3, 64, 64), dtype=torch.uint8), "sample_idx": torch.arange(5)}
    on_cpu = preprocessor(dict(batch))["inputs"]
    on_gpu = preprocessor.cuda()(dict(batch))["inputs"]
    assert on_gpu.is_cuda and (on_gpu.cpu() == on_cpu).float().mean() > 0.999


def test_bfloat16_step_is_near_float32(codebook: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = build_mtm(codebook).cuda()
    model.init_weights()
    with torch.no_grad():
        model.embedding_table.mul_(50)  # at the initial 0.02 every forward pass scores about ln K
    codes = torch.randint(0, 391, (8, 28, 28), device="cuda")
    masks = model.make_masks(torch.rand(8, 196, device="cuda"), 0.6)
    full = model.backbone(codes, masks)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        half = model.backbone(codes, masks)
        model.loss_on_masks(codes, masks)["loss"].backward()
    assert (half.float() - full).norm() / full.norm() < 2e-2
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    "leaf",
    [
        "mtm_vitb.py",
        "seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py",
        "seitpp_vit-base-p16_8xb128-300e_in1k-tokens.py",
        "seitpp_vit-small-p16_8xb128-300e_in100-dct.py",
    ],
)
def test_recipe_trains_resumes_and_tests(
    tiny: Callable, tool: Callable, repository: Path, tmp_path: Path, leaf: str
) -> None:
    config = tiny(next((repository / "configs").rglob(leaf)))
    tool("train.py", config, "--work-dir", tmp_path / "run", "--amp")
    (tmp_path / "run" / "epoch_2.pth").unlink()
    tool("train.py", config, "--work-dir", tmp_path / "run", "--amp", "--resume", tmp_path / "run" / "epoch_1.pth")
    metrics = tmp_path / "metrics.json"
    tool("test.py", config, tmp_path / "run" / "epoch_2.pth", "--work-dir", tmp_path / "test", "--out", metrics)
    assert all(math.isfinite(value) for value in json.loads(metrics.read_text()).values())


@pytest.mark.parametrize(
    "config",
    [
        dict(type="seitpp.ViTVQGAN", arch="small", codebook_size=512),
        dict(type="seitpp.VQGAN", arch="ldm_vq_f8_n256"),
        dict(type="seitpp.BlockDCT", quality=50, luma_coefficients=21, chroma_coefficients=6),
    ],
    ids=lambda config: config["type"],
)
def test_tokenizer_gives_the_codes_of_the_cpu(config: dict) -> None:
    tokenizer = TOKENIZERS.build(config).eval()
    low, high = tokenizer.pixel_range
    images = torch.rand(2, 3, 256, 256) * (high - low) + low
    on_cpu = tokenizer.encode(images)
    tokenizer.cuda()
    on_gpu = tokenizer.encode(images.cuda())
    # Ties may go either way; a different precision, such as TF32, shows as per cents.
    assert (on_gpu.cpu() == on_cpu).float().mean() > 0.99
    assert torch.equal(tokenizer.encode(images[:1].cuda()), on_gpu[:1])


def test_images_are_tokenised_on_the_gpu(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(40):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:02d}.png")
    config = tmp_path / "tokenizer.py"
    config.write_text("tokenizer = dict(type='seitpp.BlockDCT', image_size=64)\n")
    options = ["--cfg-options", "tokenizer.quality=60", "--batch-size", 8, "--samples-per-shard", 16]
    for out, device, workers in (("gpu", "cuda", 2), ("gpu-alone", "cuda", 0)):
        arguments = [config, tmp_path / "images", tmp_path / out, "--device", device, "--workers", workers]
        assert runpy.run_path(str(TOOL))["main"]([str(arg) for arg in [*arguments, *options]]) == 0
    assert StoreReader(tmp_path / "gpu").content_hash == StoreReader(tmp_path / "gpu-alone").content_hash


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_tokenizer_training_step_runs_on_the_gpu(amp: bool) -> None:
    stack = dict(dims=32, depth=1, num_heads=2, head_dims=16, mlp_dims=64)
    model = VQTokenizerTrainer(
        dict(
            type="seitpp.ViTVQGAN",
            arch=dict(encoder=stack, decoder=stack),
            codebook_size=16,
            code_dim=8,
            image_size=32,
            patch_size=8,
        ),
        codebook=dict(rule="ema"),
        adversarial=dict(
            discriminator=dict(type="seitpp.PatchDiscriminator"), weight=0.1, last_layer="decoder.to_pixels.weight"
        ),
    ).cuda()
    images = torch.rand(4, 3, 32, 32, device="cuda")
    with torch.autocast("cuda", torch.bfloat16, enabled=amp):
        losses = model(images, mode="loss")
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    assert math.isfinite(total.item())
    before = model.tokenizer.decoder.to_pixels.weight.detach().clone()
    torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-3).step()
    after = model.tokenizer.decoder.to_pixels.weight.detach()
    assert after.isfinite().all()
    assert not torch.equal(after, before)


@pytest.mark.parametrize("device", ["cuda", "pinned"])
@pytest.mark.parametrize("sizes", [{"codebook_size": 391}, {"codebook_size": 2**18}, {"channels": 3}], ids=str)
def test_resident_batches_are_those_of_the_store(tmp_path: Path, sizes: dict, device: str) -> None:
    store = str(make_store(tmp_path / "store", num_samples=30, grid=(9, 7), code_dim=2, **sizes))
    stored, held = TokenDataset(store), TokenDataset(store, device=device)
    samples = torch.randperm(30).tolist()
    expected, found = stored.__getitems__(samples), held.__getitems__(samples)
    for key in expected:
        assert found[key].dtype == expected[key].dtype
        assert torch.equal(found[key].cpu(), expected[key])
    for key in ("inputs", "gt_label"):
        assert found[key].is_cuda if device == "cuda" else found[key].is_pinned()


def test_resident_batch_waits_for_nothing_and_is_not_copied(tmp_path: Path, codebook: torch.Tensor) -> None:
    dataset = TokenDataset(str(make_store(tmp_path / "store")), device="cuda")
    preprocessor = TokenDataPreprocessor(codebook).cuda()
    dataset.__getitems__([0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = dataset.__getitems__([3, 1, 2])
        moved = preprocessor.cast_data(dict(batch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert moved["inputs"].data_ptr() == batch["inputs"].data_ptr()


def test_resident_data_larger_than_the_gpu_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "store")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_args: (0, 0))
    torch.cuda.empty_cache()
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_args: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *_args: 0)
    with pytest.raises(ValueError, match=r"bytes of the memory of cuda:0, of which 0 are free"):
        TokenDataset(str(store), device="cuda")


class Watch(Hook):
    """From the second step on, refuses whatever waits for the GPU, up to where a checkpoint is written."""

    def before_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        torch.cuda.set_sync_debug_mode("error" if runner.iter else "default")


class Unwatch(Hook):
    """Ends what `Watch` began."""

    def after_train_iter(self, *_: object, **__: object) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("leaf", ["mtm_vitb.py", "seitpp_vit-base-p16_8xb128-300e_in1k-tokens.py"])
def test_a_step_never_waits_for_the_gpu(
    tiny: Callable, repository: Path, build_runner: Callable[[Config], Runner], leaf: str
) -> None:
    config = Config.fromfile(tiny(next((repository / "configs").rglob(leaf)), num_samples=8))
    config.default_hooks.logger = None
    config.optim_wrapper.clip_grad = {"max_norm": 1.0}
    config_changes.use_autocast(config)
    runner = build_runner(config)
    runner.register_hook(Watch(), "VERY_HIGH")
    runner.register_hook(Unwatch(), "LOW")  # behind the guard of the weights, before checkpoints
    try:
        runner.train()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert runner.message_hub.get_scalar("train/grad_norm").current() > 0


@pytest.mark.parametrize("per_block", [False, True])
def test_compiled_step_is_near_eager(codebook: torch.Tensor, per_block: bool) -> None:
    torch.compiler.reset()
    assert why_not_compiled(torch.device("cuda"), {}) is None
    torch.manual_seed(0)
    model = build_mtm(codebook).cuda()
    model.init_weights()
    codes, noise = torch.randint(0, 391, (8, 28, 28), device="cuda"), torch.rand(8, 196, device="cuda")
    losses = []
    for compiled in (False, True):
        if compiled:
            compile_networks(model, {}, per_block)
        for ratio in (0.6, 0.9):
            with torch.autocast("cuda", dtype=torch.bfloat16):
                losses.append(model.loss_on_masks(codes, model.make_masks(noise, ratio))["loss"])
            losses[-1].backward()
    torch.testing.assert_close(losses[2:], losses[:2], rtol=2e-3, atol=0)


DIGITS = "configs/mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"


def benchmark(repository: Path, name: str, *line: object) -> dict:
    out = line[-1]
    main = runpy.run_path(str(repository / "tools" / "analysis_tools" / name))["main"]
    config = [str(repository / DIGITS), "--device", "cuda", "--synthetic", "--images", "16", "--batch-size", "8"]
    assert main([*config, "--resident", *map(str, line[:-1]), "--out", str(out)]) == 0
    return json.loads(out.read_text())


def test_steps_are_timed_on_the_gpu(repository: Path, tmp_path: Path) -> None:
    line = ["--rounds", 1, "--steps", 2, "--candidates", "plain", "eager-bfloat16"]
    figures = benchmark(repository, "benchmark_train.py", *line, tmp_path / "out.json")
    assert figures["candidates"]["plain"]["precision"] == "float16"
    for found in figures["candidates"].values():
        assert found["peak_GB"] > 0 and all(spent >= 0 for spent in found["ms_per_step"].values())
        assert sum(found["ms_per_step"].values()) * found["images_per_s"] / (1e3 * 8) <= 1
    assert figures["hardware"]["gpu"] == torch.cuda.get_device_name()


def test_costs_are_compared_on_the_gpu(repository: Path, tmp_path: Path) -> None:
    (row,) = benchmark(repository, "cost_table.py", "--rounds", 2, "--amp", tmp_path / "out.json")["rows"]
    assert 0 < row["augmentation_ms"] < row["step_ms"] and row["times_first_lowest"] == row["times_first_highest"] == 1
    assert row["frozen_parameters"] == 122_592 and row["augmentation_multiply_adds"] > 0


def test_operators_of_the_gpu_are_listed(repository: Path, tmp_path: Path) -> None:
    figures = benchmark(repository, "profile_step.py", "--steps", 1, tmp_path / "out.json")
    spent = [row["cuda_ms"] for row in figures["operators"]]
    assert spent[0] > 0 and spent == sorted(spent, reverse=True)
