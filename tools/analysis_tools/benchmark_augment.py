"""What augmentations cost, eager and compiled, and TokenAdapt: in a training step, and against the way through pixels.

    python tools/analysis_tools/benchmark_augment.py [--device cuda --amp --batch-size 256] [--out FILE]

A training step (data preprocessor, forward, backward, AdamW) of a classifier on 28 x 28 codes with Token-RRC on the
whole batch, against the same with TokenAdapt (flip, affine, random resized crop) on one half. And TokenAdapt on some
images against decoding them through a ViT-VQGAN, the same augmentations on the pixels, and encoding. Weights and codes
are random, the arithmetic is that of trained ones. First each augmentation by itself, eager and as `--compile` of
tools/train.py compiles it.

Candidates take turns in one process; the tables show medians, and ratios of medians. A step varies by more than a few
per cent on a busy machine, so the data preprocessors are also timed alone: the steps differ by no more.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import Compose
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from rich.table import Table

from seitpp.benchmarking.timing import add_out_argument, measure, show
from seitpp.engine.compiling import why_not_compiled
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.config_file import read_config
from seitpp.io.devices import check_device
from seitpp.models import TokenAdapt, TokenDataPreprocessor
from seitpp.registry import MODELS, OPTIM_WRAPPERS, TRANSFORMS

CLASSIFIER = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "models" / "mtm-classifier_vit-base-p16.py"
CLASSIFIERS = {
    "debug": dict(embed_dims=64, num_layers=1, num_heads=1, feedforward_channels=128),
    "vit-small": dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536),
    "vit-base": dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
}
_DEBUG = dict(dims=64, depth=1, num_heads=1, mlp_dims=128)
AUTOENCODERS: dict[str, Any] = {"debug": dict(encoder=_DEBUG, decoder=_DEBUG), "small": "small", "base": "base"}
CODEBOOK_SIZE, CODE_DIM, GRID, OUT_GRID, PIXELS = 391, 32, 32, 28, 8


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=positive_number, help="CPU threads")
    parser.add_argument("--batch-size", type=positive_number, default=16, help="samples of a training step")
    parser.add_argument("--images", type=positive_number, default=2, help="images through the autoencoders per round")
    parser.add_argument("--rounds", type=positive_number, default=5, help="rounds; the median counts")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--classifiers", nargs="*", default=["vit-small", "vit-base"], choices=CLASSIFIERS)
    parser.add_argument("--autoencoders", nargs="*", default=["small", "base"], choices=AUTOENCODERS)
    parser.add_argument(
        "--amp", action="store_true", help="networks in bfloat16, those that train and those that do not"
    )
    add_out_argument(parser)
    return parser.parse_args(argv)


def geometry(places_per_token: int) -> list[dict]:
    """Return flip, affine and random resized crop to 28 x 28 tokens, with MTM's strengths.

    In the recipe batches share a draw, and pass through 1.25 affine maps on average; here through one, so that every
    step costs the same.
    """
    return [
        dict(type="seitpp.BatchRandomFlip", prob=0.5),
        dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, part_prob=0.5, prob=0.5),
        dict(type="seitpp.BatchRandomResizedCrop", size=OUT_GRID * places_per_token, scale=(0.2, 1.0)),
    ]


def adapt(args: argparse.Namespace) -> dict:
    """Return the augmentation that is measured, around a network of random weights."""
    network = TokenAdapt(CODEBOOK_SIZE, CODE_DIM, GRID, OUT_GRID)
    return dict(
        type="seitpp.TokenAdaptAugment",
        token_adapt=network,
        augments=geometry(network.map_stride),
        precision="bfloat16" if args.amp else "float32",
    )


def random_codes(count: int, args: argparse.Namespace) -> torch.Tensor:
    """Return codes as a store keeps them, on the device, where a data set of this size may live."""
    return torch.randint(CODEBOOK_SIZE, (count, GRID, GRID)).to(torch.uint16).to(args.device)


def augmentations(args: argparse.Namespace) -> dict[str, tuple[list[dict], str]]:
    """Return augmentations by name: their configs, and what they are given, codes or maps of a shape."""
    neighbours = {code: [(code + step) % CODEBOOK_SIZE for step in range(1, 6)] for code in range(CODEBOOK_SIZE)}
    eda = dict(type="seitpp.TokenEDA", synonyms=neighbours)
    crop = dict(type="seitpp.TokenRRC", size=OUT_GRID)
    noise, colours = dict(type="seitpp.EmbNoise"), dict(type="seitpp.ColorAdapt", prob=0.5)
    cutmix = dict(type="seitpp.TokenCutMix")
    flip, affine, map_crop = geometry(2)
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
    codes = random_codes(args.batch_size, args)
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


def training_steps(arch: str, codebook: torch.Tensor, args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """A step with Token-RRC alone, one with TokenAdapt on half of the batch, and their data preprocessors alone."""
    config = read_config(CLASSIFIER).model
    config.backbone.arch = CLASSIFIERS[arch]
    config.head.in_channels = CLASSIFIERS[arch]["embed_dims"]
    plain = [dict(type="seitpp.TokenRRC", size=OUT_GRID, scale=(0.2, 1.0)), dict(type="seitpp.ToCodes")]
    half = [dict(type="seitpp.SplitBatch", first=plain, second=[adapt(args)])]
    model: BaseModel = MODELS.build({**config, "data_preprocessor": TokenDataPreprocessor(codebook, plain)})
    parts = {"base": model.data_preprocessor, "adapt": TokenDataPreprocessor(codebook, half)}
    model.to(args.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    kind = "seitpp.AutocastOptimWrapper" if args.amp else "mmengine.OptimWrapper"
    wrapper: OptimWrapper = OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer))
    batch = {
        "inputs": random_codes(args.batch_size, args),
        "sample_idx": torch.arange(args.batch_size),
        "gt_label": torch.randint(config.head.num_classes, (args.batch_size,)),
    }

    def step(preprocessor: TokenDataPreprocessor) -> None:
        model.data_preprocessor = preprocessor
        model.train_step(dict(batch), wrapper)

    parts = {name: part.to(args.device) for name, part in parts.items()}
    alone = {f"{name} alone": partial(part, batch, training=True) for name, part in parts.items()}
    return {**{name: partial(step, part) for name, part in parts.items()}, **alone}


def through_pixels(arch: str, args: argparse.Namespace) -> Callable[[], object]:
    """Decode, augment, encode."""
    tokenizer = dict(
        type="seitpp.ViTVQGAN",
        arch=AUTOENCODERS[arch],
        codebook_size=CODEBOOK_SIZE,
        code_dim=CODE_DIM,
        precision="bfloat16" if args.amp else "float32",
    )
    transform = TRANSFORMS.build(dict(type="seitpp.PixelAugment", tokenizer=tokenizer, augments=geometry(PIXELS)))
    codes = random_codes(args.images, args)
    return lambda: transform({"inputs": codes})


def through_adapt(codebook: torch.Tensor, args: argparse.Namespace) -> Callable[[], object]:
    """Return the same augmentations through TokenAdapt."""
    transform, codes = TRANSFORMS.build(adapt(args)), random_codes(args.images, args)
    codebook = codebook.to(args.device)
    return lambda: transform({"inputs": codes, "codebook": codebook})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    args = parse_args(argv)
    check_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    codebook = torch.randn(CODEBOOK_SIZE, CODE_DIM)
    figures: dict[str, Any] = {"augmentations": compare_compiled(codebook, args), "steps": {}, "pixels": {}}
    each = Table("augmentation", "of", "eager, ms/batch", "compiled, ms/batch", "eager : compiled")
    for name, row in figures["augmentations"].items():
        eager, compiled = row["eager_ms"], row.get("compiled_ms")
        cells = ("", "") if compiled is None else (f"{compiled:.3f}", f"{eager / compiled:.2f}")
        each.add_row(name, row["inputs"], f"{eager:.3f}", *cells)
    steps = Table("step", "Token-RRC, ms/image", "TokenAdapt on half, ms/image", "added", "preprocessor alone")
    for arch in args.classifiers:
        seconds = measure(training_steps(arch, codebook, args), args.rounds, args.device)
        base, new, base_alone, new_alone = (1e3 * value / args.batch_size for value in seconds.values())
        added, alone = new / base - 1, (new_alone - base_alone) / base
        figures["steps"][arch] = {"base_ms": base, "adapt_ms": new, "added": added, "added_alone": alone}
        steps.add_row(arch, f"{base:.3f}", f"{new:.3f}", f"{added:.1%}", f"{alone:.1%}")
    pixels = Table("augmentation through", "its ms/image", "TokenAdapt, ms/image", "ratio")
    for arch in args.autoencoders:
        runs = {"pixels": through_pixels(arch, args), "adapt": through_adapt(codebook, args)}
        slow, fast = (1e3 * value / args.images for value in measure(runs, args.rounds, args.device).values())
        figures["pixels"][arch] = {"pixels_ms": slow, "adapt_ms": fast, "ratio": slow / fast}
        pixels.add_row(f"ViT-VQGAN {arch}", f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}")
    settings = (
        f"{'bfloat16' if args.amp else 'float32'}, batches of {args.batch_size}, {args.images} images through an "
        f"autoencoder, median of {args.rounds} rounds"
    )
    show((each, steps, pixels), figures, settings, args.out, args.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
