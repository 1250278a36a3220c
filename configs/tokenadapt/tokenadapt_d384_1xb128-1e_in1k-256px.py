"""TokenAdapt with the paper's numbers, for SeiT's ViT-VQGAN tokens (SeiT++, Sec. 3.3, 4.7, Table A).

    python tools/train.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py --amp

Needs the tokenizer (configs/tokenizers/seit_vitvqgan.py says how to get it) and ImageNet-1k's images; 100 of them are
enough for 75.1 % top-1 in the paper's Table A, against 75.5 % with all (..._in1k-256px-100img.py and its like).
Expect: not run here.
"""

_base_ = [
    "../_base_/models/tokenadapt_d384.py",
    "../_base_/datasets/in1k_images-256px.py",
    "../_base_/schedules/tokenadapt_adamw_1xb128-1e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")
# As SeiT's tokens were made: resized to the exact size, the aspect not kept.
pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.Resize", scale=(256, 256), backend="pillow", interpolation="bicubic"),
    dict(type="mmpretrain.PackInputs"),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
