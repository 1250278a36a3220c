"""SeiT's small classifier on a store of colour bins, with quarter turns in front of SeiT's own augmentations.

export PYTHONPATH=projects/example_tokenizer
python tools/train.py projects/example_tokenizer/configs/seit_vit-tiny_colour-bins.py --store TRAIN --val-store VAL
"""

# In a folder elsewhere: "seitpp::seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py", from the installed package.
_base_ = ["../../../configs/seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"]

custom_imports = dict(imports=["example_tokenizer"])
data_preprocessor = dict(augments=[dict(type="seitpp.QuarterTurns"), *_base_.augments])
