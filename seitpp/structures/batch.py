"""What a batch is: the keys, dtypes and shapes that travel from the data set to the model.

Legend: B samples, H x W tokens per sample, K codes, D values per code, C channels, N patches, T tokens per patch.

From data set to data preprocessor (one dict per batch, made by `__getitems__`; nothing in it is per sample):

| key          | type                          | meaning                                             |
| ------------ | ----------------------------- | --------------------------------------------------- |
| `inputs`     | integer tensor (B, H, W)      | codes, in the smallest type that holds K            |
|              | or (B, H, W, C)               | C integers per position, without a codebook         |
| `images`     | uint8 tensor (B, C, H, W)     | in place of `inputs`: pixels, tokenised on arrival  |
| `sample_idx` | int64 tensor (B,)             | index in the data set                               |
| `gt_label`   | int64 tensor (B,), or absent  | class index                                         |

For segmentation `data_samples`, a list of `SegDataSample` with `gt_sem_seg` (1, h, w), takes the place of the last two.

Inside the data preprocessor the same dict, with `codebook` (K, D) beside it, passes through the augmentations, which
follow mmcv's transform contract on the whole batch. `inputs` is then codes (B, H, W) or embeddings (B, D, H, W), and an
augmentation that mixes samples adds `gt_score` (B, classes), soft targets that sum to 1, for which it needs
`num_classes`. Label maps are one tensor `gt_sem_seg` (B, h, w) of integers, at their own resolution. `network_dtype` is
the type that frozen networks may compute in: bfloat16 under autocast to it, else float32. `distance` is the distance of
nearest codes, `cosine` or `euclidean`. `split`, (B,), bool, on the CPU, says how the last `seitpp.SplitBatch` divided
the batch.

From data preprocessor to model (mmengine's usual keys): `inputs`, codes int64 (B, H, W) or embeddings float32
(B, D, H, W), and `data_samples`: the list of `DataSample` that mmpretrain's heads and metrics read, or of
`SegDataSample` for mmseg's.
"""

from typing import TypedDict

import torch
from torch import Tensor

# Entries with one row per sample; everything else in a batch belongs to all of it.
PER_SAMPLE_KEYS = ("inputs", "sample_idx", "gt_label", "gt_score", "gt_sem_seg")


class TokenBatch(TypedDict, total=False):
    """A batch on its way to the data preprocessor; see the module's table."""

    inputs: Tensor
    images: Tensor
    sample_idx: Tensor
    gt_label: Tensor
    gt_score: Tensor
    gt_sem_seg: Tensor
    codebook: Tensor
    num_classes: int
    network_dtype: torch.dtype
    distance: str
    split: Tensor | None
    data_samples: list
