"""README.md, docs/ and other pages: links lead somewhere, paths and names exist, commands are understood and run."""

import argparse
import importlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
from mmengine.registry import Registry

from helpers.tools import tool_main
from seitpp import registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *ROOT.glob("configs/*/README.md"),
    *ROOT.glob("projects/*/README.md"),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# What pages write where readers write their own.
PLACEHOLDERS = {"PRESET": "vqgan_f16_1024", "LAYOUT": "vqgan_f16_1024", "$year": "2018", " N": " 1"}
# Commands of the README that need no data, and those that need what the quickstart makes.
WITHOUT_DATA = ("print_config.py", "dataset_converters/sample_photos.py")
AFTER_QUICKSTART = ("inspect_store.py", "test.py", "image_demo.py", "visualization/show_augmentations.py")
LAUNCHERS = {"dist_train.sh": ("train.py", 1, 2), "dist_test.sh": ("test.py", 2, 3)}


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(name: str) -> Iterator[list[str]]:
    """The commands in the shell blocks of a page, and those that stand in a line of text, in words."""
    blocks = re.findall(r"^```(?:shell|bash)\n(.*?)^```", text_of(name), re.MULTILINE | re.DOTALL)
    for block in [*blocks, *re.findall(r"`((?:python|bash|torchrun) [^`\n]+)`", text_of(name))]:
        for line in block.replace("\\\n", " ").splitlines():
            for placeholder, example in PLACEHOLDERS.items():
                line = line.replace(placeholder, example)
            lexer = shlex.shlex(re.sub(r"\[(-.*?)\]", r"\1", line), posix=True, punctuation_chars=";&")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set(";&"):
                    words += [word] if words or "=" not in word else []  # without environment variables
                elif words:
                    yield words
                    words = []


def tool_and_arguments(words: list[str]) -> tuple[str, list[str]] | None:
    """The tool that a command runs, relative to tools/, and its arguments; None for other commands."""
    place = next((number for number, word in enumerate(words) if word.startswith("tools/")), None)
    if place is None or words[0] not in ("python", "bash", "torchrun"):
        return None
    tool, arguments = words[place].removeprefix("tools/"), words[place + 1 :]
    if tool in LAUNCHERS:
        tool, keep, skip = LAUNCHERS[tool]
        arguments = arguments[:keep] + arguments[skip:]
    return tool, arguments


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(page), f"{name} links to {target}, which has no such heading"


@pytest.mark.parametrize("name", NAMES)
def test_paths_of_the_repository_exist(name: str) -> None:
    text = re.sub(r"work_dirs/[\w./-]+", "", text_of(name))  # folders that runs make
    paths = re.findall(r"(?<!::)\b((?:seitpp|tools|configs|tests|docs|projects)/[\w./-]*\.(?:py|sh|md|yml))\b", text)
    paths = [path for path in paths if not re.search(r"[A-Z]{3,}\.py", path)]  # CONFIG.py and the like
    folders = (ROOT, (ROOT / name).parent)
    assert [path for path in paths if not any((folder / path).exists() for folder in folders)] == []


def test_tree_names_every_folder_of_the_package_and_files_that_are_there() -> None:
    (tree,) = re.findall(r"^```text\n(.*?)^```", text_of("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    parents: list[str] = []
    named = set()
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        for word in takewhile(lambda word: word.endswith("/"), line.split()):
            parents = [*parents[:depth], word.rstrip("/")]
            named.add("/".join(parents))
        for file in re.findall(r"\b[a-z_]+\.(?:py|sh)\b", line):
            inside = [parents[: count + 1] for count in range(len(parents))]
            assert any(Path(ROOT, *parts, file).is_file() for parts in inside), f"{file} in {line!r}"
    assert [folder for folder in named if not (ROOT / folder).is_dir()] == []
    assert {str(path.parent.relative_to(ROOT)) for path in (ROOT / "seitpp").rglob("*.py")} - named == set()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])  # which names what is gone
def test_names_of_the_package_exist(name: str) -> None:
    registries = [one for one in vars(registry).values() if isinstance(one, Registry)]
    for dotted in set(re.findall(r"\bseitpp((?:\.\w+)+)", text_of(name))):
        registered = any(one.get(f"seitpp{dotted}") for one in registries)
        assert dotted in (".X", ".py") or registered or exists(dotted[1:].split(".")), f"{name} names seitpp{dotted}"


def exists(parts: list[str]) -> bool:
    """Whether a module, or what a module holds, has this name."""
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["seitpp", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found is not None
    return False


class Understood(Exception):
    """Raised in place of what a tool does after it read its command line."""


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_understood(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    parse = argparse.ArgumentParser.parse_known_args

    def parse_and_stop(parser: argparse.ArgumentParser, *args: object, **options: object) -> None:
        _, left = parse(parser, *args, **options)
        raise Understood(left)

    for words in commands(name):
        if (found := tool_and_arguments(words)) is None or found[0].endswith(".sh"):
            continue
        tool, arguments = found
        main = runpy.run_path(str(ROOT / "tools" / tool))["main"]
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_and_stop)
            try:
                main(arguments)
            except Understood as end:
                assert end.args == ([],), f"{name}: {shlex.join(words)} has arguments that {tool} does not know"
            except SystemExit:
                pytest.fail(f"{name}: {shlex.join(words)}: {capsys.readouterr().err}")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that has the repository's tools/ and configs/."""
    for folder in ("tools", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def readme_commands(tools: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    found = [tool_and_arguments(words) for words in commands("README.md")]
    chosen = [one for one in found if one and one[0] in tools]
    assert {tool for tool, _ in chosen} == set(tools)
    return chosen


def test_readme_commands_without_data_run(clone: Path) -> None:
    for tool, arguments in readme_commands(WITHOUT_DATA):
        assert not tool_main(tool)(arguments)


@pytest.mark.slow
def test_quickstart_and_the_readme_commands_after_it_run(clone: Path) -> None:
    for tool, arguments in [("quickstart.py", []), *readme_commands(AFTER_QUICKSTART)]:
        line = [sys.executable, f"tools/{tool}", *arguments]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout[-3000:]}"
