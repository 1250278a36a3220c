"""Write docs/model_zoo.md: every recipe of the paper's tables, what it stores, its score there and here, its command.

python tools/analysis_tools/build_model_zoo.py [--check]

Made of configs/seitpp/metafile.yml and of the configs themselves. A score of ours is what a `Results` entry there says;
without one it reads "not run".
"""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from seitpp.io.command_line import run_tool
from seitpp.io.config_file import read_config
from seitpp.io.files import written_whole
from seitpp.registry import TOKENIZERS

ROOT = Path(__file__).resolve().parents[2]
METAFILE, TARGET = ROOT / "configs/seitpp/metafile.yml", ROOT / "docs/model_zoo.md"
CHECKSUM_BYTES = 4
VIT_VQGAN, VQGAN = 391, 16384  # codes
# Of the training store in each folder: images, tokens of an image, values of a token, classes; docs/data.md. The values
# of coefficients are BlockDCT's, 33 of each of 32 x 32 blocks.
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
    "2": "Table 2: ImageNet-1k, ViT-B",
    "3": "Table 3: fine-grained classification, ViT-B from ImageNet-1k",
    "6": "Table 6: ImageNet-100, ViT-S, fewer images",
    "7": "Table 7: ImageNet-100, ViT-S, one augmentation alone",
    "8": "Table 8: ImageNet-100, ViT-S, other inputs",
    "A": "Table A: TokenAdapt from fewer images",
    "B": "Table B: ImageNet-100, ViT-S, augmentation through pixels",
    "3b": "Figure 3b: ImageNet-1k, ViT-B, augmentation of embeddings; the figure has bars and no numbers in the text",
    "-": "Options that the paper does not report",
    "small": "Small sets, on a CPU",
}
INTRODUCTION = """# Model zoo

Every cell of the paper's classification tables by the name of its config. *Stored* is what the training images take in
our store, codes at a fixed number of bits and every label and checksum, by [the format](storage_format.md); entropy
coding and the release's files take less (the paper gives 1.4 GB for ImageNet-1k). *Paper* is the paper's top-1 accuracy
and never ours. *Ours* is what this code reached, or "not run".

Subsets keep the number of iterations. What was run, on small data, is in [results.md](results.md). Commands are for 8
GPUs, but for TokenAdapt and the small sets one process; the learning rate follows any other number. How to get the
data: [data.md](data.md).

This file is made by `python tools/analysis_tools/build_model_zoo.py` from `configs/seitpp/metafile.yml`.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing; exit status 1 if it is outdated")
    return parser.parse_args(argv)


def bytes_of_image(tokens: int, values: int, num_classes: int) -> int:
    """Bytes of one image of `tokens` fixed-rate tokens with so many `values`, with its label and checksum."""
    label = 1 if num_classes <= 1 << 8 else 2
    return math.ceil(tokens * (values - 1).bit_length() / 8) + label + CHECKSUM_BYTES


def stored_bytes(config: Config) -> int | None:
    """Bytes of the tokens that a config trains on; None for one that trains on images."""
    dataset = config.train_dataloader.dataset
    if str(dataset.type).split(".")[-1] != "TokenDataset":
        return None
    images, tokens, values, num_classes = STORES[dataset.data_root]
    if values is None:
        values = TOKENIZERS.build(read_config(ROOT / "configs/tokenizers/block_dct_q50.py").tokenizer).codebook_size
    images = round(images * (dataset.get("subset") or {}).get("fraction", 1))
    return images * bytes_of_image(tokens, values, num_classes)


def shown_bytes(count: int | None) -> str:
    """Decimal units, three figures."""
    if count is None:
        return "images"
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{count / unit:.3g} {name}"


def command_of(path: Path) -> str:
    """The command that a config's docstring gives first."""
    found = re.search(r"^ +((?:bash|python) tools/.*)$", path.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(
            f"{path} has no command in its docstring; expected an indented line such as `python tools/...`"
        )
    return found[1]


def row_of(model: dict[str, Any]) -> str:
    """One line of a table."""
    path = ROOT / model["Config"]
    if not path.is_file():
        raise FileNotFoundError(f"{METAFILE} names {model['Config']}, which is not there; correct its entry")
    paper = model["Paper"].get("Top 1 Accuracy")
    results = model.get("Results") or []
    ours = ", ".join(str(result["Metrics"]["Top 1 Accuracy"]) for result in results)
    cells = (
        model["Paper"]["Row"],
        f"[{model['Name']}](../{model['Config']})",
        shown_bytes(stored_bytes(read_config(path))),
        "" if paper is None else f"{paper:.1f}",
        ours or "not run",
        f"`{command_of(path)}`",
    )
    return f"| {' | '.join(cells)} |"


def build() -> str:
    """The whole file."""
    models = yaml.safe_load(METAFILE.read_text())["Models"]
    parts = [INTRODUCTION]
    for table, title in TABLES.items():
        rows = [row_of(model) for model in models if model["Paper"]["Table"] == table]
        head = "| what | config | stored | paper | ours | command |\n| --- | --- | --- | --- | --- | --- |"
        parts.append("\n".join([f"## {title}", "", head, *rows]) + "\n")
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
