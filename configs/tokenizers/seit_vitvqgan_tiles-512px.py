"""SeiT's tokenizer on 512 x 512 pixels, as four tiles of the size that it was trained at: 64 x 64 codes.

Each tile is encoded on its own, so codes on the seams do not see across them. The other way, positions computed for the
whole grid, is `--cfg-options tokenizer.positions=recompute`; the two were not compared on these weights.

python tools/tokenize_images.py configs/tokenizers/seit_vitvqgan_tiles-512px.py SOURCE OUT_STORE
"""

_base_ = ["seit_vitvqgan.py"]
tokenizer = dict(image_size=512, positions="tiles")
