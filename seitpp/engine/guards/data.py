"""The guard of data: tokens, codebook, labels and grid that belong to the model and to its checkpoint."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from seitpp.datasets import identity_collate, num_shared, origins_of
from seitpp.engine.accumulation import accumulated_batches, batches_per_step
from seitpp.engine.guards.classes import check_labels
from seitpp.engine.guards.grid import check_input_size, check_positions, check_trained_on, grid_of, seen_grid
from seitpp.engine.norm_statistics import explain_single_values
from seitpp.engine.runs import metadata_of, name_of, unwrapped
from seitpp.io.checkpoint import load_checkpoint_file, state_dict_of
from seitpp.registry import HOOKS
from seitpp.structures.grid_record import GRID_KEY, TokenGrid, grid_difference, recorded_grid
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity, data_identity

_SWITCH = "set default_hooks.data_guard.compare_grids=False"
_WRAPPERS = ("ConcatDataset", "RepeatDataset", "ClassBalancedDataset")  # of mmengine, and ours of the same names


@HOOKS.register_module()
class DataGuardHook(Hook):
    """Stop before the first step when data and model do not belong together: tokenizer, codebook, codes, classes, grid.

    Checkpoints record the grid that they were trained on; see `seitpp.structures.grid_record`.

    Args:
        compare_grids: Whether to refuse data of another grid of tokens, or another crop of it, than the model was
            trained on; False where that is meant.
    """

    priority = "VERY_HIGH"

    def __init__(self, compare_grids: bool = True) -> None:
        self.compare_grids = compare_grids
        self._source = ""  # the checkpoint that was loaded
        self._tokenizer: dict | None = None  # of its training, where known
        self._grid = TokenGrid()

    def before_run(self, runner: Runner) -> None:
        """Let the data preprocessor measure the training data, before weights are loaded and averages begin."""
        preprocessor = getattr(unwrapped(runner.model), "data_preprocessor", None)
        if hasattr(preprocessor, "fit") and isinstance(runner._train_loop, BaseLoop):  # not in a test
            preprocessor.fit(runner.train_loop.dataloader.dataset)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record the grid of tokens that was trained on."""
        if isinstance(runner._train_loop, BaseLoop):
            given = _grid(grid_of, runner, runner.train_loop.dataloader.dataset)
            checkpoint["meta"][GRID_KEY] = given.record()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the tokenizer and the grid that the checkpoint was trained on."""
        self._source, meta = str(runner._load_from), checkpoint.get("meta")
        tokenizer = ((meta or {}).get("dataset_meta") or {}).get("tokenizer")
        self._tokenizer = tokenizer if isinstance(tokenizer, dict) else None
        self._grid = recorded_grid(meta, self._source)
        if self.compare_grids and not isinstance(runner._train_loop, BaseLoop):  # tested: no positions are learned
            weights = checkpoint.get("state_dict") or {}
            check_positions(unwrapped(runner.model), weights, self._source, _SWITCH)

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data, the length of an epoch, and the codebook of pre-trained weights.

        Models and augmentations then read what they need, and check it.
        """
        model, dataset = unwrapped(runner.model), runner.train_loop.dataloader.dataset
        _check_fetch(runner.train_loop.dataloader)
        _tell_incomplete_step(runner)
        explain_single_values(model)
        self._check_tokens_and_labels(runner, dataset)
        self._check_training_grid(runner, dataset)
        if isinstance(runner._val_loop, BaseLoop):  # now, and not after the epochs before the first validation
            self.before_val(runner)
            _tell_shared(runner, dataset, runner.val_loop.dataloader.dataset)
        _check_pretrained(runner)
        if hasattr(model, "batches_per_step"):
            model.batches_per_step = batches_per_step(runner)
        for part in (model, model.data_preprocessor):
            if hasattr(part, "prepare_training"):
                part.prepare_training(metadata_of(dataset), name_of(dataset))

    def before_val(self, runner: Runner) -> None:
        """Check the validation data, in training also against the grid of the training data."""
        dataset = runner.val_loop.dataloader.dataset
        _check_fetch(runner.val_loop.dataloader)
        self.check(runner, dataset)
        if self.compare_grids and isinstance(runner._train_loop, BaseLoop):
            own = runner.train_loop.dataloader.dataset
            trained, given = _grid(grid_of, runner, own), _grid(seen_grid, runner, dataset)
            check_trained_on(trained, f"a model of {name_of(own)}", given, name_of(dataset), _SWITCH)

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        _check_fetch(runner.test_loop.dataloader)
        self.check(runner, runner.test_loop.dataloader.dataset)

    def check(self, runner: Runner, dataset: Any) -> None:
        """Refuse a data set for validation or testing that does not belong to the run's model."""
        self._check_tokens_and_labels(runner, dataset)
        if not self.compare_grids:
            return
        given, where = _grid(seen_grid, runner, dataset), name_of(dataset)
        if not isinstance(runner._train_loop, BaseLoop):  # a run that trains is compared with its own data
            check_trained_on(self._grid, f"checkpoint {self._source}", given, where, _SWITCH)
        check_input_size(unwrapped(runner.model), given, where, _SWITCH)

    def _check_tokens_and_labels(self, runner: Runner, dataset: Any) -> None:
        model, metadata, where = unwrapped(runner.model), metadata_of(dataset), name_of(dataset)
        _check_codebook(model, metadata, where)
        # Two tokenizers may have the same codebook, or none, and other tokens.
        check_same_tokenizer(self._tokenizer, f"checkpoint {self._source}", metadata.get("tokenizer"), where)
        check_labels(model, dataset)

    def _check_training_grid(self, runner: Runner, dataset: Any) -> None:
        """Let training from weights go on at another grid, with a line in the log, and resuming not."""
        if not self.compare_grids:
            return
        given, where = _grid(grid_of, runner, dataset), name_of(dataset)
        if runner._resume:
            check_trained_on(self._grid, f"checkpoint {self._source}", given, where, _SWITCH)
        elif difference := grid_difference(self._grid, given):
            runner.logger.warning(f"Checkpoint {self._source} is trained on at another grid: {difference}, of {where}.")
        model = unwrapped(runner.model)
        preprocessor = model.data_preprocessor
        if getattr(preprocessor, "crop_size", None) is not None or not getattr(preprocessor, "augments", None):
            check_input_size(model, given, where, _SWITCH)  # else augmentations may crop


