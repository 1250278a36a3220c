"""The first ten lines of a log: what a run does, on what data, and where its results go.

mmengine's own opening (environment, the whole config, the order of hooks) is left out of the console and follows the
summary in the log file.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from rich.filesize import decimal
from torch import nn
from torch.utils.data import DataLoader

from seitpp.engine.accumulation import accumulated_batches, batches_per_step
from seitpp.engine.runs import metadata_of, name_of, unwrapped
from seitpp.io.text import cut, shorten
from seitpp.registry import HOOKS
from seitpp.storage.tokenizer_entry import tokenizer_name
from seitpp.structures.grid_record import by

_LINE_CHARACTERS = 180
_MOST_RECORDS = 10_000
# How messages of mmengine begin that only a log file keeps.
_FILE_ONLY = re.compile(
    r"\s*-{20,}\s*System environment|Config:\n|Hooks will be executed|Distributed training is not used|Exp name: "
    r"|paramwise_options -- |\S+ is skipped since its requires_grad=False"
)
# Parts of a model that say nothing of it.
_UNNAMED = ("data_preprocessor", "loss", "loss_module")


class _Waiting(MemoryHandler):
    """Keeps back what a log file gets, until it is closed: by the summary, or when a run that fails before it ends."""

    def __init__(self, file: logging.FileHandler) -> None:
        super().__init__(_MOST_RECORDS, logging.ERROR, file)
        self.file: logging.FileHandler | None = file
        self.baseFilename = file.baseFilename  # by which handlers with an open file are known
        self.setLevel(file.level)

    def hand_back(self) -> logging.Handler:
        """Hand the file's handler back, which this one then leaves open."""
        file, self.file = self.file, None
        return file

    def close(self) -> None:
        super().close()
        if self.file is not None:
            self.file.close()


def open_with_summary(logger: logging.Logger) -> None:
    """Keep mmengine's opening out of the console, and back from the log file until the summary is written."""
    for number, handler in enumerate(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.handlers[number] = _Waiting(handler)
        else:
            handler.addFilter(lambda record: not _FILE_ONLY.match(record.getMessage()))


class SummaryFirst:
    """Goes before a class of runners, whose log it lets open with the summary."""

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)  # type: ignore[misc]
        open_with_summary(logger)
        return logger


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Writes `run_summary` to the log, before anything else is."""

    priority = "HIGHEST"

    def before_run(self, runner: Runner) -> None:
        logger = runner.logger
        waiting = [handler for handler in logger.handlers if isinstance(handler, _Waiting)]
        logger.handlers[:] = [handler.hand_back() if handler in waiting else handler for handler in logger.handlers]
        summary = run_summary(runner)
        width = 2 + max(map(len, summary))
        logger.info("\n".join(["this run", *(f"{name:{width}}{text}" for name, text in summary.items())]))
        for handler in waiting:
            handler.close()


def run_summary(runner: Runner) -> dict[str, str]:
    """Describe a run that is about to begin, one line by name; `-` is what parts of other projects do not tell."""
    trains = isinstance(runner._train_loop, BaseLoop)
    lines: dict[str, Callable[[Runner], str]] = {
        "data": _data,
        "tokenizer": _tokenizer,
        "bytes": _bytes,
        "model": _model,
    }
    lines["parameters"] = _parameters
    if trains:
        lines |= {"steps": _steps, "batch": _batch, "learning rate": _rates, "augmentations": _augmentations}
    else:
        lines |= {"checkpoint": lambda runner: str(runner._load_from or "none: untrained weights"), "batch": _batch}
    lines["work folder"] = lambda runner: f"{runner.work_dir} (log: {runner.log_dir})"
    return {name: cut(_told(function, runner), _LINE_CHARACTERS) for name, function in lines.items()}


def _told(function: Callable[[Runner], str], runner: Runner) -> str:
    try:
        return function(runner)
    except Exception as error:  # a part of another project may lack anything, and no run ends for its summary
        runner.logger.debug(f"the summary has no {function.__name__.strip('_')}: {error!r}")
        return "-"


def _loaders(runner: Runner) -> dict[str, DataLoader]:
    """Return the loaders of the loops that are built, by name; the first is that of the run."""
    loops = {"training": runner._train_loop, "validation": runner._val_loop, "test": runner._test_loop}
    return {name: loop.dataloader for name, loop in loops.items() if isinstance(loop, BaseLoop)}


def _dataset(runner: Runner) -> Any:
    return next(iter(_loaders(runner).values())).dataset


def _data(runner: Runner) -> str:
    parts: list[str] = []
    classes = None
    for name, loader in _loaders(runner).items():
        dataset, metadata = loader.dataset, metadata_of(loader.dataset)
        classes = classes or metadata.get("classes") or getattr(dataset, "CLASSES", None)
        count = metadata.get("num_pairs")
        counted = f"{len(dataset):,} images" if count is None else f"{count:,} pairs"
        if (different := (metadata.get("subset") or {}).get("num_samples", len(dataset))) < len(dataset):
            counted += f" ({different:,} different, repeated)"
        parts.append(f"{'' if not parts else f'{name} '}{_place(dataset)}: {counted}")
    if classes:
        parts.insert(1, f"{len(classes):,} classes ({shorten((cut(str(one), 24) for one in classes), 4)})")
    return ", ".join(parts)


def _place(dataset: Any) -> str:
    """Return the path of a data set's store, or its class and where that reads from."""
    name = name_of(dataset)
    if hasattr(dataset, "store_path"):
        return name
    inner = getattr(dataset, "dataset", dataset)
    prefix = getattr(inner, "data_prefix", None)
    found = list(prefix.values()) if isinstance(prefix, Mapping) else [prefix]
    found += [getattr(inner, "data_root", None), getattr(inner, "ann_file", None)]
    place = next((str(one) for one in found if one), None)
    return name if place is None else f"{name} of {place}"


