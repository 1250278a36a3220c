"""Image augmentations of tokens through a frozen TokenAdapt (SeiT++, Sec. 3.3, eq. 2)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from seitpp.augment.base import Augmentation, embed_codes
from seitpp.io.checkpoint import check_finite, check_state_dict, load_checkpoint_file, state_dict_of
from seitpp.models.token_adapt.token_adapt import CodeTables, TokenAdapt
from seitpp.registry import MODELS, TRANSFORMS
from seitpp.structures.grid_record import TokenGrid, by, grid_difference, recorded_grid
from seitpp.tokenizers.codebook import codebook_sha256 as sha256_of
from seitpp.tokenizers.identity import check_same_tokenizer

# Where a checkpoint of TokenAdapt's training keeps the network among its other weights, and the codebook.
_PREFIX, _CODEBOOK = "token_adapt.", "codebook"
# Tokens that go through a network at a time: as few as a CPU's caches like, per thread, and as many as an
# accelerator's memory holds.
_CPU_TOKENS, _DEVICE_TOKENS = 1 << 11, 1 << 19
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class _Shared:
    """Networks outside every module tree, and what is kept of them; copies of the owner (the EMA's) hold the same."""

    def __init__(self, network: TokenAdapt | None) -> None:
        self.network = network
        self.reduced: dict[torch.dtype, TokenAdapt] = {}  # copies of it in shorter types
        self.compile_options: Mapping[str, Any] | None = None  # of torch.compile; None runs them as they are
        self.codebook_sha256: str | None = None  # of the codebook that the network was trained with, where known
        # The codebook that was seen last, its version, the network, and what that one's first layers make of it.
        self.seen: tuple[Tensor, int, TokenAdapt, CodeTables | None] | None = None

    def __deepcopy__(self, memo: dict) -> "_Shared":
        return self


@TRANSFORMS.register_module()
class TokenAdaptAugment(Augmentation):
    """Convert tokens to TokenAdapt's map, run augmentations on it, reverse it and take the most likely codes.

    The network is frozen, has no part in training or in checkpoints, and is read when it is first used, so that
    nothing but training needs its file. Every augmentation in `augments` sees the batch with maps as its `inputs`:
    labels, soft targets and label maps follow as they do outside. Sizes, such as a crop's, are in positions of the map,
    which has 2 x 2 per token.

    Required and modified key: `inputs`, codes (B, H, W) with `codebook` (K, D) beside them, or embeddings
    (B, D, H, W); becomes codes int64 (B, h, w), or for a network without a codebook values (B, D, h, w). Optional key:
    `network_dtype`, the type that frozen networks run in.

    Args:
        token_adapt: Options of `seitpp.TokenAdapt`, or the network itself, which is then frozen. The data give
            `codebook_size`, `code_dim` and `grid`; where the options state these, the data must agree.
        checkpoint: Its weights: of a training run of it (tools/train.py), or the authors' after
            tools/convert_checkpoint.py. Needed unless `token_adapt` is a network.
        augments: Configs of transforms on the map, run in order.
        precision: What the networks run in: `float32`, `bfloat16`, or `auto` for what the batch says in
            `network_dtype`, else autocast. Maps and augmentations are always float32.
    """

    def __init__(
        self,
        token_adapt: Mapping[str, Any] | nn.Module,
        checkpoint: str | Path | None = None,
        augments: Sequence[dict] = (),
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
    ) -> None:
        if precision != "auto" and precision not in _DTYPES:
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {precision!r}")
        given = isinstance(token_adapt, nn.Module)
        if given and checkpoint is not None:
            raise ValueError(f"token_adapt is a network already; leave out the checkpoint {checkpoint}")
        self.token_adapt = None if given else {"type": "seitpp.TokenAdapt", **token_adapt}
        self.checkpoint = checkpoint
        self.augments = self.children = [TRANSFORMS.build(cfg) for cfg in augments]
        self.precision = precision
        self._shared = _Shared(_frozen(token_adapt) if given else None)

    def load(self, sizes: Mapping[str, Any] | None = None) -> TokenAdapt:
        """Return the network, read and checked at the first call.

        `sizes` are `codebook_size`, `code_dim` and `grid` of the data, for what `token_adapt` does not state.
        """
        if self._shared.network is None:
            weights, codebook, trained = self._read(self.checkpoint)
            # Initial weights are drawn and overwritten; the training's draws must not depend on when that is.
            with torch.random.fork_rng(devices=[]):
                network = MODELS.build({**(sizes or {}), **self.token_adapt})
            check_finite(weights, f"checkpoint {self.checkpoint}")
            try:
                check_state_dict(weights, network.state_dict(), self.checkpoint)
            except ValueError as error:
                raise ValueError(
                    f"{error}. Use one that was trained on tokens of this tokenizer, or set token_adapt to the sizes "
                    "that it was trained with"
                ) from error
            network.load_state_dict(weights)
            if difference := grid_difference(trained, TokenGrid(network.grid, network.out_grid)):
                # Its weights fit any grid, and a config that states another one means it.
                print_log(f"TokenAdapt {self.checkpoint} converts another grid here: {difference}.", "current")
            if self._shared.compile_options is not None:
                network.compile_transformers(self._shared.compile_options)
            self._shared.network = _frozen(network)
            self._shared.codebook_sha256 = None if codebook is None else sha256_of(codebook)
        return self._shared.network

    @staticmethod
    def _read(checkpoint: str | Path | None) -> tuple[dict[str, Tensor], Tensor | None, TokenGrid]:
        """Read the network's weights, and the codebook and the grid of its training as far as the file tells them."""
        if checkpoint is None:
            raise ValueError(
                "TokenAdaptAugment has no weights, and random ones scramble every token; set its `checkpoint` to a "
                "trained TokenAdapt (tools/train.py with a config of configs/tokenadapt/)"
            )
        if not Path(checkpoint).exists():
            raise FileNotFoundError(
                f"TokenAdapt's checkpoint {checkpoint} does not exist; train one (tools/train.py with a config of "
                "configs/tokenadapt/), or convert the authors' (tools/convert_checkpoint.py tokenadapt SRC DST)"
            )
        content = load_checkpoint_file(checkpoint)
        found = state_dict_of(content, checkpoint)
        codebook = found.pop(_CODEBOOK, None)
        part = {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(_PREFIX)}
        if codebook is not None:
            check_finite({_CODEBOOK: codebook}, f"checkpoint {checkpoint}")
        trained = recorded_grid(content.get("meta"), checkpoint)
        return part or found, codebook, trained

    def prepare(
        self,
        metadata: Mapping[str, Any],
        where: str,
        codebook: Tensor | None = None,
        codebook_sha256: str | None = None,
    ) -> None:
        """Load the network and refuse data that it cannot take, before training starts.

        `metadata` is the data set's `metainfo` (`grid`, `channels`, `codebook_size`, `spatial`), `where` its name.
        """
        if metadata.get("spatial") is False:
            raise ValueError(
                f"{where} holds tokens without a spatial grid: none of them stands for a part of the image, so "
                "TokenAdapt has nothing to flip, crop or turn. Leave TokenAdaptAugment out, or use another tokenizer"
            )
        channels, size, grid = (metadata.get(key) for key in ("channels", "codebook_size", "grid"))
        code_dim = channels if codebook is None else codebook.shape[1]
        if grid is None and self.token_adapt is not None and "grid" not in self.token_adapt:
            self._read(self.checkpoint)  # a file that is missing is an error now; the grid comes with the first batch
            return
        codes = size if codebook is None else len(codebook)
        known = {"codebook_size": codes, "code_dim": code_dim, "grid": grid}
        sizes = {key: value for key, value in known.items() if value is not None}
        network = self.load(sizes if channels is None else {**sizes, "codebook_size": None})
        if grid is not None and tuple(grid) != network.grid:
            raise ValueError(
                f"{where} holds grids of {by(grid)} tokens, TokenAdapt converts {by(network.grid)}; use one that was "
                "trained on such grids, or set token_adapt.grid if this one was"
            )
        if not network.regresses and channels is not None:
            raise ValueError(
                f"{where} holds {channels} values per token and no codes, TokenAdapt scores {network.codebook_size} "
                "codes; use one that was trained with codebook_size=None"
            )
        pairs = {"codes": (size, network.codebook_size), "values per token": (code_dim, network.code_dim)}
        for what, (found, own) in pairs.items():
            if None not in (found, own) and found != own:
                raise ValueError(
                    f"{where} has {found} {what}, TokenAdapt takes {own}; use one that was trained on tokens of this "
                    "tokenizer"
                )
        if codebook_sha256 is not None:
            self._check_codebook(codebook_sha256)

    def _check_codebook(self, sha256: str) -> None:
        if self._shared.codebook_sha256 is not None:
            check_same_tokenizer(
                {"codebook_sha256": self._shared.codebook_sha256},
                f"TokenAdapt's checkpoint {self.checkpoint}",
                {"codebook_sha256": sha256},
                "the data",
                "Use a checkpoint that was trained on tokens of this tokenizer",
            )

    @torch.no_grad()
    def transform(self, results: dict) -> dict:
        inputs = results["inputs"]
        network = self._network(results)
        with torch.autocast(inputs.device.type, enabled=False):
            results["inputs"] = self._convert(network, inputs, results.get("codebook")).float()
            for child in self.children:
                results = child(results)
            results["inputs"] = self._reverse(network, results["inputs"])
        return results

    def _dtype(self, results: Mapping[str, Any]) -> torch.dtype:
        if self.precision != "auto":
            return _DTYPES[self.precision]
        if results.get("network_dtype") is not None:
            return results["network_dtype"]
        device = results["inputs"].device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32

    def load_for(self, inputs: Tensor, codebook: Tensor | None) -> TokenAdapt:
        """Return the network, as `load`, for a batch of codes with their codebook or of embeddings."""
        if codebook is None and not inputs.is_floating_point():
            raise ValueError(
                f"TokenAdapt converts embeddings, but the inputs are {inputs.dtype} codes and the batch has no "
                "`codebook`; give the data preprocessor a codebook, or float inputs"
            )
        size, code_dim = (None, inputs.shape[1]) if codebook is None else codebook.shape
        return self.load({"codebook_size": size, "code_dim": code_dim, "grid": tuple(inputs.shape[-2:])})

    def _network(self, results: Mapping[str, Any]) -> TokenAdapt:
        """Return the network on a batch's device and in its type; cast whole, since autocast costs as much as sums."""
        device, dtype = results["inputs"].device, self._dtype(results)
        network, reduced = self.load_for(results["inputs"], results.get("codebook")), self._shared.reduced
        if next(network.parameters()).device != device:
            network.to(device)
            reduced.clear()
            self._shared.seen = None
        if dtype == torch.float32:
            return network
        if dtype not in reduced:
            reduced[dtype] = network.reduced(dtype)
            if self._shared.compile_options is not None:
                reduced[dtype].compile_transformers(self._shared.compile_options)
        return reduced[dtype]

    def networks(self) -> list[nn.Module]:
        return [] if self._shared.network is None else [self._shared.network]

    def compile(self, options: Mapping[str, Any]) -> bool:
        """Let the network, and copies of it in shorter types, be compiled; `options` are those of torch.compile."""
        self._shared.compile_options = options
        self._shared.reduced.clear()
        if self._shared.network is not None:
            self._shared.network.compile_transformers(options)
        return True

    def _convert(self, network: TokenAdapt, inputs: Tensor, codebook: Tensor | None) -> Tensor:
        if inputs.is_floating_point():
            return _in_pieces(network.convert, inputs, network.grid)
        tables = self._tables(network, codebook)
        if tables is None:
            return _in_pieces(lambda codes: network.convert(embed_codes(codes, codebook)), inputs, network.grid)
        return _in_pieces(lambda codes: network.convert_codes(codes.int(), tables), inputs, network.grid)

    def _tables(self, network: TokenAdapt, codebook: Tensor) -> CodeTables | None:
        """Return what the first layers make of each code, kept while the codebook is the same; None in regression."""
        version = 0 if codebook.is_inference() else codebook._version
        seen = self._shared.seen
        if seen is None or seen[0] is not codebook or seen[1] != version or seen[2] is not network:
            if self._shared.codebook_sha256 is not None:  # hashing waits for the device
                self._check_codebook(sha256_of(codebook))
            whole = self.load()
            dtype = network.conversion.embed.weight.dtype
            tables = None if whole.regresses else whole.code_tables(codebook).to(dtype)
            self._shared.seen = seen = (codebook, version, network, tables)
        return seen[3]

    @staticmethod
    def _reverse(network: TokenAdapt, maps: Tensor) -> Tensor:
        if not network.regresses:
            return _in_pieces(network.reverse_codes, maps, network.out_grid)
        return _in_pieces(network.reverse, maps, network.out_grid).permute(0, 3, 1, 2)


def _frozen(network: TokenAdapt) -> TokenAdapt:
    return network.eval().requires_grad_(False)


def _in_pieces(function: Callable[[Tensor], Tensor], batch: Tensor, grid: tuple[int, int]) -> Tensor:
    """Run a network on a part of the batch at a time; `grid` is of the tokens that it works on."""
    most = _CPU_TOKENS * torch.get_num_threads() if batch.device.type == "cpu" else _DEVICE_TOKENS
    results = [function(piece) for piece in batch.split(max(1, most // (grid[0] * grid[1])))]
    return results[0] if len(results) == 1 else torch.cat(results)
