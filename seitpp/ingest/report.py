"""The report of a finished run: how well codes are used, what an image costs, how good it looks when it comes back."""

import io
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seitpp.images.label_maps import label_histogram
from seitpp.ingest.commit import Totals, keep_records, num_left_out, read_header
from seitpp.ingest.job import Plan
from seitpp.ingest.loading import ImageBatches
from seitpp.ingest.output import OutputFolder
from seitpp.io.progress import progress_bar
from seitpp.io.text import shorten
from seitpp.storage import StoreReader, store_stats
from seitpp.structures.indices import spread
from seitpp.tokenizers import changed_share
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.encoding import encode_pixels
from seitpp.tokenizers.psnr import image_psnr
from seitpp.visualization.pictures import reconstruction_grid

_SAMPLE_IMAGES = 64
_PICTURE_IMAGES = 8
_MUCH_IGNORED = 0.5
_LEAST_SAME = 0.9  # near ties change single codes, on another device or with another batch size


@dataclass(frozen=True)
class TokenizeReport:
    """Measurements of a finished store; fields that were not measured are None."""

    num_samples: int  # images in the store
    num_unreadable: int  # images of the source that are not
    token_bytes_per_image: float | None
    bytes_per_image: float | None  # of the whole store, codebook included
    source_bytes_per_image: float
    share_of_source: float | None  # bytes of the store over bytes of the source
    codes_used: int | None  # codes that occur
    codebook_size: int  # codes that there are
    entropy_bits: float | None  # per code, order 0
    sample_images: int  # that the following fields were measured on, evenly spread over the store
    psnr_db: float | None  # of decoded against original 8-bit images, mean over the sample
    psnr_db_min: float | None
    codes_reproduced: float | None  # share of the stored codes of the sample that encoding it again gives
    codes_changed_by_precision: float | None  # share of codes that float32 would have set otherwise; None at float32
    skipped_files: dict[str, int] = field(default_factory=dict)  # not taken for images, counted by their ending
    share_ignored_pixels: float | None = None  # of the label maps
    num_classes_with_pixels: int | None = None
    classes_without_pixels: list[str] | None = None  # names, or indices where there are none
    changed_images: list[str] | None = None  # names of the sample's images that give other codes now

    def warnings(self) -> list[str]:
        """Say what a person should look at, one line each."""
        lines = []
        if self.changed_images:
            lines.append(
                f"{len(self.changed_images)} of the {self.sample_images} images looked at give other codes than the "
                f"store has, such as {self.changed_images[0]}: they were changed since, perhaps before a run was "
                "continued. Delete the store and run the same command to make it from the images as they are"
            )
        if self.share_ignored_pixels is not None and self.share_ignored_pixels >= _MUCH_IGNORED:
            lines.append(
                f"{self.share_ignored_pixels:.1%} of the label maps' pixels mean ignore; was a class lost, by "
                "--reduce-zero-label or by masks that use 255 for one?"
            )
        if empty := self.classes_without_pixels:
            lines.append(f"{len(empty)} classes have no pixel in any label map: {shorten(empty, 10)}")
        if self.num_classes_with_pixels is not None and self.num_classes_with_pixels < 2:
            lines.append(
                f"the label maps hold {self.num_classes_with_pixels} class; a segmentation model needs two or more"
            )
        return lines


def make_report(plan: Plan, totals: Totals) -> TokenizeReport:
    """Measure a finished store and write `report/` into it: `report.json`, `unreadable.txt`, `reconstructions.png`.

    If images were left out, `shards.json` is written, too, for a later run that is to read them again. A store that is
    not on this machine is not read again; what would need that is None.
    """
    output = plan.output
    reader = StoreReader(output.path) if output.is_local else None
    stats = None
    if reader is not None:
        with progress_bar("counting codes", unit="images") as progress:
            stats = store_stats(reader, progress)
    samples, names, pixels = _sample(plan, totals)
    with progress_bar(f"encoding {len(pixels)} images again, to compare"):
        tokens = encode_pixels(plan.tokenizer, pixels, plan.job.device, plan.job.batch_size).cpu()
    decoded = _decode(plan.tokenizer, tokens, plan.job.device)
    psnr = None if decoded is None else image_psnr(decoded.double(), pixels.double(), 255)
    source_bytes = totals.source_bytes / totals.num_samples
    same = None if reader is None else (reader.read(samples) == tokens.numpy()).reshape(len(samples), -1).mean(axis=1)
    changed = None
    if getattr(plan.tokenizer, "precision", "float32") != "float32":
        images = plan.tokenizer.from_bytes(pixels[: plan.job.batch_size].to(plan.job.device))
        changed = changed_share(plan.tokenizer, images)
    report = TokenizeReport(
        num_samples=totals.num_samples,
        num_unreadable=len(totals.unreadable),
        token_bytes_per_image=stats and stats["token_bytes"],
        bytes_per_image=stats and stats["total_bytes"],
        source_bytes_per_image=source_bytes,
        share_of_source=stats and stats["total_bytes"] / source_bytes,
        codes_used=stats and stats["codes_used"],
        codebook_size=plan.tokenizer.codebook_size,
        entropy_bits=stats and stats["entropy_bits"],
        sample_images=len(samples),
        psnr_db=None if psnr is None else float(psnr.mean()),
        psnr_db_min=None if psnr is None else float(psnr.min()),
        codes_reproduced=None if same is None else float(same.mean()),
        changed_images=None if same is None else [names[index] for index in np.flatnonzero(same < _LEAST_SAME)],
        codes_changed_by_precision=changed,
        skipped_files=dict(plan.source.skipped),
        **_label_map_shares(reader if plan.source.annotated else None),
    )
    output.write("report/report.json", json.dumps(asdict(report), indent=1).encode() + b"\n")
    output.write("report/unreadable.txt", unreadable_list(totals))
    keep_records(plan, totals)
    if decoded is not None:
        file, shown = io.BytesIO(), spread(len(pixels), _PICTURE_IMAGES)
        reconstruction_grid(pixels[shown], decoded[shown]).save(file, format="PNG")
        output.write("report/reconstructions.png", file.getvalue())
    return report


