"""Draw the features of augmented samples by t-SNE, and measure how well lines separate their classes (SeiT++, Fig. A).

python tools/visualization/vis_tsne.py CONFIG CHECKPOINT
python tools/visualization/vis_tsne.py CONFIG CHECKPOINT --store STORE --augments CONFIG --token-adapt CHECKPOINT

CONFIG and CHECKPOINT are those of a classifier, an MTM or a segmentor; features are what its head reads. Panels are the
samples as they are (`clean`), and what the same augmentations make of them on the tokens' embeddings (`direct`), on
TokenAdapt's map (`TokenAdapt`), and on decoded images that are tokenised again (`pixels`). Augmentations are those
that a config applies through TokenAdapt, without Mixup and CutMix.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from rich.console import Console
from rich.table import Table

from seitpp.apis.augmented_features import (
    PANELS,
    AugmentedFeatures,
    ChosenSamples,
    PanelFeatures,
    choose_samples,
    store_under_test,
    token_adapt_of,
)
from seitpp.apis.loading import as_config
from seitpp.engine.model_kind import ModelKind, check_kind
from seitpp.engine.stores import find_test_stores
from seitpp.evaluation.separability import linear_separability
from seitpp.io.atomic_write import written_whole
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import counted_number, file_ending_in, positive_number, run_tool
from seitpp.io.csv_file import write_csv
from seitpp.io.progress import progress_bar
from seitpp.storage import StoreReader
from seitpp.visualization.tsne import POINT_COLUMNS, PointPanel, check_perplexity, draw_panels, embed, point_rows

_FORMATS = (".png", ".svg", ".pdf", ".csv")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file, or the name of one that comes with seitpp")
    parser.add_argument("checkpoint", help="checkpoint")
    parser.add_argument("--store", help="token store, or a folder of train/ and val/ (default: the config's test data)")
    parser.add_argument("--augments", metavar="CONFIG", help="config whose augmentations are taken (default: CONFIG)")
    parser.add_argument("--token-adapt", metavar="CHECKPOINT", help="TokenAdapt's weights in place of that config's")
    parser.add_argument(
        "--panels", nargs="+", choices=PANELS, help="which to draw, in this order (default: all that can be made)"
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="names of classes (default: drawn at random)")
    count = dict(type=positive_number, metavar="N")
    parser.add_argument("--num-classes", "--max-num-class", default=10, **count, help="classes to draw (default: 10)")
    parser.add_argument("--samples", "--max-num-samples", default=30, **count, help="samples per class (default: 30)")
    parser.add_argument("--draws", default=4, **count, help="draws of the augmentations per sample (default: 4)")
    parser.add_argument("--perplexity", type=float, help="of t-SNE (default: 30, or less for few points)")
    parser.add_argument("--seed", type=counted_number, default=0, help="of samples, draws and t-SNE (default: 0)")
    parser.add_argument(
        "--batch-size",
        default=64,
        **count,
        help="samples at a time; some augmentations draw once for each (default: 64)",
    )
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0 (default: a GPU if there is one)")
    parser.add_argument("--title", help="line above the picture")
    parser.add_argument(
        "--out",
        type=file_ending_in(*_FORMATS),
        nargs="+",
        default=[Path("work_dirs/tsne.png"), Path("work_dirs/tsne.csv")],
        metavar="FILE",
        help=f"files to write: {', '.join(_FORMATS)} (default: work_dirs/tsne.png work_dirs/tsne.csv)",
    )
    return parser.parse_args(argv)


def read_token_adapt(args: argparse.Namespace, config: Config) -> ConfigDict:
    """Return the TokenAdapt whose augmentations are taken, with the weights of the command line."""
    found = token_adapt_of(config if args.augments is None else as_config(args.augments))
    if found is None:
        raise ValueError(
            f"{args.augments or args.config} augments nothing through TokenAdapt; name a config that does, such as one "
            "of configs/seitpp/, with --augments"
        )
    if args.token_adapt is not None:
        if not Path(args.token_adapt).is_file():
            raise FileNotFoundError(f"--token-adapt: {args.token_adapt} does not exist")
        found.checkpoint = args.token_adapt
    return found


def usable_panels(features: PanelFeatures, chosen: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the panels to draw, and why others are left out; those that were asked for must be possible."""
    kept, notes = [], []
    for panel in chosen or PANELS:
        try:
            features.prepare(panel)
        except (OSError, ValueError) as error:
            if chosen:
                raise
            notes.append(f"{panel} is left out: {error}")
        else:
            kept.append(panel)
    return kept, notes


