"""No moment of a run, and no copy of its folder, loses a checkpoint."""

import errno
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from seitpp.engine import WholeCheckpointHook, checkpointing, config_changes, resuming
from seitpp.engine.resuming import is_whole, newest_checkpoint
from seitpp.io.checkpoint import load_checkpoint_file

KILLS = 25


class Killed(BaseException):
    """Stands for the end of the process."""


def slow(cfg: Config) -> None:
    cfg.auto_scale_lr.enable = False
    cfg.optim_wrapper.optimizer.lr = 1e-4
    cfg.train_cfg.val_interval = 1
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1


@pytest.fixture
def config(tiny: Callable, mtm_leaf: Path) -> Path:
    """MTM for three epochs of a step, of which the last checkpoint is kept."""
    return tiny(mtm_leaf, late=slow, num_samples=2, epochs=3)


@pytest.fixture
def train(config: Path, build_runner: Callable[[Config], Runner], tmp_path: Path) -> Callable[..., Runner]:
    """Trains in a work folder; options are settings of the config."""

    def run(folder: str = "run", **options: object) -> Runner:
        cfg = Config.fromfile(config)
        cfg.work_dir = str(tmp_path / folder)
        cfg.merge_from_dict({name.replace("__", "."): value for name, value in options.items()})
        runner = build_runner(cfg)
        runner.train()
        return runner

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Sets the score of each validation."""

    def use(values: list[float]) -> None:
        left = iter(values)
        monkeypatch.setattr(
            "seitpp.evaluation.MaskedCodeMetric.compute_metrics", lambda self, results: {"accuracy": next(left)}
        )

    return use


BEST = {"default_hooks__checkpoint__save_best": "masked_code/accuracy"}


class TestKills:
    @pytest.fixture
    def interrupted(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
        """Lets the n-th file that mmengine writes end in the middle."""

        def use(number: int, error: BaseException) -> None:
            put, calls = LocalBackend.put, []

            def half(self: LocalBackend, content: bytes, path: str) -> None:
                calls.append(path)
                if len(calls) == number:
                    put(self, content[: len(content) // 2], path)
                    raise error
                put(self, content, path)

            monkeypatch.setattr(LocalBackend, "put", half)

        return use

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_a_checkpoint_is_there_at_any_moment(
        self, train: Callable, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed before each change of a name and each removal, of the periodic checkpoint and its note."""
        replace, unlink, calls = os.replace, Path.unlink, []

        def count(where: object) -> None:
            if str(tmp_path / "run") in str(where) and "epoch_" in str(where):
                calls.append(where)
                if len(calls) == number:
                    raise Killed

        monkeypatch.setattr(os, "replace", lambda one, two: (count(two), replace(one, two)))
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: (count(path), unlink(path, missing_ok)))
        with pytest.raises(Killed):
            train()
        monkeypatch.undo()
        newest = newest_checkpoint(str(tmp_path / "run"))
        if number == 1:
            assert newest is None
        else:
            assert is_whole(Path(newest)) and load_checkpoint_file(newest)["meta"]["epoch"] >= 1

    def test_a_full_disk_names_the_file_and_keeps_the_one_before(
        self, train: Callable, tmp_path: Path, interrupted: Callable
    ) -> None:
        interrupted(2, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(OSError, match=r"No space left on device: '.*run/epoch_2\.pth'"):
            train()
        assert [name for name in names(tmp_path / "run") if "pth" in name] == ["epoch_1.pth"]
        assert newest_checkpoint(str(tmp_path / "run")) == str(tmp_path / "run" / "epoch_1.pth")

    def test_a_full_disk_keeps_the_best_one(
        self, train: Callable, tmp_path: Path, interrupted: Callable, scores: Callable
    ) -> None:
        scores([1.0, 2.0, 3.0])
        interrupted(5, OSError(errno.ENOSPC, "No space left on device"))  # epoch 1, its best, epoch 1 again, epoch 2
        with pytest.raises(OSError, match=r"best_masked_code_accuracy_epoch_2\.pth"):
            train(**BEST)
        found = [name for name in names(tmp_path / "run") if name.endswith("pth")]
        assert found == ["best_masked_code_accuracy_epoch_1.pth", "epoch_2.pth"]
        assert is_whole(tmp_path / "run" / found[0])

    def test_leftovers_are_ignored_and_cleared_away(self, train: Callable, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        train(train_cfg__max_epochs=1)
        for name in (".epoch_2.pth.tmp", ".best_x_epoch_2.pth.tmp", ".last_checkpoint.tmp", "own.pth.tmp"):
            (folder / f"{name}{'9a' * 16}").write_bytes(b"half")
        assert newest_checkpoint(str(folder)) == str(folder / "epoch_1.pth")
        train(resume=True, load_from=str(folder / "epoch_1.pth"))
        assert [name for name in names(folder) if "tmp" in name] == [f"own.pth.tmp{'9a' * 16}"]

    @pytest.mark.slow
    def test_a_kill_between_writing_and_removing_is_made_up_for(
        self, train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def kill(path: Path) -> None:
            raise Killed

        monkeypatch.setattr(checkpointing, "_remove", kill)
        with pytest.raises(Killed):
            train()
        monkeypatch.undo()
        folder = tmp_path / "run"
        assert {"epoch_1.pth", "epoch_2.pth"} <= set(names(folder))
        train(resume=True, load_from=newest_checkpoint(str(folder)))
        assert [name for name in names(folder) if name.endswith(".pth")] == ["epoch_3.pth"]

    @pytest.mark.slow
    def test_a_killed_run_always_has_a_checkpoint(
        self, tiny: Callable, mtm_leaf: Path, tool: Callable, tmp_path: Path
    ) -> None:
        config = tiny(mtm_leaf, late=slow, num_samples=2, epochs=100_000)
        draws, folder = random.Random(0), tmp_path / "run"
        line = ("train.py", config, "--work-dir", folder, "--no-validate", "--resume")
        for _ in range(KILLS):
            before = newest_checkpoint(str(folder))
            child = get_context("fork").Process(target=tool, args=line)
            child.start()
            deadline = time.monotonic() + 120
            while newest_checkpoint(str(folder)) == before and child.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draws.random() * 0.3)
            child.kill()
            child.join()
            assert child.exitcode == -signal.SIGKILL
            newest = newest_checkpoint(str(folder))
            assert newest is not None and newest != before
            assert load_checkpoint_file(newest)["meta"]["epoch"] >= 1
            assert len(list(folder.glob("epoch_*.pth"))) <= 3 and len(list(folder.glob(".*.tmp*"))) <= 2


class TestOtherFolders:
    def test_resuming_in_a_copy_keeps_the_best_checkpoint_of_the_original(
        self, train: Callable, tmp_path: Path, scores: Callable
    ) -> None:
        scores([5.0, 6.0])
        train(**BEST, train_cfg__max_epochs=1)
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        before = names(tmp_path / "run")
        train("copy", **BEST, resume=True, load_from=newest_checkpoint(str(tmp_path / "copy")), train_cfg__max_epochs=2)
        assert names(tmp_path / "run") == before
        found = [name for name in names(tmp_path / "copy") if name.endswith("pth")]
        assert found == ["best_masked_code_accuracy_epoch_2.pth", "epoch_2.pth"]  # its own went

    def test_resuming_in_a_new_folder_removes_nothing(self, train: Callable, tmp_path: Path, scores: Callable) -> None:
        scores([5.0, 6.0])
        train(**BEST, train_cfg__max_epochs=1)
        before = names(tmp_path / "run")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "epoch_1.pth").write_bytes(b"of somebody else")
        train("new", **BEST, resume=True, load_from=str(tmp_path / "run" / "epoch_1.pth"), train_cfg__max_epochs=2)
        assert names(tmp_path / "run") == before
        found = {name for name in names(tmp_path / "new") if name.endswith("pth")}
        assert found == {"best_masked_code_accuracy_epoch_2.pth", "epoch_1.pth", "epoch_2.pth"}

    def test_the_best_of_a_moved_folder_is_found_and_replaced(
        self, train: Callable, tmp_path: Path, scores: Callable
    ) -> None:
        scores([5.0, 6.0])
        train(**BEST, train_cfg__max_epochs=1)
        (tmp_path / "run").rename(tmp_path / "moved")
        newest = newest_checkpoint(str(tmp_path / "moved"))
        train("moved", **BEST, resume=True, load_from=newest, train_cfg__max_epochs=2)
        found = [name for name in names(tmp_path / "moved") if name.endswith("pth")]
        assert found == ["best_masked_code_accuracy_epoch_2.pth", "epoch_2.pth"]

    def test_a_best_checkpoint_that_is_gone_is_made_again(
        self, train: Callable, tmp_path: Path, scores: Callable
    ) -> None:
        scores([6.0, 5.0])
        train(**BEST, train_cfg__max_epochs=1)
        (tmp_path / "run" / "best_masked_code_accuracy_epoch_1.pth").unlink()
        newest = newest_checkpoint(str(tmp_path / "run"))
        train(**BEST, resume=True, load_from=newest, train_cfg__max_epochs=2)
        assert "best_masked_code_accuracy_epoch_2.pth" in names(tmp_path / "run")

    def test_a_checkpoint_cannot_name_a_file_to_remove(self, train: Callable, tmp_path: Path, scores: Callable) -> None:
        scores([5.0, 6.0])
        train(**BEST, train_cfg__max_epochs=1)
        path = tmp_path / "run" / "epoch_1.pth"
        content = load_checkpoint_file(path)
        for name in ("best_of_all.pth", "precious.pth", "epoch_7.pth"):
            (tmp_path / name).write_bytes(b"precious")
        (tmp_path / "run" / "precious.pth").write_bytes(b"precious")
        content["message_hub"]["runtime_info"].update(
            best_ckpt=str(tmp_path / "precious.pth"), keep_ckpt_ids=["7/../../precious", "../epoch_7", 1]
        )
        torch.save(content, path)
        train(**BEST, resume=True, load_from=str(path), train_cfg__max_epochs=2)
        assert {"best_of_all.pth", "precious.pth", "epoch_7.pth"} <= set(names(tmp_path))
        assert "precious.pth" in names(tmp_path / "run")


class TestBest:
    def test_several_scores_have_a_best_one_each(self, train: Callable, tmp_path: Path, monkeypatch) -> None:
        values = iter([{"accuracy": 1.0, "nll": 3.0}, {"accuracy": 2.0, "nll": 4.0}, {"accuracy": 1.5, "nll": 2.0}])
        monkeypatch.setattr("seitpp.evaluation.MaskedCodeMetric.compute_metrics", lambda *_: next(values))
        keys = ["masked_code/accuracy", "masked_code/nll"]
        runner = train(default_hooks__checkpoint__save_best=keys, default_hooks__checkpoint__rule=["greater", "less"])
        found = [name for name in names(tmp_path / "run") if name.startswith("best")]
        assert found == ["best_masked_code_accuracy_epoch_2.pth", "best_masked_code_nll_epoch_3.pth"]
        notes = load_checkpoint_file(tmp_path / "run" / "epoch_3.pth")["message_hub"]["runtime_info"]
        assert notes["best_ckpt_masked_code/nll"] == str(tmp_path / "run" / found[1])
        assert (notes["best_score_masked_code/nll"], runner.epoch) == (2.0, 3)

    def test_auto_takes_the_first_score(self, train: Callable, tmp_path: Path, scores: Callable) -> None:
        scores([1.0, 3.0, 2.0])
        train(default_hooks__checkpoint__save_best="auto")
        assert "best_masked_code_accuracy_epoch_2.pth" in names(tmp_path / "run")

    def test_an_unknown_score_is_named_with_those_that_there_are(self, train: Callable) -> None:
        with pytest.raises(ValueError, match=r"save_best='accuracy/top9' .* gives masked_code/accuracy, "):
            train(default_hooks__checkpoint__save_best="accuracy/top9")

    def test_the_score_of_the_weights_beside_their_average(
        self, tiny: Callable, repository: Path, build_runner: Callable
    ) -> None:
        leaf = repository / "configs" / "seit" / "seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"
        cfg = Config.fromfile(tiny(leaf, epochs=1))
        cfg.default_hooks.checkpoint.save_best = "accuracy/top1_origin"
        runner = build_runner(cfg)
        runner.train()
        assert "best_accuracy_top1_origin_epoch_1.pth" in names(Path(runner.work_dir))

    def test_validation_without_training_saves_nothing(self, config: Path, build_runner: Callable) -> None:
        cfg = Config.fromfile(config)
        cfg.default_hooks.checkpoint.save_best = "masked_code/accuracy"
        runner = build_runner(cfg)
        runner.val()
        assert not list(Path(runner.work_dir).glob("*.pth"))

    def test_published_parts_lie_beside(self, train: Callable, tmp_path: Path) -> None:
        train(default_hooks__checkpoint__published_keys=["meta", "state_dict"], train_cfg__max_epochs=1)
        (path,) = (tmp_path / "run").glob("epoch_1-????????.pth")
        assert set(load_checkpoint_file(path)) == {"meta", "state_dict"}


class TestNewest:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Iterator[Path]:
        for number in (1, 2):
            torch.save({"weight": torch.arange(100)}, tmp_path / f"epoch_{number}.pth")
        (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
        return tmp_path

    def test_a_damaged_one_is_passed_over(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        monkeypatch.setattr(resuming, "print_log", lambda message, _: said.append(message))
        content = bytearray((folder / "epoch_2.pth").read_bytes())
        content[content.index(bytes([7, 0, 0, 0, 0, 0, 0, 0]))] ^= 1  # one bit of a weight
        (folder / "epoch_2.pth").write_bytes(content)
        assert newest_checkpoint(str(folder)) == str(folder / "epoch_1.pth")
        assert "epoch_2.pth, which is damaged" in said[0]

    def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_anew(self, folder: Path) -> None:
        for path in folder.glob("*.pth"):
            path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ValueError, match=r"no checkpoint of .* is whole, damaged are .*epoch_2\.pth, .*epoch_1"):
            newest_checkpoint(str(folder))

    @pytest.mark.parametrize("note", [b"\xff\xfe", b"a\0b", b"x" * 5000, b"", b"\n"])
    def test_a_note_that_makes_no_sense_is_ignored(self, folder: Path, note: bytes) -> None:
        (folder / "last_checkpoint").write_bytes(note)
        assert newest_checkpoint(str(folder)) == str(folder / "epoch_2.pth")


class TestLaunch:
    @pytest.mark.parametrize("kind", ["CheckpointHook", "mmengine.CheckpointHook", CheckpointHook])
    def test_the_plain_hook_is_replaced_and_keeps_its_options(self, kind: object) -> None:
        config = Config({"default_hooks": {"checkpoint": {"type": kind, "interval": 7}}})
        config_changes.use_guards(config)
        assert config.default_hooks.checkpoint == {"type": "seitpp.WholeCheckpointHook", "interval": 7}

    def test_a_config_without_one_gets_it(self) -> None:
        config = Config({})
        config_changes.use_guards(config)
        assert config.default_hooks.checkpoint == {"type": "seitpp.WholeCheckpointHook", "interval": 1}

    def test_a_hook_of_somebody_else_stays(self) -> None:
        options = {"default_hooks": {"checkpoint": {"type": "mine.CheckpointHook"}, "other": None}}
        config = Config(options)
        config_changes.use_guards(config)
        assert config.default_hooks.checkpoint.type == "mine.CheckpointHook" and "other" not in config.default_hooks

    def test_runs_use_it(self, train: Callable) -> None:
        runner = train(train_cfg__max_epochs=1)
        assert [type(hook) for hook in runner.hooks if isinstance(hook, CheckpointHook)] == [WholeCheckpointHook]
