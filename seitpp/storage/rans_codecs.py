"""Codecs with rows of variable length: static rANS with tables that are fitted to a shard and kept in it."""

import math
import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from seitpp.storage.contexts import fit_model
from seitpp.storage.entropy_model import MAX_ENTROPY_CODES, EntropyModel
from seitpp.storage.rans import decode_rows, encode_rows

_SLACK_BITS = 64
_MAX_TABLE_BYTES = 2**28  # of the tables after decompression: a damaged file must not fill the memory


@dataclass(frozen=True)
class RansCodec:
    """Every code in close to the bits of its share of the shard; one table for each channel.

    Args:
        codebook_size: Number of codes K.
    """

    codebook_size: int
    name: ClassVar[str] = "rans"
    with_contexts: ClassVar[bool] = False

    @classmethod
    def for_codebook(cls, codebook_size: int) -> "RansCodec":
        """The codec for codes in [0, codebook_size).

        Raises:
            ValueError: There are more codes than its tables can hold.
        """
        if codebook_size > MAX_ENTROPY_CODES:
            raise ValueError(
                f"codec {cls.name} holds at most {MAX_ENTROPY_CODES} codes, codebook_size is {codebook_size}; use "
                "bitpacked"
            )
        return cls(codebook_size)

    def row_bytes(self, num_codes: int) -> int:
        """0: rows have lengths of their own."""
        return 0

    def fit(self, codes: np.ndarray) -> EntropyModel:
        """The model for the samples of a shard, codes (n, H, W, C)."""
        return fit_model(codes, self.codebook_size, with_contexts=self.with_contexts)

    def encode(self, codes: np.ndarray, model: EntropyModel) -> tuple[np.ndarray, np.ndarray]:
        """Bytes of all rows, and where each starts with the end (n + 1,), of codes (n, H, W, C)."""
        return encode_rows(codes, model)

    def decode(
        self,
        content: np.ndarray,
        starts: np.ndarray,
        stops: np.ndarray,
        model: EntropyModel,
        shape: tuple[int, int, int],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, T) of rows `content[starts[i] : stops[i]]`, and whether each is sound (n,); see `decode_rows`."""
        # A row too short for its codes would be refused in the end, after as many steps as a forged grid asks for.
        num_codes = math.prod(shape)
        enough = 8 * (stops - starts) + _SLACK_BITS >= 0.99 * num_codes * model.least_bits
        dtype = np.uint8 if self.codebook_size <= 2**8 else np.uint16
        codes, sound = np.zeros((len(starts), num_codes), dtype), np.zeros(len(starts), bool)
        if enough.all():
            decoded, sound = decode_rows(content, starts, stops, model, shape)
            codes = np.ascontiguousarray(decoded.T, dtype)
        elif enough.any():
            decoded, sound[enough] = decode_rows(content, starts[enough], stops[enough], model, shape)
            codes[enough] = decoded.T
        return codes, sound

    def pack_tables(self, model: EntropyModel) -> bytes:
        """The tables as a shard keeps them."""
        return zlib.compress(model.to_bytes(), 9)

    def load_tables(self, content: bytes, num_channels: int) -> EntropyModel:
        """The model of `pack_tables`.

        Raises:
            ValueError: The bytes are damaged.
        """
        stream = zlib.decompressobj()
        try:
            tables = stream.decompress(content, _MAX_TABLE_BYTES)
        except zlib.error as error:
            raise ValueError(f"tables are damaged: {error}") from error
        if not stream.eof or stream.unused_data:
            raise ValueError("tables are damaged: their zlib stream does not end where it should")
        return EntropyModel.from_bytes(tables, self.codebook_size, num_channels)


@dataclass(frozen=True)
class RansContextCodec(RansCodec):
    """The same with tables that are chosen by the left and the upper neighbour of a code."""

    name: ClassVar[str] = "rans-context"
    with_contexts: ClassVar[bool] = True
