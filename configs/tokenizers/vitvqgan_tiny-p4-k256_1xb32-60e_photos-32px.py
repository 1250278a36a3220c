"""A ViT-VQGAN small enough for a CPU: 32 x 32 pixels to 8 x 8 codes of 256, trained on crops of two photographs.

    python tools/dataset_converters/sample_photos.py data/photos
    python tools/train.py configs/tokenizers/vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px.py

Expect: see docs/results.md, which compares it with k-means of the same patches and number of codes. Squared error
alone, codes by moving averages; originals above their reconstructions are in the work folder's reconstructions/.
"""

_base_ = [
    "../_base_/models/vitvqgan_tiny-p4-k256.py",
    "../_base_/datasets/photos_images-32px.py",
    "../_base_/schedules/vq_tokenizer_adamw_8xb32-100e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="seitpp.VQTokenizerTrainer",
    tokenizer=_base_.tokenizer,
    # The encoder turns fast at first, and a slow average with rare revival leaves it with a handful of codes.
    codebook=dict(rule="ema", decay=0.95, revive_interval=5),
)

max_epochs = 60
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), clip_grad=dict(max_norm=1.0))
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = dict(warmup=2, end=max_epochs, eta_min_ratio=0.01)
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
default_hooks = dict(logger=dict(interval=51), checkpoint=dict(interval=10, max_keep_ckpts=1))
