"""What a store's header names is looked up and never imported or built: not by readers, not by tools."""

import runpy
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from helpers.classifier import TrainedClassifier, small_kmeans, write_store
from helpers.config_files import dump_config
from seitpp.engine.image_testing import read_tokenizer
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.storage.header import read_header, write_header
from seitpp.tokenizers import tokenizer_from_store


def entries(marker: Path, victim: Path) -> dict[str, dict]:
    """Headers' entries `tokenizer`, each with what it would do if it were built."""
    write = f"open({str(marker)!r}, 'w').close()"
    config = {"cfg_str": write, "file_format": ".py"}
    return {
        "a config of ours": {"type": "engine.launch.Config.fromstring", **config},
        "with our scope": {"type": "seitpp.engine.launch.Config.fromstring", **config},
        "twice our scope": {"type": "seitpp.seitpp.engine.launch.Config.fromstring", **config},
        "mmengine's": {"type": "mmengine.Config.fromstring", **config},
        "a file removed": {"type": "files.Path.unlink", "self": str(victim), "missing_ok": True},
        "a shell": {"type": "io.untrusted.os.system", "command": f"touch '{marker}'"},
        "a built-in": {"type": "builtins.exec", "source": write},
        "a function of ours": {"type": "seitpp.io.atomic_write.written_whole", "path": str(marker)},
        "another scope": {"type": "PatchKMeans", "_scope_": "engine.launch", "image_size": 10, "patch_size": 2},
        "nested, in an option": {
            "type": "PatchKMeans",
            "image_size": 10,
            "patch_size": 2,
            "fit": {"type": "seitpp.engine.launch.Config.fromstring", **config},
        },
        "nested, as sizes": {
            "type": "ViTVQGAN",
            "weights_sha256": "0" * 64,
            "arch": {
                "encoder": {"type": "seitpp.engine.launch.Config.fromstring", **config},
                "decoder": {"type": "seitpp.engine.launch.Config.fromstring", **config},
            },
        },
        "nested, for the type": {"type": {"type": "seitpp.engine.launch.Config.fromstring", **config}},
        "a list for the type": {"type": ["seitpp.engine.launch.Config.fromstring"], **config},
        "a model": {"type": "seitpp.MTM"},
        "a codebook file": {"type": "PatchKMeans", "image_size": 10, "patch_size": 2, "codebook": str(victim)},
    }


NAMES = sorted(entries(Path("marker"), Path("victim")))
# Nothing looks at these keys; they cannot be built either.
HARMLESS = {"another scope", "a codebook file", "a model"}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("to be kept")
    return path


@pytest.fixture
def store(trained: TrainedClassifier, tmp_path: Path) -> Path:
    return write_store(tmp_path / "hostile", trained.images, small_kmeans())


@pytest.fixture
def forged(store: Path, marker: Path, victim: Path) -> Callable[[str], Path]:
    """Gives a store's header the entry of a name, under a checksum that fits."""

    header = read_header(store)

    def forge(name: str) -> Path:
        entry = entries(marker, victim)[name]
        write_header(store, {**header, "tokenizer": {"name": "forged", **entry}})
        return store

    return forge


def test_such_entries_do_harm_where_they_are_built(marker: Path, victim: Path) -> None:
    TOKENIZERS.build(entries(marker, victim)["with our scope"])
    assert marker.exists()


def used(function: Callable[[], object], marker: Path, victim: Path) -> str | None:
    """The message of the refusal; None where there was none."""
    try:
        function()
    except (ValueError, OSError) as error:
        message: str | None = str(error)
    else:
        message = None
    assert not marker.exists(), "something ran"
    assert victim.read_text() == "to be kept"
    return message


@pytest.mark.parametrize("name", NAMES)
def test_a_tokenizer_is_looked_up(name: str, forged: Callable, marker: Path, victim: Path) -> None:
    store = forged(name)
    message = used(lambda: tokenizer_from_store(StoreReader(store)), marker, victim)
    assert message is not None and "hostile" in message, message
    used(lambda: read_tokenizer(str(store)), marker, victim)  # looks at the header, and builds nothing yet


@pytest.mark.parametrize("name", sorted({*NAMES} - HARMLESS))
def test_verification_says_so_or_the_store_does_not_open(
    name: str, forged: Callable, marker: Path, victim: Path
) -> None:
    store = forged(name)
    problems: list[str] = []
    message = used(lambda: problems.extend(StoreReader(store).verify()), marker, victim)
    assert "hostile" in (message or "; ".join(problems))


def tool_lines(trained: TrainedClassifier, store: Path, out: Path) -> dict[str, list]:
    """Lines of all tools that build a store's tokenizer."""
    checkpoint, config = trained.checkpoint, trained.config
    images = [trained.images, config, "--checkpoint", checkpoint, "--device", "cpu", "--tokenizer", store]
    tested = Config.fromfile(config)
    tested.test_dataloader.update(batch_size=3, sampler=dict(type="DefaultSampler", shuffle=False))
    tested.update(test_cfg=dict(), test_evaluator=dict(type="mmpretrain.Accuracy"))
    tested.experiment_name = uuid.uuid4().hex  # mmengine shares state between runs of one name
    dump_config(tested, out.with_name("tested.py"))
    scored = [
        out.with_name("tested.py"),
        checkpoint,
        "--images",
        trained.images,
        "--tokenizer",
        store,
        "--work-dir",
        out,
        "--workers",
        0,
    ]
    return {
        "visualization/show_augmentations.py": [store, "--out", out],
        "visualization/show_corruptions.py": [trained.images, "--tokenizer", store, "--out", out],
        "image_demo.py": images,
        "export_model.py": [config, checkpoint, out, "--tokenizer", store, "--format", "torch-export"],
        "test.py": scored,
        "inspect_store.py": ["verify", store],
    }


TOOLS = [
    "export_model.py",
    "image_demo.py",
    "inspect_store.py",
    "test.py",
    "visualization/show_augmentations.py",
    "visualization/show_corruptions.py",
]


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_no_tool_builds_it(
    tool: str,
    trained: TrainedClassifier,
    forged: Callable,
    marker: Path,
    victim: Path,
    tmp_path: Path,
    repository: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    main = runpy.run_path(str(repository / "tools" / tool))["main"]
    for name in sorted({*NAMES} - (HARMLESS if tool == "inspect_store.py" else set())):
        line = [str(part) for part in tool_lines(trained, forged(name), tmp_path / "out")[tool]]
        status, message = 0, ""
        try:
            status = main(line)
        except SystemExit as end:
            status, message = end.code, str(end.code)
        except (ValueError, OSError) as error:
            status, message = 1, str(error)
        captured = capsys.readouterr()
        assert not marker.exists() and victim.read_text() == "to be kept"
        assert status and "hostile" in message + captured.err + captured.out, (name, status, message)
