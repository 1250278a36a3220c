"""Write docs/model_zoo.md: every recipe of the paper's tables, what it stores, its score there and here, its command.

python tools/analysis_tools/build_model_zoo.py [--check]

Made of the metafiles in configs/ and of the configs themselves. A score of ours is what a `Results` entry there says;
without one it reads "not run".
"""

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import run_tool
from seitpp.io.config_file import read_config
from seitpp.io.text import markdown_table
from seitpp.registry import TOKENIZERS

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs/model_zoo.md"
CHECKSUM_BYTES = 4
VIT_VQGAN, VQGAN = 391, 16384  # codes
# Training stores by folder (docs/data.md): images, tokens per image, values of a token, classes. Coefficients are those
# of BlockDCT, 33 of each of 32 x 32 blocks.
STORES = {
    "data/imagenet1k-tokens/": (1_281_167, 32 * 32, VIT_VQGAN, 1_000),
    "data/imagenet100-tokens/": (126_689, 32 * 32, VIT_VQGAN, 100),
    "data/imagenet100-vqgan-tokens/": (126_689, 32 * 32, VQGAN, 100),
    "data/imagenet100-dct/": (126_689, 32 * 32 * 33, None, 100),
    "data/flowers102-tokens/": (2_040, 32 * 32, VIT_VQGAN, 102),
    "data/stanford-cars-tokens/": (8_144, 32 * 32, VIT_VQGAN, 196),
    "data/inat2018-tokens/": (437_513, 32 * 32, VIT_VQGAN, 8_142),
    "data/inat2019-tokens/": (265_213, 32 * 32, VIT_VQGAN, 1_010),
    "data/mnist5k-tokens/": (4_000, 7 * 7, 256, 10),
    "work_dirs/quickstart/tokens/": (1_197, 4 * 4, 64, 10),
}
TABLES = {
    "1": "Table 1: ImageNet-1k, ViT-B, images in less space (SeiT and SeiT++: Table 2)",
    "2": "Table 2: ImageNet-1k, ViT-B",
    "3": "Table 3: fine-grained classification, ViT-B from ImageNet-1k",
    "4": "Table 4: segmentation of ADE20k, mIoU",
    "5": "Table 5: robustness of ViT-B on ImageNet-1k; checkpoints are those of Table 2",
    "6": "Table 6: ImageNet-100, ViT-S, fewer images",
    "7": "Table 7: ImageNet-100, ViT-S, one augmentation alone",
    "8": "Table 8: ImageNet-100, ViT-S, other inputs",
    "A": "Table A: TokenAdapt from fewer images",
    "B": "Table B: ImageNet-100, ViT-S, augmentation through pixels",
    "3b": "Figure 3b: ImageNet-1k, ViT-B, augmentation of embeddings; the figure has bars and no numbers in the text",
    "-": "Options that the paper does not report",
    "small": "Small sets, on a CPU",
}
COLUMNS = ("what", "config", "stored", "paper", "ours", "command")
INTRODUCTION = """# Model zoo

Every cell of the paper's tables of scores by the config and the command that train it. *Stored* is what the training
images take in our store, codes at a fixed number of bits with every label and checksum
([the format](storage_format.md)); dense coding and the release's files take less (the paper gives 1.4 GB for
ImageNet-1k). Of pixels it is what the image files take.
*Paper* is the paper's top-1 accuracy (mIoU in Table 4) and never ours. *Ours* is what this code reached, or "not run".

`--fraction` and `--images` train on a part of the images with as many iterations; a classifier then starts from the
encoder that was trained on the same part. Commands are for 8 GPUs, those of TokenAdapt and the small sets for one
process; the learning rate follows any other number. What was run, on small data: [results.md](results.md). How to get
the data: [data.md](data.md). Of Table 1 the C-score sampling (53.3 GB, 73.3 %) is not implemented.

`python tools/analysis_tools/build_model_zoo.py` makes this file of the metafiles in `configs/`.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing; exit status 1 if it is outdated")
    return parser.parse_args(argv)


def bytes_of_image(tokens: int, values: int, num_classes: int) -> int:
    """Return bytes of one image of `tokens` fixed-rate tokens with so many `values`, with its label and checksum."""
    label = 1 if num_classes <= 1 << 8 else 2
    return math.ceil(tokens * (values - 1).bit_length() / 8) + label + CHECKSUM_BYTES


def stored_bytes(config: Config, fraction: float) -> int | None:
    """Return bytes of the tokens that a config trains on, or of a fraction of them; None for images and label maps."""
    dataset = config.train_dataloader.dataset
    if dataset.get("data_root") not in STORES:
        return None
    images, tokens, values, num_classes = STORES[dataset.data_root]
    if values is None:
        values = TOKENIZERS.build(read_config(ROOT / "configs/tokenizers/block_dct_q50.py").tokenizer).codebook_size
    return round(images * fraction) * bytes_of_image(tokens, values, num_classes)


def shown_bytes(count: int | None) -> str:
    """Format bytes in decimal units with three figures."""
    if count is None:
        return "not counted"
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{count / unit:.3g} {name}"


def command_of(path: Path) -> str:
    """Return the command that a config's docstring gives first."""
    found = re.search(r"^ +((?:bash|python) tools/.*)$", path.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(
            f"{path} has no command in its docstring; expected an indented line such as `python tools/...`"
        )
    return found[1]


def rows_of(model: dict[str, Any]) -> Iterator[tuple[str, float, tuple[str, ...]]]:
    """Yield the table, the share of the images, and the cells of each row that a model has."""
    path = ROOT / model["Config"]
    if not path.is_file():
        raise FileNotFoundError(f"a metafile names {model['Config']}, which is not there; correct its entry")
    config, command = read_config(path), command_of(path)
    ours = ", ".join(str(result["Metrics"]["Top 1 Accuracy"]) for result in model.get("Results") or [])
    for row in model.get("Zoo Rows", []):
        options = row.get("Options", "")
        found = re.search(r"--fraction (\S+)", options)
        fraction = 1.0 if found is None else float(found[1])
        paper = row.get("Top 1 Accuracy", row.get("mIoU"))
        cells = (
            row["Row"],
            f"[{model['Name']}](../{model['Config']})",
            row.get("Stored") or shown_bytes(stored_bytes(config, fraction)),
            "" if paper is None else f"{paper:.1f}",
            ours or "not run",
            f"`{command} {options}".rstrip() + "`",
        )
        yield row["Table"], fraction, cells


def build() -> str:
    """Return the whole file."""
    metafiles = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    models = [model for file in metafiles for model in yaml.safe_load((ROOT / file).read_text())["Models"]]
    rows = [row for model in models for row in rows_of(model)]
    rows.sort(key=lambda row: -row[1])  # the whole data set first
    parts = [INTRODUCTION]
    for table, title in TABLES.items():
        found = markdown_table(COLUMNS, (cells for of, _, cells in rows if of == table))
        parts.append(f"## {title}\n\n{found}")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, or compare it."""
    args = parse_args(argv)
    text = build()
    if args.check:
        return int(not TARGET.is_file() or TARGET.read_text() != text)
    with written_whole(TARGET) as temporary:
        temporary.write_text(text)
    print(f"{TARGET.relative_to(ROOT)}: {text.count('](../configs/')} configs")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