def scores(found: AugmentedFeatures, labels: np.ndarray, seed: int) -> dict[str, float]:
    """Return how well lines separate the classes, and the classifier's own accuracy, both in per cent."""
    draws, samples, _ = found.features.shape
    groups = np.tile(np.arange(samples), draws)
    named = {"linearly separable": linear_separability(found.points, np.tile(labels, draws), groups, seed)}
    if found.predicted is not None:
        named["top-1"] = 100 * float((found.predicted == labels).mean())
    return named


def point_panel(
    title: str, caption: str, parts: Sequence[AugmentedFeatures], chosen: ChosenSamples, perplexity: float, seed: int
) -> PointPanel:
    """Embed samples without augmentation, the first part, together with those of a panel, if there are others."""
    draws = np.concatenate([np.arange(len(part.features)) - (number == 0) for number, part in enumerate(parts)])
    predicted = None if parts[0].predicted is None else np.concatenate([part.predicted.ravel() for part in parts])
    return PointPanel(
        title=title,
        caption=caption,
        points=embed(np.concatenate([part.points for part in parts]), perplexity, seed),
        labels=np.tile(chosen.labels, len(draws)),
        samples=np.tile(chosen.indices, len(draws)),
        draws=draws.repeat(len(chosen.indices)),
        predicted=predicted,
    )


def write_panels(path: Path, panels: Sequence[PointPanel], names: Mapping[int, str], title: str | None) -> None:
    """Write points as a table or as a picture, by the file's suffix."""
    if path.suffix.lower() == ".csv":
        write_csv(path, POINT_COLUMNS, point_rows(panels, names))
        return
    with written_whole(path) as temporary:
        draw_panels(panels, names, title).savefig(temporary, format=path.suffix[1:].lower(), dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    """Encode, measure, embed, and write what was asked for."""
    args = parse_args(argv)
    forbid_pickled_code()
    config = as_config(args.config)
    check_kind(config, ModelKind.CLASSIFIER, ModelKind.MTM, ModelKind.SEGMENTOR)
    token_adapt = read_token_adapt(args, config)
    reader = StoreReader(store_under_test(config) if args.store is None else find_test_stores(args.store)[1])
    chosen = choose_samples(reader, args.classes, args.num_classes, args.samples, args.seed)
    perplexity = check_perplexity(args.perplexity, len(chosen.indices))
    features = PanelFeatures(config, args.checkpoint, reader, chosen, token_adapt, args.device)
    names, notes = usable_panels(features, args.panels)
    clean = features.encode("clean", 1, args.batch_size, args.seed)
    panels, table = [], Table("panel", "points", "linearly separable", "top-1", box=None)
    with progress_bar("t-SNE", "panels") as progress:
        for number, name in enumerate(names):
            found = clean if name == "clean" else features.encode(name, args.draws, args.batch_size, args.seed)
            measured = scores(found, chosen.labels, args.seed)
            caption = "\n".join(f"{key}: {value:.1f} %" for key, value in measured.items())
            parts = [clean] if found is clean else [clean, found]
            panels.append(point_panel(name, caption, parts, chosen, perplexity, args.seed))
            shown = [f"{measured[key]:.1f} %" if key in measured else "-" for key in ("linearly separable", "top-1")]
            table.add_row(name, str(len(found.points)), *shown)
            progress(number + 1, len(names))
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for note in notes:
        console.print(note)
    for path in args.out:
        write_panels(path, panels, chosen.names, args.title)
        console.print(f"wrote {path}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
