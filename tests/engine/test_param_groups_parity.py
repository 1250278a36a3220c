"""Learning-rate scale and weight decay of every parameter against the reference, by the release's names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from helpers.golden import golden_path
from seitpp.benchmarking.synthetic import make_codebook
from seitpp.converters import to_release
from seitpp.registry import MODELS

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(golden_path("lrd.json").read_text())


def depth_of(names: list[str], prefix: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in names if name.startswith(f"{prefix}."))


def small_arch(depth: int) -> dict:
    return dict(embed_dims=16, num_layers=depth, num_heads=2, feedforward_channels=32)


def build(model: ConfigDict) -> torch.nn.Module:
    model.data_preprocessor = dict(type="seitpp.TokenDataPreprocessor", codebook=make_codebook(391, 32))
    with DefaultScope.overwrite_default_scope("seitpp"):
        return MODELS.build(model)


def groups_by_release_name(model: torch.nn.Module, optim_wrapper: ConfigDict, layout: str) -> dict[str, dict]:
    """Optimizer group of each trained parameter; None for one that is not trained."""
    with DefaultScope.overwrite_default_scope("seitpp"):
        optimizer = build_optim_wrapper(model, optim_wrapper).optimizer
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    renamed, _ = to_release(dict(model.named_parameters()), layout)
    return {name: groups.get(id(parameter)) for name, parameter in renamed.items()}


@pytest.fixture(scope="module")
def finetune(golden: dict, repository: Path) -> dict[str, dict]:
    expected = golden["finetune"]
    cfg = Config.fromfile(repository / "configs/_base_/models/mtm-classifier_vit-base-p16.py")
    cfg.model.backbone.arch = small_arch(expected["depth"])
    cfg.model.head.in_channels = 16
    schedule = Config.fromfile(repository / "configs/_base_/schedules/finetune_adamw_8xb128-100e.py")
    schedule.optim_wrapper.paramwise_cfg.layer_decay_rate = expected["layer_decay"]
    schedule.optim_wrapper.optimizer.weight_decay = expected["weight_decay"]
    return groups_by_release_name(build(cfg.model), schedule.optim_wrapper, "mtm-classifier")


def test_finetuning_trains_the_reference_parameters(golden: dict, finetune: dict) -> None:
    assert set(finetune) == set(golden["finetune"]["params"])
    assert None not in finetune.values()


@pytest.mark.parametrize("key", ["lr_scale", "weight_decay", "layer_id"])
def test_finetuning_value_of_every_parameter(golden: dict, finetune: dict, key: str) -> None:
    expected = {name: entry[key] for name, entry in golden["finetune"]["params"].items()}
    assert {name: group[key] for name, group in finetune.items()} == pytest.approx(expected, rel=1e-9)


def test_finetuning_rate_is_the_peak_times_the_scale(finetune: dict) -> None:
    for group in finetune.values():
        assert group["lr"] == pytest.approx(4e-3 * group["lr_scale"], rel=1e-12)


def test_finetuning_number_of_groups(golden: dict, finetune: dict) -> None:
    distinct = {(group["layer_id"], group["weight_decay"] > 0) for group in finetune.values()}
    assert len(distinct) == golden["finetune"]["num_groups"]


@pytest.fixture(scope="module")
def pretraining(golden: dict, repository: Path) -> dict[str, dict]:
    names = list(golden["pretrain_weight_decay"])
    cfg = Config.fromfile(repository / "configs/_base_/models/mtm_vit-base-p16.py")
    cfg.model.backbone.arch = small_arch(depth_of(names, "blocks"))
    cfg.model.neck.update(
        embed_dims=16, decoder_embed_dims=16, num_heads=2, num_layers=depth_of(names, "decoder_blocks")
    )
    cfg.model.head.decoder_embed_dims = 16
    schedule = Config.fromfile(repository / "configs/_base_/schedules/mtm_adamw_8xb512-400e.py")
    return groups_by_release_name(build(cfg.model), schedule.optim_wrapper, "mtm")


def test_pretraining_decays_what_the_reference_decays(golden: dict, pretraining: dict) -> None:
    found = {name: group["weight_decay"] for name, group in pretraining.items() if group is not None}
    expected = {name: 0.05 if decayed else 0.0 for name, decayed in golden["pretrain_weight_decay"].items()}
    assert found == expected


def test_pretraining_freezes_what_the_reference_freezes(golden: dict, pretraining: dict) -> None:
    assert {name for name, group in pretraining.items() if group is None} == set(golden["pretrain_frozen"])


def test_pretraining_gives_all_parameters_one_rate(pretraining: dict) -> None:
    rates = [group["lr"] for group in pretraining.values() if group is not None]
    assert rates == pytest.approx([2.4e-3] * len(rates), rel=1e-12)
