"""The page about a finished run: what was stored, what was learned, what went wrong, which commands did it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.evaluation.predictions import Predictions, read_predictions
from seitpp.storage import StoreReader
from seitpp.storage.duplicates import find_duplicates
from seitpp.visualization.curves import Scalars, draw_curves, read_scalars
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.results_page import add_class_scores
from seitpp.workflow import report_pictures as pictures
from seitpp.workflow.plan import Plan, Step, duration

REPORT_FILE = "report.html"
_SAME_SHARE = 0.05  # of the tokens of two images that may differ where one is a copy of the other
_MOST_COMPARED = 200_000  # images, in which copies are looked for
_METHODS = {
    "seit": "SeiT, a vision transformer on the embeddings of tokens",
    "seitpp": "SeiT++ without MTM: SeiT, half of the images augmented through TokenAdapt",
    "mtm": "SeiT++: masked token modelling, then fine-tuning",
}
_TITLES = {"tokenadapt": "TokenAdapt", "mtm": "Masked token modelling", "train": "Training"}


def write_report(plan: Plan, seconds: dict[str, float]) -> Path:
    """Write `report.html` into the work folder of a plan whose steps have run; return its path.

    Args:
        plan: The plan.
        seconds: What each step took, by its name.
    """
    page = HtmlPage(f"{Path(plan.request.source).name}: a model of your images", _summary(plan))
    for note in plan.notes:
        if note.startswith("warning: "):
            page.paragraph(f"Before it began: {note.removeprefix('warning: ')}")
    _scores(page, plan)
    _storage(page, plan)
    if plan.facts["task"] == "classification":
        _mistakes(page, plan)
    elif plan.facts["task"] == "segmentation":
        _segments(page, plan)
    _curves(page, plan)
    page.heading("What the model sees")
    pictures.add_reconstructions(page, plan)
    if plan.lengths.mtm:
        pictures.add_filled_in(page, plan)
    pictures.add_augmentations(page, plan)
    _commands(page, plan, seconds)
    _next_steps(page, plan)
    path = Path(plan.out, REPORT_FILE)
    page.write(path)
    return path


def read_scores(plan: Plan) -> dict[str, Any]:
    """Return the scores that the steps have written, by the names of the page."""
    scores: dict[str, Any] = {}
    for name in ("score", "knn"):
        path = Path(plan.out, "metrics", f"{name}.json")
        if path.is_file():
            scores[name] = json.loads(path.read_text(encoding="utf-8"))
    return scores


def headline(plan: Plan) -> str:
    """Return the main score in a few words."""
    scores, facts = read_scores(plan)["score"], plan.facts
    if facts["task"] == "classification":
        return (
            f"{scores['accuracy/top1']:.1f} % of {facts['num_val']:,} validation images are classified right "
            f"(always saying the commonest class: {_majority(plan):.1f} %)"
        )
    if facts["task"] == "segmentation":
        return (
            f"{scores['seg/mIoU']:.1f} mIoU on {facts['num_val']:,} validation images, {scores['seg/aAcc']:.1f} % of "
            f"the pixels right (always saying the commonest class: {_majority(plan):.1f} %)"
        )
    return (
        f"{scores['masked_code/accuracy']:.1f} % of hidden codes are filled in right on {facts['num_val']:,} images "
        f"(a guess: {100 / facts['codebook_size']:.1f} %)"
    )


def _majority(plan: Plan) -> float:
    """Return the per cent of validation images, or pixels, that the commonest training class gets right."""
    if plan.facts["task"] == "segmentation":
        train, val = plan.facts["pixel_shares"]
        return 100 * float(val[int(np.argmax(train))])
    labels = _predictions(plan).need_labels("the baseline")
    return 100 * float((labels == int(np.argmax(plan.facts["train_counts"]))).mean())


def _predictions(plan: Plan) -> Predictions:
    return read_predictions(Path(plan.out, "metrics", "predictions.npz"))


def _summary(plan: Plan) -> str:
    facts = plan.facts
    classes = f" of {len(facts['classes'])} classes" if facts["classes"] else ""
    height, width = facts["image_size"]
    method = _METHODS[plan.request.method]
    if facts["task"] == "segmentation":
        method = "UPerNet on tokens" + (", from an encoder of masked token modelling" if plan.lengths.mtm else "")
    elif facts["task"] == "pretraining":
        method = "masked token modelling"
    return (
        f"{headline(plan)}. {facts['num_train']:,} images{classes} from {plan.request.source} trained it, as tokens of "
        f"{width} x {height} pixels, by {method}."
    )


def _scores(page: HtmlPage, plan: Plan) -> None:
    page.heading("Scores")
    scores, facts = read_scores(plan), plan.facts
    found = scores["score"]
    if facts["task"] == "classification":
        rows = [("top-1: the first guess is right", f"{found['accuracy/top1']:.1f} %")]
        if "accuracy/top5" in found:
            rows.append(("top-5: the class is among the first five", f"{found['accuracy/top5']:.1f} %"))
        for key, value in scores.get("knn", {}).items():
            if key.endswith("top1"):
                k = key.split("_")[0].removeprefix("k")
                encoder = "after MTM alone" if plan.request.method == "mtm" else "of the trained encoder"
                rows.append((f"vote of the {k} nearest training images, features {encoder}", f"{value:.1f} %"))
        rows.append(("always the commonest class", f"{_majority(plan):.1f} %"))
        rows.append(("a blind guess", f"{100 / len(facts['classes']):.1f} %"))
    elif facts["task"] == "segmentation":
        rows = [(f"{name}", f"{found[f'seg/{name}']:.1f}") for name in ("mIoU", "mAcc", "aAcc")]
        share, present = _majority(plan), np.count_nonzero(facts["pixel_shares"][1])
        rows.append(("mIoU of the commonest class everywhere", f"{share / present:.1f}"))
        rows.append(("aAcc of the commonest class everywhere", f"{share:.1f}"))
    else:
        rows = [
            ("hidden codes filled in right", f"{found['masked_code/accuracy']:.1f} %"),
            ("perplexity", f"{found['masked_code/perplexity']:.1f}"),
            ("perplexity of a guess", f"{facts['codebook_size']}"),
        ]
    page.table(["", f"{facts['num_val']:,} validation images"], rows)
    if facts["held_out"]:
        of_what = "each class" if facts["task"] == "classification" else "all"
        page.paragraph(
            f"The validation images were held out of {plan.request.source}, a fifth of {of_what}, and have trained "
            f"nothing. If several of your images show one and the same thing, give --val a folder that shares none of "
            "them: the score of near copies is too good. Lists of both parts are in "
            f"{plan.out}/data."
        )
    add_leaks(page, plan)
    if facts["num_val"] < 200 and facts["task"] == "classification":
        page.paragraph(
            f"With {facts['num_val']} validation images, one more or less is {100 / facts['num_val']:.1f} points: "
            "small differences between runs mean little."
        )


def add_leaks(page: HtmlPage, plan: Plan) -> None:
    """Say how many validation images have the tokens of a training image, and how to look at them."""
    train, val = (Path(plan.out, "tokens", part) for part in ("train", "val"))
    readers = StoreReader(train), StoreReader(val)
    if sum(map(len, readers)) > _MOST_COMPARED:
        return
    found = find_duplicates(*readers, max_share=_SAME_SHARE)
    same = int((found.distance[len(readers[0]) :] <= found.max_distance).sum())
    if same:
        tools = Path(plan.steps[0].command[1]).parent
        page.paragraph(
            f"{same:,} of {len(readers[1]):,} validation images have the tokens of a training image (at most "
            f"{_SAME_SHARE:.0%} of them differ): if these are copies, the score is too good. This shows them:"
        )
        page.code(f"python {tools}/visualization/browse_store.py {train} --against {val} --out {plan.out}/leaks")


def _storage(page: HtmlPage, plan: Plan) -> None:
    page.heading("Bytes")
    report = pictures.store_report(plan, "train")
    facts = plan.facts
    pixels = facts["in_channels"] * facts["image_size"][0] * facts["image_size"][1]
    tokens = report["token_bytes_per_image"]
    rows = [
        ("file of an image", f"{report['source_bytes_per_image']:,.0f}", ""),
        (f"its pixels at {facts['image_size'][1]} x {facts['image_size'][0]}", f"{pixels:,}", ""),
        ("its tokens", f"{tokens:,.0f}", f"{tokens / report['source_bytes_per_image']:.1%} of the file"),
        (
            f"with label, checksum, and its share of the {'header' if facts.get('channels') else 'codebook'}",
            f"{report['bytes_per_image']:,.0f}",
            f"{report['share_of_source']:.1%} of the file",
        ),
    ]
    page.table(["", "bytes per image", ""], rows)
    psnr = "" if report["psnr_db"] is None else f" Decoded again, they reach {report['psnr_db']:.1f} dB PSNR."
    used = ""
    if report["codes_used"] is not None:
        what = "values of coefficients" if facts.get("channels") else "codes"
        used = f" {report['codes_used']} of {report['codebook_size']} {what} are in use."
    page.paragraph(
        f"{report['num_samples']:,} training images take {report['num_samples'] * report['bytes_per_image']:,.0f} "
        f"bytes in {plan.out}/tokens/train.{psnr}{used}"
    )
    for name in ("train", "val"):
        if missing := pictures.store_report(plan, name)["num_unreadable"]:
            page.paragraph(f"{missing} images could not be read: {plan.out}/tokens/{name}/report/unreadable.txt.")


def _mistakes(page: HtmlPage, plan: Plan) -> None:
    predictions = _predictions(plan)
    add_class_scores(page, predictions)
    pictures.add_mistakes(page, plan, predictions)


def _segments(page: HtmlPage, plan: Plan) -> None:
    scores = read_scores(plan)["score"]
    page.heading("Classes")
    shares = plan.facts["pixel_shares"][1]
    rows = [
        (name, f"{share:.1%}", f"{scores[f'seg/IoU/{name}']:.1f}" if f"seg/IoU/{name}" in scores else None)
        for name, share in zip(plan.facts["classes"], shares, strict=True)
    ]
    page.table(["class", "validation pixels", "IoU"], rows)
    page.heading("Predictions")
    pictures.add_segmentations(page, plan)


def _curves(page: HtmlPage, plan: Plan) -> None:
    page.heading("Curves")
    wanted = {
        "train": ("loss", "accuracy/top1", "seg/mIoU", "lr"),
        "mtm": ("loss", "masked_code/accuracy"),
        "tokenadapt": ("loss", "code_accuracy", "token_adapt/affine_accuracy"),
    }
    for name in ("train", "mtm", "tokenadapt"):
        if not getattr(plan.lengths, name):
            continue
        scalars: Scalars = read_scalars(Path(plan.out, name))
        keys = [key for key in wanted[name] if key in scalars]
        if keys:
            page.picture(draw_curves({name: scalars}, keys, _TITLES[name]))


def _commands(page: HtmlPage, plan: Plan, seconds: dict[str, float]) -> None:
    page.heading("Commands")
    page.paragraph("What was run, in this order; each can be typed as it stands, from the folder that you were in.")
    rows = [
        (number, step.what, duration(seconds[step.name]) if step.name in seconds else "-", duration(step.seconds))
        for number, step in plan.numbered()
    ]
    page.table(["", "step", "took", "expected"], rows)
    page.code("\n".join(step.line for step in plan.steps))


def _next_steps(page: HtmlPage, plan: Plan) -> None:
    page.heading("What is where, and what to do next")
    out, facts = plan.out, plan.facts
    steps: dict[str, Step] = {step.name: step for step in plan.steps}
    model = steps.get("train") or steps["mtm"]
    places = [
        (f"{out}/configs", "the recipes: plain files, with every size in them"),
        (model.output, "the trained model"),
        (f"{out}/tokens", "the token stores; the images are not needed any more"),
        (f"{out}/metrics", "scores" + (" and predictions" if facts["task"] == "classification" else "")),
        (f"{out}/logs", "what each command printed"),
    ]
    page.table(["", ""], places)
    tools = str(Path(model.command[1]).parent)
    config = f"{out}/configs/{model.name}.py"
    if facts["task"] == "classification":
        page.paragraph("Classify other pictures, files or folders:")
        page.code(
            f"python {tools}/image_demo.py PICTURE {config} --checkpoint {model.output} --tokenizer {out}/tokens/train"
        )
    page.paragraph("Change a recipe, and train by hand; unchanged, it gives the same score again on a CPU:")
    page.code(f"python {tools}/train.py {config} --work-dir {out}/my-{model.name}")
    ideas = [
        "more time: the same images into a new folder with a larger --minutes",
        "larger pictures: --image-size, where details matter that the pictures above have lost",
        "--model small, which needs many images, and a GPU or patience",
    ]
    if plan.request.method == "seit":
        ideas.append("--method mtm, which learns from the images before it learns the classes: for few labels")
    if plan.request.tokenizer is None:
        ideas.append("a learned tokenizer in place of k-means, which keeps more: docs/tokenizers.md")
    page.paragraph("Other things to try: " + "; ".join(ideas) + ".")
