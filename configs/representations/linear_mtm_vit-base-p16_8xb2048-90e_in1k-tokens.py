"""Linear probe of MTM's ViT-B on ImageNet-1k tokens by MAE's recipe, Token-RRC its only augmentation.

    bash tools/dist_train.sh configs/representations/linear_mtm_vit-base-p16_8xb2048-90e_in1k-tokens.py 8 --amp

Expect: not run here; the paper reports none.
"""

_base_ = [
    "../_base_/models/mtm-linear_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/schedules/linear_lars_8xb2048-90e.py",
    "../_base_/default_runtime.py",
]

encoder = dict(type="Pretrained", checkpoint="work_dirs/mtm_vitb/epoch_400.pth", prefix="backbone.")
model = dict(backbone=dict(init_cfg=encoder))
data_preprocessor = dict(augments=[dict(type="seitpp.TokenRRC", size=_base_.grid_size, scale=(0.08, 1.0))])
train_dataloader = dict(batch_size=2048)
default_hooks = dict(norm_statistics=dict(type="seitpp.SyncNormStatisticsHook"))
