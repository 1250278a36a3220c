"""Configs as text that a person reads and edits: flat, with every size written out. Classification and MTM."""

from seitpp.structures.grid_record import by
from seitpp.workflow.recipe_parts import (
    augments,
    backbone,
    double,
    ema,
    encoder,
    flip_place,
    images,
    knn_command,
    literal,
    preprocessor,
    rate,
    runtime,
    schedule,
    stores,
    test_command,
    token_adapt_augment,
    token_adapt_sizes,
    train_command,
)
from seitpp.workflow.setup import Lengths, Setup


def tokenizer_recipe(setup: Setup) -> str:
    """Write the config of a tokenizer that is fitted to the training images."""
    tokenizer = setup.tokenizer
    patch = tokenizer.config["patch_size"]
    return f'''"""K-means on patches of {patch} x {patch} pixels, fitted to the images that it then tokenises.

{by(tokenizer.grid)} codes of {tokenizer.codebook_size}; images are resized to {by(tokenizer.image_size)} pixels.
"""

default_scope = "seitpp"
tokenizer = {literal(tokenizer.config)}
'''


def token_adapt_recipe(setup: Setup, lengths: Lengths) -> str:
    """Write the config that trains TokenAdapt on the images of the training part."""
    tokenizer = setup.tokenizer
    network = token_adapt_sizes(setup)
    if tokenizer.config is not None:
        options = {key: value for key, value in tokenizer.config.items() if key != "fit"}
        built = literal({**options, "codebook": f"{setup.out}/tokens/train"})
    elif tokenizer.entry is not None and not tokenizer.fitted:
        built = literal(tokenizer.entry)
    else:
        built = f'"{setup.out}/tokens/train"  # the store tells which'
    epochs = lengths.tokenadapt
    low, high = tokenizer.pixel_range
    scale = 255 / (high - low)
    pixels = f"mean=[{-low * scale:g}], std=[{scale:g}])  # bytes to [{low:g}, {high:g}]"
    return f'''"""TokenAdapt: a small network that lets image augmentations act on tokens. It learns from the images.

    {train_command(setup, "tokenadapt")}
"""

# Data: the images themselves, brought to the tokenizer's size.
tokenizer = {built}
{images(setup)}
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor", {pixels}

# What it learns to do: flip, turn, move, shear, crop and mix images. The recipes beside this one do not flip, but may.
# Sizes are those of its map, two positions per token.
flip = dict(type="seitpp.BatchRandomFlip", prob=0.5)
affine = dict(type="seitpp.BatchRandomAffine", degrees=15, translate=0.1, shear=10)
crop = dict(type="seitpp.BatchRandomResizedCrop", size={double(tokenizer.grid)}, scale=(0.6, 1.0))
mixup = dict(type="seitpp.BatchMixup", alpha=0.8)

model = dict(
    type="seitpp.TokenAdaptPretrain",
    token_adapt=dict(
        type="seitpp.TokenAdapt",
        codebook_size={None if tokenizer.channels else tokenizer.codebook_size},
        code_dim={tokenizer.channels or tokenizer.code_dim},
        grid={tokenizer.grid},
        out_grid={tokenizer.grid},
{network}
    ),
    tokenizer=tokenizer,
    augments=[flip, dict(affine, part_prob=0.5, prob=0.5), crop, dict(mixup, prob=0.5)],
    eval_augments=dict(flip=[dict(flip, prob=1.0)], affine=[affine], rrc=[crop], mixup=[mixup]),
)

# Schedule
max_epochs = {epochs}
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr={rate(3e-3, setup)}, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
{schedule(epochs)}
val_evaluator = dict(type="seitpp.TokenAdaptMetric")
test_evaluator = val_evaluator

{runtime(setup, epochs, with_classes=False)}'''


def mtm_recipe(setup: Setup, lengths: Lengths) -> str:
    """Write the config that pre-trains by masked token modelling."""
    network, epochs = setup.network, lengths.mtm
    width = min(network.width, 512)
    return f'''"""Masked token modelling: the encoder learns to fill in hidden codes. No classes are needed.

    {train_command(setup, "mtm")}
"""

{stores(setup, with_labels=False)}

# Augmentations: half of each batch as it is, half moved and cropped through TokenAdapt.
{token_adapt_augment(setup, lengths, mixing=False)}
data_preprocessor = dict(
    type="seitpp.TokenDataPreprocessor",
    codebook=data_root + "train",
    distance="{setup.tokenizer.distance}",
    output="codes",
    augments=[dict(type="seitpp.SplitBatch", share=0.5, first=[], second=[adapted])],
    with_data_samples=False,
)

init = [dict(type="Xavier", layer="Linear", distribution="uniform")]
model = dict(
    type="seitpp.MTM",
    backbone=dict(
        type="seitpp.MTMViT",
{encoder(setup)}
        codebook_size={setup.tokenizer.codebook_size},
        code_dim=32,  # of the learned embedding
        token_drop_rate=0.1,
        init_cfg=init,
    ),
    neck=dict(
        type="seitpp.MTMPretrainDecoder",
        decoder_embed_dims={width},
        num_layers={2 if network.width == 64 else 4},
        num_heads={max(4, width // 32) if network.width > 64 else 4},
        drop_rate=0.1,
        attn_drop_rate=0.1,
        init_cfg=init,
    ),
    head=dict(type="seitpp.MTMPretrainHead", init_cfg=init),
    mask_ratio=dict(mean=0.45, std=0.25, low=0.4, high=1.0),  # share of the patches that are hidden
    eval_mask_ratio=0.6,
)

# Schedule
max_epochs = {epochs}
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr={rate(network.mtm_lr, setup)}, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
{schedule(epochs, warmup_share=0.1)}
val_evaluator = dict(type="seitpp.MaskedCodeMetric")
test_evaluator = val_evaluator

{runtime(setup, epochs, with_classes=False)}'''


