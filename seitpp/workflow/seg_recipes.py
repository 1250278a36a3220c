"""The config of a segmentor as text: mmseg's UPerNet on tokens with label maps."""

from seitpp.workflow.recipe_parts import checkpoint_of, encoder, test_command, token_adapt_augment, train_command
from seitpp.workflow.setup import Lengths, Setup

FEWEST_BETWEEN_VALIDATIONS = 50  # iterations


def segmentor_recipe(setup: Setup, lengths: Lengths) -> str:
    """Write the config that trains UPerNet on tokens."""
    network, classes, iters = setup.network, len(setup.classes), lengths.train
    depth = network.depth
    taken = [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
    width = network.width
    channels = min(512, width)
    small = width == 64
    pretrained = ""
    if setup.method == "mtm":
        checkpoint = checkpoint_of(setup, lengths, "mtm")
        pretrained = f'\n        init_cfg=dict(type="Pretrained", checkpoint="{checkpoint}", prefix="backbone."),'
    augments, augmented = "", ""
    if setup.uses_token_adapt:
        augments = "\n\n# Augmentations: tokens and label maps move together.\n" + token_adapt_augment(
            setup, lengths, mixing=False
        )
        augmented = "\n    augments=[adapted],"
    interval = max(iters // 8, min(iters, FEWEST_BETWEEN_VALIDATIONS))
    warmup = max(1, min(50, iters // 10))
    return f'''"""UPerNet of mmseg on tokens: a class for each pixel.

    {train_command(setup, "train")}
    {test_command(setup, lengths)}
"""

# Data: the token stores with their label maps.
data_root = "{setup.out}/tokens/"
loading = dict(
    num_workers=0, persistent_workers=False, pin_memory=False, collate_fn=dict(type="seitpp.identity_collate")
)
train_dataloader = dict(
    batch_size={setup.batch_size},
    dataset=dict(type="seitpp.TokenSegDataset", data_root=data_root, store="train"),
    sampler=dict(type="mmengine.InfiniteSampler", shuffle=True),
    **loading,
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(type="seitpp.TokenSegDataset", data_root=data_root, store="val", test_mode=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader{augments}
data_preprocessor = dict(
    type="seitpp.TokenSegDataPreprocessor",
    codebook=data_root + "train",
    distance="{setup.tokenizer.distance}",{augmented}
)

norm_cfg = dict(type="BN", requires_grad=True)
# Rare classes count more, or the network says the commonest one everywhere for long.
loss = dict(type="CrossEntropyLoss", class_weight={setup.class_weight})
heads = dict(
    num_classes={classes}, channels={channels}, dropout_ratio=0.1, norm_cfg=norm_cfg, align_corners=False
)
model = dict(
    type="seitpp.TokenSegmentor",
    _scope_="mmseg",
    backbone=dict(
        type="seitpp.TokenViT",
{encoder(setup)}
        codebook_size={setup.tokenizer.codebook_size},
        code_dim=32,  # of the learned embedding
        token_drop_rate=0.1,
        drop_path_rate={0.0 if small else 0.1},
        out_type="featmap",
        out_indices={taken},
        final_norm=False,{pretrained}
    ),
    neck=dict(
        type="Feature2Pyramid",
        embed_dim={width},
        rescales={[2, 1, 0.5, 0.25] if small else [4, 2, 1, 0.5]},
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type="UPerHead",
        in_channels={[width] * 4},
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        loss_decode=dict(loss_weight=1.0, **loss),
        **heads,
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels={width},
        in_index=2,
        num_convs=1,
        concat_input=False,
        loss_decode=dict(loss_weight=0.4, **loss),
        **heads,
    ),
    test_cfg=dict(mode="whole", keep_logits=False),
)

# Schedule, in iterations
max_iters = {iters}
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr={1e-3 if small else 1e-4}, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={{".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)}},
    ),
)
param_scheduler = [
    dict(type="mmengine.LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end={warmup}),
    dict(type="mmengine.PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin={warmup}, end=max_iters),
]
train_cfg = dict(type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval={interval})
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")
val_evaluator = dict(type="seitpp.LabelSizeIoUMetric", iou_metrics=["mIoU"], prefix="seg")
test_evaluator = dict(val_evaluator, per_class=True)

# Run: log, checkpoints, seed. Guards stop a run whose data, weights and classes do not belong together.
default_scope = "seitpp"
default_hooks = dict(
    logger=dict(type="mmengine.LoggerHook", interval={max(1, min(50, interval))}, log_metric_by_epoch=False),
    checkpoint=dict(type="seitpp.WholeCheckpointHook", by_epoch=False, interval={interval}, max_keep_ckpts=1),
    step_seed=dict(type="seitpp.StepSeedHook"),
    checkpoint_guard=dict(type="seitpp.CheckpointGuardHook"),
    data_guard=dict(type="seitpp.DataGuardHook"),
    class_guard=dict(type="seitpp.ClassGuardHook"),
    finite_guard=dict(type="seitpp.FiniteGuardHook"),
)
log_processor = dict(type="mmengine.LogProcessor", window_size=50, by_epoch=False)
randomness = dict(seed=0)
'''
