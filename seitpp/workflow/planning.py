"""From a request to a plan: which commands run, how long they will take, and where their output goes."""

import math
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.atomic_write import write_whole
from seitpp.workflow import recipe_parts, recipes, seg_recipes
from seitpp.workflow.images import Part, Pictures, open_pictures, write_links, write_list
from seitpp.workflow.plan import Plan, Request, Step
from seitpp.workflow.setup import Lengths, Setup, choose_setup, choose_tokenizer
from seitpp.workflow.timing import seconds_per_step

# Shares of the time for training; with the most epochs that each is given.
_SHARES = {
    "seit": {"train": 1.0},
    "seitpp": {"tokenadapt": 0.35, "train": 0.65},
    "mtm": {"tokenadapt": 0.25, "mtm": 0.4, "train": 0.35},
}
_MOST_EPOCHS = {"tokenadapt": 60, "mtm": 300, "train": 300}
_FEW_EPOCHS, _FEW_STEPS = 10, 400  # of a classifier, and of a TokenAdapt: with fewer its tokens do harm
_FIT_FLOPS = 2.4e10  # per second, of k-means on one core, which takes some 150 rounds
_SAFETY = 0.9  # of the time that is left for training
_REPORT_SECONDS = 10.0


def make_plan(request: Request, out: str, tools: str, start_seconds: float, say: Callable[[str], None]) -> Plan:
    """Look at the images, choose sizes, measure training steps, and lay the steps out within the time.

    Writes the lists of held-out images to `out`/data, and nothing else.

    Args:
        request: What was asked for.
        out: The work folder.
        tools: Folder of the commands, as they are to be typed.
        start_seconds: What a command takes until it begins to work.
        say: Told what is being done.
    """
    if any(sign in out for sign in "\"'\\{}\n"):
        raise ValueError(f"the work folder {out!r} has quotes, braces or backslashes in its name; use another name")
    say(f"Looking at the images of {request.source} ...")
    started = time.perf_counter()
    pictures = open_pictures(request.source, request.val)
    decode_seconds = (time.perf_counter() - started) / pictures.num_looked_at
    pictures.train.source.refuse_inside(out)
    pictures.val.source.refuse_inside(out)
    tokenizer = choose_tokenizer(pictures, request.tokenizer, request.image_size)
    setup = choose_setup(out, request.source, pictures, tokenizer, request.model, request.method)
    parts = write_data(pictures, out)
    images = {name: _dataset_options(words, pictures.kind) for name, words in parts.items()}
    setup = replace(setup, tools=tools, images=images)
    say("Measuring a few training steps ...")
    fixed = _fixed_steps(setup, parts, start_seconds, decode_seconds)
    lengths, measured = _lengths(request, setup, fixed, start_seconds)
    steps = _steps(setup, lengths, fixed, measured, start_seconds)
    notes = _notes(pictures, setup, request, lengths, measured, sum(step.seconds for step in steps))
    return Plan(
        out=out,
        request=request,
        images_sha256=[pictures.train.source.fingerprint(), pictures.val.source.fingerprint()],
        facts=_facts(pictures, setup),
        lengths=lengths,
        steps=steps,
        configs=_configs(setup, lengths),
        notes=notes,
    )


def write_data(pictures: Pictures, out: str) -> dict[str, list[str]]:
    """Write class names, and lists of what is held out; return each part's words for tools/tokenize_images.py."""
    words: dict[str, list[str]] = {}
    names = Path(out, "data", "classes.txt")
    classes = []
    if pictures.classes is not None and pictures.train.source.kind != "mm-dataset":
        write_whole(names, "".join(f"{name}\n" for name in pictures.classes).encode())
        classes = ["--classes", str(names)]
    for name, part in (("train", pictures.train), ("val", pictures.val)):
        words[name] = [*_part_words(part, name, out), *classes]
    return words


def _part_words(part: Part, name: str, out: str) -> list[str]:
    if part.kept is None:
        split = part.arguments.get("split")
        return [part.arguments["source"], *(["--split", split] if split else [])]
    if part.source.annotated:
        folder = Path(out, "data")
        write_links(part, folder / "images" / name, folder / "annotations" / name)
        return [str(folder), "--split", name]
    if not part.source.listable:
        raise ValueError(
            f"no validation images are given, and of {part.arguments or part.source.kind} none can be held out; give "
            "some with --val SOURCE"
        )
    path = Path(out, "data", f"{name}.csv")
    write_list(part, path)
    return [str(path), "--root", str(part.source.root)]


def _dataset_options(words: list[str], kind: str) -> dict[str, Any]:
    """Return the words for tools/tokenize_images.py as options of `seitpp.ImageDataset`, without label maps."""
    names = {"--split": "split", "--root": "root"}
    pairs = zip(words[1::2], words[2::2], strict=True)
    unlabelled = {"unlabelled": True} if kind == "segmentation" else {}
    return {"source": words[0], **unlabelled, **{names[name]: value for name, value in pairs if name in names}}


