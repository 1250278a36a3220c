"""What is wrong with a config file is said in one sentence that names it."""

import errno
import os
from pathlib import Path

import pytest
from mmengine.config import Config

from seitpp.io.config_file import read_config

CASES = {
    "syntax.py": ("model = dict(", "line 1: SyntaxError: '(' was never closed"),
    "name.py": ("a = 1\nmodel = undefined\n", "line 2: NameError: name 'undefined' is not defined"),
    "number.py": ("a = 1 / 0\n", "line 1: ZeroDivisionError: division by zero"),
    "base_dict.py": ("_base_ = './plain.py'\na = dict(b=1)\n", "TypeError: a="),
    "reserved.py": ("filename = 'a'\n", "KeyError: 'filename is reserved for config file'"),
    "list.yaml": ("- 1\n- 2\n", "AttributeError: 'list' object has no attribute 'get'"),
    "broken.yaml": ("a: [1\n", "ParserError: while parsing a flow sequence"),
    "broken.json": ("{'a': 1", "Expecting property name enclosed in double quotes"),
    "package.py": ("_base_ = 'unknown::a.py'\n", "cannot be read: ValueError"),
}


def test_good_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("a = dict(b=1)\n")
    (tmp_path / "leaf.py").write_text("_base_ = './base.py'\na = dict(c=2)\n")
    assert read_config(tmp_path / "leaf.py").a == {"b": 1, "c": 2}


@pytest.mark.parametrize("name", CASES)
def test_broken_config_is_named(tmp_path: Path, name: str) -> None:
    content, reason = CASES[name]
    (tmp_path / "plain.py").write_text("a = 3\n")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as caught:
        read_config(tmp_path / name)
    assert str(caught.value).startswith(f"config {tmp_path / name} cannot be read")
    assert reason in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"config .*a\.py cannot be read: UnicodeDecodeError"):
        read_config(tmp_path / "a.py")


def test_what_is_no_file_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a")
    with pytest.raises(ValueError, match=r"README\.md is no file of a config, which ends in \.py, \.json, \.yml"):
        read_config(tmp_path / "README.md")
    with pytest.raises(ValueError, match="is a folder, expected a file"):
        read_config(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"tokenizer .*none\.py does not exist"):
        read_config(tmp_path / "none.py", "tokenizer")
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(ValueError, match="is a pipe, expected a file"):
        read_config(tmp_path / "pipe.py")


def test_missing_base_is_named(tmp_path: Path) -> None:
    (tmp_path / "leaf.py").write_text("_base_ = './none.py'\n")
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        read_config(tmp_path / "leaf.py")


def test_full_disk_names_the_config_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.py").write_text("a = 1\n")
    monkeypatch.setattr(Config, "fromfile", fail)
    with pytest.raises(OSError, match=r"temporary copy .* cannot be written to .*, No space left on device: '.*a\.py'"):
        read_config(tmp_path / "a.py")


def test_a_config_that_lies_in_another_folder_is_named(tmp_path: Path) -> None:
    for folder in ("seit", "seitpp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "seit" / "leaf.py").write_text("a = 1\n")
    with pytest.raises(FileNotFoundError, match=r"seitpp/leaf.py does not exist; did you mean .*/seit/leaf.py"):
        read_config(tmp_path / "seitpp" / "leaf.py")
