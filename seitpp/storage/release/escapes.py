"""The escape-byte code of the release files: one byte for a code below 255, two for the codes from 255 to 509.

A pure pair of functions between codes and bytes; `docs/storage_format.md` has examples.
"""

import numpy as np

ESCAPE = 255
MAX_RELEASE_CODES = 510  # the largest code is an escape followed by 254


def decode_release_bytes(content: bytes, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Decode the byte streams of some images at once.

    A byte below 255 gives a code, 255 more if the byte before it in the same image is 255. A byte 255 gives none.

    Args:
        content: Bytes of the images, one after the other.
        offsets: Where each image starts, and the end (n + 1,), nondecreasing from 0 to the length of `content`.

    Returns:
        The codes of all images, uint16; their number for each image (n,); and how many bytes 255 were without effect,
        that is followed by another one or at the end of an image, as no canonical writer produces them.
    """
    stream = np.frombuffer(content, np.uint8)
    is_escape = stream == ESCAPE
    escaped = np.zeros_like(is_escape)
    escaped[1:] = is_escape[:-1]
    starts = offsets[:-1]
    escaped[starts[starts < len(stream)]] = False  # an escape never reaches into the next image
    emits = ~is_escape
    codes = stream.astype(np.uint16)
    codes += escaped.astype(np.uint16) * np.uint16(ESCAPE)
    escapes_before = np.searchsorted(np.flatnonzero(is_escape), offsets)
    counts = np.diff(offsets) - np.diff(escapes_before)
    unused = int(escapes_before[-1]) - int(np.count_nonzero(escaped & emits))
    return codes[emits], counts, unused


def encode_release_bytes(tokens: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Encode codes (n, H, W) or (n, T) in [0, 510) canonically: one escape for every code from 255, none otherwise.

    Returns the bytes of all images, and where each starts with the end (n + 1,), int64.
    """
    codes = np.asarray(tokens).reshape(len(tokens), -1)
    if codes.size and (codes.min() < 0 or codes.max() >= MAX_RELEASE_CODES):
        image, position = np.argwhere((codes < 0) | (codes >= MAX_RELEASE_CODES))[0]
        raise ValueError(
            f"image {image}: code {codes[image, position]} is not in [0, {MAX_RELEASE_CODES}) of a release"
        )
    wide = codes >= ESCAPE
    pairs = np.full((*codes.shape, 2), ESCAPE, np.uint8)  # an escape, which narrow codes drop again, and the byte
    pairs[..., 1] = codes - wide * ESCAPE
    keep = np.ones(pairs.shape, bool)
    keep[..., 0] = wide
    lengths = codes.shape[1] + wide.sum(axis=1)
    return pairs[keep].tobytes(), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