def _fixed_steps(
    setup: Setup, parts: dict[str, list[str]], start_seconds: float, decode_seconds: float
) -> dict[str, Step]:
    """Return the steps whose time does not follow from the length of the training."""
    tokenizer, out = setup.tokenizer, setup.out
    steps = {}
    counts = {"train": setup.num_train, "val": setup.num_val}
    cells = tokenizer.grid[0] * tokenizer.grid[1]
    for name, words in parts.items():
        given = tokenizer.given or f"{out}/configs/tokenizer.py"
        options = ["--cfg-options", *tokenizer.options] if tokenizer.options else []
        fits = tokenizer.config is not None or tokenizer.fitted
        if fits and name == "val":
            given, options = f"{out}/tokens/train", []
        seconds = start_seconds + counts[name] * (decode_seconds / 2 + cells * 1e-5) + 3
        if fits and name == "train":
            images = min(setup.num_train, (tokenizer.config or {}).get("fit", {}).get("num_images", 1000))
            seconds += 300 * images * cells * tokenizer.codebook_size * (tokenizer.code_dim or 1) / _FIT_FLOPS
        steps[f"tokenize-{name}"] = Step(
            name=f"tokenize-{name}",
            what=f"tokenise {counts[name]:,} images for {'training' if name == 'train' else 'validation'}",
            command=_words(setup, "tokenize_images.py", given, words[0], f"{out}/tokens/{name}", *words[1:], *options),
            output=f"{out}/tokens/{name}",
            seconds=seconds,
        )
    return steps


def _lengths(
    request: Request, setup: Setup, fixed: dict[str, Step], start_seconds: float
) -> tuple[Lengths, dict[str, float]]:
    """Return how long each training lasts, and the seconds of an epoch (iteration, for a segmentor) of each."""
    shares = dict(_SHARES[setup.method])
    if setup.task == "pretraining":
        shares.pop("train")
    few = Lengths(**dict.fromkeys(shares, 2))
    texts = _configs(setup, few)
    units = {}
    for name in shares:
        by_step = setup.task == "segmentation" and name == "train"
        step = seconds_per_step(texts[name], setup)
        samples = setup.num_val * step / setup.batch_size / 3  # a validation, without gradients
        if by_step:
            units[name] = step + samples / seg_recipes.FEWEST_BETWEEN_VALIDATIONS
        else:
            units[name] = step * setup.steps_per_epoch + samples / 10
    num_commands = len(shares) + 2
    left = 60 * request.minutes - sum(step.seconds for step in fixed.values()) - num_commands * start_seconds
    left = max(0.0, left - _REPORT_SECONDS) * _SAFETY / sum(shares.values())
    lengths = {}
    for name, share in shares.items():
        least, most = (20, 40_000) if setup.task == "segmentation" and name == "train" else (1, _MOST_EPOCHS[name])
        lengths[name] = max(least, min(most, int(left * share / units[name])))
    return Lengths(**lengths), units


def _configs(setup: Setup, lengths: Lengths) -> dict[str, str]:
    """Return the text of each config by its name."""
    texts = {}
    if setup.tokenizer.config is not None:
        texts["tokenizer"] = recipes.tokenizer_recipe(setup)
    if setup.uses_token_adapt:
        texts["tokenadapt"] = recipes.token_adapt_recipe(setup, lengths)
    if setup.method == "mtm":
        texts["mtm"] = recipes.mtm_recipe(setup, lengths)
    if setup.task == "classification":
        texts["train"] = recipes.classifier_recipe(setup, lengths)
        texts["knn"] = recipes.knn_recipe(setup, lengths)
    elif setup.task == "segmentation":
        texts["train"] = seg_recipes.segmentor_recipe(setup, lengths)
    return texts


def _steps(
    setup: Setup, lengths: Lengths, fixed: dict[str, Step], units: dict[str, float], start_seconds: float
) -> list[Step]:
    titles = {
        "tokenadapt": "train TokenAdapt",
        "mtm": "pre-train by MTM",
        "train": "train the segmentor" if setup.task == "segmentation" else "train the classifier",
    }
    steps = list(fixed.values())
    for name, unit in units.items():
        length = getattr(lengths, name)
        unit_name = "iterations" if setup.task == "segmentation" and name == "train" else "epochs"
        steps.append(
            Step(
                name=name,
                what=f"{titles[name]}, {length} {unit_name if length > 1 else unit_name[:-1]}",
                command=shlex.split(recipe_parts.train_command(setup, name)) + ["--resume"],
                output=recipe_parts.checkpoint_of(setup, lengths, name),
                seconds=start_seconds + length * unit,
            )
        )
    out = setup.out
    scored = "mtm" if setup.task == "pretraining" else "train"
    tested = [f"{out}/configs/{scored}.py", recipe_parts.checkpoint_of(setup, lengths, scored)]
    tested += ["--work-dir", f"{out}/score", "--out", f"{out}/metrics/score.json"]
    if setup.task == "segmentation":
        tested += ["--show-dir", f"{out}/score/pictures"]
    if setup.task == "classification":
        tested += ["--out-preds", f"{out}/metrics/predictions.npz"]
    steps.append(
        Step("score", "score", _words(setup, "test.py", *tested), f"{out}/metrics/score.json", start_seconds + 2)
    )
    if setup.task == "classification":
        words = [*shlex.split(recipe_parts.knn_command(setup, lengths)), "--work-dir", f"{out}/knn"]
        words += ["--out", f"{out}/metrics/knn.json"]
        steps.append(Step("knn", "score by nearest neighbours", words, f"{out}/metrics/knn.json", start_seconds + 3))
    return steps


