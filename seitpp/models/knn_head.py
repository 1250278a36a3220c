"""Nearest neighbours as a head: the labelled samples nearest to a feature vote for its class.

No weights and no training, so the score judges the encoder alone. The vote is DINO's (Caron et al., 2021): the k
samples of largest cosine, each with the weight exp(cosine / temperature).

Legend: B samples, M samples in the bank, D values per feature, C classes.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor

from seitpp.registry import MODELS

# Samples, and samples of the bank, compared at a time: 64 MB of cosines on an accelerator, less on a CPU.
_QUERIES, _DEVICE_BANK_ROWS, _CPU_BANK_ROWS = 256, 65_536, 8_192


@torch.no_grad()
def nearest_rows(queries: Tensor, bank: Tensor, k: int, bank_rows: int | None = None) -> tuple[Tensor, Tensor]:
    """Find the k rows of a bank (M, D) with the largest inner product, without the whole B x M table of them.

    Products may round otherwise for other numbers of rows, so every part of the queries (B, D) is filled up to one
    size: the neighbours of a query do not depend on how many others come with it. `bank_rows` are compared at a time.
    Returns products (B, k), descending, and rows of the bank (B, k), int64.
    """
    if bank_rows is None:
        bank_rows = _CPU_BANK_ROWS if bank.device.type == "cpu" else _DEVICE_BANK_ROWS
    found = [_nearest_of_part(part, bank, k, bank_rows) for part in queries.split(_QUERIES)]
    products, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
    return products, rows


def _nearest_of_part(queries: Tensor, bank: Tensor, k: int, bank_rows: int) -> tuple[Tensor, Tensor]:
    count = len(queries)
    queries = F.pad(queries, (0, 0, 0, _QUERIES - count))
    best = queries.new_empty(len(queries), 0)
    found = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(bank), bank_rows):
        rows = bank[start : start + bank_rows]
        values, index = (queries @ rows.T).topk(min(k, len(rows)), dim=1)
        best, found = torch.cat([best, values], dim=1), torch.cat([found, index + start], dim=1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        found = found.gather(1, order)
    return best[:count], found[:count]


def vote(products: Tensor, labels: Tensor, num_classes: int, ks: Iterable[int], temperature: float) -> list[Tensor]:
    """Compute each class's share of the weighted vote of the k nearest: for each of `ks` shares (B, C) that sum to 1.

    `products` (B, K) are the cosines of the nearest samples, descending, and `labels` (B, K), int64, their classes.
    `ks` are ascending; for those above K, all K vote.
    """
    weights = (products / temperature).exp()
    ks = [min(k, products.shape[1]) for k in ks]
    shares, scores = {}, products.new_zeros(len(products), num_classes)
    # One neighbour after the other: on a GPU, adding all at once has no fixed order.
    for number in range(ks[-1]):
        column = slice(number, number + 1)
        scores.scatter_add_(1, labels[:, column], weights[:, column])
        if number + 1 in ks:
            shares[number + 1] = scores / scores.sum(dim=1, keepdim=True)
    return [shares[k] for k in ks]


@MODELS.register_module()
class KNNHead(BaseModule):
    """Classifies features by the labelled ones nearest to them; the head of mmpretrain's `ImageClassifier` in a test.

    `seitpp.KNNBankHook` fills the bank before the test. It is not part of checkpoints.

    Args:
        k: Numbers of neighbours that vote, each scored on its own: predictions carry a field `k<number>` for each,
            which `mmpretrain.MultiTasksMetric` reads as a task of that name.
        temperature: Temperature of the vote's weights exp(cosine / temperature).
        bank_rows: Samples of the bank compared at a time; by default what suits the device.
    """

    bank: Tensor
    bank_labels: Tensor
    bank_numbers: Tensor
    query_numbers: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        k: int | Iterable[int] = (10, 20),
        temperature: float = 0.07,
        bank_rows: int | None = None,
    ) -> None:
        super().__init__()
        ks = sorted({k} if isinstance(k, int) else set(k))
        if not ks or ks[0] < 1:
            raise ValueError(f"k must be one number of neighbours or several, each at least 1, got {k}")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.num_classes, self.in_channels = num_classes, in_channels
        self.k, self.temperature, self.bank_rows = ks, temperature, bank_rows
        self.register_buffer("bank", torch.empty(0, in_channels), persistent=False)
        for name in ("bank_labels", "bank_numbers", "query_numbers"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)
        self._copies = 0

    def set_bank(self, features: Tensor, labels: Tensor) -> None:
        """Set the labelled samples that vote: features (M, D) of any length, labels (M,), int64 in [0, C)."""
        if not len(features):
            raise ValueError("the bank of nearest neighbours is empty; give it a data set with samples")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(
                f"the bank has labels from {labels.min()} to {labels.max()}, the head has {self.num_classes} classes; "
                "set model.head.num_classes"
            )
        if bad := int((~features.isfinite().all(dim=1)).sum()):
            raise ValueError(
                f"{bad} of the {len(features)} features of the bank of neighbours are NaN or infinite; the encoder's "
                "weights have diverged or do not suit the data's range"
            )
        self.bank = F.normalize(features.float(), dim=1)
        self.bank_labels = labels
        self.leave_out_own(self.bank_numbers[:0], self.query_numbers[:0])

    def leave_out_own(self, bank_numbers: Tensor, query_numbers: Tensor) -> None:
        """Let no sample of the bank vote for itself.

        Samples of the same number, int64, are the same image: in the bank (M,), empty where all may vote, and in the
        scored data set, by index, (N,).
        """
        self.bank_numbers, self.query_numbers = bank_numbers, query_numbers
        self._copies = int(bank_numbers.unique(return_counts=True)[1].max()) if len(bank_numbers) else 0
        if self._copies and self._copies == len(self.bank):
            raise ValueError("the bank of nearest neighbours holds only one sample, which is scored; give it others")

    def features_of(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Return the last of the encoder's outputs, (B, D)."""
        feature = feats[-1]
        if feature.dim() != 2 or feature.shape[1] != self.in_channels:
            raise ValueError(
                f"the encoder returns {tuple(feature.shape)}, and a bank of neighbours holds one vector of "
                f"{self.in_channels} values per sample; set the backbone's out_type to 'cls_token' or 'avg_featmap', "
                "and model.head.in_channels to its embed_dims"
            )
        return feature

    def forward(self, feats: tuple[Tensor, ...], data_samples: list[DataSample] | None = None) -> list[Tensor]:
        """Compute the classes' shares of the vote, (B, C), for each k; `data_samples` tell which samples these are."""
        if not len(self.bank):
            raise ValueError(
                "the bank of nearest neighbours is empty; test with default_hooks.bank=dict(type='seitpp.KNNBankHook', "
                "dataset=...), which fills it"
            )
        feature = self.features_of(feats)
        with torch.autocast(feature.device.type, enabled=False):
            queries = F.normalize(feature.float(), dim=1)
            count = min(self.k[-1] + self._copies, len(self.bank))
            products, rows = nearest_rows(queries, self.bank, count, self.bank_rows)
            if self._copies:
                products, rows = self._without_own(products, rows, data_samples)
            return vote(products, self.bank_labels[rows], self.num_classes, self.k, self.temperature)

    def _without_own(
        self, products: Tensor, rows: Tensor, data_samples: list[DataSample] | None
    ) -> tuple[Tensor, Tensor]:
        """Drop the samples themselves, whose votes would weigh most, and keep at most k."""
        if data_samples is None:
            raise ValueError("the bank holds samples that are scored, and no data_samples tell which; pass them")
        numbers = self.query_numbers[torch.tensor([sample.sample_idx for sample in data_samples], device=rows.device)]
        own = self.bank_numbers[rows] == numbers[:, None]
        order = own.int().argsort(dim=1, stable=True)  # its own last, the others as they were
        products = products.masked_fill(own, -torch.inf).gather(1, order)  # where there are fewer than k: no weight
        return products[:, : self.k[-1]], rows.gather(1, order)[:, : self.k[-1]]

    def predict(self, feats: tuple[Tensor, ...], data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Predict for each k; the prediction of the smallest k is the sample's own.

        Samples get `pred_score` (C,) and `pred_label`, and for each k a field `k<number>`: a `DataSample` of the same
        and the true label.
        """
        shares = dict(zip(self.k, self(feats, data_samples), strict=True))
        # Read back from the device once, not per sample.
        tasks = {k: zip(share.cpu(), share.argmax(dim=1).cpu(), strict=True) for k, share in shares.items()}
        samples = data_samples or [DataSample() for _ in feats[-1]]
        for sample in samples:
            for k, predictions in tasks.items():
                share, label = next(predictions)
                # mmpretrain's metric of several tasks requires `eval_mask`.
                task = DataSample(metainfo={"eval_mask": True}).set_pred_score(share).set_pred_label(label)
                if "gt_label" in sample:
                    task.set_gt_label(sample.gt_label)
                sample.set_field(task, f"k{k}", dtype=DataSample)
            first = sample.get(f"k{self.k[0]}")
            sample.set_pred_score(first.pred_score).set_pred_label(first.pred_label)
        return samples
