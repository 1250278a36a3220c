"""Fixtures recorded from the reference, and the sizes of their networks, from each fixture's own `meta`."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def golden_path(name: str) -> Path:
    """Path of the golden fixture `name` in the folder `SEITPP_GOLDEN_DIR` (default: `tests/fixtures`).

    Raises:
        FileNotFoundError: The fixture is not there. Parity tests fail then; they never skip.
    """
    path = Path(os.environ.get("SEITPP_GOLDEN_DIR") or FIXTURES) / name
    if not path.exists():
        raise FileNotFoundError(f"golden fixture {path} is missing; set SEITPP_GOLDEN_DIR to a folder that holds it")
    return path


def load_golden(name: str) -> dict[str, Any]:
    """Load an `.npz` fixture as a dict of arrays, with its JSON `meta` (if any) parsed under the key `meta`."""
    with np.load(golden_path(name), allow_pickle=False) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    if "meta" in arrays:
        arrays["meta"] = json.loads(str(arrays["meta"]))
    return arrays


def golden_weights(golden: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a fixture by their published names."""
    return {key[3:]: torch.from_numpy(value) for key, value in golden.items() if key.startswith("sd/")}


def golden_vit_vqgan(golden: dict[str, Any]) -> dict[str, Any]:
    """Options of the `ViTVQGAN` that a fixture's weights are of; encoder and decoder each have their own sizes."""
    config = golden["meta"]["config"]
    stacks = {
        name: {
            "dims": config[part]["dim"],
            "depth": config[part]["depth"],
            "num_heads": config[part]["heads"],
            "mlp_dims": config[part]["mlp_dim"],
            "head_dims": config["dim_head"],
        }
        for name, part in (("encoder", "enc"), ("decoder", "dec"))
    }
    return {
        "arch": stacks,
        "codebook_size": config["n_embed"],
        "code_dim": config["embed_dim"],
        "image_size": config["image_size"],
        "tile_size": config["image_size"],
        "patch_size": config["patch_size"],
    }


def golden_vqgan(golden: dict[str, Any]) -> dict[str, Any]:
    """Options of the `VQGAN` that a fixture's weights are of."""
    meta, config = golden["meta"], golden["meta"]["ddconfig"]
    arch = {
        "channels": config["ch"],
        "multipliers": config["ch_mult"],
        "num_res_blocks": config["num_res_blocks"],
        "attention_at": config["attn_resolutions"],
        "resolution": config["resolution"],
        "z_channels": config["z_channels"],
        "codebook_size": meta["n_embed"],
        "code_dim": meta["embed_dim"],
    }
    return {"arch": arch, "image_size": golden["in/image"].shape[-2:], "in_channels": config["in_channels"]}


def golden_token_adapt(golden: dict[str, Any]) -> dict[str, int]:
    """Sizes of TokenAdapt's transformers in a fixture of one of its directions."""
    config = golden["meta"]["config"]
    return {
        "dims": config["dim"],
        "depth": config["depth"],
        "num_heads": config["heads"],
        "head_dims": config["dim_head"],
        "mlp_dims": config["mlp_dim"],
    }
