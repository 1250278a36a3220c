"""32 x 32 codes per image, 512 colours: nothing is fitted, nothing is downloaded.

export PYTHONPATH=projects/example_tokenizer
python tools/tokenize_images.py projects/example_tokenizer/configs/colour_bins.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
custom_imports = dict(imports=["example_tokenizer"])
tokenizer = dict(type="seitpp.ColourBins", image_size=256, patch_size=8, levels=8)
