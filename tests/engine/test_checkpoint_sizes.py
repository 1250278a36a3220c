"""A config follows the sizes of a checkpoint's own config, and nothing else of it."""

import builtins
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from seitpp.engine.checkpoint_sizes import follow_checkpoint

SEIT = "seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"
FINETUNE = "seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py"
MTM = "mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
KNN = "representations/knn_mtm_vit-tiny-p2_digits-tokens.py"
SCENES = "segmentation/upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
TOKEN_ADAPT = "tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py"
WEIGHTS = {"w": torch.empty(512, 64, device="meta")}  # of which no number beyond 512 can be a size


@pytest.fixture(scope="module")
def load(repository: Path) -> Callable[[str], Config]:
    read: dict[str, Config] = {}
    return lambda name: copy.deepcopy(read.setdefault(name, Config.fromfile(repository / "configs" / name)))


def trained_with(config: Config, **changes: Any) -> dict:
    """What a checkpoint of a config with these changes holds, `a__b` for `a.b`."""
    own = copy.deepcopy(config)
    own.merge_from_dict({key.replace("__", "."): value for key, value in changes.items()})
    own._format_python_code = False
    return {"meta": {"cfg": own.pretty_text}, "state_dict": WEIGHTS}


def test_sizes_of_the_training_are_taken_and_told(load: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    config, told = load(SEIT), []
    monkeypatch.setattr("seitpp.engine.checkpoint_sizes.print_log", lambda text, *_: told.append(text))
    sizes = dict(model__head__num_classes=9, model__backbone__grid_size=(10, 8), data_preprocessor__crop_size=(10, 8))
    sizes |= dict(model__backbone__arch=dict(embed_dims=128, num_layers=2, num_heads=4, feedforward_channels=256))
    changed = follow_checkpoint(config, trained_with(config, **sizes))
    assert changed == [
        "model.backbone.arch.embed_dims",
        "model.backbone.arch.num_layers",
        "model.backbone.grid_size",
        "model.head.num_classes",
        "data_preprocessor.crop_size",
    ]
    assert (
        len(told) == 1
        and "model.head.num_classes 9 (not 10), data_preprocessor.crop_size (10, 8) (not None)" in told[0]
    )
    assert config.model.head.num_classes == 9 and config.data_preprocessor.crop_size == (10, 8)
    assert config.model.backbone.arch.embed_dims == 128 and config.model.backbone.arch.num_heads == 4


def test_same_sizes_change_nothing(load: Callable) -> None:
    for name in (SEIT, KNN, SCENES):
        config = load(name)
        rates = dict(model__backbone__grid_size=(16, 16) if name == SCENES else (4, 4))  # as one number for both sides
        rates |= dict(model__backbone__drop_path_rate=0.5, data_preprocessor__codebook="elsewhere", work_dir="other")
        assert follow_checkpoint(config, trained_with(config, **rates)) == []


def test_top_5_of_three_classes_is_left_out(load: Callable) -> None:
    config = load(SEIT)
    follow_checkpoint(config, trained_with(config, model__head__num_classes=3))
    assert config.test_evaluator[0].topk == (1,)


def test_chosen_options_stay(load: Callable) -> None:
    config = load(SEIT)
    content = trained_with(config, model__head__num_classes=9, model__backbone__grid_size=8)
    assert follow_checkpoint(config, content, keep=["model.backbone.grid_size"]) == ["model.head.num_classes"]
    assert follow_checkpoint(config, content, keep=["model.backbone"]) == []


def test_another_grid_that_is_meant_stays(load: Callable) -> None:
    config = load(SEIT)
    content = trained_with(config, model__head__num_classes=9, model__backbone__grid_size=8)
    config.default_hooks.data_guard.compare_grids = False
    assert follow_checkpoint(config, content) == ["model.head.num_classes"]


def test_crop_that_the_training_had_not_is_left_out(load: Callable) -> None:
    config, content = load(SEIT), trained_with(load(SEIT))
    config.data_preprocessor.crop_size = 3
    assert follow_checkpoint(config, content) == ["data_preprocessor.crop_size"]
    assert "crop_size" not in config.data_preprocessor


def test_heads_of_a_segmentor(load: Callable) -> None:
    config = load(SCENES)
    config.model.auxiliary_head = [config.model.auxiliary_head]
    own = {"model__auxiliary_head": [dict(config.model.auxiliary_head[0], num_classes=7)]}
    content = trained_with(config, model__decode_head__num_classes=7, model__neck__rescales=[4, 2, 1, 0.5], **own)
    changed = follow_checkpoint(config, content)
    assert changed == ["model.neck.rescales", "model.decode_head.num_classes", "model.auxiliary_head.0.num_classes"]


def test_encoder_of_mtm_gives_its_sizes_to_nearest_neighbours_and_not_its_modes(load: Callable) -> None:
    config = load(KNN)
    own = trained_with(load(MTM), model__backbone__codebook_size=20, model__backbone__out_type="raw")
    assert follow_checkpoint(config, own) == ["model.backbone.codebook_size"]
    classifier = trained_with(load(FINETUNE), model__backbone__out_type="cls_token", model__backbone__grid_size=3)
    sizes = ["grid_size", "codebook_size", "patch_cfg"]
    assert follow_checkpoint(config, classifier) == [f"model.backbone.{name}" for name in sizes]
    assert config.model.backbone.out_type == "avg_featmap"


def test_overlapping_stem_of_mtm_comes_with_what_it_needs(load: Callable) -> None:
    stem = {"kernel_size": 3, "stride": 1, "padding": 1}
    own = trained_with(load(MTM), model__backbone__patch_cfg=stem, model__backbone__hide_before_stem=True)
    config = load(MTM)
    follow_checkpoint(config, own)
    assert config.model.backbone.patch_cfg == stem and config.model.backbone.hide_before_stem is True
    config = load(KNN)
    follow_checkpoint(config, own)
    assert config.model.backbone.patch_cfg == stem and "hide_before_stem" not in config.model.backbone


def test_another_kind_of_part_is_not_followed(load: Callable) -> None:
    config = load(SEIT)
    own = load(SEIT)
    own.model.backbone.type = "seitpp.Other"
    assert follow_checkpoint(config, trained_with(own, model__backbone__grid_size=8)) == []
    assert config.model.backbone.grid_size == 4
    config = load(TOKEN_ADAPT)  # whose sizes are the tokenizer's
    assert follow_checkpoint(config, trained_with(config, model__token_adapt__grid=8)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.backbone.type", "os.system"),
        ("model.backbone.arch", "/etc/passwd"),
        ("model.backbone.arch", dict(type="os.system", embed_dims=8)),
        ("model.backbone.arch", dict(embed_dims="/etc/passwd")),
        ("model.backbone.out_type", "../../secret"),
        ("model.backbone.grid_size", "/etc/passwd"),
        ("model.backbone.grid_size", 100_000),  # more than any weight has
        ("model.backbone.grid_size", [4] * 65),
        ("model.backbone.grid_size", dict(type="os.system")),
        ("model.backbone.init_cfg", dict(type="Pretrained", checkpoint="/etc/passwd")),
        ("model.backbone.code_dim", 1.5),
        ("model.head.loss", dict(type="os.system")),
        ("model.extra", dict(type="os.system")),
        ("model._scope_", "os"),
        ("data_preprocessor.codebook", "/etc/passwd"),
        ("data_preprocessor.tokenizer", "/etc/passwd"),
        ("data_preprocessor.augments", [dict(type="os.system")]),
        ("data_preprocessor.distance", "a/b"),
        ("load_from", "/etc/passwd"),
        ("custom_imports", dict(imports=["antigravity"])),
        ("_base_", "/etc/passwd"),
        ("default_scope", "os"),
        ("custom_hooks", [dict(type="os.system")]),
    ],
)
def test_nothing_but_sizes_is_taken(load: Callable, key: str, value: Any) -> None:
    config = load(SEIT)
    own = copy.deepcopy(config._cfg_dict)
    *path, name = key.split(".")
    node = own
    for part in path:
        node = node[part]
    node[name] = value
    before = copy.deepcopy(config._cfg_dict.to_dict())
    content = {"meta": {"cfg": "\n".join(f"{name} = {part!r}" for name, part in own.to_dict().items())}}
    assert follow_checkpoint(config, {**content, "state_dict": WEIGHTS}) == []
    assert config._cfg_dict.to_dict() == before


def test_text_that_would_run_or_open_does_neither(
    load: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, config = tmp_path / "mark", load(SEIT)
    text = (
        f"model = dict(head=dict(num_classes=9))\nx = open({str(mark)!r}, 'w')\n__import__('os').mkdir({str(mark)!r})"
    )
    path = tmp_path / "hostile.pth"
    torch.save({"meta": {"cfg": text}, "state_dict": {}}, path)
    before, opened, real = config._cfg_dict.to_dict(), [], builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda file, *args, **kwargs: opened.append(file) or real(file, *args, **kwargs)
    )
    assert follow_checkpoint(config, path) == []
    assert not mark.exists() and str(mark) not in map(str, opened)
    assert config._cfg_dict.to_dict() == before


@pytest.mark.parametrize("content", [{}, {"meta": {}}, {"meta": {"cfg": "a = 1\n"}}, {"meta": {"cfg": 3}}, [1]])
def test_checkpoint_without_a_config_changes_nothing(load: Callable, tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "one.pth")
    config = load(SEIT)
    assert follow_checkpoint(config, tmp_path / "one.pth") == []
    assert follow_checkpoint(config, "https://example.org/one.pth") == []
