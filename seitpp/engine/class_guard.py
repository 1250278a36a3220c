"""A hook that keeps the classes of data and checkpoint the same: a classifier knows them by their numbers alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from seitpp.io.checkpoint import shorten
from seitpp.registry import HOOKS
from seitpp.structures.class_names import class_difference, is_wordnet_order

_LOOPS = ("_train_loop", "_val_loop", "_test_loop")
_SWITCH = "default_hooks.class_guard.compare_names=False"


@HOOKS.register_module()
class ClassGuardHook(Hook):
    """Refuse data whose class names are not those, in the same order, that a classifier's head was trained on.

    Compared are a checkpoint that is tested, resumed or loaded with its head (`meta.dataset_meta`, which mmengine's
    runner writes) with every data set of the run, and validation with training data. Where one side has no names,
    numbers are all there is to compare, which `DataGuardHook` does. Classes without a sample are said in the log.

    Args:
        compare_names: Whether to compare names; False for data that calls the same classes by other names.
    """

    priority = "VERY_HIGH"

    def __init__(self, compare_names: bool = True) -> None:
        self.compare_names = compare_names
        self._told: set[str] = set()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the classes of the checkpoint's head with those of the data sets."""
        if not self.compare_names or not _keeps_head(_head_of(runner), checkpoint):
            return
        trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
        source = f"checkpoint {runner._load_from}"
        for dataset in _datasets(runner):
            self._compare(runner, trained, source, dataset)

    def before_train(self, runner: Runner) -> None:
        """Compare validation with training data, and look for classes without a sample, or for a single one."""
        _check_several_classes(_unwrapped(runner.model))
        if _head_of(runner) is None:
            return
        dataset = runner.train_loop.dataloader.dataset
        _check_ignored(_head_of(runner), dataset)
        if isinstance(runner._val_loop, BaseLoop):
            _compare_shifts(dataset, runner.val_loop.dataloader.dataset)
            if self.compare_names:
                self._compare(runner, _classes_of(dataset), _name_of(dataset), runner.val_loop.dataloader.dataset)
        self._tell_missing(runner, dataset, "training cannot teach them")

    def before_val(self, runner: Runner) -> None:
        """Look for classes without a sample."""
        self._tell_missing(runner, runner.val_loop.dataloader.dataset, "the score covers the others alone")

    def before_test(self, runner: Runner) -> None:
        """Look for classes without a sample."""
        self._tell_missing(runner, runner.test_loop.dataloader.dataset, "the score covers the others alone")

    def _compare(self, runner: Runner, expected: list[str] | None, source: str, dataset: Any) -> None:
        found, where = _classes_of(dataset), _name_of(dataset)
        if expected is None or found is None:
            self._tell_unknown(runner, source, expected, where, found)
            return
        if difference := class_difference(expected, found):
            raise ValueError(
                f"{where} does not have the classes of {source}: {difference}. A model knows classes by number alone: "
                "give the data the same names in the same order, an image folder by a file of them, one a line "
                "(--classes FILE, which may name more classes than there are folders). Where the two only call the "
                f"same classes otherwise, set {_SWITCH}"
            )

    def _tell_unknown(
        self, runner: Runner, source: str, expected: list[str] | None, where: str, found: list[str] | None
    ) -> None:
        """Say that numbers stand for classes, loudly where one side's names are in an order of its own."""
        names = expected or found
        if names is None or _head_of(runner).num_classes != len(names):  # a number that `DataGuardHook` refuses
            return
        nameless, named = (source, where) if expected is None else (where, source)
        say = runner.logger.info if is_wordnet_order(names) else runner.logger.warning
        self._once(say, f"{nameless} tells no class names: its class k is taken for class k of {named}, in this order.")

    def _tell_missing(self, runner: Runner, dataset: Any, consequence: str) -> None:
        head, labels = _head_of(runner), getattr(dataset, "labels", None)
        if head is None or labels is None:
            return
        missing = np.setdiff1d(np.arange(head.num_classes), labels)
        if not len(missing):
            return
        classes = _classes_of(dataset) or []
        names = [repr(classes[number]) if number < len(classes) else str(number) for number in missing]
        self._once(
            runner.logger.warning,
            f"{len(missing)} of {head.num_classes} classes have no sample in {_name_of(dataset)} "
            f"({shorten(names, 4)}): {consequence}.",
        )

    def _once(self, say: Any, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            say(message)


def _check_several_classes(model: torch.nn.Module) -> None:
    """Refuse to train a softmax over one class, which is always 1: its loss is 0, and any network scores the same."""
    for name in ("head", "decode_head", "auxiliary_head"):
        part = getattr(model, name, None)
        for head in part if isinstance(part, torch.nn.ModuleList) else [part]:
            single = getattr(head, "num_classes", None) == 1
            if single and not any(getattr(module, "use_sigmoid", False) for module in head.modules()):
                raise ValueError(
                    f"model.{name} has one class, and a softmax over one class is always 1: nothing would be learned. "
                    "Give the data a class for all that is something else, or the loss use_sigmoid=True"
                )


def _check_ignored(head: torch.nn.Module | None, dataset: Any) -> None:
    """Refuse a head that would learn from pixels that mean "ignore", and not from those of a class."""
    found = getattr(head, "ignore_index", None)
    expected = (getattr(dataset, "metainfo", None) or {}).get("label_ignore_index")
    if None not in (found, expected) and found != expected:
        raise ValueError(
            f"model.decode_head.ignore_index is {found}, but {expected} means ignore in the label maps of "
            f"{_name_of(dataset)}; leave the option out"
        )


def _compare_shifts(training: Any, validation: Any) -> None:
    """Refuse label maps of which 0 became "ignore" for training alone, or for validation alone."""
    shifts = [
        ((getattr(dataset, "metainfo", None) or {}).get("label_maps") or {}).get("reduce_zero_label")
        for dataset in (training, validation)
    ]
    if None not in shifts and shifts[0] != shifts[1]:
        shifted, plain = (training, validation) if shifts[0] else (validation, training)
        raise ValueError(
            f"{_name_of(shifted)} was made with --reduce-zero-label and {_name_of(plain)} without, so that class k of "
            "one is class k + 1 of the other; make one of them again"
        )


def _head_of(runner: Runner) -> torch.nn.Module | None:
    """The head of a classifier or segmentor, if it tells classes apart."""
    model = _unwrapped(runner.model)
    head = getattr(model, "head", None) or getattr(model, "decode_head", None)
    return None if getattr(head, "num_classes", None) is None else head


def _keeps_head(head: torch.nn.Module | None, checkpoint: dict) -> bool:
    """Whether a checkpoint brings all weights of the head; one of another size takes no part in loading."""
    if head is None:
        return False
    found = {name.removeprefix("module."): value for name, value in (checkpoint.get("state_dict") or {}).items()}
    shapes = {name: value.shape for name, value in head.state_dict().items()}
    return any(
        bool(shapes) and all(getattr(found.get(owner + name), "shape", None) == shape for name, shape in shapes.items())
        for owner in ("head.", "decode_head.")
    )


def _datasets(runner: Runner) -> Iterator[Any]:
    """Data sets of the loops that this run has built."""
    for name in _LOOPS:
        if isinstance(loop := getattr(runner, name), BaseLoop):
            yield loop.dataloader.dataset


def _classes_of(dataset: Any) -> list[str] | None:
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
    return None if classes is None else list(classes)


def _name_of(dataset: Any) -> str:
    return getattr(dataset, "store_path", type(dataset).__name__)


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model
