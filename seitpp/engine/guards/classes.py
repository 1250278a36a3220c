"""The guard of classes: a model knows them by number alone, so data and checkpoint must number the same classes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from seitpp.engine.guards.label_sets import (
    check_label_sets,
    check_metrics,
    check_training,
    classes_of,
    label_sets_of,
)
from seitpp.engine.guards.labels import labels_of
from seitpp.engine.runs import metadata_of, name_of, unwrapped
from seitpp.io.text import shorten
from seitpp.registry import HOOKS
from seitpp.structures.class_names import class_difference, is_wordnet_order

_OF_BOUNDARIES = ("STDCHead",)  # heads of mmseg that have classes of their own
_MISSING = "the score covers the others alone"


@HOOKS.register_module()
class ClassGuardHook(Hook):
    """Refuse data whose class names are not those, in the same order, that a classifier's head was trained on.

    Compares a checkpoint that is tested, resumed or loaded with its head (`meta.dataset_meta`, which mmengine's
    runner writes) with every data set of the run, and validation with training data. Where one side has no names,
    `DataGuardHook` compares numbers. Logs classes without a sample.

    Args:
        compare_names: Whether to compare names; False for data that calls the same classes by other names.
    """

    priority = "VERY_HIGH"

    def __init__(self, compare_names: bool = True) -> None:
        self.compare_names = compare_names
        self._logged: set[str] = set()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the classes of the checkpoint's head with those of the data sets."""
        if not self.compare_names or not _brings_head(_head_of(runner), checkpoint):
            return
        trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop):
                self._compare(runner, trained, f"checkpoint {runner._load_from}", loop.dataloader.dataset)

    def before_train(self, runner: Runner) -> None:
        """Compare validation with training data, and look for classes without a sample, or for a single one."""
        _check_several_classes(unwrapped(runner.model))
        if _head_of(runner) is None:
            return
        dataset = runner.train_loop.dataloader.dataset
        check_training(dataset)
        _check_ignored(_head_of(runner), dataset)
        if isinstance(runner._val_loop, BaseLoop):
            validation = runner.val_loop.dataloader.dataset
            _compare_shifts(dataset, validation)
            if self.compare_names:
                self._compare(runner, classes_of(dataset), name_of(dataset), validation)
        self._tell_missing(runner, dataset, "training cannot teach them")

    def before_val(self, runner: Runner) -> None:
        """Look for metrics that read labels otherwise, and for classes without a sample."""
        check_metrics(runner.val_loop.dataloader.dataset, runner.val_loop.evaluator)
        self._tell_missing(runner, runner.val_loop.dataloader.dataset, _MISSING)

    def before_test(self, runner: Runner) -> None:
        """Look for metrics that read labels otherwise, and for classes without a sample."""
        check_metrics(runner.test_loop.dataloader.dataset, runner.test_loop.evaluator)
        self._tell_missing(runner, runner.test_loop.dataloader.dataset, _MISSING)

    def _compare(self, runner: Runner, expected: list[str] | None, source: str, dataset: Any) -> None:
        found, where = classes_of(dataset), name_of(dataset)
        if expected is None or found is None:
            self._tell_unknown(runner, source, expected, where, found)
        elif difference := class_difference(expected, found):
            raise ValueError(
                f"{where} does not have the classes of {source}: {difference}. A model knows classes by number alone: "
                "give the data the same names in the same order, an image folder by a file of them, one per line "
                "(--classes FILE, which may name more classes than there are folders). Where the two only call the "
                "same classes otherwise, set default_hooks.class_guard.compare_names=False"
            )

    def _tell_unknown(
        self, runner: Runner, source: str, expected: list[str] | None, where: str, found: list[str] | None
    ) -> None:
        """Log that numbers stand for classes, as a warning where one side's names are in an order of its own."""
        names = expected or found
        if names is None or _head_of(runner).num_classes != len(names):  # a number that `DataGuardHook` refuses
            return
        nameless, named = (source, where) if expected is None else (where, source)
        log = runner.logger.info if is_wordnet_order(names) else runner.logger.warning
        self._once(log, f"{nameless} has no class names: its class k is taken for class k of {named}, in this order.")

    def _tell_missing(self, runner: Runner, dataset: Any, consequence: str) -> None:
        head = _head_of(runner)
        labels = None if head is None else labels_of(dataset)
        if labels is None or not len(labels) or label_sets_of(dataset) is not None:
            return
        missing = np.setdiff1d(np.arange(head.num_classes), labels)
        if not len(missing):
            return
        classes = classes_of(dataset) or []
        names = [repr(classes[number]) if number < len(classes) else str(number) for number in missing]
        self._once(
            runner.logger.warning,
            f"{len(missing)} of {head.num_classes} classes have no sample in {name_of(dataset)} "
            f"({shorten(names, 4)}): {consequence}.",
        )

    def _once(self, log: Callable[[str], None], message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            log(message)


def check_labels(model: nn.Module, dataset: Any) -> None:
    """Refuse data without labels where a classifier needs them, and other numbers of classes than the heads have.

    Values of label maps are checked where they are read.
    """
    where, classes = name_of(dataset), metadata_of(dataset).get("classes")
    for name, head in _heads(model):
        is_of_classes = name != "head" and type(head).__name__ not in _OF_BOUNDARIES
        if classes is not None and is_of_classes and head.num_classes not in (None, len(classes)):
            raise ValueError(
                f"{where} has {len(classes)} classes, the {name} has {head.num_classes}; set model.{name}.num_classes"
            )
    num_classes = getattr(getattr(model, "head", None), "num_classes", None)
    if num_classes is None:
        return
    preprocessor = model.data_preprocessor
    soft = getattr(preprocessor, "num_classes", None) if getattr(preprocessor, "to_onehot", True) else None
    if soft not in (None, num_classes):
        raise ValueError(
            f"the data preprocessor makes soft targets of {soft} classes, the head has {num_classes}; set "
            "data_preprocessor.num_classes to model.head.num_classes"
        )
    labels = labels_of(dataset)
    if labels is None:
        raise ValueError(f"{where} {_why_no_labels(dataset)}")
    if (label_sets := label_sets_of(dataset)) is not None:
        check_label_sets(label_sets, num_classes, where)
        return
    if classes is not None and len(classes) != num_classes:
        raise ValueError(f"{where} has {len(classes)} classes, the head has {num_classes}; set model.head.num_classes")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"{where} has labels from {labels.min()} to {labels.max()}, the head has {num_classes} classes; set "
            "model.head.num_classes"
        )


