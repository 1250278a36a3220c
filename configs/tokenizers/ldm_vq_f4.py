"""First stage of latent diffusion, f4: 64 x 64 codes of 8,192, 3 values per code, pixels in [-1, 1].

Weights: vq-f4 of CompVis/latent-diffusion, trained on OpenImages. Licence: MIT. Published rFID 0.58.

python tools/convert_checkpoint.py ldm_vq_f4 model.ckpt checkpoints/ldm_vq_f4.pth
python tools/tokenize_images.py configs/tokenizers/ldm_vq_f4.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(type="seitpp.VQGAN", arch="ldm_vq_f4", checkpoint="checkpoints/ldm_vq_f4.pth", resize="taming")
