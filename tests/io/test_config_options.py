"""`--cfg-options`: what may be set, what nothing would read, and how a key is added on purpose."""

import argparse
import copy
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from seitpp.io.config_options import add_options_argument, apply_options, check_read_keys

MTM = "mtm/mtm_vit-base-p16_8xb512-400e_in1k-tokens"
FINETUNE = "seitpp/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens"
SEGMENT = "segmentation/upernet_vit-base-p16_mtm-400e-pre_8xb2-80k_ade20k-tokens-512px"
KNN = "representations/knn_mtm_vit-tiny-p2_digits-tokens"
TOKENIZER = "tokenizers/patch_kmeans_8px_k512"
VQ = "tokenizers/vitvqgan_small-p8-k8192_8xb32-100e_in1k-256px"


@pytest.fixture(scope="module")
def kept() -> dict[str, Config]:
    return {}


@pytest.fixture
def merged(repository: Path, kept: dict[str, Config]) -> Callable[..., Config]:
    """A config of the repository with options as they stand on a command line."""

    def apply(name: str, *options: str) -> Config:
        parser = argparse.ArgumentParser()
        add_options_argument(parser)
        given = parser.parse_args(["--cfg-options", *options]).cfg_options
        if name not in kept:
            kept[name] = Config.fromfile(repository / "configs" / f"{name}.py", format_python_code=False)
        config = copy.deepcopy(kept[name])
        apply_options(config, given)
        return config

    return apply


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [
        (MTM, "seed=3", "did you mean randomness.seed?"),
        (MTM, "batch_size=8", "did you mean train_dataloader.batch_size or val_dataloader.batch_size"),
        (MTM, "auto_scale_lr.enabled=True", "did you mean auto_scale_lr.enable?"),
        (MTM, "randomness.seeds=1", "did you mean randomness.seed"),
        (MTM, "model.backbone.arch.num_layer=3", "did you mean model.backbone.arch.num_layers?"),
        (MTM, "model.backbone.drop_rates=0.1", "did you mean model.backbone.drop_rate or model.backbone."),
        (MTM, "model.mask_ratio.means=0.4", "did you mean model.mask_ratio.mean?"),
        (MTM, "train_dataloader.batchsize=8", "did you mean train_dataloader.batch_size"),
        (MTM, "train_dataloader.dataset.stores=a", "did you mean train_dataloader.dataset.store?"),
        (MTM, "train_dataloader.dataset.subset.fractions=0.1", "did you mean train_dataloader.dataset.subset.fraction"),
        (MTM, "train_cfg.max_epoch=3", "did you mean train_cfg.max_epochs"),
        (MTM, "optim_wrapper.accumulative_count=2", "did you mean optim_wrapper.accumulative_counts?"),
        (MTM, "optim_wrapper.optimizer.learning_rate=1", "nothing would read it"),
        (MTM, "optim_wrapper.lr=1", "did you mean optim_wrapper.optimizer.lr?"),
        (MTM, "optim_wrapper.paramwise_cfg.norm_decay=0", "did you mean optim_wrapper.paramwise_cfg.norm_decay_mult"),
        (MTM, "param_scheduler.warm_up=1", "did you mean param_scheduler.warmup?"),
        (MTM, "default_hooks.checkpoint.max_keep=1", "did you mean default_hooks.checkpoint.max_keep_ckpts"),
        (MTM, "default_hooks.chekpoint.interval=1", "did you mean default_hooks.checkpoint"),
        (MTM, "data_preprocessor.crop=4", "did you mean data_preprocessor.crop_size"),
        (MTM, "data_preprocessor.augments.0.second.0.chekpoint=a", "did you mean data_preprocessor.augments.0.second"),
        (MTM, "env_cfg.mp_cfg.start_method=spawn", "did you mean env_cfg.mp_cfg.mp_start_method?"),
        (MTM, "val_evaluator.prefixes=a", "nothing would read it"),
        (MTM, "visualizer.vis_backend=a", "did you mean visualizer.vis_backends?"),
        (MTM, "log_processor.windowsize=5", "did you mean log_processor.window_size?"),
        (MTM, "load_form=a.pth", "did you mean load_from?"),
        (MTM, "model_wrapper_cfg.find_unused=True", "did you mean model_wrapper_cfg.find_unused_parameters?"),
        (MTM, "model.init_cfg.chekpoint=a", "nothing would read it"),
        (FINETUNE, "model.train_cfg.augment=1", "did you mean model.train_cfg.augments?"),
        (FINETUNE, "model.head.loss.label_smooth=0.1", "did you mean model.head.loss.label_smooth_val"),
        (FINETUNE, "model.backbone.init_cfg.path=a", "nothing would read it"),
        (SEGMENT, "model.decode_head.num_class=3", "did you mean model.decode_head.num_classes?"),
        (SEGMENT, "model.test_cfg.modes=slide", "did you mean model.test_cfg.mode?"),
        (KNN, "default_hooks.bank.batchsize=3", "did you mean default_hooks.bank.batch_size"),
        (TOKENIZER, "tokenizer.fit.seeds=1", "did you mean tokenizer.fit.seed?"),
        (TOKENIZER, "tokenizer.imagesize=8", "did you mean tokenizer.image_size?"),
        (TOKENIZER, "codec=raw", "nothing would read it"),
        (VQ, "model.adversarial.weights=1", "did you mean model.adversarial.weight?"),
    ],
)
def test_key_that_nothing_reads_is_refused(merged: Callable, name: str, option: str, nearest: str) -> None:
    key = option.split("=")[0]
    with pytest.raises(ValueError) as caught:
        merged(name, option)
    message = str(caught.value)
    assert message.startswith(f"--cfg-options {key}: the config has no ")
    assert nearest in message
    assert message.endswith(f"(+{key}=... adds it all the same)")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (MTM, ["randomness.deterministic=True", "randomness.diff_rank_seed=True"]),
        (MTM, ["train_dataloader.num_workers=2", "train_dataloader.prefetch_factor=2"]),
        (MTM, ["train_dataloader.num_batch_per_epoch=2", "val_dataloader.timeout=3"]),
        (MTM, ["load_from=a.pth", "resume=True", "work_dir=a", "experiment_name=b", "find_unused_parameters=True"]),
        (MTM, ["default_hooks.checkpoint.save_best=a", "default_hooks.checkpoint.published_keys=[a]"]),
        (MTM, ["default_hooks.logger.priority=LOW", "default_hooks.mine.type=EMAHook", "default_hooks.mine.begin=3"]),
        (MTM, ["optim_wrapper.accumulative_counts=4", "optim_wrapper.clip_grad.max_norm=1.0"]),
        (MTM, ["optim_wrapper.constructor=A", "optim_wrapper.paramwise_cfg.bias_lr_mult=2"]),
        (MTM, ["optim_wrapper.optimizer.eps=1e-6", "optim_wrapper.optimizer.fused=True"]),
        (MTM, ["model.backbone.drop_path_rate=0.1", "model.backbone.frozen_stages=2", "model.init_cfg.type=Xavier"]),
        (MTM, ["train_dataloader.dataset.subset.fraction=0.1", "train_dataloader.dataset.keep_length=True"]),
        (MTM, ["param_scheduler.start_ratio=0.1", "param_scheduler.verbose=True"]),
        (MTM, ["train_cfg.val_begin=3", "val_cfg.fp16=True", "env_cfg.dist_cfg.backend=gloo", "compile.mode=default"]),
        (MTM, ["data_preprocessor.augments.0.second.0.checkpoint=a.pth", "model_wrapper_cfg.type=A"]),
        (MTM, ["visualizer.vis_backends.0.type=mmengine.TensorboardVisBackend", "custom_imports.imports=[json]"]),
        (MTM, ["optim_wrapper.type=AmpOptimWrapper", "optim_wrapper.loss_scale=dynamic"]),
        (MTM, ["model_wrapper_cfg.find_unused_parameters=True", "model_wrapper_cfg.static_graph=True"]),
        (FINETUNE, ["model.train_cfg.augments.type=Mixup", "model.train_cfg.augments.alpha=0.2"]),
        (FINETUNE, ["model.head.loss.use_sigmoid=True", "model.head.cal_acc=True", "model.backbone.init_cfg=None"]),
        (FINETUNE, ["optim_wrapper.paramwise_cfg.layer_decay_rate=1.0", "val_evaluator.0.topk=[1]"]),
        (SEGMENT, ["model.test_cfg.mode=slide", "model.test_cfg.crop_size=4", "model.test_cfg.stride=2"]),
        (SEGMENT, ["model.test_cfg.flip.checkpoint=a.pth", "test_evaluator.per_class=True"]),
        (KNN, ["default_hooks.bank.batch_size=3", "model.head.k=[5]", "test_cfg.fp16=True"]),
        (TOKENIZER, ["tokenizer.fit.num_images=3", "tokenizer.in_channels=1"]),
        (VQ, ["model.adversarial.start_step=3", "model.codebook.kmeans_iterations=2"]),
    ],
)
def test_key_that_is_read_though_absent_is_taken(merged: Callable, name: str, options: list[str]) -> None:
    config = merged(name, *options)
    for option in options:
        node = config
        for part in option.split("=")[0].split("."):
            node = node[int(part)] if part.isdigit() else node[part]


