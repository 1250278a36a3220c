"""`LabelSizeIoUMetric` where classes are absent from labels."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from seitpp.evaluation import LabelSizeIoUMetric


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "warning", lambda line, *_args: lines.append(line))
    return lines


def scored(prediction: list, truth: list) -> dict[str, float]:
    metric = LabelSizeIoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": ["sky", "sea", "sand", "ship"]}
    sample = SegDataSample()
    sample.pred_sem_seg = PixelData(data=torch.tensor([prediction]))
    sample.gt_sem_seg = PixelData(data=torch.tensor([truth], dtype=torch.uint8))
    metric.process({}, [sample.to_dict()])
    return metric.evaluate(1)


def test_classes_without_labels_are_counted_and_named(warned: list[str]) -> None:
    scores = scored([[0, 0, 1]], [[0, 0, 255]])
    assert scores["mIoU"] == 100 and scores["classes_without_labels"] == 3
    assert warned == [
        "3 of 4 classes are in no label: sea, sand, ship. 3 of them are not predicted either and are left out of the "
        "means; others count as 0."
    ]


def test_predicted_class_without_labels_counts_as_0(warned: list[str]) -> None:
    scores = scored([[0, 1, 2, 3]], [[0, 1, 1, 1]])
    assert scores["mIoU"] == pytest.approx((100 + 100 / 3) / 4, abs=0.01)
    assert scores["classes_without_labels"] == 2
    assert "2 of 4 classes are in no label: sand, ship. 0 of them are not predicted either" in warned[0]


def test_nothing_is_said_where_all_classes_have_labels(warned: list[str]) -> None:
    assert "classes_without_labels" not in scored([[0, 1, 2, 3]], [[0, 1, 2, 3]])
    assert not warned


def test_labels_that_are_all_ignored_are_no_score() -> None:
    with pytest.raises(ValueError, match="no pixel of the label maps has a label: all mean ignore"):
        scored([[0, 1]], [[255, 255]])


def test_value_that_means_ignore_is_that_of_the_label_maps() -> None:
    metric = LabelSizeIoUMetric(iou_metrics=["mIoU"], ignore_index=0)
    metric.dataset_meta = {"classes": ["sky", "sea"], "label_ignore_index": 255}
    metric.results = [(*torch.ones(4, 2), (2, 2))]
    with pytest.raises(ValueError, match="ignore_index of the metric is 0, but 255 means ignore in the label maps"):
        metric.compute_metrics(metric.results)