def _label_map_shares(reader: StoreReader | None) -> dict[str, Any]:
    """Return how pixels are shared among the classes of a store's label maps; nothing without a store."""
    if reader is None:
        return {}
    with progress_bar("counting labels", unit="label maps") as progress:
        histogram = label_histogram(reader, progress)
    classes, present = histogram["classes"], {entry["class"] for entry in histogram["classes"] if entry["pixels"]}
    if any(entry["name"] is not None for entry in classes):
        empty = [entry["name"] or str(entry["class"]) for entry in classes if not entry["pixels"]]
    else:
        empty = [str(index) for index in range(max(present, default=0)) if index not in present]
    return {
        "share_ignored_pixels": histogram["ignored_share"],
        "num_classes_with_pixels": len(present),
        "classes_without_pixels": empty,
    }


def unreadable_list(totals: Totals) -> bytes:
    """Write name, tab and reason of each image that was left out, one per line.

    Names are those of the file system, with blanks for tabs and line breaks.
    """
    lines = (
        "\t".join(" ".join(re.split(r"[\t\r\n]+", text)).strip() for text in (name, reason)) + "\n"
        for _, name, reason in totals.unreadable
    )
    return "".join(lines).encode("utf-8", "surrogateescape")


def _sample(plan: Plan, totals: Totals) -> tuple[list[int], list[str], Tensor]:
    """Return the indices in the store of evenly spread images, their names, and their pixels (n, C, H, W), uint8."""
    left_out = {number for number, _, _ in totals.unreadable}
    kept = np.array([number for number in range(len(plan.source)) if number not in left_out])
    samples = spread(len(kept), _SAMPLE_IMAGES)
    with progress_bar(f"reading {len(samples)} images again, to compare"):
        batch = ImageBatches(plan.source, plan.fitting).__getitems__(kept[samples].tolist())
    if not batch.readable.any():
        _, name, reason = batch.failures[0]
        raise OSError(f"{name} cannot be read any more: {reason}. All samples are written; run again for the report")
    # An image that went away since the run says nothing about the tokens.
    samples = [samples[index] for index in np.flatnonzero(batch.readable)]
    names = [plan.source.names[kept[sample]] for sample in samples]
    return samples, names, batch.pixels[torch.from_numpy(batch.readable)]


@torch.inference_mode()
def _decode(tokenizer: Tokenizer, tokens: Tensor, device: str) -> Tensor | None:
    """Return the images of tokens (n, C, H, W), uint8; None if the tokenizer has no decoder."""
    if not tokenizer.can_decode:
        return None
    images = []
    with progress_bar("decoding for the PSNR", unit="images") as progress:
        for chunk in tokens.long().split(_PICTURE_IMAGES):
            images.append(tokenizer.to_bytes(tokenizer.decode(chunk.to(device))).cpu())
            progress(sum(map(len, images)), len(tokens))
    return torch.cat(images)


def left_out_message(out: str) -> str | None:
    """Say which images were left out of a finished store, and how to read them again; None if none were."""
    output = OutputFolder(out)
    if not (number := num_left_out(read_header(output))):
        return None
    lines = (output.read("report/unreadable.txt") or b"").decode("utf-8", "replace").splitlines()
    names = shorten([line.split("\t")[0] for line in lines], 3)
    return (
        f"{number} images were left out, with the reasons: {report_folder(out)}/unreadable.txt"
        + (f" ({names})" if names else "")
        + ". Mend them and run the same command with --retry-left-out to read them again"
    )


def report_folder(out: str) -> str:
    """Return the folder that the report of a store lies in."""
    return f"{OutputFolder(out).path.rstrip('/')}/report"