def _check_fetch(loader: DataLoader) -> None:
    """Refuse a data set that is fetched sample by sample where batches are expected, as of mmengine's wrappers."""
    collate = getattr(loader.collate_fn, "func", loader.collate_fn)  # mmengine makes a partial of it
    if collate is not identity_collate or hasattr(loader.dataset, "__getitems__"):
        return
    name = type(loader.dataset).__name__
    ours = (
        f"use seitpp.{name}, which takes the same options and fetches whole batches, or " if name in _WRAPPERS else ""
    )
    raise ValueError(
        f"{name_of(loader.dataset)} is fetched sample by sample, and the loader's collate_fn, seitpp.identity_collate, "
        f"expects whole batches; {ours}set collate_fn=dict(type='default_collate')"
    )


def _grid(function: Any, runner: Runner, dataset: Any) -> TokenGrid:
    return function(unwrapped(runner.model), metadata_of(dataset), name_of(dataset))


def _tell_incomplete_step(runner: Runner) -> None:
    batches, accumulated = len(runner.train_dataloader), accumulated_batches(runner)
    if batches % accumulated:
        runner.logger.warning(
            f"An epoch of {batches} batches is not a whole number of steps of {accumulated} accumulated ones. "
            "Checkpoints at its end lose the gradients of the rest, so that resuming is not bit for bit; use the "
            "sampler seitpp.WholeStepSampler (tools/train.py does)."
        )


def _tell_shared(runner: Runner, dataset: Any, validation: Any) -> None:
    if shared := num_shared(origins_of(dataset), origins_of(validation)):
        runner.logger.warning(
            f"{shared} samples of the validation data, {name_of(validation)}, are among the training data, "
            f"{name_of(dataset)}: the score tells how well they are remembered. Validate on others "
            "(val_dataloader.dataset)."
        )


def _check_codebook(model: nn.Module, metadata: dict, where: str) -> None:
    preprocessor = model.data_preprocessor
    if not hasattr(preprocessor, "identity"):
        return
    source, codebook = preprocessor.codebook_source, preprocessor.codebook
    check_same_tokenizer(
        data_identity(metadata),
        where,
        preprocessor.identity,
        f"the data preprocessor (codebook {source})",
        "Set data_preprocessor.codebook to the store itself, or for values without a codebook "
        "data_preprocessor.channels and model.backbone.code_dim to the number of integers per position",
    )
    if codebook is None:
        return
    distance, own = metadata.get("distance"), preprocessor.distance
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
            f"the backbone takes embeddings of {code_dim} values, the codebook {source} has {codebook.shape[1]} per "
            "code; set model.backbone.code_dim to it"
        )
    if embedding is not None and embedding.codebook_size != len(codebook):
        raise ValueError(
            f"the backbone embeds {embedding.codebook_size} codes, the codebook {source} has {len(codebook)}; set "
            "model.backbone.codebook_size (and the head's) to it"
        )


def _check_pretrained(runner: Runner) -> None:
    """Refuse an encoder of codes that starts from weights of another codebook; say so where the grid is another."""
    model = unwrapped(runner.model)
    backbone, preprocessor = getattr(model, "backbone", None), model.data_preprocessor
    path = getattr(backbone, "pretrained_from", None)
    if path is None:
        return
    content = load_checkpoint_file(path)
    given = _grid(grid_of, runner, runner.train_loop.dataloader.dataset)
    if difference := grid_difference(recorded_grid(content.get("meta"), path), given):
        runner.logger.warning(f"The encoder of {path} goes on at another grid: {difference}.")
    table = state_dict_of(content, path).get("data_preprocessor.codebook")
    if table is None or backbone.token_embed is None or getattr(preprocessor, "codebook", None) is None:
        return
    than = f"the data preprocessor (codebook {preprocessor.codebook_source})"
    check_same_tokenizer(codebook_identity(table), f"pre-trained checkpoint {path}", preprocessor.identity, than)
