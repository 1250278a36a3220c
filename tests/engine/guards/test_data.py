"""What stops a run: data of another tokenizer or other classes, checkpoints that do not fit, another batch size."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_codebook, make_release, make_store
from seitpp.engine.guards import CheckpointGuardHook
from seitpp.engine.guards import checkpoint as checkpoint_guard
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.storage import StoreWriter
from seitpp.storage import header as store_header
from seitpp.tokenizers.codebook import codebook_sha256, save_codebook

MTM = "mtm_vit-base-p16_8xb512-400e_in1k-tokens"
SEIT = "seit_vit-base-p16_8xb128-300e_in1k-tokens"
DCT = "seit_vit-small-p16_8xb128-300e_in100-dct"
FINETUNE = "seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens"


@pytest.fixture
def load(repository: Path, tmp_path: Path) -> Callable[..., Config]:
    """Loads a shrunken leaf."""

    def shrunken(name: str) -> Config:
        return shrink(Config.fromfile(next((repository / "configs").rglob(f"{name}.py"))), tmp_path, epochs=1)

    return shrunken


@pytest.fixture
def refusal(build_runner: Callable[[Config], Runner]) -> Callable[[Config], str]:
    """The message with which a run is refused before its first step."""

    def message(cfg: Config, stage: str = "train") -> str:
        runner = build_runner(cfg)
        with pytest.raises(ValueError) as caught:
            getattr(runner, stage)()
        assert runner.iter == 0
        return str(caught.value)

    return message


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_store_of_another_tokenizer(load: Callable, refusal: Callable, tmp_path: Path, stage: str) -> None:
    cfg = load(MTM)
    other = make_codebook(391, 32, seed=1)
    save_codebook(tmp_path / "other.npy", other)
    cfg.data_preprocessor.codebook = str(tmp_path / "other.npy")
    message = refusal(cfg, stage)
    assert "belong to different tokenizers: codebook_sha256" in message
    assert codebook_sha256(make_codebook())[:12] in message
    assert codebook_sha256(other)[:12] in message
    assert str(tmp_path / "other.npy") in message


def test_validation_store_of_another_tokenizer(load: Callable, refusal: Callable, tmp_path: Path) -> None:
    cfg = load(MTM)
    make_store(tmp_path / "other", codebook=make_codebook(391, 32, seed=1))
    cfg.val_dataloader.dataset.update(data_root="", store=str(tmp_path / "other"))
    assert (
        "other and the data preprocessor (codebook" in (message := refusal(cfg)) and "different tokenizers" in message
    )


def test_codes_by_another_distance(load: Callable, refusal: Callable) -> None:
    cfg = load(MTM)
    store = Path(cfg.train_dataloader.dataset.data_root, "train")
    store_header.write_header(
        store, {**store_header.read_header(store), "tokenizer": {"name": "vqgan", "distance": "euclidean"}}
    )
    message = refusal(cfg)
    assert (
        f"the codes of {store} were assigned by the euclidean distance, the data preprocessor finds codes by" in message
    )
    assert message.endswith("the cosine one; set data_preprocessor.distance to 'euclidean'")


def test_embeddings_of_another_length(load: Callable, refusal: Callable, tmp_path: Path) -> None:
    cfg = load(SEIT)
    cfg.model.backbone.code_dim = 16
    assert "takes embeddings of 16 values, the codebook" in (message := refusal(cfg))
    assert message.endswith("has 32 per code; set model.backbone.code_dim to it")


def test_codes_where_coefficients_are_expected(load: Callable, refusal: Callable, tmp_path: Path) -> None:
    cfg = load(DCT)
    make_store(tmp_path / "codes", num_classes=100, num_samples=4)
    cfg.test_dataloader.dataset.update(data_root="", store=str(tmp_path / "codes"))
    message = refusal(cfg, "test")
    assert (
        "codes and the data preprocessor (codebook none) belong to different tokenizers: channels none and" in message
    )


def test_tokens_of_another_quality(load: Callable, build_runner: Callable[[Config], Runner]) -> None:
    cfg = load(DCT)
    trained = build_runner(cfg)
    trained.train_dataloader.dataset._metainfo["tokenizer"] = {"type": "BlockDCT", "quality": 50}
    trained.train()
    cfg.load_from = str(Path(cfg.work_dir) / "epoch_1.pth")
    tested = build_runner(cfg)
    tested.test_dataloader.dataset._metainfo["tokenizer"] = {"type": "BlockDCT", "quality": 90, "in_channels": 3}
    with pytest.raises(
        ValueError, match=r"epoch_1\.pth and .*val belong to different tokenizers: quality 50 and 90\. Use"
    ):
        tested.test()


def test_moments_of_coefficients_are_measured_before_training_and_kept(
    load: Callable, build_runner: Callable[[Config], Runner]
) -> None:
    cfg = load(DCT)
    runner = build_runner(cfg)
    runner.train()
    preprocessor = runner.model.data_preprocessor
    values = runner.train_dataloader.dataset.__getitems__(range(4))["inputs"].flatten(0, 2).double()
    torch.testing.assert_close(preprocessor.mean.double(), values.mean(dim=0))
    saved = torch.load(Path(cfg.work_dir) / "epoch_1.pth", weights_only=False)
    for weights in (saved["state_dict"], {k.removeprefix("module."): v for k, v in saved["ema_state_dict"].items()}):
        assert torch.equal(weights["data_preprocessor.mean"], preprocessor.mean)
        assert torch.equal(weights["data_preprocessor.std"], preprocessor.std)


@pytest.mark.parametrize("release", [False, True], ids=["store", "release"])
def test_codebook_of_another_size(load: Callable, refusal: Callable, tmp_path: Path, release: bool) -> None:
    cfg = load(MTM)
    if release:
        path = make_release(tmp_path / "toy")
        cfg.train_dataloader.dataset.update(data_root="", store=str(path), codebook_size=391)
    save_codebook(tmp_path / "larger.npy", make_codebook(400, 32))
    cfg.data_preprocessor.codebook = str(tmp_path / "larger.npy")
    message = refusal(cfg)
    assert "different tokenizers" in message and "codebook_size 391 and 400" in message
    assert "larger.npy" in message


def test_backbone_of_another_codebook_size(load: Callable, refusal: Callable) -> None:
    cfg = load(MTM)
    cfg.model.backbone.codebook_size = cfg.model.head.codebook_size = 400
    assert "the backbone embeds 400 codes" in refusal(cfg)


def unlabelled(cfg: Config, tmp_path: Path) -> Config:
    make_store(tmp_path / "unlabelled", num_classes=None)
    cfg.train_dataloader.dataset.update(data_root="", store=str(tmp_path / "unlabelled"))
    return cfg


def test_classifier_needs_labels(load: Callable, refusal: Callable, tmp_path: Path) -> None:
    assert "unlabelled has no labels, and a classifier needs them" in refusal(unlabelled(load(FINETUNE), tmp_path))


def test_labels_that_are_not_read_are_missed_by_a_classifier(load: Callable, refusal: Callable) -> None:
    cfg = load(FINETUNE)
    cfg.train_dataloader.dataset.with_labels = False
    assert "reads no labels (with_labels=False), and a classifier needs them; leave with_labels out" in refusal(cfg)


def test_pretraining_needs_no_labels(load: Callable, build_runner: Callable[[Config], Runner], tmp_path: Path) -> None:
    runner = build_runner(unlabelled(load(MTM), tmp_path))
    runner.train()
    assert runner.iter == 6


def test_another_number_of_classes(load: Callable, refusal: Callable) -> None:
    cfg = load(FINETUNE)
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 999
    assert "train has 1000 classes, the head has 999; set model.head.num_classes" in refusal(cfg)


def test_label_beyond_the_head(load: Callable, refusal: Callable, tmp_path: Path) -> None:
    cfg = load(FINETUNE)
    path = make_release(tmp_path / "more" / "toy", num_classes=5)
    cfg.train_dataloader.dataset.update(data_root="", store=str(path), codebook_size=391)
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 4
    assert "has labels from 0 to 4, the head has 4 classes; set model.head.num_classes" in refusal(cfg)


def test_soft_targets_of_another_number_of_classes(load: Callable, refusal: Callable) -> None:
    cfg = load(FINETUNE)
    cfg.data_preprocessor.num_classes = 10
    assert "makes soft targets of 10 classes, the head has 1000; set data_preprocessor.num_classes" in refusal(cfg)


def test_augmentation_that_cannot_take_the_data(load: Callable, refusal: Callable, tmp_path: Path) -> None:
    cfg = load(MTM)
    (tmp_path / "other.json").write_text('{"0": [391]}')
    eda = dict(type="TokenEDA", synonyms=str(tmp_path / "other.json"))
    cfg.data_preprocessor.augments = [dict(type="RandomApply", transforms=[eda], prob=0)]
    assert "other.json names code 391, but the codebook has the codes 0 to 390" in refusal(cfg)


def test_files_of_augmentations_are_needed_in_training_only(
    load: Callable, build_runner: Callable[[Config], Runner], tmp_path: Path
) -> None:
    cfg = load(MTM)
    cfg.data_preprocessor.augments = [dict(type="TokenEDA", synonyms=str(tmp_path / "nowhere.json"))]
    build_runner(copy.deepcopy(cfg)).test()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json do not exist"):
        build_runner(cfg).train()


@pytest.fixture
def trained(load: Callable, build_runner: Callable[[Config], Runner]) -> tuple[Config, Path]:
    """A config, and a checkpoint that it trained."""
    cfg = load(MTM)
    build_runner(copy.deepcopy(cfg)).train()
    return cfg, Path(cfg.work_dir) / "epoch_1.pth"


def edited(path: Path, edit: Callable[[dict], object]) -> str:
    """Path of a copy of a checkpoint after `edit` has changed it in place."""
    checkpoint = torch.load(path, weights_only=False)
    edit(checkpoint)
    torch.save(checkpoint, path.with_name("edited.pth"))
    return str(path.with_name("edited.pth"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda weights: weights.update(strange=torch.zeros(1)), "unknown keys: strange"),
        (lambda weights: weights.pop("neck.norm.weight"), "missing keys: neck.norm.weight"),
        (
            lambda weights: weights.update({"neck.norm.weight": torch.zeros(3)}),
            "wrong shapes: neck.norm.weight (3,) where the model has (16,)",
        ),
    ],
    ids=["unknown", "missing", "shape"],
)
@pytest.mark.parametrize("resume", [False, True], ids=["load", "resume"])
def test_checkpoint_that_does_not_fit(
    trained: tuple[Config, Path], refusal: Callable, edit: Callable, message: str, resume: bool
) -> None:
    cfg, path = trained
    cfg.load_from, cfg.resume = edited(path, lambda checkpoint: edit(checkpoint["state_dict"])), resume
    refused = refusal(cfg)
    assert message in refused
    assert "edited.pth does not fit the model" in refused


@pytest.mark.parametrize("left", [{}, {"ema_state_dict": {}}], ids=["nothing", "ema"])
def test_checkpoint_without_weights(trained: tuple[Config, Path], refusal: Callable, left: dict) -> None:
    cfg, path = trained
    cfg.load_from = edited(path, lambda checkpoint: (checkpoint.pop("state_dict"), checkpoint.update(left)))
    assert "edited.pth has no state_dict; convert it with tools/convert_checkpoint.py" in refusal(cfg)


def test_converted_checkpoint_without_codebook_is_loaded(
    trained: tuple[Config, Path], build_runner: Callable[[Config], Runner]
) -> None:
    cfg, path = trained

    def edit(checkpoint: dict) -> None:
        weights = {name: value for name, value in checkpoint["state_dict"].items() if "data_preprocessor" not in name}
        checkpoint.clear()
        checkpoint.update(state_dict=weights, meta={})

    cfg.load_from = edited(path, edit)
    metrics = build_runner(cfg).test()
    assert metrics["masked_code/nll"] > 0


def test_lenient_guard_leaves_loading_to_mmengine(
    trained: tuple[Config, Path], build_runner: Callable[[Config], Runner]
) -> None:
    cfg, path = trained
    cfg.load_from = edited(path, lambda checkpoint: checkpoint["state_dict"].pop("neck.norm.weight"))
    guard = cfg.default_hooks.checkpoint_guard
    guard.strict = False
    build_runner(cfg).train()


def test_resuming_runs_no_text_of_the_checkpoint(
    trained: tuple[Config, Path], build_runner: Callable[[Config], Runner], tmp_path: Path
) -> None:
    cfg, path = trained
    text = f"import os\nos.mkdir({str(tmp_path / 'was-run')!r})\n"
    cfg.load_from = edited(path, lambda checkpoint: checkpoint["meta"].update(config=text))
    cfg.resume = True
    build_runner(cfg).train()
    assert not os.path.exists(tmp_path / "was-run")


def test_resuming_with_another_batch_is_refused(trained: tuple[Config, Path], refusal: Callable) -> None:
    cfg, path = trained
    cfg.load_from, cfg.resume = str(path), True
    cfg.train_dataloader.batch_size = 4
    message = refusal(cfg)
    assert "was trained with 2 samples per step (1 accumulated batches) on 1 processes" in message
    assert "this run has 4 (1) on 1" in message


def test_resuming_with_other_accumulation_is_refused(trained: tuple[Config, Path], refusal: Callable) -> None:
    cfg, path = trained
    cfg.load_from, cfg.resume = str(path), True
    cfg.train_dataloader.batch_size = 1
    cfg.optim_wrapper.accumulative_counts = 2
    assert "this run has 2 (2) on 1: iterations per epoch" in refusal(cfg)


def runner_with(batch_size: int, warnings: list[str]) -> SimpleNamespace:
    return SimpleNamespace(
        train_dataloader=SimpleNamespace(batch_size=batch_size),
        optim_wrapper=SimpleNamespace(_accumulative_counts=1),
        logger=SimpleNamespace(warning=warnings.append),
        param_schedulers=[],
        _load_from="x.pth",
        _resume=True,
    )


def resumable() -> dict[str, Any]:
    """The least that a run can go on from."""
    hub: dict[str, Any] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
    return {"meta": {"epoch": 1, "iter": 1}, "message_hub": hub, "optimizer": {"state": {}, "param_groups": []}}


def test_a_batch_sampler_of_ones_own_has_no_number_of_samples() -> None:
    checkpoint = resumable()
    runner, warnings = runner_with(None, []), []
    runner.train_dataloader.batch_sampler = object()
    guard = CheckpointGuardHook(strict=False)
    guard.before_save_checkpoint(runner, checkpoint)
    assert checkpoint["meta"]["samples_per_step"] is None
    guard.after_load_checkpoint(runner, checkpoint)
    runner.train_dataloader.batch_sampler = SimpleNamespace(batch_size=8)
    guard.before_save_checkpoint(runner, checkpoint)
    assert checkpoint["meta"]["samples_per_step"] == 8 and not warnings


def test_resuming_says_which_settings_the_optimizer_keeps(
    trained: tuple[Config, Path], build_runner: Callable[[Config], Runner]
) -> None:
    cfg, path = trained
    cfg.load_from, cfg.resume = str(path), True
    cfg.auto_scale_lr.enable = False
    before = load_checkpoint_file(path)["optimizer"]["param_groups"][0]
    cfg.optim_wrapper.optimizer.lr = before["initial_lr"]
    said: list[str] = []
    for lr, decay in ((before["initial_lr"], 0.05), (0.5, 0.25)):
        cfg.optim_wrapper.optimizer.update(lr=lr, weight_decay=decay)
        runner = build_runner(copy.deepcopy(cfg))
        runner.logger.warning = said.append
        runner.train()
        told = [line for line in said if "optimizer settings" in line]
        assert len(told) == (1 if lr == 0.5 else 0)
    assert f"lr {before['initial_lr']} (config: 0.5)" in told[0] and "weight_decay 0.05 (config: 0.25)" in told[0]
    assert "load_from" in told[0]


def test_an_average_that_lacks_weights_is_refused(trained: tuple[Config, Path], refusal: Callable) -> None:
    cfg, path = trained

    def average(checkpoint: dict) -> None:
        weights = {f"module.{name}": value for name, value in checkpoint["state_dict"].items()}
        del weights["module.head.bias"]
        checkpoint["ema_state_dict"] = {"steps": torch.tensor(3), **weights}

    cfg.load_from = edited(path, average)
    assert "(its ema_state_dict) does not fit the model: missing keys: head.bias" in refusal(cfg)


def test_another_world_size_with_the_same_batch_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    checkpoint = resumable()
    guard = CheckpointGuardHook(strict=False)
    monkeypatch.setattr(checkpoint_guard, "get_world_size", lambda: 8)
    guard.before_save_checkpoint(runner_with(512, warnings), checkpoint)
    guard.after_load_checkpoint(runner_with(512, warnings), checkpoint)
    assert warnings == []
    monkeypatch.setattr(checkpoint_guard, "get_world_size", lambda: 4)
    guard.after_load_checkpoint(runner_with(1024, warnings), checkpoint)
    (warning,) = warnings
    assert "world size changed from 8 to 4 processes" in warning
    assert "still has 4096 samples" in warning


def test_another_world_size_with_another_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = resumable()
    guard = CheckpointGuardHook(strict=False)
    monkeypatch.setattr(checkpoint_guard, "get_world_size", lambda: 8)
    guard.before_save_checkpoint(runner_with(512, []), checkpoint)
    monkeypatch.setattr(checkpoint_guard, "get_world_size", lambda: 4)
    with pytest.raises(ValueError, match=r"4096 samples per step .* on 8 processes, this run has 2048 \(1\) on 4"):
        guard.after_load_checkpoint(runner_with(512, []), checkpoint)


def test_checkpoint_of_another_codebook_is_refused(trained: tuple[Config, Path], refusal: Callable) -> None:
    cfg, path = trained
    table = torch.from_numpy(np.flip(make_codebook(), axis=0).copy())
    cfg.load_from = edited(
        path, lambda checkpoint: checkpoint["state_dict"].update({"data_preprocessor.codebook": table})
    )
    assert "the checkpoint and the data preprocessor (codebook" in refusal(cfg)


@pytest.mark.parametrize("same", [False, True], ids=["other", "same"])
def test_encoder_pretrained_on_another_codebook_is_refused(
    load: Callable, trained: tuple[Config, Path], build_runner: Callable[[Config], Runner], tmp_path: Path, same: bool
) -> None:
    _, path = trained
    cfg = load(FINETUNE)
    cfg.model.backbone.init_cfg.checkpoint = str(path)
    if same:
        build_runner(cfg).train()
        return
    store = str(make_store(tmp_path / "other", codebook=make_codebook(391, 32, seed=1), named=False))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(data_root="", store=store)
    cfg.data_preprocessor.codebook = store
    with pytest.raises(
        ValueError, match=r"epoch_1\.pth and the data preprocessor \(codebook .*/other\) belong to different tok"
    ):
        build_runner(cfg).train()


def test_logger_is_quiet_about_mmengine_noise(load: Callable, build_runner: Callable[[Config], Runner]) -> None:
    runner = build_runner(load(MTM))
    record = MMLogger.get_current_instance().makeRecord("x", 30, "x", 1, '"FileClient" will be deprecated', (), None)
    other = MMLogger.get_current_instance().makeRecord("x", 30, "x", 1, "anything else", (), None)
    for handler in runner.logger.handlers:
        assert not handler.filter(record)
        assert handler.filter(other)


def test_weights_alone_cannot_be_resumed(trained: tuple[Config, Path], refusal: Callable) -> None:
    cfg, path = trained
    cfg.load_from, cfg.resume = edited(path, lambda checkpoint: checkpoint.pop("optimizer")), True
    assert "edited.pth holds weights only and no training can be resumed from it" in refusal(cfg)


def test_epoch_without_a_batch(load: Callable, refusal: Callable) -> None:
    cfg = load(MTM)
    cfg.train_dataloader.batch_size = 1000
    assert "does not fill one on every process; lower train_dataloader.batch_size" in refusal(cfg)


def test_resuming_with_another_schedule_is_said(
    trained: tuple[Config, Path], build_runner: Callable[[Config], Runner], caplog: pytest.LogCaptureFixture
) -> None:
    cfg, path = trained
    cfg.load_from, cfg.resume = str(path), True
    cfg.train_cfg.max_epochs += 1
    cfg.param_scheduler.end += 1
    runner = build_runner(cfg)
    warnings: list[str] = []
    runner.logger.warning = warnings.append
    runner.train()
    (kept,) = (line for line in warnings if "keeps the checkpoint's learning-rate schedule" in line)
    assert "end " in kept and "(config: " in kept


def test_store_of_coefficients_is_refused_where_codes_are_expected(
    load: Callable, refusal: Callable, tmp_path: Path
) -> None:
    cfg = load(MTM)
    options = dict(codebook_size=391, grid=(32, 32), channels=2, minimum=-195, tokenizer={"name": "dct"})
    with StoreWriter(tmp_path / "coefficients", **options) as writer:
        writer.append(np.zeros((4, 32, 32, 2), int))
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    cfg.train_dataloader.dataset.store = "coefficients"
    assert "belong to different tokenizers: channels 2 and none." in refusal(cfg)