def classifier_recipe(setup: Setup, lengths: Lengths) -> str:
    """Write the config that trains the classifier: SeiT, SeiT++, or fine-tuning from MTM."""
    network, classes, epochs = setup.network, len(setup.classes), lengths.train
    finetunes = setup.method == "mtm"
    titles = {
        "seit": "SeiT: a vision transformer that reads the embeddings of tokens, from scratch.",
        "seitpp": "SeiT++ without MTM: SeiT, with half of the images augmented through TokenAdapt.",
        "mtm": "SeiT++: a classifier, fine-tuned from the encoder that masked token modelling has trained.",
    }
    if finetunes:
        constructor = '    constructor="mmpretrain.LearningRateDecayOptimWrapperConstructor",\n'
        decay = "        layer_decay_rate=0.75,  # earlier layers change less\n"
        lr, hooks = network.finetune_lr, ""
    else:
        constructor, decay, lr = "", "", network.lr
        hooks = (
            "# An average of the weights is what is scored; the weights themselves score in `accuracy/top1_origin`.\n"
            f'custom_hooks = [dict(type="seitpp.StepEMAHook", momentum={ema(setup, epochs)}, evaluate_on_ema=True, '
            "evaluate_on_origin=True)]\n"
        )
    topk = (1, 5) if classes > 5 else (1,)
    return f'''"""{titles[setup.method]}

    {train_command(setup, "train")}
    {test_command(setup, lengths)}

To try changes without losing this run's results, give another --work-dir.
"""

{stores(setup)}

# Augmentations of a batch of tokens. Left and right are told apart: where they do not matter (photographs of things,
# say), put dict(type="seitpp.BatchRandomFlip", prob=0.5) {flip_place(setup)}.
{augments(setup, lengths)}
{preprocessor(setup)}

model = dict(
    type="mmpretrain.ImageClassifier",
    _scope_="mmpretrain",
    backbone={backbone(setup, lengths)},
    head=dict(
        type="LinearClsHead",
        num_classes={classes},
        in_channels={network.width},
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=[dict(type="TruncNormal", layer="Linear", std={2e-5 if finetunes else 0.02})],
    ),
)

# Schedule
max_epochs = {epochs}
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr={rate(lr, setup)}, betas=(0.9, 0.999), weight_decay=0.1),
{constructor}    paramwise_cfg=dict(
{decay}        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={{".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)}},
    ),
)
{schedule(epochs)}
val_evaluator = [dict(type="mmpretrain.Accuracy", topk={topk}), dict(type="seitpp.CrossEntropy")]
test_evaluator = val_evaluator
{hooks}
{runtime(setup, epochs)}'''


def knn_recipe(setup: Setup, lengths: Lengths) -> str:
    """Write the config that scores an encoder by its nearest neighbours, without training."""
    classes = len(setup.classes)
    k = min(10, setup.num_train)
    topk = (1, 5) if classes > 5 else (1,)
    return f'''"""Nearest neighbours in the features of the frozen encoder: what it has learned, without its head.

    {knn_command(setup, lengths)}
"""

{stores(setup, loaders=("test",))}

{preprocessor(setup, augmented=False)}

model = dict(
    type="mmpretrain.ImageClassifier",
    _scope_="mmpretrain",
    backbone={backbone(setup)},
    head=dict(type="seitpp.KNNHead", num_classes={classes}, in_channels={setup.network.width}, k={k}),
)

test_cfg = dict(type="mmengine.TestLoop")
test_evaluator = dict(
    type="mmpretrain.MultiTasksMetric", task_metrics=dict(k{k}=[dict(type="mmpretrain.Accuracy", topk={topk})])
)

default_scope = "seitpp"
default_hooks = dict(
    bank=dict(type="seitpp.KNNBankHook", dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="train")),
    checkpoint_guard=dict(type="seitpp.CheckpointGuardHook"),
    data_guard=dict(type="seitpp.DataGuardHook"),
)
randomness = dict(seed=0)
'''
