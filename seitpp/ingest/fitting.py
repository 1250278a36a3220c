"""Tokenizers without a network are fitted to a sample of the images they are to tokenise."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seitpp.ingest import commit
from seitpp.ingest.job import TokenizeJob, source_metadata
from seitpp.ingest.loading import Fitting, load_batches
from seitpp.ingest.output import STAGING, OutputFolder
from seitpp.ingest.sources import ImageSource
from seitpp.ingest.worker import first_reasons, unreadable_error
from seitpp.io.progress import progress_bar
from seitpp.io.untrusted import parse_npy, parse_npz, whole_number
from seitpp.storage.header import CODEBOOK_FILE, canonical_json
from seitpp.structures.indices import spread

_FITTED = f"{STAGING}/fitted_codebook.npz"


def fit_codebook(job: TokenizeJob, source: ImageSource) -> None:
    """Fit a tokenizer whose config has a `fit` entry, and keep the codebook for `fitted_codebook`; once per run.

    The entry holds `codebook_size`, `num_images` (default 1,000, evenly spread over the source) and `seed`.

    Raises:
        ValueError: Another run's store lies there, or the tokenizer cannot be fitted to these images.
    """
    if job.fit is None:
        return
    metadata = _metadata(job, source)
    commit.refuse_other_store(job.out, metadata)
    if fitted_codebook(job, source) is None:
        file, codebook = io.BytesIO(), _fit(job, source)
        np.savez(file, codebook=codebook, facts=np.array(canonical_json(metadata).decode()))
        OutputFolder(job.out).write(_FITTED, file.getvalue())


def fitted_codebook(job: TokenizeJob, source: ImageSource) -> np.ndarray | None:
    """Return the codebook that `fit_codebook` kept, (K, D), float32: put aside, or in the store that was begun.

    None if the config has no `fit` entry, or nothing was kept for this fit.
    """
    if job.fit is None:
        return None
    output = OutputFolder(job.out)
    if (content := output.read(_FITTED)) is not None:
        with contextlib.suppress(ValueError):  # damaged: as if it had not been put aside
            arrays = parse_npz(content, f"{output.path}/{_FITTED}", at_most=2**32)
            expected = canonical_json(_metadata(job, source)).decode()
            if str(arrays.get("facts")) == expected and "codebook" in arrays:
                return arrays["codebook"]
    if output.names() and commit.read_header(output) is not None:
        content = output.read(CODEBOOK_FILE)
        return None if content is None else parse_npy(content, f"{output.path}/{CODEBOOK_FILE}")
    return None


def _metadata(job: TokenizeJob, source: ImageSource) -> dict[str, Any]:
    """Return what must be the same for a codebook to be used again."""
    return {"tokenizer": job.build_tokenizer().describe(), "source": source_metadata(job, source)}


def _fit(job: TokenizeJob, source: ImageSource) -> np.ndarray:
    tokenizer, options = job.build_tokenizer(), dict(job.fit)
    for name in ("num_images", "codebook_size", "seed"):
        if name in options:
            whole_number(options[name], f"the tokenizer's fit.{name}", 0 if name == "seed" else 1, 2**31)
    numbers = spread(len(source), options.pop("num_images", 1000))
    chunks = [numbers[start : start + 64] for start in range(0, len(numbers), 64)]
    pixels, failures, done = [], [], 0
    with progress_bar("reading images to fit the tokenizer to", unit="images") as progress:
        progress(0, len(numbers))
        for batch in load_batches(source, Fitting.of(tokenizer), chunks, job.num_workers):
            pixels.append(batch.pixels[torch.from_numpy(batch.readable)])
            failures += batch.failures
            if batch.failures and not job.skip_unreadable:
                raise unreadable_error(batch.failures)
            done += len(batch.readable)
            progress(done, len(numbers))
    images = tokenizer.from_bytes(torch.cat(pixels))
    if not len(images):
        raise ValueError(
            f"none of the {len(numbers)} images to fit the tokenizer to could be read. {first_reasons(failures)}"
        )
    with _one_thread(), progress_bar("fitting the tokenizer"):
        return tokenizer.to("cpu").fit(images, **options).codebook.numpy()


@contextlib.contextmanager
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
