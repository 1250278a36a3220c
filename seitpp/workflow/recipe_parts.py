"""What several of the recipes share: data, augmentations, encoder, schedule, run; and the commands that use them."""

from pprint import pformat
from typing import Any

from seitpp.workflow.setup import Lengths, Setup


def train_command(setup: Setup, step: str) -> str:
    """Return the command line that trains one of the recipes: `tokenadapt`, `mtm` or `train`."""
    return f"python {setup.tools}/train.py {setup.out}/configs/{step}.py --work-dir {setup.out}/{step}"


def test_command(setup: Setup, lengths: Lengths) -> str:
    """Return the command line that scores what came out of training."""
    return f"python {setup.tools}/test.py {setup.out}/configs/train.py {checkpoint_of(setup, lengths, 'train')}"


def knn_command(setup: Setup, lengths: Lengths) -> str:
    """Return the command line that scores the encoder by nearest neighbours: MTM's, where there is one."""
    encoder = "mtm" if setup.method == "mtm" else "train"
    return f"python {setup.tools}/test.py {setup.out}/configs/knn.py {checkpoint_of(setup, lengths, encoder)}"


def checkpoint_of(setup: Setup, lengths: Lengths, step: str) -> str:
    """Return the file that a training ends with."""
    unit = "iter" if setup.task == "segmentation" and step == "train" else "epoch"
    return f"{setup.out}/{step}/{unit}_{getattr(lengths, step)}.pth"


def stores(setup: Setup, with_labels: bool = True, loaders: tuple[str, ...] = ("train", "val", "test")) -> str:
    """Return loaders of the token stores."""
    labels = "" if with_labels else ", with_labels=False"
    parts = [
        "# Data: the token stores.",
        f'data_root = "{setup.out}/tokens/"',
        'loading = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="seitpp.identity_collate"))',
    ]
    if "train" in loaders:
        parts.append(f"""train_dataloader = dict(
    batch_size={setup.batch_size},
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="train"{labels}),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)""")
    name = "val" if "val" in loaders else "test"
    parts.append(f"""{name}_dataloader = dict(
    batch_size=256,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="val", test_mode=True{labels}),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)""")
    if name == "val":
        parts.append("test_dataloader = val_dataloader")
    return "\n".join(parts)


def images(setup: Setup) -> str:
    """Return loaders of the images themselves."""
    train, val = (
        "".join(f", {key}={value!r}" for key, value in setup.images[part].items()) for part in ("train", "val")
    )
    return f"""loading = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="seitpp.identity_collate"))
train_dataloader = dict(
    batch_size={setup.batch_size},
    dataset=dict(type="seitpp.ImageDataset", tokenizer=tokenizer{train}, replace_unreadable=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)
val_dataloader = dict(
    batch_size=256,
    dataset=dict(type="seitpp.ImageDataset", tokenizer=tokenizer{val}, replace_unreadable=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader"""


def augments(setup: Setup, lengths: Lengths) -> str:
    """Return the augmentations of a classifier, by its method."""
    grid = setup.tokenizer.grid
    noise = 'emb_noise = dict(type="seitpp.EmbNoise", std=0.15, channel_std=0.15, relative=True, prob=0.15)  # colours'
    cutmix = (
        "rare_cutmix = dict(\n"
        '    type="seitpp.RandomApply",\n    prob=0.2,\n'
        '    transforms=dict(type="seitpp.TokenCutMix", alpha=1.0, per_sample=False),\n'
        ")"
    )
    if setup.method == "seit":
        crop = f'token_rrc = dict(type="seitpp.TokenRRC", size={grid}, scale=(0.6, 1.0))  # random crops'
        return f"{crop}\n{noise}\n{cutmix}\naugments = [token_rrc, emb_noise, rare_cutmix]"
    colours = """colour_change = dict(
    type="seitpp.OneOf",
    transforms=[dict(emb_noise, prob=0.5), dict(type="seitpp.ColorAdapt", prob=0.5)],
    probs=[0.3, 0.1],
)"""
    if setup.method == "mtm":
        chain = """augments = [
    colour_change,
    dict(type="seitpp.SplitBatch", share=0.5, first=[rare_cutmix], second=[adapted]),
]"""
    else:
        chain = """augments = [
    dict(type="seitpp.SplitBatch", share=0.5, first=[], second=[adapted]),
    colour_change,
    dict(type="seitpp.SplitBatch", by="same", first=[rare_cutmix], second=[]),
]"""
    return "\n".join([token_adapt_augment(setup, lengths, mixing=True), noise, colours, cutmix, chain])


def token_adapt_augment(setup: Setup, lengths: Lengths, mixing: bool) -> str:
    """Return the augmentation through TokenAdapt, `adapted`: geometry, and with `mixing` Mixup and CutMix."""
    grid = setup.tokenizer.grid
    mixed = """
mixing = dict(
    type="seitpp.OneOf",
    transforms=[
        dict(type="seitpp.BatchMixup", alpha=0.8, per_sample=False),
        dict(type="seitpp.BatchCutMix", alpha=1.0, per_sample=False),
    ],
    probs=[0.1, 0.1],
)"""
    affine = "degrees=15, translate=0.1, shear=10, part_prob=0.5, prob=0.5"
    return f"""affine = dict(type="seitpp.BatchRandomAffine", {affine})
crop = dict(type="seitpp.BatchRandomResizedCrop", size={double(grid)}, scale=(0.6, 1.0)){mixed if mixing else ""}
adapted = dict(
    type="seitpp.TokenAdaptAugment",
    token_adapt=dict(
        type="seitpp.TokenAdapt",
        out_grid={grid},
{token_adapt_sizes(setup)}
    ),
    checkpoint="{checkpoint_of(setup, lengths, "tokenadapt")}",
    augments=[affine, crop{", mixing" if mixing else ""}],
)"""