def _tokenizer(runner: Runner) -> str:
    dataset, model = _dataset(runner), unwrapped(runner.model)
    metadata, reader = metadata_of(dataset), getattr(dataset, "reader", None)
    trained = getattr(model, "tokenizer", None)
    if isinstance(trained, nn.Module):
        size = getattr(trained, "codebook_size", None)
        return f"{type(trained).__name__}, {by(trained.grid)} of {size:,} codes, trained here"
    if hasattr(reader, "header"):
        entry = reader.header.get("tokenizer") or {}
    elif metadata.get("codebook_size") is not None:
        entry = {"name": "that of a SeiT release"}
    else:
        entry = metadata.get("tokenizer") or {}
    if not entry:
        named = runner.cfg.model.get("tokenizer")  # TokenAdapt's
        if named is None:
            return "none: the model takes pixels"
        if isinstance(named, str):
            return f"that of {named}"
        source = named.get("checkpoint") or named.get("codebook")
        return str(named.type).split(".")[-1] + (f" of {source}" if isinstance(source, str) else "")
    codes, grid, channels = (metadata.get(key) for key in ("codebook_size", "grid", "channels"))
    what = f"{channels} integers" if channels else None if codes is None else f"{codes:,} codes"
    return ", ".join([tokenizer_name(entry), *([f"{by(grid)} of {what}"] if grid and what else [])])


def _bytes(runner: Runner) -> str:
    reader = getattr(_dataset(runner), "reader", None)
    if reader is None:
        return "no token store: files are read"
    if not hasattr(reader, "section_bytes"):  # of token pairs
        return f"{decimal(sum(path.stat().st_size for path in Path(reader.path).iterdir()))} in all"
    per_image = reader.section_bytes["tokens"] / len(reader)
    return f"{per_image:,.1f} of tokens per image; the store of {len(reader):,} has {decimal(reader.num_bytes)}"