def test_plus_adds_a_key(merged: Callable) -> None:
    config = merged(MTM, "+mine.depth=3", "model.backbone.drop_path_rate=0.1", "+model.backbone.arch.mine=4")
    assert config.mine.depth == 3
    assert config.model.backbone.arch.mine == 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train_dataloader.batch_size.mine=3", "train_dataloader.batch_size is 512 and has no keys"),
        ("data_preprocessor.augments.9.p=3", "data_preprocessor.augments is a list of 1, and '9' is no index of it"),
        ("data_preprocessor.augments.a.p=3", "data_preprocessor.augments is a list of 1, and 'a' is no index of it"),
        ("data_preprocessor.augments.0.first.0.size.0=3", "is 28 and has no keys"),
        ("param_scheduler.0.warmup=3", "param_scheduler is one dict and no list: param_scheduler.warmup sets it"),
        ("custom_hooks.0.momentum=1e-3", "custom_hooks is no list yet"),
        ("model=3", "model is a dict; set one of its keys, such as model.type"),
    ],
)
def test_key_that_leads_nowhere(merged: Callable, option: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        merged(MTM, option)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["seed", "=3", "a..b=3", "+=3", "model.=3"])
def test_what_is_no_option_ends_with_status_2(merged: Callable, text: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        merged(MTM, text)
    assert f"--cfg-options {text}: expected key=value, such as" in capsys.readouterr().err


def test_custom_imports_are_imported(merged: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_mine.py").write_text("LOADED = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    merged(MTM, "custom_imports.imports=[module_of_mine]")
    assert sys.modules["module_of_mine"].LOADED


def test_dicts_in_a_list_end_with_status_2(merged: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        merged(MTM, "custom_hooks=[dict(type='EMAHook',momentum=1e-3)]")
    assert "set a dict key by key, such as custom_hooks.0.momentum=1e-3" in capsys.readouterr().err


def test_data_preprocessor_without_a_type_takes_what_its_class_does() -> None:
    config = Config({"model": {"type": "ImageClassifier"}, "data_preprocessor": {"num_classes": 3}})
    apply_options(config, {"data_preprocessor.batch_augments.augments.type": "Mixup"})
    assert config.data_preprocessor.batch_augments.augments.type == "Mixup"


def test_variable_of_the_file_is_told(merged: Callable, caplog: pytest.LogCaptureFixture) -> None:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        merged(MTM, "data_root=elsewhere")
    assert "data_root is a variable of the config file, whose value was used when the file was read" in caplog.text
    logger.removeHandler(caplog.handler)


def test_options_of_every_leaf_are_its_own(repository: Path) -> None:
    """Setting what is there already is never refused, however deep."""

    def scalars(node: object, above: str = "") -> Iterator[tuple[str, object]]:
        for name, child in node.items() if isinstance(node, dict) else enumerate(node):
            if "." in str(name):
                continue
            if isinstance(child, (dict, list)):
                yield from scalars(child, f"{above}{name}.")
            elif isinstance(node, dict) and not isinstance(child, tuple):
                yield f"{above}{name}", child

    leaves = sorted(repository.glob("configs/[!_]*/*.py"))
    assert len(leaves) > 80
    for leaf in leaves[::8]:
        config = Config.fromfile(leaf, format_python_code=False)
        options = dict(scalars(config.to_dict()))
        assert options
        apply_options(config, options)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"auto_scale_lr": {"enabled": True}},
            r"has auto_scale_lr\.enabled, which nothing reads; did you mean enable\?",
        ),
        ({"randomness": {"sed": 1}}, r"has randomness\.sed, which nothing reads; did you mean seed\?"),
        ({"env_cfg": {"a": 1}}, r"has env_cfg\.a, which nothing reads; it has cudnn_benchmark, dist_cfg, mp_cfg"),
    ],
)
def test_key_of_a_file_that_would_be_passed_over(part: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_read_keys(Config(part))
