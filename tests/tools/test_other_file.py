"""No tool writes over what it reads, under whatever name."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.apis.inputs import ImageInputs
from seitpp.storage import StoreWriter
from seitpp.tokenizers import BlockDCT

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# A tool's line where READ is read, and SAME, a link to it, would be written.
LINES = {
    "build_synonyms.py": ["READ", "SAME"],
    "convert_store.py": ["READ", "SAME", "--to", "release"],
    "remap_codes.py subset": ["subset", "READ", "SAME"],
    "remap_codes.py restore": ["restore", "READ", "SAME", "--resume"],
    "remap_codes.py match": ["match", "READ", "other.npy", "SAME"],
    "remap_codes.py match the other": ["match", "other.npy", "READ", "SAME"],
    "dataset_converters/select_classes.py": ["READ", "SAME", "--classes-list", "classes.txt", "--resume"],
    "test.py config": ["READ", "a.pth", "--out", "SAME"],
    "test.py checkpoint": ["a.py", "READ", "--out", "SAME"],
    "test.py predictions": ["a.py", "READ", "--out-preds", "SAME"],
    "tokenize_images.py": ["a.py", "READ", "SAME"],
    "tokenize_images.py config": ["READ", "images", "SAME"],
    "make_token_pairs.py": ["READ", "SAME"],
    "export_model.py": ["a.py", "READ", "SAME"],
    "export_model.py config": ["READ", "a.pth", "SAME"],
}
STORES = ("convert_store.py", "remap_codes.py subset", "remap_codes.py restore", "dataset_converters/select_classes.py")


@pytest.fixture
def make_read(tmp_path: Path) -> Callable[[str], Path]:
    """What the line reads: a store or a file."""

    def make(line: str) -> Path:
        path = tmp_path / ("model.onnx" if line.startswith("export") else "read")
        if line in STORES:
            options = {"codebook_size": 5, "grid": (1, 1), "tokenizer": {"name": "x"}, "label_kind": "class"}
            with StoreWriter(path, **options) as writer:
                writer.append(np.zeros((3, 1, 1), int), labels=[0, 1, 1])
        else:
            path.write_bytes(b"some content")
        return path

    return make


@pytest.mark.parametrize("same", ["itself", "link"])
@pytest.mark.parametrize("line", LINES)
def test_what_is_read_is_not_written_over(
    line: str,
    same: str,
    make_read: Callable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    read = make_read(line)
    link = read if same == "itself" else tmp_path / f"link{read.suffix}"
    if same == "link" and read.is_dir():
        link.symlink_to(read)
    elif same == "link":
        link.hardlink_to(read)
    files = [read] if read.is_file() else sorted(read.iterdir())
    before = [file.read_bytes() for file in files]
    main = runpy.run_path(str(TOOLS / line.split()[0]))["main"]
    try:
        message = f"status {main([{'READ': str(read), 'SAME': str(link)}.get(word, word) for word in LINES[line]])}: "
        message += capsys.readouterr().err
    except (SystemExit, ValueError) as error:  # which the tool's wrapper prints
        message = f"status 1: {error}"
    assert message.startswith("status 1: ") and f"is what would be read, {read}; write to another" in message
    assert [file.read_bytes() for file in files] == before


def test_pictures_do_not_take_the_place_of_images(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "b.jpg")
    inputs = ImageInputs([tmp_path / "a.png", tmp_path / "b.jpg", np.zeros((16, 16), np.uint8)], BlockDCT())
    with pytest.raises(ValueError, match=r"a\.png is what would be read, .*a\.png; write to another file or folder"):
        inputs.output_path(tmp_path, 0)
    paths = [inputs.output_path(folder, place) for folder, place in ((tmp_path, 1), (tmp_path, 2), (tmp_path / "x", 0))]
    assert paths == [tmp_path / "b.png", tmp_path / "2.png", tmp_path / "x" / "a.png"]
