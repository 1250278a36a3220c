"""How a codebook follows the encoder: first vectors from data, moving averages, and new vectors for dead codes.

Moving averages instead of a gradient: van den Oord et al. 2017, appendix A.1. Codes that no vector chooses any more
restart from the current batch: Dhariwal et al. 2020 (Jukebox), Sec. 3.2. The whole state is in buffers, all ranks
compute the same, and draws come from torch's global generator, which `StepSeedHook` seeds at each step, so a resumed
run continues bit for bit.
"""

from collections.abc import Callable
from typing import Literal

import torch
from mmengine.dist import all_reduce, broadcast
from torch import Tensor, nn

# Maps vectors (N, D) and a codebook (K, D) to codes (N,), int64.
NearestCodes = Callable[[Tensor, Tensor], Tensor]


def sums_by_code(vectors: Tensor, codes: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """Count vectors (N, D) by their codes (N,), and sum them, over all processes: (K,) and (K, D), float32."""
    # One buffer, so that processes exchange once; on the CPU `index_add_` adds in a fixed order.
    both = vectors.new_zeros(codebook_size, vectors.shape[1] + 1)
    both.index_add_(0, codes, torch.cat((vectors, vectors.new_ones(len(vectors), 1)), dim=1))
    all_reduce(both)
    return both[:, -1], both[:, :-1]


def draw_vectors(vectors: Tensor, count: int) -> Tensor:
    """Draw `count` vectors (count, D) of the first rank's batch (N, D); none twice while there are enough."""
    rounds = -(-count // len(vectors))
    rows = torch.cat([torch.randperm(len(vectors), device=vectors.device) for _ in range(rounds)])[:count]
    drawn = vectors[rows].contiguous()
    broadcast(drawn)
    return drawn


def kmeans(vectors: Tensor, codebook_size: int, nearest: NearestCodes, iterations: int) -> Tensor:
    """Run Lloyd's algorithm from random vectors (N, D) of all processes: centres (K, D).

    A centre that no vector chooses stays where it is.
    """
    centres = draw_vectors(vectors, codebook_size)
    for _ in range(iterations):
        counts, sums = sums_by_code(vectors, nearest(vectors, centres), codebook_size)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


class CodebookUpdate(nn.Module):
    """Keeps the statistics of a codebook's use, and changes it in place.

    Args:
        rule: `gradient`: the optimizer moves codes, and this module only starts and revives them; `ema`: a code is the
            moving average of the vectors that chose it.
        decay: Decay of the moving averages per step.
        init: First vectors, from the first batch: its `kmeans` centres, or a `random` choice of its vectors; None keeps
            the codebook's, as for one that was trained before.
        revive_below: A code is dead when its moving average of use is below this share of the mean over all codes;
            0 revives none. With `gradient`, a revived code keeps its optimizer's moments.
        revive_interval: Steps between two searches for dead codes.
        revive_unused: Steps in a row without a vector after which a code is dead, too; 0: its average alone tells. At
            first the encoder turns faster than an average falls, and leaves the whole codebook behind.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        rule: Literal["gradient", "ema"] = "gradient",
        decay: float = 0.99,
        init: Literal["kmeans", "random"] | None = "kmeans",
        kmeans_iterations: int = 10,
        revive_below: float = 0.05,
        revive_interval: int = 20,
        revive_unused: int = 0,
    ) -> None:
        super().__init__()
        if rule not in ("gradient", "ema"):
            raise ValueError(f"the codebook's rule must be 'gradient' or 'ema', got {rule!r}")
        if init not in ("kmeans", "random", None):
            raise ValueError(f"the codebook's init must be 'kmeans', 'random' or None, got {init!r}")
        if not 0 <= decay < 1:
            raise ValueError(f"the codebook's decay must be in [0, 1), got {decay}")
        if not 0 <= revive_below < 1 or revive_interval < 1:
            raise ValueError(
                f"revive_below must be in [0, 1) and revive_interval at least 1, got {revive_below}, {revive_interval}"
            )
        if revive_unused < 0:
            raise ValueError(f"revive_unused must be 0 or a number of steps, got {revive_unused}")
        self.rule, self.decay, self.init, self.kmeans_iterations = rule, decay, init, kmeans_iterations
        self.revive_below, self.revive_interval, self.revive_unused = revive_below, revive_interval, revive_unused
        self.register_buffer("counts", torch.ones(codebook_size))
        # Only moving averages need the sums.
        self.register_buffer("sums", torch.zeros(codebook_size, code_dim) if rule == "ema" else None)
        # Steps since a vector chose each code; not in the checkpoints of runs that do not ask for it.
        self.register_buffer("unused", torch.zeros(codebook_size) if revive_unused else None)
        # Counts and sums of the step's batches so far, where it has several; no checkpoint falls between them.
        self._pending: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def before_step(
        self, codebook: Tensor, vectors: Tensor, nearest: NearestCodes, step: int, batches: int = 1
    ) -> None:
        """Start the codebook at the first step, and revive dead codes later; before codes are chosen.

        The codebook (K, D) is changed in place, after `step` steps of some `batches` each. `vectors` are those of the
        step's first batch, (N, D), float32, of length one under a cosine.
        """
        if step > 0:
            if (self.revive_below or self.revive_unused) and step % self.revive_interval == 0:
                self.revive(codebook, draw_vectors(vectors, len(codebook)))
            return
        if self.init == "kmeans":
            codebook.copy_(kmeans(vectors, len(codebook), nearest, self.kmeans_iterations))
        elif self.init == "random":
            codebook.copy_(draw_vectors(vectors, len(codebook)))
        total = torch.tensor(float(len(vectors)), device=vectors.device)
        all_reduce(total)
        # As if each code had been chosen equally often: no code is dead before it had a chance.
        self.counts.fill_(total * batches / len(codebook))
        if self.sums is not None:
            self.sums.copy_(codebook * self.counts[:, None])

    def forget_batches(self) -> None:
        self._pending = None

    @torch.no_grad()
    def revive(self, codebook: Tensor, candidates: Tensor) -> Tensor:
        """Set dead codes to their rows of `candidates` (K, D), with mean use; return which were dead, (K,), bool."""
        dead = self.dead()
        mean = self.counts.mean()
        codebook.copy_(torch.where(dead[:, None], candidates.to(codebook.dtype), codebook))
        self.counts.copy_(torch.where(dead, mean, self.counts))
        if self.unused is not None:
            self.unused.masked_fill_(dead, 0)
        if self.sums is not None:
            self.sums.copy_(torch.where(dead[:, None], candidates * mean, self.sums))
        return dead

    def dead(self) -> Tensor:
        """Return which codes are dead, by `revive_below` and `revive_unused`, (K,), bool."""
        dead = self.counts < self.revive_below * self.counts.mean()
        return dead if self.unused is None else dead | (self.unused >= self.revive_unused)

    @torch.no_grad()
    def after_batch(self, codebook: Tensor, vectors: Tensor, codes: Tensor, ends_step: bool = True) -> Tensor:
        """Count the chosen codes; at the end of a step move the averages and, with `rule="ema"`, the codes.

        The codebook (K, D) is changed in place; `vectors` (N, D), float32, of a batch have `codes` (N,).
        `ends_step` says whether it is the last batch of the step, whose batches add up as one large batch.
        Returns the share of all codes that the batch of all processes uses, a scalar in [0, 1].
        """
        counts, sums = sums_by_code(vectors, codes, len(codebook))
        used = (counts > 0).float().mean()
        if self._pending is not None:
            counts, sums = counts + self._pending[0], sums + self._pending[1]
        self._pending = None if ends_step else (counts, sums)
        if not ends_step:
            return used
        self.counts.lerp_(counts, 1 - self.decay)
        if self.unused is not None:
            self.unused.add_(1).masked_fill_(counts > 0, 0)
        if self.sums is not None:
            self.sums.lerp_(sums, 1 - self.decay)
            # A code that no vector chose stays: both averages shrink alike, down to where float32 ends.
            moved = self.sums / self.counts.clamp(min=1e-12)[:, None]
            codebook.copy_(torch.where(self.counts[:, None] > 1e-12, moved, codebook))
        return used
