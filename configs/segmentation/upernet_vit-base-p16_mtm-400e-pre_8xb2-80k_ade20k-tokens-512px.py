"""UPerNet on ADE20k's tokens from SeiT++'s ImageNet-1k classifier, with TokenAdapt (SeiT++, Table 4, SeiT++).

    bash tools/dist_train.sh configs/segmentation/upernet_vit-base-p16_mtm-400e-pre_8xb2-80k_ade20k-tokens-512px.py 8 --amp

Expect: not run here. The paper: 43.2 mIoU. It does not tell the size of the label maps.
It starts from "the pre-trained ViT-B/16 model on tokenized ImageNet-1k"; our reading: the classifier fine-tuned from
MTM. To start from MTM itself, give its checkpoint as model.backbone.init_cfg.checkpoint.
"""  # noqa: E501

_base_ = [
    "../_base_/models/upernet_token-vit-base-p16.py",
    "../_base_/datasets/ade20k_tokens-512px.py",
    "../_base_/augments/seg_seitpp.py",
    "../_base_/schedules/seg_adamw_8xb2-80k.py",
    "../_base_/iter_runtime.py",
]

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens/epoch_100.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(init_cfg=encoder))
data_preprocessor = dict(augments=_base_.augments)
