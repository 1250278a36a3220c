"""Guards on the data sets, wrappers, heads and hooks of mmengine, mmpretrain and mmseg: none is told a falsehood."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from helpers.mmpretrain_data import ONE_CLASS, OTHER, custom, dataset_config
from helpers.shrinking import shrink
from seitpp.engine import config_changes
from seitpp.engine.guards.classes import _check_several_classes, check_labels
from seitpp.engine.guards.labels import labels_of
from seitpp.io import config_options

pytestmark = [  # mmpretrain's MNIST
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]
ARCH = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
LABELS = {"CustomDataset": [0, 1, 1], "Flowers102": [5, 6], "Food101": [3, 4, 5]}


def opened(config: dict[str, Any]) -> Any:
    return DATASETS.build({**config, "pipeline": []})


def model_of(classes: int, **preprocessor: Any) -> Any:
    head = SimpleNamespace(num_classes=classes)
    return SimpleNamespace(head=head, data_preprocessor=SimpleNamespace(**preprocessor))


@pytest.mark.parametrize("kind", ONE_CLASS)
def test_labels_of_mmpretrain_are_read(kind: str, tmp_path: Path) -> None:
    dataset = opened(dataset_config(kind, tmp_path))
    np.testing.assert_array_equal(labels_of(dataset), LABELS.get(kind, [5, 6, 7]))
    check_labels(model_of(len(dataset.metainfo.get("classes") or range(102))), dataset)
    with pytest.raises(ValueError, match=f"{kind} has (1 classes|.* classes|labels from .* to .*), the head has 1"):
        check_labels(model_of(1), dataset)


@pytest.mark.parametrize("kind", OTHER)
def test_labels_that_are_no_single_class_are_not_compared(kind: str, tmp_path: Path) -> None:
    dataset = opened(dataset_config(kind, tmp_path))
    assert len(labels_of(dataset)) == 0
    check_labels(model_of(len(dataset.metainfo.get("classes") or range(10))), dataset)


@pytest.mark.parametrize(
    ("wrapper", "labels"),
    [
        ({"type": "mmengine.RepeatDataset", "times": 3}, [0, 1, 1]),
        ({"type": "mmengine.ClassBalancedDataset", "oversample_thr": 0.5}, [0, 1, 1]),
        ({"type": "mmengine.ConcatDataset"}, [0, 1, 1, 0, 1, 1]),
        ({"type": "mmpretrain.KFoldDataset", "num_splits": 3}, [1, 1]),
        ({"type": "seitpp.ConcatDataset"}, [0, 1, 1, 0, 1, 1]),
        ({"type": "seitpp.SubsetDataset", "count": 1}, [0, 1, 1]),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_labels_are_read_through_wrappers(wrapper: dict[str, Any], labels: list[int], tmp_path: Path) -> None:
    inner = {**dataset_config("CustomDataset", tmp_path), "pipeline": []}
    several = {"datasets": [inner, copy.deepcopy(inner)]} if "Concat" in wrapper["type"] else {"dataset": inner}
    dataset = DATASETS.build({**wrapper, **several})
    np.testing.assert_array_equal(labels_of(dataset), labels)
    check_labels(model_of(2), dataset)


def test_samples_without_labels_are_refused(tmp_path: Path) -> None:
    custom(tmp_path)
    config = {"type": "mmpretrain.CustomDataset", "data_root": str(tmp_path), "with_label": False}
    with pytest.raises(ValueError, match=r"CustomDataset has samples without gt_label or gt_score, and a classifier"):
        check_labels(model_of(2), opened(config))


def test_label_maps_are_no_classes() -> None:
    reader = SimpleNamespace(header={"labels": {"kind": "segmentation"}})
    dataset = SimpleNamespace(store_path="scenes", labels=None, reader=reader)
    with pytest.raises(ValueError, match="scenes has label maps, and a classifier needs one class per image"):
        check_labels(model_of(2), dataset)


def test_data_set_that_does_not_tell_is_let_pass() -> None:
    check_labels(model_of(2), torch.utils.data.TensorDataset(torch.zeros(3)))


def test_soft_targets_are_compared_only_where_they_are_made(tmp_path: Path) -> None:
    dataset = opened(dataset_config("CustomDataset", tmp_path))
    check_labels(model_of(2, num_classes=21842, to_onehot=False), dataset)  # as a recipe of mmpretrain has it
    with pytest.raises(ValueError, match="makes soft targets of 21842 classes, the head has 2"):
        check_labels(model_of(2, num_classes=21842, to_onehot=True), dataset)


class TestHeads:
    @pytest.mark.parametrize("kind", ["LinearClsHead", "LinearRegressionHead"])
    def test_one_output_is_refused_of_a_softmax_alone(self, kind: str) -> None:
        model = torch.nn.Module()
        model.head = MODELS.build({"type": kind, "num_classes": 1, "in_channels": 4})
        if kind == "LinearRegressionHead":
            _check_several_classes(model)
            return
        with pytest.raises(ValueError, match="a softmax over one class is always 1"):
            _check_several_classes(model)

    def test_boundaries_are_no_classes_of_the_data(self) -> None:
        from mmseg.models.decode_heads import FCNHead, STDCHead

        options = dict(in_channels=4, channels=4, norm_cfg=dict(type="BN"), num_convs=1)
        model = torch.nn.Module()
        model.decode_head = FCNHead(num_classes=19, **options)
        model.auxiliary_head = torch.nn.ModuleList([STDCHead(num_classes=3, **options, boundary_threshold=0.1)])
        dataset = SimpleNamespace(metainfo={"classes": [str(number) for number in range(19)]})
        check_labels(model, dataset)
        model.auxiliary_head.append(FCNHead(num_classes=3, **options))
        with pytest.raises(ValueError, match="has 19 classes, the auxiliary_head has 3"):
            check_labels(model, dataset)


@pytest.mark.filterwarnings("ignore:.*torch.meshgrid")
def test_classifier_of_mmpretrain_trains_and_validates_on_its_own_data(
    build_runner: Callable[[Config], Runner], tmp_path: Path
) -> None:
    """Of images, with all guards."""
    load = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    dataset = {**dataset_config("CustomDataset", tmp_path / "data"), "pipeline": load}
    loader = dict(batch_size=2, num_workers=0, dataset=dataset, collate_fn=dict(type="default_collate"))
    config = Config(
        dict(
            default_scope="mmpretrain",
            model=dict(
                type="ImageClassifier",
                data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3),
                backbone=dict(type="VisionTransformer", arch=ARCH, img_size=16, patch_size=8),
                head=dict(type="VisionTransformerClsHead", num_classes=2, in_channels=8),
            ),
            train_dataloader={**loader, "sampler": dict(type="DefaultSampler", shuffle=True)},
            val_dataloader={**loader, "sampler": dict(type="DefaultSampler", shuffle=False)},
            train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
            val_cfg=dict(),
            val_evaluator=dict(type="Accuracy", topk=(1,)),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            default_hooks=dict(
                data_guard=dict(type="seitpp.DataGuardHook"), class_guard=dict(type="seitpp.ClassGuardHook")
            ),
            custom_hooks=[None],
            work_dir=str(tmp_path / "work_dir"),
            log_level="ERROR",
        )
    )
    runner = build_runner(config)
    runner.train()
    assert runner.iter == 2


class TestHooksThatAreOff:
    def test_every_hook_may_be_none(self, repository: Path, build_runner: Callable, tmp_path: Path) -> None:
        leaf = repository / "configs" / "mtm" / "mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
        config = shrink(Config.fromfile(leaf), tmp_path, epochs=1)
        config.data_preprocessor.augments = []
        added = (*config_changes._OF_MMENGINE, *config_changes._ADDED_HOOKS)
        assert set(added) == set(config_options._ADDED_HOOKS)  # which --cfg-options may switch off in any config
        config.default_hooks = {name: None for name in (*config.default_hooks, *added, "own")}
        config.custom_hooks = [None]
        runner = build_runner(config)
        runner.train()
        assert runner.iter == 2
        assert [type(hook).__name__ for hook in runner.hooks] == []

    def test_some_leave_the_others(self) -> None:
        config = Config({"default_hooks": {"timer": None, "mine": None}, "custom_hooks": [None, {"type": "EMAHook"}]})
        config_changes.use_guards(config)
        assert config.default_hooks["timer"] is None and "mine" not in config.default_hooks
        assert config.default_hooks.finite_guard.type == "seitpp.FiniteGuardHook"
        assert [hook.type for hook in config.custom_hooks] == ["seitpp.StepEMAHook"]
