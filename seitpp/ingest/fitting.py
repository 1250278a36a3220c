"""Tokenizers without a network are fitted to a sample of the images they are to tokenise."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from seitpp.ingest import merging
from seitpp.ingest.job import TokenizeJob, source_facts
from seitpp.ingest.loading import Fitting, load_batches
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.ingest.processes import Processes
from seitpp.ingest.sources import ImageSource
from seitpp.ingest.worker import first_reasons, unreadable_error
from seitpp.io.untrusted import parse_npy, parse_npz, whole_number
from seitpp.storage.format import CODEBOOK_FILE, canonical_json
from seitpp.tokenizers.base import Tokenizer

_FITTED = f"{STAGING}/fitted_codebook.npz"


def fitted_codebook(job: TokenizeJob, source: ImageSource, processes: Processes) -> np.ndarray | None:
    """The codebook of a tokenizer whose config has a `fit` entry, fitted once by the first process and kept.

    Args:
        job: The run. `tokenizer["fit"]` holds `codebook_size`, `num_images` (default 1,000, evenly spread over the
            source) and `seed`.
        source: The images.
        processes: This process among those of the run.

    Returns:
        (K, D), float32; None if the tokenizer is not fitted.

    Raises:
        ValueError: Another run's store lies there, or the tokenizer cannot be fitted to these images.
    """
    if "fit" not in job.tokenizer:
        return None
    output, tokenizer = OutputFolder(job.out), job.build_tokenizer()
    facts = {"tokenizer": tokenizer.describe(), "source": source_facts(job, source)}
    if processes.is_first:
        merging.refuse_other_store(job.out, facts)
        if _kept(output, facts) is None:
            file = io.BytesIO()
            np.savez(file, codebook=_fit(job, source, tokenizer), facts=np.array(canonical_json(facts).decode()))
            output.write(_FITTED, file.getvalue())
    processes.wait()
    return _kept(output, facts)


def _kept(output: OutputFolder, facts: dict[str, Any]) -> np.ndarray | None:
    """The codebook that an earlier run of the same kind fitted: put aside, or in the store that it began."""
    if (content := output.read(_FITTED)) is not None:
        try:
            arrays = parse_npz(content, f"{output.path}/{_FITTED}", at_most=2**32)
            if str(arrays.get("facts")) == canonical_json(facts).decode() and "codebook" in arrays:
                return arrays["codebook"]
        except ValueError:
            pass  # damaged: as if it had not been put aside
    if output.names() and merging.read_header(output) is not None:
        content = output.read(CODEBOOK_FILE)
        return None if content is None else parse_npy(content, f"{output.path}/{CODEBOOK_FILE}")
    return None


def _fit(job: TokenizeJob, source: ImageSource, tokenizer: Tokenizer) -> np.ndarray:
    options = dict(job.tokenizer["fit"])
    for name in ("num_images", "codebook_size", "seed"):
        if name in options:
            whole_number(options[name], f"the tokenizer's fit.{name}", 0 if name == "seed" else 1, 2**31)
    numbers = spread(len(source), options.pop("num_images", 1000))
    chunks = [numbers[start : start + 64] for start in range(0, len(numbers), 64)]
    pixels, failures = [], []
    for batch in load_batches(source, Fitting.of(tokenizer, None, False), chunks, job.num_workers):
        pixels.append(batch.pixels[torch.from_numpy(batch.readable)])
        failures += batch.failures
        if batch.failures and not job.skip_unreadable:
            raise unreadable_error(batch.failures)
    images = tokenizer.from_bytes(torch.cat(pixels))
    if not len(images):
        raise ValueError(
            f"none of the {len(numbers)} images to fit the tokenizer to could be read. {first_reasons(failures)}"
        )
    with _one_thread():
        return tokenizer.to("cpu").fit(images, **options).codebook.numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: several add up in an order that differs from run to run, and so would the codebook."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def spread(total: int, count: int) -> list[int]:
    """At most `count` numbers, evenly spread over 0..total-1."""
    count = min(count, total)
    return [place * total // count for place in range(count)]