def _words(setup: Setup, tool: str, *words: str) -> list[str]:
    return ["python", f"{setup.tools}/{tool}", *words]


def _facts(pictures: Pictures, setup: Setup) -> dict[str, Any]:
    tokenizer = setup.tokenizer
    return {
        "task": setup.task,
        "classes": setup.classes,
        "num_train": setup.num_train,
        "num_val": setup.num_val,
        "held_out": pictures.held_out,
        "image_sides": list(pictures.sides),
        "image_size": list(tokenizer.image_size),
        "in_channels": tokenizer.in_channels,
        "grid": list(tokenizer.grid),
        "codebook_size": tokenizer.codebook_size,
        "channels": tokenizer.channels,
        "patch_size": setup.patch_size,
        "batch_size": setup.batch_size,
        "can_decode": tokenizer.can_decode,
        "images": setup.images,
        "train_counts": _class_counts(pictures, setup),
        "pixel_shares": None if pictures.pixel_shares is None else pictures.pixel_shares.tolist(),
    }


def _class_counts(pictures: Pictures, setup: Setup) -> list[int] | None:
    """Return the training images of each class."""
    labels = pictures.train.labels
    return None if labels is None else np.bincount(labels, minlength=len(setup.classes)).tolist()


def _notes(
    pictures: Pictures, setup: Setup, request: Request, lengths: Lengths, units: dict[str, float], seconds: float
) -> list[str]:
    """Return what was chosen for the images, and what may be amiss, a line each."""
    tokenizer = setup.tokenizer
    colour = "grey" if pictures.is_grey else "colour"
    classes = f", {len(setup.classes)} classes" if setup.classes else ""
    of_each = " of each class" if setup.task == "classification" else ""
    notes = [
        f"{setup.num_train:,} {colour} images to train on and {setup.num_val:,} to score{classes}"
        + (f" (held out, the same ones every time: a fifth{of_each})." if pictures.held_out else "."),
    ]
    given = f"by {tokenizer.given}" if tokenizer.given else "by k-means on their patches"
    height, width = tokenizer.image_size
    notes.append(
        f"Brought to {width} x {height} pixels (most are {pictures.sides[1]} x {pictures.sides[0]}), and turned into "
        f"{tokenizer.grid[0]} x {tokenizer.grid[1]} "
        + (f"codes of {tokenizer.codebook_size:,}" if tokenizer.channels is None else "positions of coefficients")
        + f" {given}."
    )
    if not tokenizer.can_decode:
        notes.append("The tokenizer has no decoder, so the report shows codes where it would show pictures of them.")
    if counts := _class_counts(pictures, setup):
        single = [name for name, count in zip(setup.classes, counts, strict=True) if count < 2]
        if single:
            notes.append(f"Classes with a single training image: {', '.join(single[:5])}; it will hardly be learned.")
    if seconds > 60 * request.minutes * 1.1 + 5:
        notes.append(
            f"warning: this takes longer than the {request.minutes:g} minutes asked for; a smaller --model, a smaller "
            "--image-size or fewer images take less."
        )
    few, good, unit = (500, 2_000, "iterations") if setup.task == "segmentation" else (_FEW_EPOCHS, 30, "epochs")
    if 0 < lengths.train < few:
        share = _SHARES[setup.method]["train"] / sum(_SHARES[setup.method].values()) * _SAFETY
        missing = (good - lengths.train) * units["train"] / share
        one = unit if lengths.train > 1 else unit[:-1]
        notes.append(
            f"warning: {request.minutes:g} minutes are enough for {lengths.train} {one}; a good model needs more: "
            f"--minutes {math.ceil(max(request.minutes, (seconds + missing) / 60))} allows about {good}."
        )
    steps = lengths.tokenadapt * setup.steps_per_epoch
    if setup.uses_token_adapt and steps < min(_FEW_STEPS, _MOST_EPOCHS["tokenadapt"] * setup.steps_per_epoch):
        notes.append(
            f"warning: TokenAdapt has {steps} steps to learn in, and needs some {_FEW_STEPS} to be of use; give more "
            "--minutes, or --method seit, which does without."
        )
    return notes
