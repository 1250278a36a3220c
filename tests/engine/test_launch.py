"""From a config and options to a run: learning-rate scaling, what to resume from, world size, processes."""

import argparse
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from seitpp.engine import config_changes, launch, launchers, resuming


def config_for(batch_size: int = 64, accumulated: int | None = None, **scaling: object) -> Config:
    optim_wrapper = {"optimizer": {"lr": 0.1}}
    if accumulated is not None:
        optim_wrapper["accumulative_counts"] = accumulated
    content = {"optim_wrapper": optim_wrapper, "train_dataloader": {"batch_size": batch_size}}
    return Config({**content, "auto_scale_lr": scaling} if scaling else content)


@pytest.mark.parametrize(
    ("batch_size", "accumulated", "world_size", "rule", "lr"),
    [
        (64, None, 4, None, 0.1),
        (64, None, 1, None, 0.025),
        (128, None, 4, "linear", 0.2),
        (64, 4, 1, "linear", 0.1),
        (16, 4, 1, "linear", 0.025),
        (64, None, 1, "sqrt", 0.05),
        (64, 4, 4, "sqrt", 0.2),
    ],
)
def test_rate_follows_the_samples_of_a_step(
    batch_size: int, accumulated: int | None, world_size: int, rule: str | None, lr: float
) -> None:
    scaling = {"enable": True, "base_batch_size": 256, **({} if rule is None else {"rule": rule})}
    config = config_for(batch_size, accumulated, **scaling)
    config_changes.scale_lr(config, world_size)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(lr)


def test_rate_is_scaled_once() -> None:
    config = config_for(enable=True, base_batch_size=256)
    config_changes.scale_lr(config, 1)
    config_changes.scale_lr(config, 1)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.025)
    assert config.auto_scale_lr.enable is False  # so mmengine leaves it alone as well


@pytest.mark.parametrize("scaling", [{}, {"enable": False, "base_batch_size": 256}])
def test_rate_stays_without_scaling(scaling: dict) -> None:
    config = config_for(**scaling)
    config_changes.scale_lr(config, 1)
    assert config.optim_wrapper.optimizer.lr == 0.1


def test_unknown_scaling_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"auto_scale_lr\.rule must be 'linear' or 'sqrt', got 'cubic'"):
        config_changes.scale_lr(config_for(enable=True, base_batch_size=256, rule="cubic"), 1)


@pytest.mark.parametrize(
    ("name", "lr"),
    [
        ("mtm_vit-base-p16_8xb512-400e_in1k-tokens", 2.4e-3),
        ("mtm_vit-base-p16_8xb128-accum4-400e_in1k-tokens", 2.4e-3),
        ("seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens", 4e-3),
    ],
)
def test_recipe_keeps_its_rate_on_eight_processes(repository: Path, name: str, lr: float) -> None:
    config = Config.fromfile(next((repository / "configs").rglob(f"{name}.py")))
    config_changes.scale_lr(config, 8)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(
    ("launcher", "variable"),
    [("pytorch", "WORLD_SIZE"), ("slurm", "SLURM_NTASKS"), ("mpi", "OMPI_COMM_WORLD_SIZE")],
)
def test_world_size_comes_from_the_launcher(monkeypatch: pytest.MonkeyPatch, launcher: str, variable: str) -> None:
    monkeypatch.setenv(variable, "6")
    assert launchers.world_size_of(launcher) == 6
    assert launchers.world_size_of("none") == 1


def write_checkpoint(folder: Path, name: str, noted_as: str | None = None) -> Path:
    torch.save({"weight": torch.zeros(2)}, folder / name)
    if noted_as is not None:
        (folder / "last_checkpoint").write_text(noted_as)
    return folder / name


def test_noted_checkpoint_is_the_newest(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "epoch_2.pth")
    path = write_checkpoint(tmp_path, "epoch_1.pth", noted_as=str(tmp_path / "epoch_1.pth"))
    assert resuming.newest_checkpoint(str(tmp_path)) == str(path)


