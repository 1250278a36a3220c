"""Hooks that make a run repeatable and stop it where it would train on the wrong thing."""

import math

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner, set_random_seed
from torch.distributed.fsdp import FullyShardedDataParallel

from seitpp.datasets import num_shared, origins_of
from seitpp.engine.accumulation import accumulated_batches, batches_per_step
from seitpp.engine.grid_guard import check_input_size, check_positions, check_trained_on, grid_of, seen_grid
from seitpp.engine.norm_statistics import explain_single_values
from seitpp.engine.resuming import check_resumable
from seitpp.io.checkpoint import check_state_dict, load_checkpoint_file, shorten, state_dict_of
from seitpp.registry import HOOKS
from seitpp.structures.grid_record import GRID_KEY, TokenGrid, grid_difference, recorded_grid
from seitpp.structures.seeds import step_seed
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity, data_identity

_GRID_SWITCH = "set default_hooks.data_guard.compare_grids=False"


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


_SETTINGS = {"initial_lr": "lr", "weight_decay": "weight_decay", "betas": "betas", "momentum": "momentum"}


# How an optimizer computes and not what: the config's choice, also for a run that goes on.
_KERNELS = ("fused", "foreach")


def _differs(old: object, new: object) -> bool:
    """Whether two settings differ by more than the last digit; a file may hold a list where Python has a tuple."""
    one, two = (list(value) if isinstance(value, (list, tuple)) else [value] for value in (old, new))
    numbers = all(isinstance(value, (int, float)) for value in (*one, *two))
    return one != two and not (numbers and len(one) == len(two) and all(map(math.isclose, one, two)))


