"""First stage of latent diffusion, f8: 32 x 32 codes of 256, 4 values per code, pixels in [-1, 1].

Weights: vq-f8-n256 of CompVis/latent-diffusion, trained on OpenImages. Licence: MIT. Published rFID 1.49.
A code is one byte.

python tools/convert_checkpoint.py ldm_vq_f8_n256 model.ckpt checkpoints/ldm_vq_f8_n256.pth
python tools/tokenize_images.py configs/tokenizers/ldm_vq_f8_n256.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.VQGAN", arch="ldm_vq_f8_n256", checkpoint="checkpoints/ldm_vq_f8_n256.pth", resize="taming"
)