def test_note_of_a_moved_folder_is_followed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "epoch_3.pth", noted_as="/nowhere/run/epoch_3.pth")
    assert resuming.newest_checkpoint(str(tmp_path)) == str(path)


def test_copied_folder_does_not_resume_from_the_original(tmp_path: Path) -> None:
    original, copied = tmp_path / "original", tmp_path / "copied"
    for folder in (original, copied):
        folder.mkdir()
        path = write_checkpoint(folder, "epoch_3.pth", noted_as=str(original / "epoch_3.pth"))
    assert resuming.newest_checkpoint(str(copied)) == str(path)


def test_note_of_a_checkpoint_elsewhere_is_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = write_checkpoint(tmp_path / "out", "epoch_3.pth")
    (tmp_path / "last_checkpoint").write_text(str(path))
    assert resuming.newest_checkpoint(str(tmp_path)) == str(path)


def test_without_a_note_the_largest_number_is_taken(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "best_accuracy_epoch_30.pth")
    write_checkpoint(tmp_path, "epoch_9.pth")
    path = write_checkpoint(tmp_path, "epoch_10.pth")
    assert resuming.newest_checkpoint(str(tmp_path)) == str(path)


def test_empty_note_is_ignored(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "epoch_1.pth", noted_as="")
    assert resuming.newest_checkpoint(str(tmp_path)) == str(path)


def test_half_written_checkpoint_that_is_not_noted_is_ignored(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, "epoch_1.pth")
    (tmp_path / "epoch_2.pth").write_bytes(whole.read_bytes()[:-30])
    assert resuming.newest_checkpoint(str(tmp_path)) == str(whole)


@pytest.mark.parametrize("folder", [".", "not-there"])
def test_nothing_to_resume_is_a_fresh_start(tmp_path: Path, folder: str) -> None:
    config = Config({"work_dir": str(tmp_path / folder), "resume": False, "load_from": None})
    resuming.set_resume(config, "auto")
    assert (config.resume, config.load_from) == (False, None)


def test_resume_takes_the_newest_checkpoint(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "epoch_1.pth")
    config = Config({"work_dir": str(tmp_path), "resume": False, "load_from": None})
    resuming.set_resume(config, "auto")
    assert (config.resume, config.load_from) == (True, str(path))


def test_resume_takes_the_named_checkpoint(tmp_path: Path) -> None:
    config = Config({"work_dir": str(tmp_path), "resume": False, "load_from": None})
    resuming.set_resume(config, "elsewhere/epoch_7.pth")
    assert (config.resume, config.load_from) == (True, "elsewhere/epoch_7.pth")


def test_without_the_option_the_config_decides(tmp_path: Path) -> None:
    config = Config({"work_dir": str(tmp_path), "resume": True, "load_from": "x.pth"})
    resuming.set_resume(config, None)
    assert (config.resume, config.load_from) == (True, "x.pth")


