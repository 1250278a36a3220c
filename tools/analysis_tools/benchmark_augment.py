"""What augmentations of a batch cost by themselves, eager and as `--compile` of tools/train.py compiles them.

    python tools/analysis_tools/benchmark_augment.py [--device cuda --batch-size 256] [--out FILE]

Codes and maps are random. Candidates take turns in one process; the table shows medians, and ratios of medians. What
augmentation adds to a training step, TokenAdapt and decoding among it, tools/analysis_tools/cost_table.py tells.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmcv.transforms import Compose
from rich.table import Table

from seitpp.benchmarking.timing import add_out_argument, measure, show
from seitpp.engine.compiling import why_not_compiled
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.devices import check_device
from seitpp.registry import TRANSFORMS

CODEBOOK_SIZE, CODE_DIM, GRID, OUT_GRID = 391, 32, 32, 28


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=positive_number, help="CPU threads")
    parser.add_argument("--batch-size", type=positive_number, default=16, help="samples per batch")
    parser.add_argument("--rounds", type=positive_number, default=5, help="rounds; the median counts")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    add_out_argument(parser)
    return parser.parse_args(argv)


def augmentations(args: argparse.Namespace) -> dict[str, tuple[list[dict], str]]:
    """Return augmentations by name: their configs, and what they are given, codes or maps of a shape."""
    neighbours = {code: [(code + step) % CODEBOOK_SIZE for step in range(1, 6)] for code in range(CODEBOOK_SIZE)}
    eda = dict(type="seitpp.TokenEDA", synonyms=neighbours)
    crop = dict(type="seitpp.TokenRRC", size=OUT_GRID)
    noise, colours = dict(type="seitpp.EmbNoise"), dict(type="seitpp.ColorAdapt", prob=0.5)
    cutmix = dict(type="seitpp.TokenCutMix")
    flip, map_crop = dict(type="seitpp.BatchRandomFlip"), dict(type="seitpp.BatchRandomResizedCrop", size=2 * OUT_GRID)
    affine = dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, part_prob=0.5, prob=0.5)
    return {
        "Token-EDA": ([eda], "codes"),
        "Token-RRC": ([crop], "codes"),
        "Emb-Noise": ([noise], "embeddings"),
        "Emb-Noise, relative": ([noise | {"relative": True}], "embeddings"),
        "ColorAdapt": ([colours], "embeddings"),
        "Mixup": ([dict(type="seitpp.BatchMixup")], "embeddings"),
        "Token-CutMix": ([cutmix], "embeddings"),
        "these but Mixup, in order": ([eda, crop, noise, colours, cutmix], "codes"),
        "flip": ([flip], "TokenAdapt's map"),
        "affine": ([affine], "TokenAdapt's map"),
        "random resized crop": ([map_crop], "TokenAdapt's map"),
    }


def compare_compiled(codebook: torch.Tensor, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Milliseconds per batch of each augmentation, eager and compiled, which take turns; on a CPU, of its cores."""
    clock = time.process_time if torch.device(args.device).type == "cpu" else time.perf_counter
    codes = torch.randint(CODEBOOK_SIZE, (args.batch_size, GRID, GRID)).to(torch.uint16).to(args.device)  # as stored
    given = {
        "codes": codes,
        "embeddings": torch.randn(args.batch_size, CODE_DIM, OUT_GRID, OUT_GRID, device=args.device),
        "TokenAdapt's map": torch.randn(args.batch_size, CODE_DIM, 2 * GRID, 2 * GRID, device=args.device),
    }
    reason = why_not_compiled(torch.device(args.device), {"backend": args.backend})
    if reason:
        print(f"no augmentation is compiled, torch.compile does not work here: {reason}")
    found = {}
    for name, (configs, kind) in augmentations(args).items():
        batch = {"inputs": given[kind], "codebook": codebook.to(args.device)}
        pipelines = {"eager": Compose(list(map(TRANSFORMS.build, configs)))}
        if not reason:
            pipelines["compiled"] = Compose(list(map(TRANSFORMS.build, configs)))
            for transform in pipelines["compiled"].transforms:
                transform.compile({"backend": args.backend})
        runs = {key: partial(_on_copy, pipeline, batch) for key, pipeline in pipelines.items()}
        with torch.no_grad():
            seconds = measure(runs, args.rounds, args.device, 3, clock)
        found[name] = {"inputs": kind, **{f"{key}_ms": 1e3 * value for key, value in seconds.items()}}
    return found


def _on_copy(pipeline: Compose, batch: dict) -> dict:
    return pipeline(dict(batch))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    args = parse_args(argv)
    check_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    codebook = torch.randn(CODEBOOK_SIZE, CODE_DIM)
    figures = compare_compiled(codebook, args)
    table = Table("augmentation", "of", "eager, ms/batch", "compiled, ms/batch", "eager : compiled")
    for name, row in figures.items():
        eager, compiled = row["eager_ms"], row.get("compiled_ms")
        cells = ("", "") if compiled is None else (f"{compiled:.3f}", f"{eager / compiled:.2f}")
        table.add_row(name, row["inputs"], f"{eager:.3f}", *cells)
    settings = f"batches of {args.batch_size}, median of {args.rounds} rounds"
    show([table], {"augmentations": figures}, settings, args.out, args.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
