"""First stage of latent diffusion, f8: 32 x 32 codes of 16,384, 4 values per code, pixels in [-1, 1].

Weights: vq-f8 of CompVis/latent-diffusion, trained on OpenImages. Licence: MIT. Published rFID 1.14.
Probably the family of SeiT's second tokenizer, a VQGAN on OpenImages; its authors do not say.

python tools/convert_checkpoint.py ldm_vq_f8 model.ckpt checkpoints/ldm_vq_f8.pth
python tools/tokenize_images.py configs/tokenizers/ldm_vq_f8.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(type="seitpp.VQGAN", arch="ldm_vq_f8", checkpoint="checkpoints/ldm_vq_f8.pth", resize="taming")
