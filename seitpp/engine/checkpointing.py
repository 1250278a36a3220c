"""Checkpoints of a run: written aside and renamed, removed only when a newer one is there, found again after a kill."""

import hashlib
import io
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.runner import Runner, find_latest_checkpoint

from seitpp.io.atomic_write import remove_unfinished, written_whole
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.registry import HOOKS


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, made safe: a kill or a full disk at any moment leaves a checkpoint to resume from.

    A checkpoint is written under another name, flushed to the disk and renamed; what it replaces is removed after
    that, so that for a moment there is one more than `max_keep_ckpts`. Only files in the run's own folder are removed,
    and only those of this run: a run that goes on in a copy of its folder, or from a checkpoint elsewhere, leaves
    the old folder as it is. `save_best` may also name a score of the weights beside their average, NAME_origin.

    Checkpoints that go to a URL instead of a folder are written by mmengine.

    Args:
        **kwargs: As for `mmengine.CheckpointHook`.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the run's folder and its earlier checkpoints, and clear away what a kill left half written."""
        info = runner.message_hub.runtime_info
        kept = [number for number in info.pop("keep_ckpt_ids", []) if type(number) is int]
        super().before_train(runner)
        if not self._is_local:
            return
        folder = Path(self.out_dir)
        if is_main_process():
            for one in {folder, Path(runner.work_dir)}:
                for pattern in ("*.pth", "last_checkpoint"):
                    remove_unfinished(one, pattern)
        source = runner._load_from or find_latest_checkpoint(runner.work_dir)
        goes_on_here = runner._resume and source is not None and Path(source).resolve().parent == folder.resolve()
        self._take_over_best(runner, goes_on_here)
        if self.max_keep_ckpts > 0:
            # Those of another folder are not this run's to remove.
            self._keep(runner, kept if goes_on_here else [])
            self._remove_surplus(runner)

    @property
    def _is_local(self) -> bool:
        return isinstance(self.file_backend, LocalBackend)

    def _take_over_best(self, runner: Runner, goes_on_here: bool) -> None:
        """Find the best checkpoint so far by its name in this folder, wherever the folder was."""
        for key in self.key_indicators if self.save_best else ():
            noted = runner.message_hub.runtime_info.get(self._info("best_ckpt", key))
            own = Path(self.out_dir) / Path(str(noted)).name
            is_own = noted is not None and goes_on_here and own.name.startswith("best_") and own.is_file()
            self._set_best(runner, key, str(own) if is_own else None)
            if noted is None or is_own:
                continue
            if Path(str(noted)).is_file():
                runner.logger.info(
                    f"The best checkpoint so far is not in {self.out_dir}; it stays where it is: {noted}"
                )
            else:  # a run that asks for the best one shall not end without any
                runner.message_hub.runtime_info.pop(self._info("best_score", key), None)
                runner.logger.info(f"The best checkpoint so far, {noted}, is not there: the next one counts anew.")

    def _info(self, name: str, key: str) -> str:
        """Return mmengine's name of a note, of which the score is a part where there are several."""
        return name if len(self.key_indicators) == 1 else f"{name}_{key}"

    def _set_best(self, runner: Runner, key: str, path: str | None) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[key] = path
        runner.message_hub.runtime_info.pop(self._info("best_ckpt", key), None)
        if path is not None:
            runner.message_hub.update_info(self._info("best_ckpt", key), path)

    def _keep(self, runner: Runner, numbers: list[int]) -> None:
        self.keep_ckpt_ids = numbers
        runner.message_hub.update_info("keep_ckpt_ids", list(numbers))

    def _remove_surplus(self, runner: Runner) -> None:
        numbers = list(self.keep_ckpt_ids)
        while len(numbers) > self.max_keep_ckpts:
            _remove(Path(self.out_dir) / self.filename_tmpl.format(numbers.pop(0)))
        self._keep(runner, numbers)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        if not self._is_local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids[-1:]:
            # The file itself says what lies beside it, also what goes when it is there: a kill may come between.
            self._keep(runner, [*self.keep_ckpt_ids, step])
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        options = {"save_optimizer": self.save_optimizer, "save_param_scheduler": self.save_param_scheduler}
        self._write(runner, name, **options, meta=meta, by_epoch=self.by_epoch, **self.args)
        if is_main_process():
            with written_whole(Path(runner.work_dir) / "last_checkpoint") as file:
                file.write_text(self.last_ckpt)
        if self.max_keep_ckpts > 0:
            self._remove_surplus(runner)

    def _write(self, runner: Runner, name: str, **options: Any) -> None:
        path = Path(self.out_dir) / name
        target: AbstractContextManager[Path] = written_whole(path) if is_main_process() else nullcontext(path)
        with target as file:
            runner.save_checkpoint(str(file.parent), file.name, backend_args=self.backend_args, **options)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if not self.save_best or not hasattr(self, "file_backend"):  # a validation outside of training
            return
        if "auto" in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        metrics = {**metrics, **scores_beside_average(runner.message_hub, "val/")}
        if unknown := [key for key in self.key_indicators if key not in metrics]:
            raise ValueError(
                f"save_best={unknown[0]!r} of the checkpoint hook names no score of the validation, which gives "
                f"{', '.join(metrics)}; the run's checkpoints up to here are kept, and it goes on with --resume"
            )
        if not self._is_local:
            super()._save_best_checkpoint(runner, metrics)
            return
        better = [self._save_if_best(runner, key, metrics[key]) for key in self.key_indicators]
        if any(better) and self.last_ckpt is not None:  # its own notes shall name the best one, too
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_checkpoint_with_step(runner, step, {"epoch": runner.epoch, "iter": runner.iter})

    def _save_if_best(self, runner: Runner, key: str, score: float | None) -> bool:
        rule = self.rules[self.key_indicators.index(key)]
        noted = self._info("best_score", key)
        before = runner.message_hub.runtime_info.get(noted, self.init_value_map[rule])
        if score is None or not self.is_better_than[key](score, before):
            return False
        kind, step = ("epoch", runner.epoch) if self.by_epoch else ("iter", runner.iter)
        name = f"best_{key}_{self.filename_tmpl.format(step)}".replace("/", "_")
        previous = runner.message_hub.runtime_info.get(self._info("best_ckpt", key))
        path = str(Path(self.out_dir) / name)
        runner.message_hub.update_info(noted, score)
        self._set_best(runner, key, path)
        meta = {"epoch": runner.epoch, "iter": runner.iter}
        self._write(runner, name, save_optimizer=False, save_param_scheduler=False, meta=meta, by_epoch=False)
        runner.logger.info(f"The best checkpoint with {score:0.4f} {key} at {step} {kind} is saved to {name}.")
        if previous and previous != path:
            _remove(Path(previous))
            runner.logger.info(f"The previous best checkpoint {previous} is removed")
        return True

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        content = load_checkpoint_file(ckpt_path)
        content = {key: value for key, value in content.items() if key in self.published_keys}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
        path = Path(ckpt_path).with_name(f"{Path(ckpt_path).stem}-{digest}.pth")
        with written_whole(path) as file:
            file.write_bytes(buffer.getvalue())
        runner.logger.info(f"The checkpoint {ckpt_path} is published to {path}, with {', '.join(content)}.")


@master_only
def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def scores_beside_average(hub: MessageHub, prefix: str) -> dict[str, float]:
    """Return scores of the weights beside their average, `NAME_origin`, which mmpretrain's EMA hook only logs."""
    logged = {name: value for name, value in hub.log_scalars.items() if name.endswith("_origin")}
    return {name.removeprefix(prefix): value.current() for name, value in logged.items() if name.startswith(prefix)}