def _flat(schedules: list | dict | None) -> list:
    """Schedules of all optimizers; mmengine keeps a dict where there are several."""
    return [one for many in schedules.values() for one in many] if isinstance(schedules, dict) else schedules or []


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Make every draw of a step a function of (seed, step, rank), not of what was drawn before.

    Random states are not in a checkpoint. With this hook a run that was killed and resumed draws the same masks,
    augmentations and dropout as one that was not, and ranks draw different ones.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Runner) -> None:
        """Reseed before the first batch is loaded: data sets that augment draw here or in processes seeded here."""
        set_random_seed(step_seed(runner.seed, -1 - runner.epoch, get_rank()))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Reseed all generators."""
        set_random_seed(step_seed(runner.seed, runner.iter, get_rank()))


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Refuse checkpoints that do not fit, and resuming with another batch, which would bend the schedule.

    Args:
        strict: Whether a loaded checkpoint must hold exactly the model's weights.
    """

    priority = "VERY_HIGH"

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note how many processes and samples made a step."""
        checkpoint["meta"]["world_size"] = get_world_size()
        checkpoint["meta"]["accumulative_counts"] = self._accumulated(runner)
        checkpoint["meta"]["iterations_per_step"] = accumulated_batches(runner)
        checkpoint["meta"]["samples_per_step"] = self._samples_per_step(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes with the model and, on resuming, the batch with the one before."""
        source = runner._load_from or "to resume from"
        if not isinstance(checkpoint, dict):
            raise ValueError(f"checkpoint {source} holds a {type(checkpoint).__name__}, expected a dict of weights")
        # On resuming, mmengine would run this text as Python, only to look for a key that no config of today has.
        (checkpoint.get("meta") or {}).pop("config", None)
        if self.strict and "state_dict" not in checkpoint:
            raise ValueError(f"checkpoint {source} has no state_dict; convert it with tools/convert_checkpoint.py")
        if self.strict:
            is_sharded = isinstance(runner.model, FullyShardedDataParallel)  # whose parts cannot be asked one by one
            expected = (runner.model if is_sharded else _unwrapped(runner.model)).state_dict()
            found = {name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()}
            may_miss = [name for name in expected if name.startswith("data_preprocessor.")]
            # The optimizer's state of positions cannot be resized, so a resumed run must have the same ones.
            positions = [name for name in expected if name.endswith("backbone.pos_embed") and not runner._resume]
            check_state_dict(found, expected, source, may_miss=may_miss, resizable=positions)
            average = checkpoint.get("ema_state_dict")
            if average is not None:  # an EMA hook would keep what is missing as it was initialised
                average = {name.removeprefix("module."): value for name, value in average.items() if name != "steps"}
                where = f"{source} (its ema_state_dict)"
                check_state_dict(average, expected, where, may_miss=may_miss, resizable=positions)
        if runner._resume:
            if "optimizer" not in checkpoint or "epoch" not in (checkpoint.get("meta") or {}):
                raise ValueError(
                    f"checkpoint {source} holds weights only and no training can be resumed from it; start from it "
                    "with --cfg-options load_from=..."
                )
            check_resumable(checkpoint, str(source))
            self._check_batch(runner, checkpoint["meta"])
            self._check_schedule(runner, checkpoint)
            self._check_optimizer(runner, checkpoint)

    def _check_batch(self, runner: Runner, meta: dict) -> None:
        before, now = meta.get("samples_per_step"), self._samples_per_step(runner)
        world_before, world_now = meta.get("world_size"), get_world_size()
        # The schedule counts iterations, of which an earlier version made one for each batch, whatever the loop.
        per_step = meta.get("iterations_per_step", meta.get("accumulative_counts", 1))
        if now is None:
            return
        if before is None:
            runner.logger.warning(
                f"The checkpoint does not tell how many samples made a step; this run has {now}. If it was another "
                "number, the learning-rate schedule does not fit."
            )
            return
        accumulated_before, accumulated_now = meta.get("accumulative_counts", 1), self._accumulated(runner)
        if (before, accumulated_before) == (now, accumulated_now) and per_step != accumulated_batches(runner):
            raise ValueError(
                f"the checkpoint counts {meta.get('iter')} iterations, {per_step} to a step of {before} samples, and "
                f"this run {accumulated_batches(runner)} to a step: its schedule would not fit. Resume with the old "
                "train_cfg.type, or start from the weights with load_from=..."
            )
        if (before, per_step) != (now, accumulated_batches(runner)):
            raise ValueError(
                f"the checkpoint was trained with {before} samples a step ({accumulated_before} accumulated batches) "
                f"on {world_before} processes, this run has {now} ({accumulated_now}) on {world_now}: the number of "
                "iterations an epoch and with it the learning-rate schedule would no longer fit. Resume with the old "
                f"world size, or set train_dataloader.batch_size so that a step has {before} samples in "
                f"{accumulated_before} accumulated batches again"
            )
        if world_before != world_now:
            runner.logger.warning(
                f"The world size changed from {world_before} to {world_now} processes since the checkpoint. A step "
                f"still has {now} samples, so the schedule holds, but masks and augmentations are drawn for each rank: "
                "the run continues correctly and not bit for bit."
            )

    @staticmethod
    def _check_schedule(runner: Runner, checkpoint: dict) -> None:
        """mmengine goes on with the checkpoint's schedule, whatever the config says; that must not surprise."""
        before, now = (_flat(schedules) for schedules in (checkpoint.get("param_schedulers"), runner.param_schedulers))
        for old, new in zip(before, now, strict=False):
            changed = [
                f"{key} {old[key]} (config: {getattr(new, key)})"
                for key in ("begin", "end", "warmup", "start_ratio", "eta_min_ratio")
                if key in old and hasattr(new, key) and old[key] != getattr(new, key)
            ]
            if changed:
                runner.logger.warning(
                    f"Resuming keeps the checkpoint's learning-rate schedule: {', '.join(changed)}, in iterations. For "
                    "the config's schedule start anew from the weights, with --cfg-options load_from=..."
                )

    @staticmethod
    def _check_optimizer(runner: Runner, checkpoint: dict) -> None:
        """With the optimizer's state mmengine takes its settings from the checkpoint, whatever the config says."""
        before, now = checkpoint["optimizer"], runner.optim_wrapper
        pairs = [(before.get(name), one) for name, one in now.items()] if isinstance(now, dict) else [(before, now)]
        changed: dict[str, None] = {}
        for state, wrapper in pairs:
            groups = getattr(getattr(wrapper, "optimizer", None), "param_groups", [])
            for old, new in zip((state or {}).get("param_groups", []), groups, strict=False):
                old.update({key: new[key] for key in _KERNELS if key in new})
                changed.update(
                    dict.fromkeys(
                        f"{_SETTINGS[key]} {old[key]} (config: {new[key]})"
                        for key in _SETTINGS
                        if key in old and key in new and _differs(old[key], new[key])
                    )
                )
        if changed:
            runner.logger.warning(
                f"Resuming keeps the checkpoint's optimizer settings: {shorten(changed, 4)}. For the config's start "
                "anew from the weights, with --cfg-options load_from=..."
            )

    @staticmethod
    def _accumulated(runner: Runner) -> int:
        return getattr(runner.optim_wrapper, "_accumulative_counts", 1)

    def _samples_per_step(self, runner: Runner) -> int | None:
        """Samples of a step; None where a batch sampler of one's own makes batches of any size."""
        loader = runner.train_dataloader
        size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
        return None if size is None else size * self._accumulated(runner) * get_world_size()


