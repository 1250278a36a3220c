"""MTM pre-training of ViT-B on ImageNet-1k tokens (SeiT++, Sec. 3.2 and C; the `w/ MTM` columns of Table 2).

    bash tools/dist_train.sh configs/seitpp/mtm_vitb.py 8 --amp

(mtm_vitb.py is the short name of this file; fine-tuning finds the work folder of either.)

Expect: not run here. The paper reports no pre-training score; fine-tuned, 77.8 % top-1 with all its augmentations.
Augmentation: the release's, _base_/augments/mtm_release.py, which needs a trained TokenAdapt (docs/augmentation.md).
The paper's words are mtm_vit-base-p16_paper-aug_8xb512-400e_in1k-tokens.py.
"""

_base_ = [
    "../_base_/models/mtm_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/augments/mtm_release.py",
    "../_base_/schedules/mtm_adamw_8xb512-400e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(augments=_base_.augments, with_data_samples=False)
train_dataloader = dict(batch_size=512, dataset=dict(with_labels=False))
val_dataloader = dict(dataset=dict(with_labels=False))
test_dataloader = val_dataloader
