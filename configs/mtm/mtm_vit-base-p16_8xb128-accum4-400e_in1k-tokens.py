"""MTM pre-training with 8 x 512 samples per step on GPUs that hold 128: a step takes four batches, at the same rate.

    bash tools/dist_train.sh configs/mtm/mtm_vit-base-p16_8xb128-accum4-400e_in1k-tokens.py 8 --amp

Expect: not run here; as mtm_vit-base-p16_8xb512-400e_in1k-tokens.py, but that each of the four batches has its own mask
ratio, flip and affine map.
"""

_base_ = "mtm_vit-base-p16_8xb512-400e_in1k-tokens.py"

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(accumulative_counts=4)