def _model(runner: Runner) -> str:
    model = unwrapped(runner.model)
    parts = [type(one).__name__ for name, one in model.named_children() if name not in _UNNAMED]
    backbone = getattr(model, "backbone", None)
    start = runner._load_from or getattr(backbone, "pretrained_from", None)
    resumed = "resumed" if runner._resume else f"starts from {start}" if start else ""
    shown = f"{type(model).__name__}{f' ({shorten(parts, 6)})' if parts else ''}"
    return f"{shown}, {resumed}" if resumed and isinstance(runner._train_loop, BaseLoop) else shown


def _parameters(runner: Runner) -> str:
    counts = [(value.numel(), value.requires_grad) for value in unwrapped(runner.model).parameters()]
    total, trained = sum(count for count, _ in counts), sum(count for count, needs in counts if needs)
    return f"{total:,}" if total == trained else f"{total:,}, of which {trained:,} have gradients"


def _steps(runner: Runner) -> str:
    loop = runner.train_loop
    steps = loop.max_iters // accumulated_batches(runner)
    if isinstance(loop, IterBasedTrainLoop):
        return f"{steps:,}"
    epochs = f"{loop.max_epochs:,} epoch{'s' * (loop.max_epochs != 1)}"
    return f"{steps:,}: {epochs} of {len(loop.dataloader) // accumulated_batches(runner):,}"


def _batch(runner: Runner) -> str:
    loader = next(iter(_loaders(runner).values()))
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    processes = get_world_size()
    factors = ["1 process" if processes == 1 else f"{processes} processes", str(size)]
    if not isinstance(runner._train_loop, BaseLoop):
        return f"{processes * size:,} = {' x '.join(factors)}"
    accumulated = batches_per_step(runner)
    return f"{processes * size * accumulated:,} = {' x '.join(factors)} x {accumulated} accumulated"


def _optimizers(runner: Runner) -> Iterable[Any]:
    wrapper = runner.optim_wrapper
    parts = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [part.optimizer for part in parts]


def _rates(runner: Runner) -> str:
    parts = []
    for optimizer in _optimizers(runner):
        rates = sorted({group.get("initial_lr", group["lr"]) for group in optimizer.param_groups})
        decay = max(group.get("weight_decay", 0) for group in optimizer.param_groups)
        least = f" (down to {rates[0]:g} by group)" if len(rates) > 1 else ""
        parts.append(f"{rates[-1]:g}{least}, {type(optimizer).__name__}, weight decay {decay:g}")
    schedulers = runner.param_schedulers
    found = [one for part in schedulers.values() for one in part] if isinstance(schedulers, dict) else schedulers or []
    names = dict.fromkeys(_schedule(one) for one in found)
    return "; ".join([*parts, " then ".join(names) or "constant"])


def _schedule(scheduler: Any) -> str:
    warmup = getattr(scheduler, "warmup", 0)
    name = type(scheduler).__name__
    return f"{name} with {warmup:,g} {'epochs' if scheduler.by_epoch else 'iterations'} of warm-up" if warmup else name


def _augmentations(runner: Runner) -> str:
    model, dataset = unwrapped(runner.model), _dataset(runner)
    preprocessor = getattr(model, "data_preprocessor", None)
    found = [
        *_named(getattr(getattr(getattr(dataset, "dataset", dataset), "pipeline", None), "transforms", ())),
        *_named(getattr(getattr(preprocessor, "augments", None), "transforms", ())),
        *_named(getattr(getattr(preprocessor, "batch_augments", None), "augments", None) or ()),
        *_named(getattr(model, "augments", ())),
    ]
    return ", ".join(dict.fromkeys(found)) or "none"


def _named(transforms: Any) -> Iterator[str]:
    """Yield the names of transforms, composites with those that they hold."""
    for transform in transforms if isinstance(transforms, (list, tuple)) else ():
        children = getattr(transform, "children", None)
        inner = dict.fromkeys(_named(children)) if isinstance(children, (list, tuple)) else {}
        name = type(transform).__name__
        if not name.startswith(("Load", "Pack", "Collect", "NoneType")):  # which change nothing
            yield name + (f"({', '.join(inner)})" if inner else "")
