"""MTM pre-training of ViT-B by the paper's words: geometric augmentation through TokenAdapt alone (SeiT++, C).

    bash tools/dist_train.sh configs/mtm/mtm_vit-base-p16_paper-aug_8xb512-400e_in1k-tokens.py 8 --amp

Expect: not run here. The paper reports no pre-training score, and its numbers came from the release's pipeline, that of
mtm_vitb.py; _base_/augments/mtm_paper.py says what differs.
"""

_base_ = [
    "../_base_/models/mtm_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/augments/mtm_paper.py",
    "../_base_/schedules/mtm_adamw_8xb512-400e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(augments=_base_.augments, with_data_samples=False)
train_dataloader = dict(batch_size=512, dataset=dict(with_labels=False))
val_dataloader = dict(dataset=dict(with_labels=False))
test_dataloader = val_dataloader
