"""Pages of the site for the files outside `docs/` that its pages link to: configs, sources, READMEs of folders.

The documentation is read in a clone as well as on the site, so its pages link to files of the repository by relative
paths. MkDocs knows the files in `docs/` alone; this hook makes a page of each other file that a page links to,
and of those that these link to, under `repository/`.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_LANGUAGES = {".py": "python", ".sh": "bash", ".yml": "yaml", ".toml": "toml"}


def page_of(path: str) -> str:
    """Return the site's source path of a path of the repository: a file of `docs/`, or a page under `repository/`."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return f"repository/{path}/README.md"
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def linked_paths(path: str, text: str) -> list[str]:
    """Return the paths of the repository that a Markdown text at `path` links to, if they are there."""
    targets = [match[2] for match in LINK.finditer(text) if not re.match(r"\w+:", match[2])]
    paths = [os.path.normpath(os.path.join(os.path.dirname(path), target)) for target in targets]
    return [one for one in paths if not one.startswith("..") and (ROOT / one).exists()]


def text_of(path: str) -> str:
    """Return the Markdown of a page: of a page itself, of a folder without README, or of a source file."""
    place = ROOT / path
    if place.is_dir():
        if (place / "README.md").is_file():
            return with_links((place / "README.md").read_text(encoding="utf-8"), f"{path}/README.md", page_of(path))
        names = sorted(one.name + "/" * one.is_dir() for one in place.iterdir() if not one.name.startswith((".", "_")))
        return f"# {path}/\n\n" + "".join(f"- `{name}`\n" for name in names)
    text = place.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return with_links(text, path, page_of(path))
    return f"# {path}\n\n`````{_LANGUAGES.get(place.suffix, 'text')}\n{text}\n`````\n"


def with_links(text: str, path: str, page: str) -> str:
    """Let the links of the Markdown at `path`, shown as the site's page `page`, lead to pages of the site."""

    def led(match: re.Match) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(path), match[2]))
        if re.match(r"\w+:", match[2]) or target.startswith("..") or not (ROOT / target).exists():
            return match[0]
        return f"{match[1]}{os.path.relpath(page_of(target), os.path.dirname(page) or '.')}{match[3] or ''}{match[4]}"

    return LINK.sub(led, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside `docs/` that a page links to."""
    todo = [
        path
        for file in files.documentation_pages()
        if file.src_uri.endswith(".md")
        for path in linked_paths(f"docs/{file.src_uri}", file.content_string)
    ]
    seen = set()
    while todo:
        path = todo.pop()
        if path in seen or path.startswith("docs/"):
            continue
        seen.add(path)
        if (ROOT / path).suffix in (".png", ".svg", ".ipynb"):
            continue
        if files.get_file_from_path(page_of(path)) is None:
            files.append(File.generated(config, page_of(path), content=text_of(path)))
        readme = f"{path}/README.md" if (ROOT / path).is_dir() else path
        if readme.endswith(".md") and (ROOT / readme).is_file():
            todo += linked_paths(readme, (ROOT / readme).read_text(encoding="utf-8"))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn a page's links to files outside `docs/` into links to their pages."""
    uri = page.file.src_uri
    return markdown if uri.startswith("repository/") else with_links(markdown, f"docs/{uri}", uri)


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Let the links of a notebook, which MkDocs does not follow, lead to pages of the site."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    return re.sub(r'(href="(?!\w+:)[^"#]+)\.md(?=["#])', r"\1.html", html)
