"""Build script of `seitpp`.

Version and requirements are read from their files. `configs/`, `tools/` and `model-index.yml` also go into
`seitpp/.mim`, where OpenMMLab's tools look for them: an editable install gets links in the source tree, a wheel gets
copies in the build tree. A config is then known as `seitpp::seitpp/mtm_vitb.py` to any process that has imported
`seitpp.registry`, as our tools do; mmengine alone has a fixed list of packages.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_ENTRIES = ("configs", "tools", "model-index.yml")


def read_version() -> str:
    """Version in `seitpp/__init__.py`, read without importing it."""
    text = (ROOT / "seitpp" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if match is None:
        raise ValueError('seitpp/__init__.py has no line `__version__ = "..."`')
    return match[1]


def read_requirements(name: str) -> list[str]:
    """Requirements listed in `requirements/<name>.txt`, without comments and blank lines."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def copy_entry(source: Path, target: Path) -> None:
    """Copy a file, or a folder without its caches."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copy2(source, target)


def link_entry(source: Path, target: Path, final: Path) -> None:
    """Make `target` a link that is right once moved to `final`; copy where the system allows no links."""
    try:
        target.symlink_to(os.path.relpath(source, final.parent), target_is_directory=source.is_dir())
    except OSError:
        copy_entry(source, target)


def fill_mim(folder: Path, link: bool) -> None:
    """Put each of `MIM_ENTRIES` into `folder`, replacing what an earlier run left there.

    An entry is made in full beside its place and then renamed into it, so a killed build leaves no half-copied one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in MIM_ENTRIES:
        source, final = ROOT / name, folder / name
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as staging:
            fresh = Path(staging) / "fresh"
            if link:
                link_entry(source, fresh, final)
            else:
                copy_entry(source, fresh)
            if final.is_dir() and not final.is_symlink():
                final.rename(Path(staging) / "stale")
            fresh.replace(final)


class BuildWithMim(build_py):
    """Build the package and fill its `.mim` folder."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            fill_mim(ROOT / "seitpp" / ".mim", link=True)
        else:
            fill_mim(Path(self.build_lib) / "seitpp" / ".mim", link=False)


setup(
    name="seitpp",
    version=read_version(),
    description="Storage-efficient vision training on stored VQ tokens, after SeiT++",
    author="seitpp contributors",
    license="Apache-2.0",
    keywords="computer vision, token storage, vector quantization, masked token modeling",
    packages=find_packages(include=["seitpp*"]),
    include_package_data=True,
    python_requires=">=3.10",
    install_requires=read_requirements("runtime"),
    extras_require={
        "tests": read_requirements("tests") + read_requirements("docs"),
        "optional": read_requirements("optional"),
        "docs": read_requirements("docs"),
        "all": read_requirements("tests") + read_requirements("docs") + read_requirements("optional"),
    },
    cmdclass={"build_py": BuildWithMim},
    zip_safe=False,
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
