"""The small ViT-VQGAN that trains on a CPU in minutes, as it comes out of its run: 8 x 8 codes for 32 x 32 pixels.

python tools/dataset_converters/sample_photos.py data/photos
python tools/train.py configs/tokenizers/vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px.py
python tools/tokenize_images.py configs/tokenizers/vitvqgan_tiny-p4-k256_photos-32px.py SOURCE OUT_STORE
"""

_base_ = ["../_base_/models/vitvqgan_tiny-p4-k256.py"]
default_scope = "seitpp"
tokenizer = dict(checkpoint="work_dirs/vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px/epoch_60.pth")