def token_adapt_sizes(setup: Setup) -> str:
    """Return the sizes of a TokenAdapt that go with the encoder."""
    small = setup.network.width == 64
    sizes = (64, 4, 16, 256) if small else (384, 6, 64, 1536)
    names = ("dims", "num_heads", "head_dims", "mlp_dims")
    return "\n".join(f"        {name}={size}," for name, size in zip(names, sizes, strict=True))


def flip_place(setup: Setup) -> str:
    """Say where a flip is to be added."""
    return "first in `augments`" if setup.method == "seit" else "before `affine` in `adapted`"


def preprocessor(setup: Setup, augmented: bool = True) -> str:
    """Return the data preprocessor of a classifier."""
    tokenizer = setup.tokenizer
    if tokenizer.channels is None:
        tokens = f'    codebook=data_root + "train",\n    distance="{tokenizer.distance}",\n'
    else:
        tokens = f"    codebook=None,\n    channels={tokenizer.channels},\n"
    augments = f"    augments=augments,\n    num_classes={len(setup.classes)},\n" if augmented else ""
    output = "codes" if setup.method == "mtm" else "embeddings"
    options = f'    type="seitpp.TokenDataPreprocessor",\n{tokens}    output="{output}",\n{augments}'
    return f"data_preprocessor = dict(\n{options})"


def encoder(setup: Setup) -> str:
    """Return the sizes of the encoder."""
    width = setup.network.width
    arch = (
        f"dict(embed_dims={width}, num_layers={setup.network.depth}, num_heads={setup.network.heads}, "
        f"feedforward_channels={4 * width})"
    )
    return f"        arch={arch},\n        grid_size={setup.tokenizer.grid},\n        patch_size={setup.patch_size},"


def backbone(setup: Setup, lengths: Lengths | None = None) -> str:
    """Return the encoder of a classifier: on codes after MTM, else on embeddings through SeiT's stem."""
    tokenizer, patch = setup.tokenizer, setup.patch_size
    if setup.method == "mtm":
        reads = (
            f"        codebook_size={tokenizer.codebook_size},\n        code_dim=32,\n        token_drop_rate=0.1,\n"
        )
        if lengths is not None:
            checkpoint = checkpoint_of(setup, lengths, "mtm")
            reads += f'        init_cfg=dict(type="Pretrained", checkpoint="{checkpoint}", prefix="backbone."),\n'
    else:
        stem = f"dict(kernel_size={patch + 2}, stride={patch}, padding=1)"
        reads = f"        code_dim={tokenizer.channels or tokenizer.code_dim},\n        patch_cfg={stem},  # overlaps\n"
    return f"""dict(
        type="seitpp.TokenViT",
{encoder(setup)}
{reads}        drop_path_rate=0.1,
        out_type="avg_featmap",
        final_norm=False,
    )"""


def schedule(epochs: int, warmup_share: float = 0.04) -> str:
    """Return the schedule of the rate, and the loops."""
    warmup = max(1, round(warmup_share * epochs)) if epochs > 1 else 0
    return f"""param_scheduler = dict(
    type="seitpp.WarmupCosineLR",
    warmup={warmup},  # epochs
    start_ratio=1e-3,
    eta_min_ratio=1e-3,
    end=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval={interval(epochs)})
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")"""


def runtime(setup: Setup, epochs: int, with_classes: bool = True) -> str:
    """Return what every run has: log, checkpoints, guards, seed."""
    classes = '\n    class_guard=dict(type="seitpp.ClassGuardHook"),' if with_classes else ""
    return f"""# Run: log, checkpoints, seed. Guards stop a run whose data, weights and classes do not belong together.
default_scope = "seitpp"
default_hooks = dict(
    logger=dict(type="mmengine.LoggerHook", interval={max(1, min(50, setup.steps_per_epoch))}),
    checkpoint=dict(type="seitpp.WholeCheckpointHook", interval={interval(epochs)}, max_keep_ckpts=1),
    step_seed=dict(type="seitpp.StepSeedHook"),
    checkpoint_guard=dict(type="seitpp.CheckpointGuardHook"),
    data_guard=dict(type="seitpp.DataGuardHook"),{classes}
    finite_guard=dict(type="seitpp.FiniteGuardHook"),
)
log_processor = dict(type="seitpp.TableLogProcessor", window_size=50, by_epoch=True)
randomness = dict(seed=0)
"""


def interval(epochs: int) -> int:
    """Return after how many epochs a run validates and writes a checkpoint: about ten times."""
    return max(1, epochs // 10)


def ema(setup: Setup, epochs: int) -> float:
    """Return the momentum of an average over about the last tenth of the run."""
    return min(0.5, float(f"{10 / max(1, epochs * setup.steps_per_epoch):.1g}"))


def rate(lr: float, setup: Setup) -> str:
    """Return a learning rate for the batch at hand, as text; by the square root, as for Adam."""
    return f"{lr * (setup.batch_size / 64) ** 0.5:.2g}"


def double(grid: tuple[int, int]) -> tuple[int, int]:
    """Return the positions of TokenAdapt's map for a grid of tokens."""
    return 2 * grid[0], 2 * grid[1]


def literal(values: dict[str, Any]) -> str:
    """Write options as Python text."""
    return pformat(values, sort_dicts=False, width=100)
