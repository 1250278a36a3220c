"""LlamaGen's tokenizer, f8: 32 x 32 codes of 16,384, 8 values per code compared by cosine, pixels in [-1, 1].

Weights: vq_ds8_c2i.pt of FoundationVision/LlamaGen, trained on ImageNet-1k. Licence: MIT.

python tools/convert_checkpoint.py llamagen_vq8 vq_ds8_c2i.pt checkpoints/llamagen_vq8.pth
python tools/tokenize_images.py configs/tokenizers/llamagen_vq8.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(type="seitpp.VQGAN", arch="llamagen_vq8", checkpoint="checkpoints/llamagen_vq8.pth", resize="llamagen")
