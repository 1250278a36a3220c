"""VQGAN f8 with Gumbel quantiser: 32 x 32 codes of 8,192, 256 values per code, pixels in [-1, 1].

A code is the largest of 8,192 scores; the published model adds random noise to them even in evaluation, so its codes
do not repeat and ours do. Weights: vqgan_gumbel_f8 of CompVis/taming-transformers, OpenImages. Licence: MIT.

python tools/convert_checkpoint.py vqgan_gumbel_f8 last.ckpt checkpoints/vqgan_gumbel_f8.pth
python tools/tokenize_images.py configs/tokenizers/vqgan_gumbel_f8.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.VQGAN", arch="vqgan_gumbel_f8", checkpoint="checkpoints/vqgan_gumbel_f8.pth", resize="taming"
)
