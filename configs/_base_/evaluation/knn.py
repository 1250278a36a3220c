"""Test by nearest neighbours: top-1 and top-5 for each k of the head `seitpp.KNNHead`, by default 10 and 20."""

test_cfg = dict(type="mmengine.TestLoop")
test_evaluator = dict(
    type="mmpretrain.MultiTasksMetric",
    task_metrics={f"k{k}": [dict(type="mmpretrain.Accuracy", topk=(1, 5))] for k in (10, 20)},
)
