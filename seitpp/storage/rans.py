"""Range asymmetric numeral systems (Duda, arXiv:1311.2540): many rows of symbols to words of 16 bits and back.

Every row is a stream of its own with a state of 32 bits. All rows of a batch go through a step together, so a row of T
symbols costs T steps of array operations whatever the size of the batch. Only integers are used. The stream is
specified in `docs/storage_format.md`.
"""

import numpy as np

from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.entropy_model import EntropyModel

STATE_START = 2**16  # where encoding starts and decoding has to end; states stay in [2^16, 2^32)
MIN_ROW_BYTES = 4  # the state
_ENCODE_ROWS = 1024


def encode_rows(codes: np.ndarray, model: EntropyModel) -> tuple[np.ndarray, np.ndarray]:
    """Encode samples that `model` was fitted to.

    Args:
        codes: Codes (n, H, W, C) that each have a frequency in their context.
        model: Frequencies of the symbols in their contexts.

    Returns:
        The bytes of all rows one after the other, and where each starts with the end (n + 1,), int64.
    """
    contents, lengths = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
    step = samples_at_a_time(int(np.prod(codes.shape[1:])), _ENCODE_ROWS)
    for start in range(0, len(codes), step):
        content, length = _encode_batch(codes[start : start + step], model)
        contents.append(content)
        lengths.append(length)
    return np.concatenate(contents), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)


def _encode_batch(codes: np.ndarray, model: EntropyModel) -> tuple[np.ndarray, np.ndarray]:
    """Encode samples (n, H, W, C) from the last symbol to the first; bytes of all rows and the length of each (n,)."""
    bits = np.uint64(model.scale_bits)
    freqs, starts = (values.astype(np.uint64) for values in model.intervals(codes))  # each (T, n)
    limits = freqs << (np.uint64(32) - bits)  # from here on a state would leave 32 bits
    num_codes, num_rows = freqs.shape
    words = np.zeros((num_rows, num_codes + 2), "<u2")
    ends = np.full(num_rows, num_codes + 2)  # words are written from the end of their row towards its start
    states = np.full(num_rows, STATE_START, np.uint64)
    for step in range(num_codes - 1, -1, -1):
        full = np.flatnonzero(states >= limits[step])
        ends[full] -= 1
        words[full, ends[full]] = states[full].astype(np.uint16)  # the low half
        states[full] >>= np.uint64(16)
        quotients, remainders = np.divmod(states, freqs[step])
        states = (quotients << bits) + remainders + starts[step]
    rows = np.arange(num_rows)
    words[rows, ends - 1] = states.astype(np.uint16)
    words[rows, ends - 2] = (states >> np.uint64(16)).astype(np.uint16)
    used = np.arange(num_codes + 2) >= (ends - 2)[:, None]
    return words[used].view(np.uint8), 2 * used.sum(axis=1)


def decode_rows(
    content: np.ndarray, starts: np.ndarray, stops: np.ndarray, model: EntropyModel, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Decode rows in any order.

    Args:
        content: Bytes that hold the rows, uint8; row i is `content[starts[i] : stops[i]]`.
        starts: First byte of each row (n,), even.
        stops: End of each row (n,), not beyond `content`.
        model: The frequencies that the rows were encoded with.
        shape: Shape of the codes of a sample, (H, W, C).

    Returns:
        Codes (T, n) in the order of the stream, and whether each row is sound (n,): it has at least a state, decoding
        uses up exactly its words, and ends in the state that encoding starts with. Codes of other rows mean nothing,
        but are below K.
    """
    words = content[: len(content) // 2 * 2].view("<u2")
    places, ends = starts // 2, stops // 2
    sound = (starts % 2 == 0) & (stops % 2 == 0) & (stops - starts >= MIN_ROW_BYTES)
    codes = np.empty((int(np.prod(shape)), len(starts)), np.uint16)
    if not len(words) or not len(starts):
        return np.zeros_like(codes), sound
    states = words.take(places, mode="clip").astype(np.uint32) << np.uint32(16)
    states |= words.take(places + 1, mode="clip")
    sound &= states >= STATE_START
    places = _decode_steps(words, places + 2, states, codes, model, shape)
    return codes, sound & (places == ends) & (states == STATE_START)


def _decode_steps(
    words: np.ndarray,
    places: np.ndarray,
    states: np.ndarray,
    codes: np.ndarray,
    model: EntropyModel,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Fill `codes` (T, n) from `states` (n,), changed in place, and the words from `places` (n,); where those end."""
    num_rows = len(states)
    bits, mask, half = np.uint32(model.scale_bits), np.uint32((1 << model.scale_bits) - 1), np.uint32(16)
    slots, shifted, words_read = np.empty(num_rows, np.intp), np.empty(num_rows, np.uint32), np.empty(num_rows, "<u2")
    entries = np.empty(num_rows, np.uint64)
    parts = entries.view(np.uint16).reshape(num_rows, 4)  # start of the interval below the slot, symbol, frequency
    offsets, symbols, freqs = parts[:, 0], parts[:, 1], entries.view(np.uint32)[1::2]
    low = np.empty(num_rows, bool)
    for step, (table, contexts) in enumerate(model.walk(codes, shape)):
        if contexts is None:
            np.bitwise_and(states, mask, out=slots)
        else:
            np.bitwise_and(states, mask, out=shifted)
            np.add(contexts, shifted, out=slots)
        table.take(slots, out=entries, mode="clip")  # never clips; the other modes are slower with `out`
        states >>= bits
        states *= freqs
        states += offsets
        codes[step] = symbols
        np.less(states, STATE_START, out=low)
        words.take(places, out=words_read, mode="clip")  # a damaged row may run beyond the end, and is refused then
        np.left_shift(states, half, out=shifted)
        shifted |= words_read
        np.copyto(states, shifted, where=low)
        places += low
    return places
