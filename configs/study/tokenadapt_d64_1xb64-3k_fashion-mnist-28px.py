"""TokenAdapt for Fashion-MNIST's tokens: 7 x 7 codes of 4 x 4-pixel patches, K = 256.

    python tools/train.py configs/study/tokenadapt_d64_1xb64-3k_fashion-mnist-28px.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/tokenadapt_d64_28px-p4-k256.py",
    "../_base_/datasets/study_fashion-mnist_images.py",
    "../_base_/schedules/study_tokenadapt_adamw_1xb64-3k.py",
    "../_base_/study_runtime.py",
]

model = dict(tokenizer=dict(codebook="data/study-tokens/train"))
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")
