"""configs/study: what is trained on CIFAR-10 is what is trained on Fashion-MNIST, in sizes and colour of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

# What may differ, by the last key: folders, sizes, colour, and the bytes that images are read from.
OF_A_SET = {"data_root", "codebook", "checkpoint", "grid_size", "grid", "out_grid", "code_dim", "channels", "size"} | {
    *("img_size", "image_size", "in_channels", "luma_coefficients", "chroma_coefficients", "mean", "std", "to_rgb"),
    *("pipeline", "flip"),
}


def values(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of a config by its path; flips are passed over, and so are folders, sizes and colour."""
    if isinstance(node, dict):
        for key, child in node.items():
            if key not in OF_A_SET:
                yield from values(child, (*path, key))
    elif isinstance(node, (list, tuple)):
        kept = [one for one in node if not (isinstance(one, dict) and "Flip" in one.get("type", ""))]
        for number, child in enumerate(kept):
            yield from values(child, (*path, str(number)))
    else:
        yield path, node


def test_both_sets_have_the_same_configs_but_for_sizes_colour_and_flips(repository: Path) -> None:
    folder = repository / "configs" / "study"
    names = {path.name for path in folder.glob("*.py")}
    pairs = {
        name: name.replace("fashion-mnist", "cifar-10").replace("28px", "32px")
        for name in names
        if "fashion-mnist" in name
    }
    assert len(pairs) >= 20 and set(pairs.values()) == names - set(pairs)
    top = ("model", "data_preprocessor", "train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper")
    top += (
        "param_scheduler",
        "train_cfg",
        "val_evaluator",
        "default_hooks",
        "custom_hooks",
        "auto_scale_lr",
        "tokenizer",
    )
    for name, twin in pairs.items():
        one, other = (Config.fromfile(folder / each, format_python_code=False) for each in (name, twin))
        for key in top:
            assert dict(values(one.get(key))) == dict(values(other.get(key))), f"{key} of {name}"
