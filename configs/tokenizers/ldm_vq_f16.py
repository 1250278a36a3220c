"""First stage of latent diffusion, f16: 16 x 16 codes of 16,384, 8 values per code, pixels in [-1, 1].

Weights: vq-f16 of CompVis/latent-diffusion, trained on OpenImages. Licence: MIT. Published rFID 5.15.

python tools/convert_checkpoint.py ldm_vq_f16 model.ckpt checkpoints/ldm_vq_f16.pth
python tools/tokenize_images.py configs/tokenizers/ldm_vq_f16.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(type="seitpp.VQGAN", arch="ldm_vq_f16", checkpoint="checkpoints/ldm_vq_f16.pth", resize="taming")