def _why_no_labels(dataset: Any) -> str:
    if getattr(dataset, "with_labels", True) is False:
        return "reads no labels (with_labels=False), and a classifier needs them; leave with_labels out"
    header = getattr(getattr(dataset, "reader", None), "header", {})
    if header.get("labels", {}).get("kind") == "segmentation":
        return (
            "has label maps, and a classifier needs one class per image; a segmentor learns from label maps "
            "(configs/segmentation/)"
        )
    if not hasattr(dataset, "labels"):  # of another library
        return (
            "has samples without gt_label or gt_score, and a classifier needs labels; give it an annotation file or "
            "class folders. Where the pipeline adds labels, set default_hooks.data_guard=None"
        )
    return (
        "has no labels, and a classifier needs them; use a labelled store, a release file with its label file, or "
        "images with classes"
    )


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a model's heads that tell classes apart, by the names of their options."""
    for name in ("head", "decode_head", "auxiliary_head"):
        part = getattr(model, name, None)
        for head in part if isinstance(part, nn.ModuleList) else [part]:
            if hasattr(head, "num_classes"):
                yield name, head


def _check_several_classes(model: nn.Module) -> None:
    """Refuse to train a softmax over one class, which is always 1: its loss is 0, and any network scores the same."""
    for name, head in _heads(model):
        # A loss that is no cross-entropy, as of regression, has no such option.
        if head.num_classes == 1 and any(getattr(module, "use_sigmoid", None) is False for module in head.modules()):
            raise ValueError(
                f"model.{name} has one class, and a softmax over one class is always 1: nothing would be learned. "
                "Give the data a class for all that is something else, or the loss use_sigmoid=True"
            )


def _check_ignored(head: nn.Module | None, dataset: Any) -> None:
    """Refuse a head that would learn from pixels that mean "ignore", and not from those of a class."""
    found, expected = getattr(head, "ignore_index", None), metadata_of(dataset).get("label_ignore_index")
    if None not in (found, expected) and found != expected:
        raise ValueError(
            f"model.decode_head.ignore_index is {found}, but {expected} means ignore in the label maps of "
            f"{name_of(dataset)}; leave the option out"
        )


def _compare_shifts(training: Any, validation: Any) -> None:
    """Refuse label maps of which 0 became "ignore" for training alone, or for validation alone."""
    shifts = [
        (metadata_of(dataset).get("label_maps") or {}).get("reduce_zero_label") for dataset in (training, validation)
    ]
    if None not in shifts and shifts[0] != shifts[1]:
        shifted, plain = (training, validation) if shifts[0] else (validation, training)
        raise ValueError(
            f"{name_of(shifted)} was made with --reduce-zero-label and {name_of(plain)} without, so that class k of "
            "one is class k + 1 of the other; make one of them again"
        )


def _head_of(runner: Runner) -> nn.Module | None:
    return next((head for _, head in _heads(unwrapped(runner.model)) if head.num_classes is not None), None)


def _brings_head(head: nn.Module | None, checkpoint: dict) -> bool:
    """Return whether a checkpoint has all weights of the head; mmengine leaves one of another size out."""
    if head is None:
        return False
    found = {name.removeprefix("module."): value for name, value in (checkpoint.get("state_dict") or {}).items()}
    shapes = {name: value.shape for name, value in head.state_dict().items()}
    return any(
        bool(shapes) and all(getattr(found.get(owner + name), "shape", None) == shape for name, shape in shapes.items())
        for owner in ("head.", "decode_head.")
    )
