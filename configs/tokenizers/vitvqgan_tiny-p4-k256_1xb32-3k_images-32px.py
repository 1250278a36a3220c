"""A small ViT-VQGAN for your own pictures, of whatever sizes: 32 x 32 pixels to 8 x 8 codes of 256, on a CPU.

    python tools/train.py configs/tokenizers/vitvqgan_tiny-p4-k256_1xb32-3k_images-32px.py \\
        --cfg-options train_dataloader.dataset.data_root=FOLDER val_dataloader.dataset.data_root=FOLDER

FOLDER holds `train/` and `val/`; without options it is data/images. Steps are counted, not epochs, so that a few
hundred pictures are enough. Expect: see docs/results.md. Larger images are encoded in tiles of 32 x 32.
"""

_base_ = [
    "../_base_/models/vitvqgan_tiny-p4-k256.py",
    "../_base_/datasets/folder_images-32px.py",
    "../_base_/schedules/vq_tokenizer_adamw_8xb32-100e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="seitpp.VQTokenizerTrainer",
    tokenizer=_base_.tokenizer,
    # In the first steps the encoder turns all vectors away from the codes; those that nothing chooses follow at once.
    codebook=dict(rule="ema", decay=0.95, revive_interval=5, revive_unused=5),
)

max_iters = 3000
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), clip_grad=dict(max_norm=1.0))
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = dict(warmup=100, end=max_iters, eta_min_ratio=0.01, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=500)
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
custom_hooks = [dict(type="seitpp.ReconstructionImageHook")]
