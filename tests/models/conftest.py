"""A tiny MTM: every part of the real one, at sizes that run in milliseconds."""

from collections.abc import Callable

import pytest
import torch

from seitpp.models import MTM
from seitpp.registry import MODELS

K, D, GRID, PATCH, WIDTH, DECODER_WIDTH = 20, 8, 8, 2, 16, 12
ARCH = dict(embed_dims=WIDTH, num_layers=2, num_heads=2, feedforward_channels=32)


@pytest.fixture
def arch() -> dict:
    return dict(ARCH)


@pytest.fixture
def build_mtm() -> Callable[..., MTM]:
    """Builds the model from its config; keywords go to the part they are prefixed with, others to MTM itself."""

    def build(seed: int = 0, backbone: dict | None = None, neck: dict | None = None, **options: object) -> MTM:
        head = options.pop("head", {})
        config = dict(
            type="seitpp.MTM",
            backbone=dict(
                type="seitpp.MTMViT",
                arch=dict(ARCH),
                grid_size=GRID,
                patch_size=PATCH,
                codebook_size=K,
                code_dim=D,
                **(backbone or {}),
            ),
            neck=dict(
                type="seitpp.MTMPretrainDecoder",
                num_patches=(GRID // PATCH) ** 2,
                embed_dims=WIDTH,
                decoder_embed_dims=DECODER_WIDTH,
                num_layers=2,
                num_heads=2,
                **(neck or {}),
            ),
            head=dict(
                type="seitpp.MTMPretrainHead",
                codebook_size=K,
                code_dim=D,
                decoder_embed_dims=DECODER_WIDTH,
                patch_size=PATCH,
                **head,
            ),
            data_preprocessor=dict(type="seitpp.TokenDataPreprocessor", codebook=torch.eye(K, D)),
            **options,
        )
        torch.manual_seed(seed)
        model = MODELS.build(config)
        model.init_weights()
        return model

    return build


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.randint(0, K, (6, GRID, GRID), generator=torch.Generator().manual_seed(0))
