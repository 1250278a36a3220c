"""The documentation site: it builds without a warning, its links lead somewhere, and its notebook runs."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from seitpp import augment, storage

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "images_to_predictions.ipynb"


class Targets(HTMLParser):
    """What a page links to and loads, and the names that its links may end in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links += [given[key] for key in ("href", "src") if given.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as Read the Docs does: a warning of MkDocs, such as a link to nowhere, is an error."""
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return folder


def test_every_link_and_picture_of_the_built_pages_is_there(site: Path) -> None:
    pages = {path: Targets(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 40
    wrong = []
    for path, page in pages.items():
        for target in page.links:
            place, _, anchor = target.partition("#")
            if re.match(r"\w+:|//", target) or path.name == "404.html":  # whose links begin at the site's root
                continue
            found = (path.parent / unquote(place)).resolve() if place else path
            found = found / "index.html" if found.is_dir() else found
            if not found.exists() or (anchor and found in pages and unquote(anchor) not in pages[found].names):
                wrong.append(f"{path.relative_to(site)}: {target}")
    assert wrong == []


@pytest.mark.parametrize("module", [storage, augment])
def test_api_pages_show_every_public_name(site: Path, module: object) -> None:
    page = Targets((site / "api" / f"{module.__name__.split('.')[-1]}.html").read_text(encoding="utf-8"))
    classes_and_functions = {name for name in module.__all__ if getattr(getattr(module, name), "__module__", None)}
    assert {name for name in classes_and_functions if f"{module.__name__}.{name}" not in page.names} == set()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"(?:<script[^>]* src|<link[^>]* href)=\"(https?://[^\"]*)", text) == []


def test_notebook_holds_the_output_of_a_whole_run() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert {"stream", "display_data"} <= kinds and "error" not in kinds
    assert str(ROOT) not in NOTEBOOK.read_text()


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    for folder in ("tools", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "docs").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path / "docs")}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert float(re.search(r"training did not see: ([\d.]+) %", printed)[1]) > 90
