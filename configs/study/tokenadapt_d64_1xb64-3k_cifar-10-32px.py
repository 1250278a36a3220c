"""TokenAdapt for CIFAR-10's tokens: 8 x 8 codes of 4 x 4-pixel patches, K = 256.

    python tools/train.py configs/study/tokenadapt_d64_1xb64-3k_cifar-10-32px.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/tokenadapt_d64_32px-p4-k256.py",
    "../_base_/datasets/study_cifar-10_images.py",
    "../_base_/schedules/study_tokenadapt_adamw_1xb64-3k.py",
    "../_base_/study_runtime.py",
]

model = dict(tokenizer=dict(codebook="data/study-cifar-10-tokens/train"))
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")
