"""What a checkpoint says of a classifier: its class names, whether it has an average of the weights, and its hash."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from seitpp.engine.config_checks import name_and_scope
from seitpp.engine.robustness.plan import Plan
from seitpp.ingest.sources import open_image_source, read_class_names
from seitpp.ingest.sources.benchmarks.model_classes import NUM_IMAGENET, ModelClasses
from seitpp.ingest.sources.files import is_url
from seitpp.io.checkpoint import check_parts, load_checkpoint_file
from seitpp.io.progress import progress_bar
from seitpp.io.untrusted import check_regular_file

_AVERAGES = ("EMAHook", "StepEMAHook", "ExponentialMovingAverageHook")
_READ_BYTES = 2**24


def checkpoint_sha256(checkpoint: str) -> str:
    """Return the hash of a checkpoint's file; of an address, which is read later, that of its text."""
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        return hashlib.sha256(checkpoint.encode()).hexdigest()
    digest, total = hashlib.sha256(), path.stat().st_size
    with progress_bar(f"reading {path}") as advance, path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            advance(file.tell(), total)
    return digest.hexdigest()


def read_outline(checkpoint: str) -> dict[str, Any] | None:
    """Return what is in a checkpoint, tensors without their values; None of an address, which is read later."""
    if is_url(checkpoint):
        return None
    path = check_regular_file(Path(checkpoint).expanduser(), "checkpoint")
    content = load_checkpoint_file(path, "meta")
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint {checkpoint} holds a {type(content).__name__}, expected a dict of weights")
    check_parts(content, checkpoint)
    return content


def use_average(config: Config, outline: Mapping[str, Any] | None) -> None:
    """Let a test score the average of the weights and the raw ones where a checkpoint has both, else its only ones."""
    if outline is None:
        return
    hooks = [hook for hook in config.get("custom_hooks") or [] if hook is not None]
    averages = [hook for hook in hooks if name_and_scope(hook)[0] in _AVERAGES]
    if outline.get("ema_state_dict") is None:
        config.custom_hooks = [hook for hook in hooks if hook not in averages]
    elif not averages:
        both = {"evaluate_on_ema": True, "evaluate_on_origin": True}
        config.custom_hooks = [*hooks, {"type": "seitpp.StepEMAHook", **both}]


def model_classes(
    config: Config, outline: Mapping[str, Any] | None, classes_file: str | None, plan: Plan
) -> list[str] | None:
    """Return a classifier's class names in the order of its indices; None for ImageNet's in the usual order.

    They are those of the file, else of the checkpoint, else the folders of the clean images where there are as many.

    Raises:
        ValueError: There are none, or another number than the model has.
    """
    number = config.model.head.get("num_classes")
    meta = (outline or {}).get("meta") or {}
    names = read_class_names(classes_file) if classes_file else (meta.get("dataset_meta") or {}).get("classes")
    if names is not None:
        if number is not None and len(names) != number:
            source = classes_file or "the checkpoint"
            raise ValueError(f"{source} names {len(names)} classes, and the config's head has {number} (num_classes)")
        return list(names)
    return None if number in (None, NUM_IMAGENET) else _of_clean_images(number, plan)


def _of_clean_images(number: int, plan: Plan) -> list[str]:
    options = plan.clean.options if plan.clean is not None else {}
    found = None if plan.clean is None else open_image_source(plan.clean.source, **options).classes
    if found is None or len(found) != number:
        raise ValueError(
            f"the checkpoint does not name its {number} classes, and the clean images have "
            f"{'no class names either' if found is None else len(found)}; name them in a file, one per line "
            "(--classes FILE)"
        )
    print_log(f"The checkpoint has no class names: its class k is taken for class k of {plan.clean.source}.", "current")
    return found


def knows_imagenet(classes: Sequence[str] | None) -> bool:
    """Return whether class names are those of all of ImageNet's classes."""
    try:
        return len(ModelClasses(classes).imagenet_ids("the paper")) == NUM_IMAGENET
    except ValueError:
        return False
