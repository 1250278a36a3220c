"""Linear probes: what moves, what is frozen, and the recipe's numbers."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from helpers.shrinking import build_model, shrink
from seitpp.benchmarking.synthetic import with_synthetic_data
from seitpp.engine import norm_statistics
from seitpp.engine.config_changes import scale_lr
from seitpp.models import TokenViT

LINEAR = "linear_mtm_vit-base-p16_8xb2048-90e_in1k-tokens"
DIGITS = "linear_mtm_vit-tiny-p2_1xb64-90e_digits-tokens"
FEW = "linear_mtm_vit-base-p16_8xb128-90e_in1k-tokens"


@pytest.fixture
def leaf(repository: Path) -> Callable[[str], Config]:
    return lambda name: Config.fromfile(repository / "configs" / "representations" / f"{name}.py")


@pytest.mark.parametrize("name", [LINEAR, DIGITS])
def test_training_moves_the_head_alone(
    leaf: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner], name: str
) -> None:
    cfg = shrink(leaf(name), tmp_path, num_samples=8, epochs=3)
    cfg.optim_wrapper.optimizer.lr = 10.0
    cfg.auto_scale_lr.enable = False
    runner = build_runner(cfg)
    runner._init_model_weights()  # as the first thing of train(), which finds it done and does it again alike
    before = copy.deepcopy(runner.model.state_dict())
    pretrained = torch.load(cfg.model.backbone.init_cfg.checkpoint, weights_only=True)["state_dict"]
    runner.train()
    after = runner.model.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert {"head.fc.weight", "head.fc.bias", "neck.bn.running_mean", "neck.bn.running_var"} <= moved
    assert all(key.startswith(("head.", "neck.")) for key in moved)
    for key, value in pretrained.items():
        assert torch.equal(after[key], value), key


@pytest.mark.parametrize("options", [dict(codebook_size=20), dict(codebook_size=None)], ids=["codes", "embeddings"])
def test_frozen_encoder_stays_in_evaluation(arch: dict, options: dict) -> None:
    torch.manual_seed(0)
    rates = dict(token_drop_rate=0.5, drop_path_rate=0.5, drop_rate=0.5)
    encoder = TokenViT(
        arch=arch,
        grid_size=8,
        code_dim=8,
        frozen_stages=2,
        out_type="avg_featmap",
        final_norm=False,
        **rates,
        **options,
    )
    inputs = torch.randint(20, (3, 8, 8)) if options["codebook_size"] else torch.randn(3, 8, 8, 8)
    encoder.eval()
    expected = encoder(inputs)[-1]
    assert encoder.train() is encoder
    found = encoder(inputs)[-1]
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert not any(value.requires_grad for value in encoder.parameters())


def test_partly_frozen_encoder_trains_the_rest(arch: dict) -> None:
    encoder = TokenViT(arch=arch, grid_size=8, codebook_size=20, code_dim=8, frozen_stages=1, token_drop_rate=0.5)
    encoder.train()
    assert not encoder.token_embed.training and not encoder.layers[0].training
    assert encoder.layers[1].training
    trained = {name.split(".")[0] for name, value in encoder.named_parameters() if value.requires_grad}
    assert trained == {"layers", "ln1"}


def test_encoder_that_is_not_frozen_drops_in_training(arch: dict) -> None:
    encoder = TokenViT(arch=arch, grid_size=8, codebook_size=20, code_dim=8, token_drop_rate=0.5)
    encoder.train()
    codes = torch.randint(20, (3, 8, 8))
    assert not torch.equal(encoder(codes)[-1], encoder(codes)[-1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim_wrapper.optimizer.lr", 6.4),
        ("optim_wrapper.optimizer.momentum", 0.9),
        ("optim_wrapper.optimizer.weight_decay", 0.0),
        ("auto_scale_lr.base_batch_size", 8 * 2048),
        ("train_dataloader.batch_size", 2048),
        ("train_cfg.max_epochs", 90),
        ("param_scheduler.warmup", 10),
        ("param_scheduler.end", 90),
        ("model.backbone.frozen_stages", 12),
        ("model.head.loss.type", "CrossEntropyLoss"),
    ],
)
def test_recipe_number(leaf: Callable, key: str, value: object) -> None:
    node = leaf(LINEAR)
    for part in key.split("."):
        node = node[part]
    assert node == value


def test_only_augmentation_is_token_rrc(leaf: Callable) -> None:
    (augment,) = leaf(LINEAR).data_preprocessor.augments
    assert (augment.type, augment["size"], augment.scale) == ("seitpp.TokenRRC", 28, (0.08, 1.0))


def test_features_are_normalised_without_weights_and_the_bias_has_the_plain_rate(
    leaf: Callable, tmp_path: Path
) -> None:
    cfg = with_synthetic_data(leaf(DIGITS), tmp_path)
    cfg.model.backbone.init_cfg = None
    model = build_model(cfg)
    assert not list(model.neck.parameters())
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert [(len(group["params"][0].shape), group.get("lars_exclude", False)) for group in groups] == [
        (2, False),
        (1, True),
    ]


@pytest.mark.parametrize("name", [FEW, LINEAR, DIGITS])
def test_peak_rate_is_that_of_the_recipe(leaf: Callable, name: str) -> None:
    cfg = leaf(name)
    scale_lr(cfg, 1 if name == DIGITS else 8)
    assert cfg.optim_wrapper.optimizer.lr == 6.4


def test_processes_average_the_statistics_and_leave_the_codebook(
    leaf: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    averaged = []
    monkeypatch.setattr(norm_statistics, "all_reduce_params", lambda values, op: averaged.append((list(values), op)))
    runner = build_runner(shrink(leaf(LINEAR), tmp_path, epochs=1))
    runner.train()
    ((values, op),) = averaged
    statistics = runner.model.neck.bn
    assert op == "mean"
    assert [id(value) for value in values] == [id(statistics.running_mean), id(statistics.running_var)]
