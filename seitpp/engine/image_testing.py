"""A config that is tested on token stores, turned into one that is tested on image files."""

import os.path as osp
from pathlib import Path

from mmengine.config import Config, ConfigDict

from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.images.decoding import MAX_PIXELS
from seitpp.io.config_file import type_name
from seitpp.storage import is_release
from seitpp.tokenizers.from_config import check_rebuildable, read_tokenizer

_REMEDY = (
    "pass --tokenizer with the config of the tokenizer that made the training's tokens "
    "(configs/tokenizers/seit_vitvqgan.py for the tokens of the SeiT release) or with a store that it made"
)
# As many as tools/tokenize_images.py encodes at once: on a GPU another number may turn a tie between two codes.
BATCH_SIZE = 64
_GUARDS = {
    "data_guard": {"type": "seitpp.DataGuardHook"},
    "class_guard": {"type": "seitpp.ClassGuardHook"},
}


def use_images(
    config: Config,
    source: str,
    *,
    split: str | None = None,
    root: str | None = None,
    classes_file: str | None = None,
    tokenizer: str | None = None,
    max_pixels: int = MAX_PIXELS,
    num_workers: int = 2,
    batch_size: int = BATCH_SIZE,
) -> None:
    """Let a run test on images, which its data preprocessor tokenises, in place of the config's test data.

    Changes `test_dataloader` and the data preprocessor's `tokenizer`, and adds the guards of data and classes to a
    config that lacks them.

    Args:
        config: A config whose data preprocessor is a `TokenDataPreprocessor`, such as any classifier's.
        source: As `split`, `root`, `classes_file` and `max_pixels`: see `seitpp.ImageDataset`.
        split: Sub-folder, or split of a config.
        root: Folder of the paths in a list.
        classes_file: Class names.
        tokenizer: A file of configs/tokenizers/, or a token store; by default that of the config's test data.
        max_pixels: Most pixels that an image may have.
        num_workers: Processes that decode images.
        batch_size: Images per batch.
    """
    loader = config.get("test_dataloader")
    if not loader:
        raise ValueError(f"{config.filename} has no test_dataloader, so there is no test to be done on images")
    if num_workers < 0 or batch_size < 1:
        raise ValueError(f"--workers {num_workers} --batch-size {batch_size}: expected at least 0 and 1")
    preprocessor = config.model.get("data_preprocessor") or config.get("data_preprocessor") or {}
    if model_kind(config) is ModelKind.SEGMENTOR:
        raise ValueError(
            f"{config.filename} is the config of a segmentor, and --images scores classifiers. Make a store of the "
            "images and their label maps (tools/tokenize_images.py, docs/segmentation.md) and test on it with --store"
        )
    if type_name(preprocessor) != "TokenDataPreprocessor":
        raise ValueError(
            f"{config.filename} has the data preprocessor {preprocessor.get('type')}; images are tokenised by a "
            "seitpp.TokenDataPreprocessor, such as a classifier of tokens has"
        )
    made_by = _tokenizer_of(loader.dataset) if tokenizer is None else read_tokenizer(tokenizer, remedy=_REMEDY)
    preprocessor.tokenizer = made_by
    codebook = preprocessor.get("codebook")
    if isinstance(made_by, str) and isinstance(codebook, str) and not Path(codebook).exists():
        preprocessor.codebook = made_by
    config.default_hooks = {**_GUARDS, **(config.get("default_hooks") or {})}
    config.test_dataloader = ConfigDict(
        batch_size=batch_size,
        num_workers=num_workers,
        dataset=dict(
            type="seitpp.ImageDataset",
            source=source,
            split=split,
            root=root,
            classes_file=classes_file,
            tokenizer=made_by,
            test_mode=True,
            **({} if max_pixels == MAX_PIXELS else {"max_pixels": max_pixels}),
        ),
        sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
        collate_fn=dict(type="seitpp.identity_collate"),
        pin_memory=loader.get("pin_memory", False),
    )


def _tokenizer_of(dataset: ConfigDict) -> str:
    if "store" not in dataset:
        raise ValueError(f"the config's test data are a {dataset.get('type')} and no token store; {_REMEDY}")
    path = osp.join(dataset.get("data_root") or "", dataset.store)
    if is_release(path):
        raise ValueError(f"{path} is a file of the release and does not say which tokenizer made it; {_REMEDY}")
    if not Path(path).is_dir():
        raise FileNotFoundError(
            f"the config's test store {path}, which would name the tokenizer, is missing; {_REMEDY}"
        )
    check_rebuildable(path, _REMEDY)
    return path