@HOOKS.register_module()
class DataGuardHook(Hook):
    """Stop before the first step when data and model do not belong together: tokenizer, codebook, codes, classes, grid.

    Checkpoints keep the grid that they were trained on; see `seitpp.structures.grid_record`.

    Args:
        compare_grids: Whether to refuse data of another grid of tokens, or another crop of it, than the model was
            trained on; False where that is meant.
    """

    priority = "VERY_HIGH"

    def __init__(self, compare_grids: bool = True) -> None:
        self.compare_grids = compare_grids
        self._trained_on: tuple[str, dict | None] = ("", None)  # checkpoint, and what it tells of its tokenizer
        self._trained_grid = TokenGrid()

    def before_run(self, runner: Runner) -> None:
        """Let the data preprocessor measure the training data, before weights are loaded and averages begin."""
        preprocessor = getattr(_unwrapped(runner.model), "data_preprocessor", None)
        if hasattr(preprocessor, "fit") and isinstance(runner._train_loop, BaseLoop):  # not in a test
            preprocessor.fit(runner.train_loop.dataloader.dataset)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the grid of tokens that was trained on."""
        if isinstance(runner._train_loop, BaseLoop):
            facts, where = self._facts(runner.train_loop.dataloader.dataset)
            checkpoint["meta"][GRID_KEY] = grid_of(_unwrapped(runner.model), facts, where).record()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whose tokens, of which grid, the checkpoint was trained on."""
        source = str(runner._load_from)
        known = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("tokenizer")
        self._trained_on = (source, known if isinstance(known, dict) else None)
        self._trained_grid = recorded_grid(checkpoint.get("meta"), source)
        self._check_positions(runner, checkpoint, source)

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data, the length of an epoch, and the codebook of pre-trained weights.

        Models and augmentations read what they need then, and check it.
        """
        model, dataset = _unwrapped(runner.model), runner.train_loop.dataloader.dataset
        self._check_epoch(runner)
        explain_single_values(model)
        self._check_facts(runner, dataset)
        self._check_training_grid(runner, dataset)
        if isinstance(runner._val_loop, BaseLoop):  # now, and not after the epochs before the first validation
            self.before_val(runner)
            self._tell_shared(runner, dataset, runner.val_loop.dataloader.dataset)
        self._check_pretrained(runner)
        if hasattr(model, "batches_per_step"):
            model.batches_per_step = batches_per_step(runner)
        for part in (model, model.data_preprocessor):
            if hasattr(part, "prepare_training"):
                part.prepare_training(*self._facts(dataset))

    def _tell_shared(self, runner: Runner, dataset: object, validation: object) -> None:
        """A score on samples that were trained on is none of what the model makes of others."""
        if shared := num_shared(origins_of(dataset), origins_of(validation)):
            where, scored = self._facts(dataset)[1], self._facts(validation)[1]
            runner.logger.warning(
                f"{shared} samples of the validation data, {scored}, are among the training data, {where}: the score "
                "tells how well they are remembered. Validate on others (val_dataloader.dataset)."
            )

    @staticmethod
    def _check_epoch(runner: Runner) -> None:
        batches, accumulated = len(runner.train_dataloader), accumulated_batches(runner)
        if batches % accumulated:
            runner.logger.warning(
                f"An epoch of {batches} batches is not a whole number of steps of {accumulated} accumulated ones. "
                "Checkpoints at its end lose the gradients of the rest, so that resuming is not bit for bit; use the "
                "sampler seitpp.WholeStepSampler (tools/train.py does)."
            )

    def before_val(self, runner: Runner) -> None:
        """Check the validation data."""
        dataset = runner.val_loop.dataloader.dataset
        self.check(runner, dataset)
        if self.compare_grids and isinstance(runner._train_loop, BaseLoop):
            model, (facts, where) = _unwrapped(runner.model), self._facts(dataset)
            own, source = self._facts(runner.train_loop.dataloader.dataset)
            trained, given = grid_of(model, own, source), seen_grid(model, facts, where)
            check_trained_on(trained, f"a model of {source}", given, where, _GRID_SWITCH)

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        self.check(runner, runner.test_loop.dataloader.dataset)

    @staticmethod
    def _facts(dataset: object) -> tuple[dict, str]:
        """What a data set tells of itself, and its name."""
        return getattr(dataset, "metainfo", None) or {}, getattr(dataset, "store_path", type(dataset).__name__)

    def check(self, runner: Runner, dataset: object) -> None:
        """Refuse a data set for validation or testing that does not belong to the run's model."""
        self._check_facts(runner, dataset)
        if not self.compare_grids:
            return
        model, (facts, where) = _unwrapped(runner.model), self._facts(dataset)
        given = seen_grid(model, facts, where)
        if not isinstance(runner._train_loop, BaseLoop):  # a run that trains on is compared with its own data
            source = f"checkpoint {self._trained_on[0]}"
            check_trained_on(self._trained_grid, source, given, where, _GRID_SWITCH)
        check_input_size(model, given, where, _GRID_SWITCH)

    def _check_training_grid(self, runner: Runner, dataset: object) -> None:
        """Training may go on at another grid, from weights, and not by resuming; the log says so."""
        model, (facts, where) = _unwrapped(runner.model), self._facts(dataset)
        given, (source, _) = grid_of(model, facts, where), self._trained_on
        if not self.compare_grids:
            return
        if runner._resume:
            check_trained_on(self._trained_grid, f"checkpoint {source}", given, where, _GRID_SWITCH)
        elif difference := grid_difference(self._trained_grid, given):
            runner.logger.warning(f"Checkpoint {source} is trained on at another grid: {difference}, of {where}.")
        preprocessor = model.data_preprocessor
        if getattr(preprocessor, "crop_size", None) is not None or not getattr(preprocessor, "augments", None):
            check_input_size(model, given, where, _GRID_SWITCH)  # else augmentations may crop

    def _check_positions(self, runner: Runner, checkpoint: dict, source: str) -> None:
        """Weights may be tested only with the positions that they were trained with."""
        if self.compare_grids and not isinstance(runner._train_loop, BaseLoop):
            weights = checkpoint.get("state_dict") or {}
            check_positions(_unwrapped(runner.model), weights, source, _GRID_SWITCH)

    def _check_facts(self, runner: Runner, dataset: object) -> None:
        model = _unwrapped(runner.model)
        facts, where = self._facts(dataset)
        self._check_codebook(model, facts, where)
        self._check_tokenizer(facts, where)
        self._check_labels(model, facts, dataset, where)

    def _check_tokenizer(self, facts: dict, where: str) -> None:
        """Two tokenizers may have the same codebook, or none, and other tokens."""
        source, known = self._trained_on
        check_same_tokenizer(known, f"checkpoint {source}", facts.get("tokenizer"), where)

    @staticmethod
    def _check_codebook(model: torch.nn.Module, facts: dict, where: str) -> None:
        preprocessor = model.data_preprocessor
        if not hasattr(preprocessor, "identity"):
            return
        source, codebook = preprocessor.codebook_source, preprocessor.codebook
        check_same_tokenizer(
            data_identity(facts),
            where,
            preprocessor.identity,
            f"the data preprocessor (codebook {source})",
            "Set data_preprocessor.codebook to the store itself, or for values without a codebook "
            "data_preprocessor.channels and model.backbone.code_dim to the number of integers per position",
        )
        if codebook is None:
            return
        distance, own = facts.get("distance"), preprocessor.distance
        if preprocessor.output == "codes" and distance not in (None, own):
            raise ValueError(
                f"the codes of {where} were assigned by the {distance} distance, the data preprocessor finds codes by "
                f"the {own} one; set data_preprocessor.distance to {distance!r}"
            )
        backbone = getattr(model, "backbone", None)
        embedding = getattr(backbone, "token_embed", None)
        code_dim = getattr(backbone, "code_dim", None) if embedding is None else None
        if code_dim is not None and code_dim != codebook.shape[1]:
            raise ValueError(
                f"the backbone takes embeddings of {code_dim} values, the codebook {source} has {codebook.shape[1]} a "
                "code; set model.backbone.code_dim to it"
            )
        if embedding is not None and embedding.codebook_size != len(codebook):
            raise ValueError(
                f"the backbone embeds {embedding.codebook_size} codes, the codebook {source} has {len(codebook)}; set "
                "model.backbone.codebook_size (and the head's) to it"
            )

    def _check_pretrained(self, runner: Runner) -> None:
        """An encoder of codes starts from weights of the same codes, where their checkpoint tells."""
        model = _unwrapped(runner.model)
        backbone = getattr(model, "backbone", None)
        path = getattr(backbone, "pretrained_from", None)
        if path is None:
            return
        content = load_checkpoint_file(path)
        before = recorded_grid(content.get("meta"), path)
        given = grid_of(model, *self._facts(runner.train_loop.dataloader.dataset))
        if difference := grid_difference(before, given):
            runner.logger.warning(f"The encoder of {path} goes on at another grid: {difference}.")
        if backbone.token_embed is None or getattr(model.data_preprocessor, "codebook", None) is None:
            return
        table = state_dict_of(content, path).get("data_preprocessor.codebook")
        if table is not None:
            preprocessor = model.data_preprocessor
            than = f"the data preprocessor (codebook {preprocessor.codebook_source})"
            check_same_tokenizer(
                codebook_identity(table), f"pre-trained checkpoint {path}", preprocessor.identity, than
            )

    @staticmethod
    def _check_labels(model: torch.nn.Module, facts: dict, dataset: object, where: str) -> None:
        DataGuardHook._check_map_classes(model, facts, where)
        num_classes = getattr(getattr(model, "head", None), "num_classes", None)
        if num_classes is None:
            return
        soft = getattr(model.data_preprocessor, "num_classes", None)
        if soft not in (None, num_classes):
            raise ValueError(
                f"the data preprocessor makes soft targets of {soft} classes, the head has {num_classes}; set "
                "data_preprocessor.num_classes to model.head.num_classes"
            )
        labels = getattr(dataset, "labels", None)
        if labels is None:
            if type(dataset).__module__.startswith("mmengine.dataset"):  # a wrapper, which knows none of its data's
                raise ValueError(
                    f"{where} is mmengine's and tells no labels, which a classifier needs; use seitpp.{where}, which "
                    "takes the same options"
                )
            if getattr(dataset, "with_labels", True) is False:
                raise ValueError(
                    f"{where} reads no labels (with_labels=False), and a classifier needs them; leave with_labels out"
                )
            raise ValueError(
                f"{where} has no labels, and a classifier needs them; use a labelled store, a release file with its "
                "label file, or images with classes"
            )
        classes = facts.get("classes")
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                f"{where} has {len(classes)} classes, the head has {num_classes}; set model.head.num_classes"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"{where} has labels from {labels.min()} to {labels.max()}, the head has {num_classes} classes; set "
                "model.head.num_classes"
            )

    @staticmethod
    def _check_map_classes(model: torch.nn.Module, facts: dict, where: str) -> None:
        """A segmentor's heads; values of label maps are checked where they are read."""
        classes = facts.get("classes")
        for name in ("decode_head", "auxiliary_head"):
            part = getattr(model, name, None)
            for head in part if isinstance(part, torch.nn.ModuleList) else [part]:
                num_classes = getattr(head, "num_classes", None)
                if classes is not None and num_classes not in (None, len(classes)):
                    raise ValueError(
                        f"{where} has {len(classes)} classes, the {name} has {num_classes}; set "
                        f"model.{name}.num_classes"
                    )
