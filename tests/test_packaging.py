"""What an installation relies on: requirement files, the light import, registries, scripts, the model index."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import mmengine.registry
import pytest
import yaml
from mmengine.registry import Registry

import seitpp
import seitpp.registry

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [*sorted((ROOT / "tools").glob("*.sh")), ROOT / ".ci" / "run"]
LAUNCHERS = ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"]
REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z,]+\])?((==|>=|<=|<|>|~=)[0-9][0-9a-z.]*,?)*")


def requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["runtime", "tests", "optional"])
def test_requirement_lines_are_names_with_bounds(name):
    assert requirements(name)
    for line in requirements(name):
        assert REQUIREMENT.fullmatch(line), line


@pytest.mark.parametrize(
    "line",
    [
        "onedl-mmengine>=0.10.12,<0.11",
        "onedl-mmcv>=2.3.6,<2.4",
        "onedl-mmpretrain>=1.3.6,<1.4",
        "onedl-mmsegmentation>=1.4.2,<1.5",
    ],
)
def test_runtime_bounds_the_openmmlab_packages(line):
    assert line in requirements("runtime")


def test_root_requirements_include_runtime():
    assert (ROOT / "requirements.txt").read_text().split() == ["-r", "requirements/runtime.txt"]


def test_citation_and_package_state_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == seitpp.__version__


def test_import_is_light():
    code = """
import sys, time
start = time.perf_counter()
import seitpp
seconds = time.perf_counter() - start
print(seconds, *{name.split(".")[0] for name in sys.modules})
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, *modules = result.stdout.split()
    assert "seitpp" in modules
    assert not {"torch", "mmengine", "mmcv", "mmpretrain", "mmseg"} & set(modules)
    assert float(seconds) < 0.5


def test_nothing_lies_loose_in_the_package():
    assert {path.name for path in (ROOT / "seitpp").glob("*.py")} == {"__init__.py", "registry.py"}


def test_every_mmengine_registry_has_a_seitpp_child():
    roots = {name: value for name, value in vars(mmengine.registry).items() if isinstance(value, Registry)}
    assert roots
    missing = [name for name, value in roots.items() if "seitpp" not in value.children]
    assert missing == []
    assert [name for name in roots if getattr(seitpp.registry, name).parent is not roots[name]] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_script_parses(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launcher_prints_usage_without_arguments(name):
    result = subprocess.run(["bash", ROOT / "tools" / name], capture_output=True, text=True)
    assert result.returncode == 1
    assert re.search(rf"^Usage: bash .*{name} .*CONFIG", result.stderr, flags=re.MULTILINE)


def recorded_call(tmp_path: Path, command: str, script: str, *args: str, **environment: str) -> list[str]:
    """Arguments with which `tools/<script>` calls `command`, which a recording stand-in replaces on the PATH."""
    stand_in = tmp_path / command
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **environment}
    line = ["bash", ROOT / "tools" / script, *args]
    return subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout.splitlines()


def test_dist_train_passes_arguments_on(tmp_path):
    call = recorded_call(tmp_path, "python", "dist_train.sh", "c.py", "2", "--cfg-options", "a=b c", PORT="29511")
    assert call[:2] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=1", "--master_port=29511", "--nproc_per_node=2"} <= set(call)
    assert Path(call[-6]).name == "train.py"
    assert call[-5:] == ["c.py", "--launcher", "pytorch", "--cfg-options", "a=b c"]


def test_dist_test_passes_arguments_on(tmp_path):
    call = recorded_call(tmp_path, "python", "dist_test.sh", "c.py", "x.pth", "4", "--amp", PORT="29511", NNODES="2")
    assert {"--nnodes=2", "--nproc_per_node=4"} <= set(call)
    assert call[-5:] == ["c.py", "x.pth", "--launcher", "pytorch", "--amp"]


