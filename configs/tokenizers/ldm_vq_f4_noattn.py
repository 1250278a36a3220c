"""First stage of latent diffusion, f4 without attention: 64 x 64 codes of 8,192, 3 values per code, pixels in [-1, 1].

Weights: vq-f4-noattn of CompVis/latent-diffusion, trained on OpenImages. Licence: MIT. Published rFID 1.06.

python tools/convert_checkpoint.py ldm_vq_f4_noattn model.ckpt checkpoints/ldm_vq_f4_noattn.pth
python tools/tokenize_images.py configs/tokenizers/ldm_vq_f4_noattn.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.VQGAN", arch="ldm_vq_f4_noattn", checkpoint="checkpoints/ldm_vq_f4_noattn.pth", resize="taming"
)
