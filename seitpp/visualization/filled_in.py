"""What MTM sees of tokens and what it fills in, as rows of pictures."""

from pathlib import Path

import torch
from torch import Tensor

from seitpp.io.checkpoint import load_checkpoint_file, state_dict_of
from seitpp.io.config_file import read_config
from seitpp.models import MTM
from seitpp.registry import MODELS
from seitpp.tokenizers import Tokenizer
from seitpp.visualization.pictures import PictureRow

_HIDDEN = (158, 202, 225)  # a pale blue, which no grey image has


def load_mtm(config: str | Path, checkpoint: str | Path) -> MTM:
    """Build the MTM of a training config with the weights of a checkpoint, for tokens as they are stored."""
    options = read_config(config)
    options.data_preprocessor.pop("augments", None)
    model = MODELS.build(dict(options.model, data_preprocessor=options.data_preprocessor)).eval()
    model.load_state_dict(state_dict_of(load_checkpoint_file(checkpoint), checkpoint))
    return model


@torch.no_grad()
def filled_in_rows(model: MTM, tokenizer: Tokenizer, codes: Tensor, indices: Tensor) -> list[PictureRow]:
    """Decode codes (B, H, W), int64, as they are, with hidden patches in blue, and with these filled in by MTM.

    The masks are those of validation, by the samples' `indices` (B,) in their data set.
    """
    batch = model.data_preprocessor({"inputs": codes, "sample_idx": indices})
    codes = batch["inputs"]  # the middle, where the model takes a smaller grid
    masks = model.eval_masks(batch["data_samples"], codes.device)
    hidden = masks.mask.view(len(codes), 1, *model.backbone.patch_resolution).float()
    decoded = tokenizer.to_bytes(tokenizer.decode(codes))
    hidden = torch.nn.functional.interpolate(hidden, decoded.shape[-2:]).bool()
    colour = torch.tensor(_HIDDEN, dtype=torch.uint8).view(1, 3, 1, 1)
    filled = tokenizer.to_bytes(tokenizer.decode(model.reconstruct(codes, masks)))
    return [
        PictureRow("decoded tokens", "The stored tokens, decoded.", decoded),
        PictureRow("what MTM sees", "Hidden tokens in blue.", torch.where(hidden, colour, decoded)),
        PictureRow("what it fills in", "Every hidden token replaced by the most likely one.", filled),
    ]
