"""The hook that makes a nearest-neighbour classifier of a trained encoder."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from torch import Tensor
from torch.utils.data import DataLoader

from seitpp.datasets import common_numbers, num_shared, origins_of
from seitpp.engine.guards import DataGuardHook
from seitpp.engine.guards.label_sets import classes_of
from seitpp.engine.runs import name_of, unwrapped
from seitpp.io.progress import progress_bar
from seitpp.io.text import shorten
from seitpp.registry import DATASETS, FUNCTIONS, HOOKS
from seitpp.structures.class_names import class_difference


@HOOKS.register_module()
class KNNBankHook(Hook):
    """Fill the bank of a classifier with a `seitpp.KNNHead` before it is tested.

    Loads those parts of the checkpoint that the model has, such as the encoder of an MTM, a classifier or a segmentor,
    and logs the parts that it leaves out. The bank holds the features of a whole data set; each process computes a part
    of it, in batches that do not depend on the number of processes.

    Args:
        dataset: Config of the labelled data set whose samples vote.
        batch_size: Samples that are encoded at a time.
        collate_fn: Config of the function that makes a batch of samples.
        num_workers: Processes that load; none for token stores, where a batch is one fetch.
    """

    priority = "HIGHEST"  # it takes from the checkpoint what is left out before `CheckpointGuardHook` compares the rest

    def __init__(
        self, dataset: dict, batch_size: int = 256, collate_fn: dict | None = None, num_workers: int = 0
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.collate_fn = collate_fn or {"type": "seitpp.identity_collate"}
        self.num_workers = num_workers

    def before_run(self, runner: Runner) -> None:
        """Refuse models without a `KNNHead`."""
        model = unwrapped(runner.model)
        head = getattr(model, "head", None) or getattr(model, "decode_head", None)
        if not hasattr(head, "set_bank") or not hasattr(model, "backbone"):
            has = "no head" if head is None else f"a {type(head).__name__}"
            raise ValueError(
                f"KNNBankHook fills the bank of a seitpp.KNNHead, but the model is a {type(model).__name__} with "
                f"{has}; give mmpretrain.ImageClassifier "
                "head=dict(_delete_=True, type='seitpp.KNNHead', num_classes=..., in_channels=...)"
            )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the weights of the parts that the model has."""
        if "state_dict" not in checkpoint:
            return  # refused by `CheckpointGuardHook`
        model = unwrapped(runner.model)
        found = {name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()}
        parts = {_part(name) for name in model.state_dict()}
        kept = {name: value for name, value in found.items() if _part(name) in parts}
        if hasattr(model.backbone, "rename_weights"):
            model.backbone.rename_weights(kept, "backbone.")
        left_out = sorted({_part(name) for name in found} - parts)
        if left_out:
            runner.logger.info(f"Left out of {runner._load_from}, as neighbours need no more: {shorten(left_out)}.")
        checkpoint["state_dict"] = kept
        checkpoint.pop("ema_state_dict", None)  # beside an average, which `state_dict` holds, the raw weights

    def before_test_epoch(self, runner: Runner) -> None:
        """Encode the data set and hand its features to the head."""
        model, dataset = unwrapped(runner.model), DATASETS.build(self.dataset)
        self._check(runner, dataset)
        model.eval()
        with torch.no_grad(), autocast(enabled=getattr(runner.test_loop, "fp16", False)):
            features, labels = self._encode(model, dataset)
        model.head.set_bank(features, labels)
        self._leave_out_own(runner, model.head, dataset)
        fewer = [k for k in model.head.k if k > len(labels)]
        if fewer:
            runner.logger.warning(f"The bank has {len(labels)} samples, and all of them vote for k = {fewer}.")

    @staticmethod
    def _leave_out_own(runner: Runner, head: torch.nn.Module, dataset: Any) -> None:
        """Let no stored sample vote for itself where bank and test data share some."""
        scored = runner.test_loop.dataloader.dataset
        shared = num_shared(origins_of(dataset), origins_of(scored))
        if not shared:
            return
        numbers = common_numbers(origins_of(dataset), origins_of(scored))
        head.leave_out_own(*(torch.from_numpy(part).to(head.bank.device) for part in numbers))
        runner.logger.warning(
            f"{shared} samples that are scored ({name_of(scored)}) are in the bank of neighbours, too "
            f"({name_of(dataset)}): none of them votes for itself, and the score is that of leaving one out. Give the "
            "bank the training data (default_hooks.bank.dataset) and the test others (test_dataloader.dataset) for a "
            "score on held-out data."
        )

    @staticmethod
    def _check(runner: Runner, dataset: Any) -> None:
        guards = [hook for hook in runner.hooks if isinstance(hook, DataGuardHook)] or [DataGuardHook()]
        guards[0].check(runner, dataset)
        names = [classes_of(one) for one in (dataset, runner.test_loop.dataloader.dataset)]
        if all(names) and (difference := class_difference(*names)):
            raise ValueError(
                f"the test data have not the classes of the bank of neighbours: {difference}. Take the two from the "
                "same data set (default_hooks.bank.dataset and test_dataloader.dataset)"
            )

    def _encode(self, model: torch.nn.Module, dataset: Any) -> tuple[Tensor, Tensor]:
        """Return features (M, D) and labels (M,) of the whole data set, on the device, the same on every process."""
        device, width = model.data_preprocessor.device, model.head.in_channels
        batches = [range(len(dataset))[start:][: self.batch_size] for start in range(0, len(dataset), self.batch_size)]
        # Whole batches in a row for each process, so that only the last samples of all can be missing from a part.
        share = -(-len(batches) // get_world_size())
        mine = batches[get_rank() * share :][:share]
        features = torch.zeros(share * self.batch_size, width, device=device)
        labels = torch.zeros(len(features), dtype=torch.int64, device=device)
        start = 0
        for batch in self._load(dataset, mine):
            end = start + len(batch["gt_label"])
            data = model.data_preprocessor(batch, False)
            features[start:end] = model.head.features_of(model.extract_feat(data["inputs"]))
            labels[start:end] = batch["gt_label"].to(device)
            start = end
        return tuple(torch.cat(all_gather(part))[: len(dataset)] for part in (features, labels))

    def _load(self, dataset: Any, batches: list[range]) -> Iterator[dict]:
        loader = DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=FUNCTIONS.get(self.collate_fn["type"]),
            num_workers=self.num_workers,
        )
        with progress_bar("encoding the bank of neighbours", unit="batches") as progress:
            for done, batch in zip(count(1), loader, strict=False):
                yield batch
                progress(done, len(batches))


def _part(name: str) -> str:
    return name.partition(".")[0]
