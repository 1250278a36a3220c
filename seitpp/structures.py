"""What a batch is: the keys, dtypes and shapes that travel from the data set to the model.

Legend: B samples, H x W tokens a sample, K codes, D values a code, C channels of the network, N patches, T tokens a
patch.

From data set to data preprocessor (one dict a batch, made by `__getitems__`; nothing in it is per sample):

| key          | type                          | meaning                                             |
| ------------ | ----------------------------- | --------------------------------------------------- |
| `inputs`     | integer tensor (B, H, W)      | codes, in the smallest type that holds K            |
| `sample_idx` | int64 tensor (B,)             | place in the data set                               |
| `gt_label`   | int64 tensor (B,), or absent  | class index                                         |

Inside the data preprocessor the same dict, with `codebook` (K, D) beside it, passes through the augmentations, which
follow mmcv's transform contract on the whole batch. `inputs` is then codes (B, H, W) or embeddings (B, D, H, W), and an
augmentation that mixes samples adds `gt_score` (B, classes), soft targets that sum to 1.

From data preprocessor to model (mmengine's usual keys): `inputs`, codes int64 (B, H, W) or embeddings float32
(B, D, H, W), and `data_samples`: the list of `DataSample` that mmpretrain's heads and metrics read.
"""

from typing import TypedDict

from torch import Tensor


class TokenBatch(TypedDict, total=False):
    """A batch on its way to the data preprocessor; see the module's table."""

    inputs: Tensor
    sample_idx: Tensor
    gt_label: Tensor
    gt_score: Tensor
    codebook: Tensor