def options(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    launch.add_common_arguments(parser)
    return parser.parse_args(line)


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    (tmp_path / "tiny.py").write_text("lr = 0.1\nmodel = dict(depth=12, name='a')\n")
    return str(tmp_path / "tiny.py")


def test_work_dir_is_named_for_the_config(config_file: str) -> None:
    assert launch.load_config(options(config_file)).work_dir == str(Path("work_dirs") / "tiny")


def test_work_dir_of_the_config_is_kept(config_file: str) -> None:
    with open(config_file, "a") as file:
        file.write("work_dir = 'mine'\n")
    assert launch.load_config(options(config_file)).work_dir == "mine"
    assert launch.load_config(options(config_file, "--work-dir", "other")).work_dir == "other"


def test_options_override_the_config(config_file: str) -> None:
    config = launch.load_config(options(config_file, "--cfg-options", "model.depth=3", "lr=[1,2]"))
    assert (config.model.depth, config.model.name, config.lr) == (3, "a", [1, 2])


def test_loading_a_config_forbids_pickled_code(config_file: str) -> None:
    launch.load_config(options(config_file))
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"


@pytest.mark.parametrize("spelling", ["--local_rank=3", "--local-rank=3"])
def test_both_spellings_of_the_local_rank_are_read(config_file: str, spelling: str) -> None:
    launch.load_config(options(config_file, spelling))
    assert os.environ["LOCAL_RANK"] == "3"


def test_local_rank_of_the_launcher_comes_first(config_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    launch.load_config(options(config_file))
    assert os.environ["LOCAL_RANK"] == "1"


@pytest.mark.parametrize(("accumulated", "samples"), [(None, None), (1, None), (4, 4 * 64 * 2)])
def test_accumulation_cuts_epochs_to_whole_steps(accumulated: int | None, samples: int | None) -> None:
    config = config_for(64, accumulated)
    config.train_dataloader.sampler = {"type": "mmengine.DefaultSampler", "shuffle": True}
    config_changes.use_whole_steps(config, 2)
    assert config.train_dataloader.sampler.get("samples_per_step") == samples


def test_other_samplers_stay() -> None:
    config = config_for(64, 4)
    config.train_dataloader.sampler = {"type": "mmengine.InfiniteSampler"}
    config_changes.use_whole_steps(config, 2)
    assert config.train_dataloader.sampler.type == "mmengine.InfiniteSampler"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda cfg: cfg.train_dataloader.pop("batch_size"), r"train_dataloader\.batch_size, which is None"),
        (lambda cfg: cfg.optim_wrapper.optimizer.pop("lr"), r"optim_wrapper\.optimizer\.lr, which the config does not"),
        (lambda cfg: cfg.auto_scale_lr.pop("base_batch_size"), r"base_batch_size must be a number .*, got None"),
    ],
)
def test_scaling_says_what_it_lacks(change: Callable[[Config], object], match: str) -> None:
    config = config_for(64, None, enable=True, base_batch_size=256)
    change(config)
    with pytest.raises(ValueError, match=match):
        config_changes.scale_lr(config, 1)


def test_samples_of_a_batch_sampler_are_scaled_for() -> None:
    config = config_for(64, None, enable=True, base_batch_size=256)
    config.train_dataloader = {"batch_sampler": {"type": "BatchSampler", "batch_size": 128}}
    config_changes.scale_lr(config, 1)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.05)


def test_options_of_the_wrapper_hold_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    config = Config({"launcher": "pytorch", "model_wrapper_cfg": {"find_unused_parameters": True}})
    launchers.start_processes(config)
    assert config.model_wrapper_cfg.find_unused_parameters is True
    assert config.model_wrapper_cfg.broadcast_buffers is False
    assert config.model_wrapper_cfg.type == "mmengine.MMDistributedDataParallel"


def test_one_run_at_a_time_in_a_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_PATIENCE_SECONDS", 0.0)
    folder = tmp_path / "work"
    with launch.alone_in(folder, "none"):
        with pytest.raises(
            BlockingIOError, match=r"another writer is at work in the work folder .*work; wait until it"
        ):
            launch.alone_in(folder, "none").__enter__()
        monkeypatch.setenv("RANK", "1")
        with launch.alone_in(folder, "pytorch"):  # of the same run
            pass
    with launch.alone_in(folder, "none"):
        pass
    assert list(folder.iterdir()) == []


def test_work_folder_without_locks_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(launch, "FolderLock", fail)
    with launch.alone_in(tmp_path / "work", "none"):
        assert (tmp_path / "work").is_dir()


def test_resume_in_the_config_takes_the_newest_checkpoint_of_its_folder(tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    for folder in (tmp_path / "original", copied):
        folder.mkdir()
        path = write_checkpoint(folder, "epoch_3.pth", noted_as=str(tmp_path / "original" / "epoch_3.pth"))
    config = Config({"work_dir": str(copied), "resume": True, "load_from": None})
    resuming.set_resume(config, None)
    assert (config.resume, config.load_from) == (True, str(path))


def test_launcher_among_the_options_is_refused(config_file: str) -> None:
    with pytest.raises(ValueError, match="launcher is an option of its own; use --launcher"):
        launch.load_config(options(config_file, "--cfg-options", "launcher=pytorch"))