@pytest.mark.parametrize("work_dir", [["out"], ["--work-dir", "out"]], ids=["positional", "option"])
def test_slurm_train_passes_arguments_on(tmp_path, work_dir):
    call = recorded_call(tmp_path, "srun", "slurm_train.sh", "p", "j", "c.py", *work_dir, GPUS="4", SRUN_ARGS="-w n1")
    assert {"--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4", "-w", "n1"} <= set(call)
    assert call[-5:] == ["c.py", "--launcher", "slurm", "--work-dir", "out"]


def test_slurm_test_passes_arguments_on(tmp_path):
    call = recorded_call(tmp_path, "srun", "slurm_test.sh", "p", "j", "c.py", "x.pth", "--amp", GPUS="16")
    assert {"--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8"} <= set(call)
    assert call[-5:] == ["c.py", "x.pth", "--launcher", "slurm", "--amp"]


def test_model_index_names_existing_files():
    imported = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    assert {ROOT / path for path in imported} == set((ROOT / "configs").glob("*/metafile.yml"))
    for path in imported:
        metafile = yaml.safe_load((ROOT / path).read_text())
        (collection,) = metafile["Collections"]
        paths = [collection["README"], *(model["Config"] for model in metafile["Models"])]
        assert [path for path in paths if not (ROOT / path).is_file()] == []
        for model in metafile["Models"]:
            assert model["In Collection"] == collection["Name"]
            assert Path(model["Config"]).stem == model["Name"]


def test_build_copies_what_openmmlab_tools_look_for(tmp_path):
    line = [sys.executable, "setup.py", "-q", "egg_info", "-e", tmp_path, "build_py", "-d", tmp_path / "lib"]
    stale = tmp_path / "lib" / "seitpp" / ".mim" / "configs" / "stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    mim = tmp_path / "lib" / "seitpp" / ".mim"
    assert sorted(path.name for path in mim.iterdir()) == ["configs", "model-index.yml", "tools"]
    assert (mim / "configs" / "seitpp" / "metafile.yml").is_file()
    assert not (mim / "configs" / "stale.py").exists()
    assert not any(path.is_symlink() for path in mim.rglob("*"))
    assert configs_by_name(tmp_path, tmp_path / "lib") == ["seitpp.MTM", "seitpp.MTM"]


def configs_by_name(folder: Path, package: Path) -> list[str]:
    """The models of a config of ours, named as mmengine's hub and as another config's base name it."""
    (folder / "leaf.py").write_text('_base_ = "seitpp::seitpp/mtm_vitb.py"\n')
    code = """
import seitpp.registry
from mmengine.config import Config
from mmengine.hub import get_config
print(get_config("seitpp::seitpp/mtm_vitb.py").model.type, Config.fromfile("leaf.py").model.type)
"""
    env = {**os.environ, "PYTHONPATH": str(package)}
    line = [sys.executable, "-c", code]
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout.split()


def run_print_config(monkeypatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["print_config.py", *args])
    runpy.run_path(str(ROOT / "tools" / "print_config.py"), run_name="__main__")


def test_print_config_applies_overrides(tmp_path, monkeypatch, capsys):
    config, saved = tmp_path / "tiny.py", tmp_path / "saved" / "tiny.py"
    config.write_text("lr = 0.1\nmodel = dict(depth=12)\n")
    run_print_config(monkeypatch, str(config), "--cfg-options", "model.depth=3", "--save-path", str(saved))
    printed = capsys.readouterr().out
    assert "depth=3" in printed
    assert "lr = 0.1" in printed
    assert "depth=3" in saved.read_text()


def test_print_config_refuses_unknown_file_type(tmp_path, monkeypatch, capsys):
    config = tmp_path / "tiny.py"
    config.write_text("lr = 0.1\n")
    with pytest.raises(SystemExit):
        run_print_config(monkeypatch, str(config), "--save-path", str(tmp_path / "out.txt"))
    assert "expected a name that ends in .py" in capsys.readouterr().err
