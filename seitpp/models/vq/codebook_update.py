"""How a codebook follows the encoder: first vectors from data, moving averages, and new vectors for dead codes.

Moving averages instead of a gradient are van den Oord et al. 2017, appendix A.1; restarting codes that no vector
chooses any more from the current batch is Dhariwal et al. 2020 (Jukebox), Sec. 3.2. Everything that the update
remembers is a buffer, all ranks compute the same, and draws come from torch's global generator, which `StepSeedHook`
seeds at each step: a resumed run goes on bit for bit.
"""

from collections.abc import Callable
from typing import Literal

import torch
from mmengine.dist import all_reduce, broadcast
from torch import Tensor, nn

# Codes of vectors (N, D) under a codebook (K, D): (N,), int64.
NearestCodes = Callable[[Tensor, Tensor], Tensor]


def sums_by_code(vectors: Tensor, codes: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each code, and their sum, over all processes.

    Args:
        vectors: (N, D), float32.
        codes: (N,), int64 in [0, K).
        codebook_size: K.

    Returns:
        Counts (K,) and sums (K, D), float32.
    """
    # One buffer, so that processes exchange once; `index_add_` on the CPU adds in a fixed order.
    both = vectors.new_zeros(codebook_size, vectors.shape[1] + 1)
    both.index_add_(0, codes, torch.cat((vectors, vectors.new_ones(len(vectors), 1)), dim=1))
    all_reduce(both)
    return both[:, -1], both[:, :-1]


def draw_vectors(vectors: Tensor, count: int) -> Tensor:
    """`count` random vectors (count, D) of a batch (N, D), the same on all ranks: those that the first one drew.

    No vector is drawn twice as long as there are enough.
    """
    rounds = -(-count // len(vectors))
    places = torch.cat([torch.randperm(len(vectors), device=vectors.device) for _ in range(rounds)])[:count]
    drawn = vectors[places].contiguous()
    broadcast(drawn)
    return drawn


def kmeans(vectors: Tensor, codebook_size: int, nearest: NearestCodes, iterations: int) -> Tensor:
    """Lloyd's algorithm from random vectors, over the vectors of all processes.

    A centre that no vector chooses stays where it is.

    Args:
        vectors: This process's, (N, D), float32.
        codebook_size: Centres K.
        nearest: Distance that decides.
        iterations: How often centres move.

    Returns:
        Centres, (K, D).
    """
    centres = draw_vectors(vectors, codebook_size)
    for _ in range(iterations):
        counts, sums = sums_by_code(vectors, nearest(vectors, centres), codebook_size)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


class CodebookUpdate(nn.Module):
    """Keeps the statistics of a codebook's use, and changes it in place.

    Args:
        codebook_size: Codes K.
        code_dim: Values of a code D.
        rule: `gradient`: the optimizer moves codes, and this module only starts and revives them; `ema`: a code is the
            moving average of the vectors that chose it.
        decay: Of the moving averages, a step.
        init: First vectors from the first batch: its `kmeans` centres, or a `random` choice of its vectors; None keeps
            those the codebook has, as for one that was trained before.
        kmeans_iterations: Of `init="kmeans"`.
        revive_below: A code is dead when its moving average of use is below this share of the mean over all codes;
            0 revives none. With `gradient`, a revived code keeps its optimizer's moments.
        revive_interval: Steps between two looks for dead codes.
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
        self.rule, self.decay, self.init, self.kmeans_iterations = rule, decay, init, kmeans_iterations
        self.revive_below, self.revive_interval = revive_below, revive_interval
        self.register_buffer("counts", torch.ones(codebook_size))
        # Only moving averages need the sums; a codebook that the optimizer moves has nothing to resume here.
        self.register_buffer("sums", torch.zeros(codebook_size, code_dim) if rule == "ema" else None)
        # Of the batches so far of a step that is made of several; no checkpoint falls between them.
        self._pending: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def before_step(
        self, codebook: Tensor, vectors: Tensor, nearest: NearestCodes, step: int, batches: int = 1
    ) -> None:
        """Start the codebook at the first step, and revive dead codes later; before codes are chosen.

        Args:
            codebook: (K, D), changed in place.
            vectors: Those of the step's first batch, (N, D), float32, as they are compared with codes (of length one
                under a cosine).
            nearest: Distance that decides.
            step: Steps made so far.
            batches: Batches per step.
        """
        if step == 0:
            self._start(codebook, vectors, nearest, batches)
        elif self.revive_below and step % self.revive_interval == 0:
            self.revive(codebook, draw_vectors(vectors, len(codebook)))

    def _start(self, codebook: Tensor, vectors: Tensor, nearest: NearestCodes, batches: int) -> None:
        if self.init == "kmeans":
            codebook.copy_(kmeans(vectors, len(codebook), nearest, self.kmeans_iterations))
        elif self.init == "random":
            codebook.copy_(draw_vectors(vectors, len(codebook)))
        # As if each code had been chosen equally often: no code is dead before it had a chance.
        self.counts.fill_(self._vectors_of_all(vectors) * batches / len(codebook))
        if self.sums is not None:
            self.sums.copy_(codebook * self.counts[:, None])

    @staticmethod
    def _vectors_of_all(vectors: Tensor) -> Tensor:
        total = torch.tensor(float(len(vectors)), device=vectors.device)
        all_reduce(total)
        return total

    def forget_batches(self) -> None:
        """Drop what was counted since the last step ended."""
        self._pending = None

    @torch.no_grad()
    def revive(self, codebook: Tensor, candidates: Tensor) -> Tensor:
        """Give dead codes the vectors (K, D) of their rows in `candidates`, and mean use; returns which, (K,), bool."""
        dead = self.dead()
        mean = self.counts.mean()
        codebook.copy_(torch.where(dead[:, None], candidates.to(codebook.dtype), codebook))
        self.counts.copy_(torch.where(dead, mean, self.counts))
        if self.sums is not None:
            self.sums.copy_(torch.where(dead[:, None], candidates * mean, self.sums))
        return dead

    def dead(self) -> Tensor:
        """Codes whose use fell below `revive_below` of the mean, (K,), bool."""
        return self.counts < self.revive_below * self.counts.mean()

    @torch.no_grad()
    def after_batch(self, codebook: Tensor, vectors: Tensor, codes: Tensor, ends_step: bool = True) -> Tensor:
        """Count the codes that were chosen; at the end of a step move averages and, with `rule="ema"`, the codes.

        Args:
            codebook: (K, D), changed in place.
            vectors: The batch's, (N, D), float32.
            codes: Their codes, (N,).
            ends_step: Whether this is the last batch of a step; of several the counts add up, as in one large batch.

        Returns:
            Share of all codes that the batch, of all processes, uses; a scalar in [0, 1].
        """
        counts, sums = sums_by_code(vectors, codes, len(codebook))
        used = (counts > 0).float().mean()
        if self._pending is not None:
            counts, sums = counts + self._pending[0], sums + self._pending[1]
        self._pending = None if ends_step else (counts, sums)
        if not ends_step:
            return used
        self.counts.lerp_(counts, 1 - self.decay)
        if self.sums is not None:
            self.sums.lerp_(sums, 1 - self.decay)
            # A code that none chose keeps its vector: both averages shrink alike, down to where float32 ends.
            moved = self.sums / self.counts.clamp(min=1e-12)[:, None]
            codebook.copy_(torch.where(self.counts[:, None] > 1e-12, moved, codebook))
        return used
